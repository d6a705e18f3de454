"""The tables and figures of the three papers, with their figures as published.

BSSTNet: Zhang, Xie, Yao, CVPR 2024. DaBiT: Morris and others, arXiv 2407.01230. Atlas: Ruan and
others, Video Defocus Deblurring with Atlas Learning, SIGGRAPH 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unblur.evaluation.published import DAVIS_PAPER, DVD, GOPRO, Published
from unblur.reproduce.parts import Evaluate, Need, Part, Script, Train, rows

GOPRO_SET = Need("data", "gopro", "download GoPro from its authors and add --data gopro:DIR")
DVD_SET = Need("data", "dvd", "download DVD (DeepVideoDeblurring) and add --data dvd:DIR")
DAVIS = Need("data", "davis", "download DAVIS 2017, trainval 480p, and add --data davis:DIR")
CLONE = Need("clone", "scripts", "clone the repository and install from it: pip install -e .")
TEXTURES = Need("textures", "textures", "make a bank by `unblur data textures` and add --textures")
YAML = Need("yaml", "pyyaml", "pip install 'unblur[train]'")


def drawn(paper: str, number: int, what: str, source: str = "drawn from rendered clips") -> Part:
    """A figure which a script draws."""
    name = f"{paper}-figure-{number}"
    step = Script(name, source, (CLONE,), ("figures.py", paper, str(number)))
    return Part(f"figure {number}", what, (step,), images=f"{paper}_figure_{number}.png")


def beside(paper: str, suite: str, models: tuple[str, ...]) -> Part:
    """Figure 5: some clips of a suite as models restore them, beside each other."""
    step = Evaluate(
        f"{paper}-figure-5", "three clips", suite=suite, models=models, options={"limit": 3}
    )
    return Part("figure 5", "restored frames beside each other", (step,), images=f"{suite}-*.png")


def converted(name: str) -> Need:
    """Published weights, which their authors alone may ship."""
    return Need("weights", name, "get the authors' checkpoint, then `unblur weights convert`")


def trained(name: str, gpu: str) -> Need:
    """Weights that only training gives."""
    return Need("weights", name, f"`unblur train {name} RUN` ({gpu}), then copy its weights")


def unavailable(name: str, why: str) -> Need:
    """What cannot be had."""
    return Need("none", name, why)


def printed(table: Sequence[Published]) -> tuple[Mapping[str, Any], ...]:
    """Published rows as a table."""
    return tuple({k: v for k, v in row.as_row().items() if k != "source"} for row in table)


@dataclass(frozen=True)
class Arm:
    """One network of an ablation."""

    what: str
    """In words."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the network, in place of those that all arms have."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the recipe, likewise."""


BLURRED: Mapping[str, Any] = {
    "layers": (2, 4),
    "static": 0.0,
    "light": 0.0,
    "repeated": 0.0,
    "reversed": 0.0,
    "noise": 0.0,
    "highlights": 0.0,
    "compressed": 0.0,
    "encoded_average": 0.0,
}
SMALL: Mapping[str, Any] = {
    "crop": 64,
    "batch": 2,
    "frames": 5,
    "learning_rate": 1e-3,
    "average": 0.98,
    "precision": "fp32",
    "validation_clips": 6,
}
"""Crops and scenes from which a network learns within minutes of a CPU: blurred everywhere by a
few pixels, clean, and not encoded."""
NARROWER: Mapping[str, Any] = {
    "stem_channels": 8,
    "channels": 24,
    "deform_groups": 4,
    "refiner_channels": 8,
    "swin_heads": 2,
    "token_channels": 32,
    "token_heads": 2,
    "token_hidden": 4,
}
"""Half the channels of `bsstnet-narrow`: twice as many steps in the same time."""
MOVING: Mapping[str, Any] = {
    **SMALL,
    "options": NARROWER,
    "scenes": {
        **BLURRED,
        "mode": "motion",
        "motion": (6.0, 16.0),
        "camera": (0.7, 1.0),
        "exposure": (0.6, 1.0),
    },
}
PEERS: Mapping[str, Arm] = {
    "BSSTNet": Arm("narrow, both parts", options=NARROWER),
    "aligned": Arm("the network of `motion-s`, narrower", changes={"network": "aligned-narrow"}),
    "NAFNet": Arm("sees one frame", changes={"network": "nafnet-narrow"}),
    "BasicVSR++": Arm("recurrent, both ways in time", changes={"network": "basicvsrpp-narrow"}),
}
"""Networks of equal cost."""
RESTORED: Mapping[str, Any] = {
    **MOVING,
    "options": {},
    "start_from": "motion-s",
    "crop": 128,
    "batch": 4,
    "filmed": 0.0,
    "real": 0.0,
    "pool": 0,
    "rate_factors": {},
    "learning_rate": 1e-5,
    "average": 0.95,
}
"""The same scenes, for a network that has learned already and goes on without some of its parts.
At twice the rate, with one larger scene a step, gains swung by .2 to .6 dB on the way."""
ALIGNED: Mapping[str, Arm] = {
    "whole": Arm("all parts"),
    "no neighbours": Arm("sees one frame", options={"neighbours": 0}),
    "no flow": Arm("neighbours are not laid over the frame", options={"alignment": "none"}),
    "no speeds": Arm("is not told how fast pixels move", options={"speeds": False}),
}
"""Of `motion-s`: what it sees of other frames."""
UNFOCUSED: Mapping[str, Any] = {
    **SMALL,
    "batch": 1,
    "learning_rate": 3e-4,
    "pool": 600,
    "pool_side": 64,
    "scenes": {
        **BLURRED,
        "mode": "focus",
        "motion": (2.0, 8.0),
        "coc": (2.0, 6.0),
        "in_focus": 0.0,
    },
}
"""The same out of focus, but for the depth in focus. At three times the rate the whole network does
not begin to learn before the rate has fallen. Clips are rendered before, as large as they are seen,
and seen one at a time: time is for steps, of which networks need hundreds before they gain
anything, and many a crop of a larger scene has nothing that is blurred."""
NINE: Mapping[str, Any] = {"frames": 9, "window": 5}
"""Clips longer than what is restored of them; the other arms see clips of these 5 frames alone."""
NARROWER_DABIT: Mapping[str, Any] = {
    "scales": [1],
    "encoder": [16, 24, 32, 48, 48, 48, 32],
    "channels": 32,
    "decoder_channels": 16,
    "token_channels": 64,
    "token_heads": 2,
    "token_hidden": 6,
    "token_blocks": 2,
}
"""A quarter of the cost of `dabit-narrow`."""


def arms(
    table: str,
    recipe: str,
    common: Mapping[str, Any],
    each: Mapping[str, Arm],
    seeds: int = 3,
) -> tuple[Train, ...]:
    """An ablation: each arm with each seed, on the same clips in the same order.

    All arms of a seed come first, so that a run that is stopped early has whole comparisons.
    Options of `common` hold for all arms, beside those of each.
    """
    options = common.get("options", {})
    return tuple(
        Train(
            f"{table}-{name}-{seed}",
            arm.what,
            (YAML, TEXTURES),
            recipe=recipe,
            arm=name,
            changes={
                **common,
                "seed": seed,
                **arm.changes,
                "options": {**options, **arm.options},
            },
        )
        for seed in range(seeds)
        for name, arm in each.items()
    )


RELEASED = {"gopro": "bsstnet-gopro", "dvd": "bsstnet-dvd"}


def measured(data: str, need: Need) -> tuple[Evaluate, ...]:
    """A data set by the published network and by what ships, as the paper counts."""
    options = {"protocol": "paper"}
    model = RELEASED[data]
    network = (need, converted(model), converted("raft-things"))
    return (
        Evaluate(
            f"{data}-shipped",
            "what ships, by the paper's protocol",
            (need,),
            suite=data,
            models=("motion-s", "motion-m", "maxim-stage1"),
            options=options,
            data=data,
        ),
        Evaluate(
            f"{data}-released",
            "the published network",
            network,
            suite=data,
            models=(model,),
            options=options,
            data=data,
        ),
    )


COST = Script(
    "bsstnet-cost",
    "GMAC, time and memory over T, sparse and dense",
    (CLONE,),
    words=("bsstnet.py",),
    results=("bsstnet",),
)
NARROW = (
    "Narrow networks, trained on small rendered clips: gains compare with each other only, and "
    "only where they lie further apart than the seeds."
)
NO_PROPAGATION: Mapping[str, Any] = {"branches": []}
NO_TOKENS: Mapping[str, Any] = {"token_blocks": 0}

BSSTNET = (
    Part("table 1", "GoPro", measured("gopro", GOPRO_SET), printed(GOPRO)),
    Part("table 2", "DVD", measured("dvd", DVD_SET), printed(DVD)),
    Part(
        "table 3",
        "cost for a frame of 256x256",
        (COST,),
        rows(
            "method GFLOPs ms",
            ("RVRT", 88.8, 23),
            ("Shift-Net+", 146, 45),
            ("BSSTNet", 133, 28),
        ),
        "The paper's GFLOPs are of the size of GMAC of the network without optical flow.",
    ),
    Part(
        "table 4",
        "DVD over the number of frames, dense (SST) and sparse (BSST)",
        (COST,),
        rows(
            "T SST_PSNR SST_SSIM SST_ms SST_GB SST_GFLOPs PSNR SSIM ms GB GFLOPs",
            (12, 34.59, 0.9684, 470, 6.35, 171, 34.52, 0.9681, 336, 2.40, 122),
            (24, 34.83, 0.9696, 925, 13.10, 251, 34.74, 0.9692, 684, 4.79, 127),
            (36, 34.92, 0.9702, 1332, 20.40, 277, 34.85, 0.9697, 1026, 7.30, 130),
            (48, 34.97, 0.9704, 1776, 28.27, 329, 34.95, 0.9703, 1368, 9.97, 133),
            (60, "", "", "", "", "", 35.01, 0.9706, 1712, 12.78, 137),
        ),
        "Cost alone. What longer clips give the arms of table 5: benchmarks/clip_length.py.",
    ),
    Part(
        "table 5",
        "DVD without propagation (BBFP) and sparse transformer (BSST)",
        arms(
            "table5",
            "bsstnet-narrow",
            MOVING,
            {
                "both": Arm("both parts"),
                "BSST": Arm("without propagation", options=NO_PROPAGATION),
                "BBFP": Arm("without the sparse transformer", options=NO_TOKENS),
                "neither": Arm("without both", options={**NO_PROPAGATION, **NO_TOKENS}),
            },
        ),
        rows(
            "arm PSNR SSIM",
            ("neither", 33.78, 0.9645),
            ("BSST", 34.74, 0.9692),
            ("BBFP", 34.10, 0.9661),
            ("both", 34.95, 0.9703),
        ),
        NARROW,
    ),
    Part(
        "table 6",
        "DVD, alignment by blur (BFA), or by flow alone (SFFA)",
        arms(
            "table6",
            "bsstnet-narrow",
            MOVING,
            {
                "BFA": Arm(
                    "aligned by flow and blur, as in the paper", options={"alignment": "paper"}
                ),
                "BFA as released": Arm(
                    "aligned by flow and blur, as in the released code",
                    options={"alignment": "official"},
                ),
                "SFFA": Arm("aligned by flow alone", options={"alignment": "flow"}),
                "none": Arm("not aligned", options={"alignment": "none"}),
            },
        ),
        rows("arm PSNR SSIM", ("SFFA", 34.82, 0.9696), ("BFA", 34.95, 0.9703)),
        NARROW,
    ),
    Part(
        "table 7",
        "DVD, which tokens are kept",
        arms(
            "table7",
            "bsstnet-narrow",
            MOVING,
            {
                "top 50": Arm(
                    "the most blurred half of the tokens",
                    options={"selection": "paper", "keep": 0.5},
                ),
                "top 25": Arm(
                    "the most blurred quarter of the tokens",
                    options={"selection": "paper", "keep": 0.25},
                ),
                "random 50": Arm(
                    "a random half of the tokens", options={"selection": "random", "keep": 0.5}
                ),
                "all": Arm("all tokens", options={"selection": "dense"}),
            },
        ),
        rows(
            "arm PSNR SSIM GFLOPs",
            ("random 50", 33.92, 0.9651, 133),
            ("all", 34.98, 0.9704, 329),
            ("top 25", 34.78, 0.9694, 127),
            ("top 50", 34.95, 0.9703, 133),
        ),
        NARROW,
    ),
    Part(
        "peers",
        "networks of other papers that cost as much, trained alike",
        arms("peers", "bsstnet-narrow", {**MOVING, "options": {}}, PEERS),
        note=(
            "Narrow networks of about 2.2 GMAC for a frame of 256x256, optical flow not counted, "
            "from random weights, on the same clips in the same order. NAFNet sees one frame; "
            "BasicVSR++ and the aligned network get the optical flow that BSSTNet gets."
        ),
    ),
    Part(
        "aligned",
        "the network of `motion-s` without some of its parts",
        arms("aligned", "motion-s", RESTORED, ALIGNED),
        note=(
            "Each arm goes on from `motion-s` as it ships, so that gains hold what it had learned "
            "before: without neighbours, with neighbours that are not laid over the frame, and "
            "without knowing how fast they move."
        ),
    ),
    drawn("bsstnet", 1, "PSNR over cost (1b)", "plotted from published and stored results"),
    beside("bsstnet", "synth-motion", ("motion-s", "motion-m")),
    drawn("bsstnet", 6, "neighbours aligned by flow alone, and weighted by blur maps"),
)

DABIT_SHIPPED = Evaluate(
    "davis-shipped",
    "what ships, and its ablations",
    (DAVIS,),
    suite="davis-blur",
    models=("focus-s", "focus-m"),
    options={"ablate": True},
    data="davis",
)
DABIT = (
    Part(
        "table 1",
        "DAVIS-Blur, the fixed setting, with V1, V2 and V3",
        (
            DABIT_SHIPPED,
            Evaluate(
                "davis-released",
                "the published network at twice the size",
                (DAVIS, converted("dabit"), converted("raft-things")),
                suite="davis-blur",
                models=("dabit",),
                options={"scale": 2},
                data="davis",
            ),
            Evaluate(
                "davis-paper",
                "the network of the paper, and its ablations",
                (DAVIS, trained("dabit-paper", "a GPU for days")),
                suite="davis-blur",
                models=("dabit-paper@depth",),
                options={"scale": 2, "ablate": True},
                data="davis",
            ),
            Script(
                "dabit-cost",
                "GMAC, time and memory",
                (CLONE,),
                words=("dabit.py", "--quick"),
                results=("dabit",),
            ),
            *arms(
                "dabit",
                "dabit-narrow",
                {**UNFOCUSED, "flow": "dis", "options": NARROWER_DABIT},
                {
                    "whole": Arm("all parts"),
                    "V1": Arm("without a blur map", options={"blur": "none"}),
                    "V2": Arm("without propagation", options={"propagation": False}),
                    "V3": Arm("without both", options={"blur": "none", "propagation": False}),
                    "refocused flow": Arm(
                        "optical flow by DIS, corrected by `flow-refocus-s`",
                        changes={"flow": "refocused"},
                    ),
                    "no depth": Arm("without depth", options={"depth": "none"}),
                    "pixels moved": Arm(
                        "blurred pixels replaced by sharp ones of other frames",
                        options={"pixels": "released"},
                    ),
                    "references": Arm(
                        "of 9 frames 5 are restored, the others looked at",
                        changes={**NINE, "references": 4},
                    ),
                    "no references": Arm(
                        "of 9 frames 5 are restored, the others not seen", changes=NINE
                    ),
                },
            ),
        ),
        printed(DAVIS_PAPER),
        "The paper names neither its 50 sequences nor its depth: figures on others do not compare. "
        "Arms: narrow networks, trained on small rendered clips, without references but for "
        "one arm, flow by DIS, the true blur map with errors: their gains compare with each other "
        "only, and only where they lie further apart than the seeds.",
    ),
    beside("dabit", "synth-focus", ("focus-s", "focus-m")),
    Part(
        "figure 6",
        "missed focus at night (looked at only, in the paper)",
        (
            Evaluate(
                "night",
                "rendered scenes by night",
                suite="synth-lowlight",
                models=("focus-s", "focus-m"),
            ),
        ),
        note="BVI-RLV, whose scenes the paper shows, is replaced by rendered scenes.",
        images="synth-lowlight-*.png",
    ),
    drawn("dabit", 7, "optical flow of blurred frames, refocused and true"),
)

FITTED = tuple(f"{clip}={{folder}}/{clip}" for clip in ("stream", "garden", "confetti"))
"""Rendered clips, and where their layers go; those that are there are not fitted again."""
ATLAS_CLIPS = Script(
    "atlas-arms",
    "three rendered clips: without lens, with one, with the circle of confusion",
    (CLONE,),
    words=("atlas.py",),
    results=("atlas",),
)
ATLAS = (
    Part(
        "table 1",
        "four rendered clips",
        (ATLAS_CLIPS,),
        rows(
            "method PSNR SSIM FovVideoVDP FLIP tPSNR",
            ("RDPD", 27.93, 0.92, 6.91, 0.10, 31.81),
            ("Neucam", 25.17, 0.86, 5.66, 0.13, 28.64),
            ("theirs", 29.23, 0.95, 7.20, 0.07, 33.15),
        ),
        "The paper's clips (Blender films) were not published: ours are rendered scenes.",
    ),
    Part(
        "table 3",
        "circle of confusion: RMSE of its diameter, px",
        (
            Script(
                "coc",
                "on rendered scenes",
                (CLONE,),
                words=("guidance.py",),
            ),
            Evaluate(
                "coc-sets",
                "BLB and SSD",
                (unavailable("BLB and SSD", "the sets of the paper were not published"),),
            ),
        ),
        rows(
            "method BLB SSD",
            ("theirs", 8.77, 2.80),
            ("IDOF", 8.30, 2.30),
            ("from scratch", 12.26, 3.43),
        ),
    ),
    Part(
        "table 4",
        "what the circle of confusion gives, scene truck: blurred again, and sharp",
        (ATLAS_CLIPS,),
        rows(
            "COC blurred_PSNR blurred_SSIM sharp_PSNR sharp_SSIM",
            ("none", 35.20, 0.917, 29.55, 0.796),
            ("DMENet", 38.18, 0.962, 31.18, 0.872),
            ("IDOF", 39.14, 0.977, 32.07, 0.915),
            ("theirs", 39.76, 0.978, 32.19, 0.914),
        ),
    ),
    Part(
        "table 5",
        "optical flow through the atlas, over the gap in frames",
        (
            Script(
                "atlas-flow",
                "flow of three rendered clips, which are fitted first",
                (CLONE,),
                words=("atlas_edit.py", "flow", "--fit", *FITTED),
                results=("atlas_flow",),
            ),
        ),
        rows(
            "gap RMSE RAFT_RMSE EPE RAFT_EPE angle RAFT_angle length RAFT_length",
            (1, 0.598, 0.614, 0.631, 0.592, 15.10, 9.818, 0.433, 0.493),
            (3, 1.654, 1.773, 1.685, 1.543, 12.45, 10.67, 1.173, 1.217),
            (5, 2.657, 3.330, 2.606, 2.442, 10.95, 11.14, 1.842, 1.793),
            (7, 3.778, 4.109, 3.432, 3.168, 9.628, 11.45, 2.510, 2.217),
            (9, 5.310, 6.193, 4.406, 4.653, 8.978, 11.23, 3.304, 3.493),
        ),
    ),
    Part(
        "figure 4",
        "kernels of a lens",
        (
            Script(
                "kernels",
                "kernels over radius and beta",
                (CLONE,),
                words=("kernels.py", "--no-timing"),
            ),
        ),
        images="kernels.png",
    ),
    drawn("atlas", 5, "restored frames and x-t slices"),
    drawn("atlas", 6, "plain atlas, with a lens, with the circle of confusion"),
    drawn("atlas", 7, "circles of confusion"),
    drawn("atlas", 8, "a limit: without a pull of focus layers have nothing to learn from"),
    drawn("atlas", 9, "edits: paint on an atlas, and another focus"),
)

PAPERS = {"bsstnet": BSSTNET, "dabit": DABIT, "atlas": ATLAS}
