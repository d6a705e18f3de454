"""What makes focus-s restore less: each thing that it is told of its neighbours, taken away.

    python benchmarks/focus_told.py [--clips N]

Frames in the middle of rendered clips of held-out textures, with the blur of the suite
`synth-focus`, at two speeds: `slow` up to 8 pixels a frame, `quick` from 16 on. Of each neighbour
the network sees how it differs from the frame, where it came from, and how fast it moves there.
Gains in dB over the input, means over `blurred` clips (below 34 dB as they come) and the `others`.
Writes results/focus_told.csv and results/focus_told.md beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import table
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.evaluation.rendered import DAYLIGHT, FOCUS, SIDE, Range, spread, unfocused
from unblur.guidance.coc import BLUREST, DefocusMap
from unblur.guidance.flow import dis_flow
from unblur.metrics import detail, psnr, sharpness
from unblur.models.aligned import FLOW_STRIDE, Aligned, AlignedClip, out_of_focus
from unblur.restorers.aligned import FocalRestorer
from unblur.restorers.registry import load_model
from unblur.synth import held_out, render, sample_scenes

SEED = 495_000
FRAMES, MIDDLE = 5, 2
SPEEDS: Mapping[str, Range] = {"slow": (1.0, 8.0), "quick": (16.0, 40.0)}
BLURRED = 34.0
KINDS = {"difference": 0, "way": 1, "speed": 2}
"""Place of what is seen of a neighbour."""
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "as it is": (),
    "true flow": (),
    "not told the way": ("way",),
    "not told way and speed": ("way", "speed"),
    "not shown the difference": ("difference",),
    "no neighbours": ("difference", "way", "speed"),
}


@dataclass(frozen=True)
class Scene:
    """A clip (T, 3, H, W) each, with radii (T, 1, H, W) that are found and flows both ways."""

    blurred: Tensor
    sharp: Tensor
    radius: Tensor
    found: tuple[Tensor, Tensor]
    true: tuple[Tensor, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=12, help="of each speed (default: 12)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    restorer = load_model("focus-s", device="cpu", precision="fp32")
    if not isinstance(restorer, FocalRestorer):
        raise TypeError("focus-s is not what this script takes it for")
    rows = []
    for speed, motion in SPEEDS.items():
        found: dict[str, list[tuple[float, ...]]] = {}
        for i in range(options.clips):
            scene = render_scene(i, motion)
            for name in VARIANTS:
                found.setdefault(name, []).append(measure(restorer.network, scene, name))
        for name, clips in found.items():
            rows.append(row_of(speed, name, torch.tensor(clips)))
            print(rows[-1], flush=True)
    about = (
        f"Gain of `focus-s` in dB, {options.clips} clips of each speed, held-out textures; detail "
        f"and sharpness of the blurred ones. torch {torch.__version__}."
    )
    table.write("focus_told", about, rows)


def render_scene(index: int, motion: Range) -> Scene:
    """Clip `index`: the same blur at any speed."""
    config = unfocused(replace(DAYLIGHT, mode="focus"), spread(FOCUS)[index % 24])
    config = replace(config, motion=motion, static=0.0, light=0.0, compressed=float(index % 2))
    scenes = sample_scenes(config, held_out(), 1, torch.Generator().manual_seed(SEED + index))
    made = render(scenes, SIDE, SIDE, FRAMES, truth={"flow"})
    if made.flow_forward is None or made.flow_backward is None:
        raise ValueError("the renderer left out a truth it was requested")
    blurred = (made.blurred[0] * 255).round() / 255
    return Scene(
        blurred,
        made.sharp[0],
        DefocusMap()(blurred) * BLUREST,
        dis_flow(blurred),
        (at_quarter(made.flow_forward[0]), at_quarter(made.flow_backward[0])),
    )


def at_quarter(flow: Tensor) -> Tensor:
    """Flow (T-1, 2, H, W) in elements of a quarter of its size."""
    return F.avg_pool2d(flow, FLOW_STRIDE) / FLOW_STRIDE


@torch.no_grad()
def measure(net: Aligned, scene: Scene, variant: str) -> tuple[float, ...]:
    """PSNR of the input, gain, and detail and sharpness of the middle frame."""
    flows = scene.true if variant == "true flow" else scene.found
    blurred, radius = scene.blurred[None], scene.radius[None]
    clip = AlignedClip(net.config, blurred, radius, flows[0][None], flows[1][None])
    seen = list(clip.seen(MIDDLE))
    for neighbour in range(2 * net.config.neighbours):
        for kind in VARIANTS[variant]:
            seen[1 + 3 * neighbour + KINDS[kind]].zero_()
    residual = net.residual(list(seen), clip.images[:, MIDDLE])
    change = F.pixel_shuffle(residual[:, : net.config.channels], net.config.scale)
    before, truth = blurred[:, MIDDLE], scene.sharp[None, MIDDLE]
    after = (before + change * out_of_focus(radius[:, MIDDLE])).clamp(0, 1)
    plain = float(psnr(before, truth, cap=50.0))
    gain = float(psnr(after, truth, cap=50.0)) - plain
    return plain, gain, float(detail(after, truth)), float(sharpness(after, truth))


def row_of(speed: str, name: str, clips: Tensor) -> dict[str, str]:
    """Means over clips (N, 4)."""
    blurred = clips[:, 0] < BLURRED
    return {
        "speed": speed,
        "network": name,
        "blurred": f"{clips[blurred, 1].mean():.2f}",
        "others": f"{clips[~blurred, 1].mean():.2f}",
        "detail": f"{clips[blurred, 2].mean():.3f}",
        "sharpness": f"{clips[blurred, 3].mean():.3f}",
    }


if __name__ == "__main__":
    main()
