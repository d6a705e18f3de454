"""Which small network learns most in the same time: parts of BSSTNet, plain rivals, and motion-s.

    python benchmarks/architectures.py --textures BANK --pool POOL [--rows NAME ...] [--minutes M]
        [--data DIR ...]

Every network has about 10 GMAC per frame of 256 x 256 (those at full size 40), optical flow not
counted, and learns from the same rendered clips (scenes of the recipe `motion-s`, kept in POOL)
by the same losses for the same time of one thread of the CPU: forward and backward pass,
optimizer, and optical flow, but not making or reading clips, nor validation. So other work beside
it disturbs little. The cosine of the learning rate ends with that time. Rate, crop and batch are
what each kind needs. `--data` names folders of sharp frames for averages of real ones. Writes
results/architectures.csv and results/architectures.md beside this file, line by line; rows that
are there already stay.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import table
import torch
from bsstnet import attention_flop, shaken_clip
from rivals import Recurrent, UNet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from unblur.evaluation.averaged import averaged_clips
from unblur.evaluation.clip import Clip
from unblur.metrics import psnr
from unblur.training import recipe as recipes
from unblur.training.batches import Batch, Source
from unblur.training.deblur_task import Deblur, TrainAligned
from unblur.training.loop import Run
from unblur.training.peers_task import giving_back
from unblur.training.recipe import Recipe
from unblur.training.source import open_source
from unblur.training.tasks import open_task

CPU = torch.device("cpu")
VALIDATION_CLIPS = 12
AVERAGED = 5
"""Real frames that make one blurred frame."""
REAL_SIDE = 384
"""Side of the middle of them that is looked at."""
FROM_SCRATCH: Mapping[str, Any] = {"start_from": None, "learning_rate": 6e-4, "rate_factors": {}}


def pixelwise(net: nn.Module) -> nn.Module:
    """The network with each pixel's channels together in its weights: faster on a CPU."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class TrainUNet(Deblur):
    """The plain U-net, which sees `options: {frames: ...}`."""

    def network(self) -> nn.Module:
        return pixelwise(UNet(**self.recipe.options))

    def trained_on(self, frames: int, seed: int) -> list[int]:
        return [frames // 2]

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> torch.Tensor:
        return network(batch.blurred)


class TrainRecurrent(Deblur):
    """The plain recurrent network."""

    def network(self) -> nn.Module:
        return pixelwise(Recurrent(**self.recipe.options))

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> torch.Tensor:
        return network(batch.blurred)[:, outputs]


class TrainAnew(TrainAligned):
    """The shipped network with random weights, and its last layer at zero."""

    def network(self) -> nn.Module:
        return giving_back(super().network())


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    title: str
    task: Callable[[Recipe, torch.device], Any]
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What its recipe has other than that of `motion-s`."""
    restores: int = 1
    """Frames of a clip that a step learns from."""


ONE_FRAME = {**FROM_SCRATCH, "crop": 128, "batch": 4}
ALL_FRAMES = {**FROM_SCRATCH, "crop": 128, "batch": 1}
BSSTNET = {
    **ALL_FRAMES,
    "network": "bsstnet-narrow",
    "rate_factors": {"offset": 0.25, "refiner": 0.25},
}
FULL_SIZE = {"crop": 128, "batch": 4, "learning_rate": 1e-4, "rate_factors": {}}
ROWS: Mapping[str, Row] = {
    "unet": Row("plain U-net", TrainUNet, {**ONE_FRAME, "options": {"frames": 5}}),
    "bsstnet": Row("BSSTNet, narrow", open_task, BSSTNET, 5),
    "aligned": Row("`motion-s`, from `maxim-stage1`", open_task),
    "recurrent": Row("plain recurrent network", TrainRecurrent, ALL_FRAMES, 5),
    "aligned-anew": Row("`motion-s` from scratch", TrainAnew, ONE_FRAME),
    "aligned-one": Row(
        "`motion-s` without neighbours, from `maxim-stage1`",
        open_task,
        {"options": {"neighbours": 0}},
    ),
    "unet-one": Row(
        "plain U-net that sees one frame", TrainUNet, {**ONE_FRAME, "options": {"frames": 1}}
    ),
    "propagation": Row(
        "BSSTNet, narrow, propagation without sparse attention",
        open_task,
        {**BSSTNET, "options": {"token_blocks": 0}},
        5,
    ),
    "middle": Row(
        "at full size: `motion-m`, from `maxim-stage1`",
        open_task,
        {"options": {"scale": 1}, **FULL_SIZE},
    ),
    "maxim": Row(
        "at full size: `maxim-stage1` alone, trained on",
        open_task,
        {"network": "maxim-stage1", **FULL_SIZE},
    ),
}
"""By the name that `--rows` takes, in the order in which they are run."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--minutes", type=float, default=6.0, help="for each row (default: 6)")
    parser.add_argument("--textures", type=Path, help="folder of a texture bank")
    parser.add_argument("--pool", type=Path, help="folder of the clips of a pool")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders of sharp frames")
    parser.add_argument(
        "--cost",
        nargs="*",
        metavar="RECIPE",
        help="only count parameters and GMAC, by recipe or --rows",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if options.cost is not None:
        tasks = {name: open_task(recipes.load(name), CPU) for name in options.cost}
        for name, task in (tasks or {n: task_of(ROWS[n]) for n in options.rows}).items():
            print(name, cost(task))
        return
    if options.textures is None or options.pool is None:
        parser.error("--textures and --pool are needed")
    real = [maker() for maker in averaged_clips(options.data, AVERAGED)] if options.data else []
    kept: list[Batch] | None = None
    for name in options.rows:
        task = task_of(ROWS[name])
        if kept is not None:
            task.held_out = kept  # the same clips for all: rendered once
        learn(name, task, real, options)
        kept = task.held_out


def task_of(row: Row) -> Any:
    """What a row trains."""
    common = recipes.load("motion-s")
    changes = {"steps": 10**6, "validation_clips": VALIDATION_CLIPS, **row.changes}
    return row.task(replace(common, **changes), CPU)


def learn(name: str, task: Any, real: list[Clip], options: argparse.Namespace) -> None:
    """Trains one row. Lines of the table at half of the time and at its end, and before where it
    can do something before.
    """
    recipe, costs = task.recipe, cost(task)
    source = Clock(open_source(recipe, options.textures, CPU, task.needs_flow, options.pool))
    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, task, source, Path(folder), CPU)

        def measure(minutes: float) -> None:
            run.network.eval()
            with run.average.within(run.network), torch.no_grad():
                metrics = task.validate(run.network, Path(folder))
                if real and minutes in (0, options.minutes):
                    metrics["real_gain"] = real_gain(task, run.network, real)
            clips = run.step * recipe.batch
            area = recipe.crop**2
            points.append(
                {
                    "row": name,
                    "minutes": minutes,
                    "steps": run.step,
                    "pixels_seen": clips * recipe.frames * area,
                    "pixels_restored": clips * ROWS[name].restores * area,
                    **{k: round(v, 4) for k, v in metrics.items()},
                    **costs,
                    "learning_rate": recipe.learning_rate,
                    "crop": recipe.crop,
                    "batch": recipe.batch,
                    "precision": recipe.precision,
                    "torch": torch.__version__,
                }
            )
            write(name, points)
            print(points[-1], flush=True)

        if recipe.start_from is not None:
            measure(0)
        limit, spent, half = 60 * options.minutes, 0.0, False
        while spent < limit:
            began, waited = time.process_time(), source.spent
            run.advance()
            spent += time.process_time() - began - (source.spent - waited)
            # How many steps fit into the time is known better after each: the cosine follows.
            steps = max(run.step + 1, round(run.step * limit / spent))
            run.recipe = replace(recipe, steps=steps)
            if not half and spent >= limit / 2:
                half = True
                measure(options.minutes / 2)
        measure(options.minutes)


class Clock:
    """A source, and the time that it took."""

    def __init__(self, source: Source) -> None:
        self.source, self.spent = source, 0.0
        self.pixels_per_clip = source.pixels_per_clip

    def batch(self, clips: int, seed: int) -> Batch:
        began = time.process_time()
        made = self.source.batch(clips, seed)
        self.spent += time.process_time() - began
        return made


def real_gain(task: Any, network: nn.Module, clips: list[Clip]) -> float:
    """Mean gain in dB on averages of real frames, each restored with two on either side."""
    gains = []
    for clip in clips:
        for t in clip.scored:
            blurred, sharp = (middle(x[t - 2 : t + 3])[None] for x in (clip.blurred, clip.sharp))
            if blurred.shape[1] < 5:
                continue
            restored = task.restore(network, Batch(blurred, sharp), [2], None)[0].clamp(0, 1)
            before, after = (psnr(x, sharp[0, 2:3]) for x in (blurred[0, 2:3], restored))
            gains.append(float(after - before))
    return sum(gains) / len(gains)


def middle(frames: torch.Tensor) -> torch.Tensor:
    """The square in the middle of (T, 3, H, W)."""
    top, left = ((n - REAL_SIDE) // 2 for n in frames.shape[-2:])
    return frames[..., top : top + REAL_SIDE, left : left + REAL_SIDE]


def cost(task: Any) -> dict[str, float]:
    """Parameters in millions, and GMAC per restored frame of a clip of five."""
    net = task.network().eval()
    frames, forward, backward = shaken_clip(5)
    batch = Batch(frames, frames, forward, backward)
    outputs = task.trained_on(5, 0)
    # PyTorch counts attention on the GPU only; its CPU kernel computes the same products. The fused
    # layers that run where no gradient is wanted it does not count at all: so with gradients.
    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flop}
    with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
        task.apply(net, batch, outputs)
    return {
        "parameters_m": round(sum(p.numel() for p in net.parameters()) / 1e6, 2),
        "gmac": round(counter.get_total_flops() / 2e9 / len(outputs), 2),
    }


def write(name: str, points: list[dict[str, Any]]) -> None:
    """Puts a row into the table, in place of an older one."""
    lines: list[dict[str, Any]] = [*table.earlier("architectures", "row", [name]), *points]
    lines.sort(key=lambda line: list(ROWS).index(line["row"]))
    about = (
        f"Minutes of one thread of the CPU; {VALIDATION_CLIPS} held-out scenes of 256x256, "
        f"input {float(lines[0]['input']):.2f} dB; GMAC per frame of 256x256 without optical flow. "
        f"torch {lines[0]['torch']}."
    )
    people = [
        {"network": ROWS[line["row"]].title}
        | {head: shown(key, line.get(key, "")) for key, head in HEAD.items()}
        for line in lines
    ]
    table.write("architectures", about, lines, people)


HEAD = {
    "minutes": "minutes",
    "steps": "steps",
    "pixels_seen": "million pixels seen",
    "pixels_restored": "restored",
    "gain": "gain, dB",
    "detail": "detail",
    "sharpness": "sharpness",
    "real_gain": "real averages, dB",
    "gmac": "GMAC",
    "parameters_m": "parameters, M",
}


def shown(key: str, value: Any) -> str:
    """One cell."""
    if value == "":
        return ""
    if key.startswith("pixels"):
        return f"{float(value) / 1e6:.0f}"
    digits = {"gain": 2, "real_gain": 2, "detail": 3, "sharpness": 3, "gmac": 1, "parameters_m": 2}
    return f"{float(value):.{digits[key]}f}" if key in digits else f"{float(value):g}"


if __name__ == "__main__":
    main()
