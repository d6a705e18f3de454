"""What a step of the atlas fit costs, and what it would cost without each of its short cuts.

    python benchmarks/atlas_steps.py [--width N] [--steps N]

Two layers, frames of noise: only time counts. Seconds are the CPU's, on one thread, of a step
with two frames. Writes results/atlas_steps.csv and results/atlas_steps.md beside this file.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.atlas.fitting import model as atlas_model
from unblur.atlas.fitting.fit import Fitter, Targets
from unblur.atlas.fitting.model import LayeredModel, LayerStart
from unblur.atlas.fitting.motion import Motion
from unblur.atlas.fitting.presets import CPU, FitConfig, Phase
from unblur.atlas.fitting.take import paper_model
from unblur.optics.disk_blur import disk_blur
from unblur.optics.lens import lens_radius

RESULTS = Path(__file__).parent / "results"
FRAMES = 8
RADIUS = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = (options.width * 9 // 16, options.width)
    whole = replace(CPU, phases=(Phase(10, 1, 2),))
    half = replace(CPU, phases=(Phase(10, 2, 2),))
    dense = replace(
        whole,
        mapping="mlp",
        atlas="cnn",
        layered=False,
        widths=(128, 96, 64, 32),
        refine_coc=False,
    )
    rows: list[tuple[str, Callable[[], float]]] = [
        ("preset cpu, full size", lambda: seconds(layered(whole, size), options.steps)),
        ("preset cpu, half size", lambda: seconds(layered(half, size), options.steps)),
        ("a radius for every pixel", lambda: without_even_blur(whole, size, options.steps)),
        ("MS-SSIM by convolutions", lambda: with_convolutions(whole, size, options.steps)),
        (
            "atlases by the light network",
            lambda: seconds(layered(replace(whole, atlas="cnn"), size), options.steps),
        ),
        ("networks of the paper", lambda: seconds(paper(dense, size), 1)),
    ]
    base = 0.0
    table = []
    for name, measure in rows:
        value = measure()
        base = base or value
        table.append({"step": name, "seconds": f"{value:.3f}", "times": f"{value / base:.1f}"})
        print(table[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "atlas_steps.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    lines = [
        f"Frames of {size[1]}x{size[0]}, two a step, two layers, radius {RADIUS:g}, one thread.",
        "",
        "| step | seconds | times |",
        "|---|---|---|",
        *(f"| {r['step']} | {r['seconds']} | {r['times']} |" for r in table),
    ]
    (RESULTS / "atlas_steps.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def seconds(fitter: Fitter, steps: int) -> float:
    """Of the CPU, for a step; the first is not counted."""
    fitter.one_step(0.1)
    began = time.process_time()
    for _ in range(steps):
        fitter.step += 1
        fitter.one_step(0.1)
    return (time.process_time() - began) / steps


def clip(size: tuple[int, int]) -> tuple[Tensor, Motion, Tensor]:
    """Frames, their motion (none), and masks."""
    frames = torch.rand(FRAMES, 3, *size, generator=torch.Generator().manual_seed(0))
    pairs = [(a, a + 1) for a in range(FRAMES - 1)]
    flows = {pair: torch.zeros(2, *size).half() for pair in pairs}
    valid = {pair: torch.ones(1, *size, dtype=torch.bool) for pair in pairs}
    masks = torch.zeros(2, FRAMES, *size, dtype=torch.bool)
    masks[1, :, : size[0] // 2, : size[1] // 2] = True
    masks[0] = ~masks[1]
    return frames, Motion(flows, valid), masks


def layered(config: FitConfig, size: tuple[int, int]) -> Fitter:
    """Of the presets `cpu` and `fast`."""
    frames, motion, masks = clip(size)
    maps = torch.eye(3).repeat(FRAMES, 1, 1)
    radius = lens_radius(torch.full((FRAMES, 1, 1, 1), RADIUS), config.beta)
    texture = torch.rand(3, size[0] + 40, size[1] + 40)
    starts = [
        LayerStart("background", maps, texture, None, radius),
        LayerStart("foreground", maps, texture, torch.full_like(texture[:1], 0.5), radius),
    ]
    return Fitter(
        LayeredModel(starts, size, config), Targets(frames, motion, masks, config), config
    )


def paper(config: FitConfig, size: tuple[int, int]) -> Fitter:
    """Of the preset `paper`."""
    frames, motion, masks = clip(size)
    radii = torch.full((FRAMES, 1, *size), RADIUS)
    model = paper_model(frames, ["background", "foreground"], radii, config)
    return Fitter(model, Targets(frames, motion, masks, config), config)


def without_even_blur(config: FitConfig, size: tuple[int, int], steps: int) -> float:
    """Each layer blurred pixel by pixel."""

    def exact(colour: Tensor, alpha: Tensor | None, radius: Tensor, even: bool, beta: Any) -> Any:
        light = colour if alpha is None else torch.cat((colour * alpha, alpha), 1)
        blurred = disk_blur(light, radius, beta)
        return blurred[:, :3], None if alpha is None else blurred[:, 3:]

    with mock.patch.object(atlas_model, "through_lens", exact):
        return seconds(layered(config, size), steps)


def with_convolutions(config: FitConfig, size: tuple[int, int], steps: int) -> float:
    """Windows of MS-SSIM as convolutions, and not as products of matrices."""
    import sys

    room: Any = sys.modules["unblur.metrics.ms_ssim"]

    def similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        taps = room._window(11, a)[:, :1]
        moments = torch.stack([a, b, a * a, b * b, a * b])
        flat = moments.flatten(0, 2)[:, None]
        flat = F.conv2d(F.conv2d(flat, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))
        mean_a, mean_b, aa, bb, ab = flat.view(*moments.shape[:3], *flat.shape[-2:])
        contrast = (2 * (ab - mean_a * mean_b) + room.C2) / (
            aa - mean_a**2 + bb - mean_b**2 + room.C2
        )
        light = (2 * mean_a * mean_b + room.C1) / (mean_a**2 + mean_b**2 + room.C1)
        return (light * contrast).mean((-2, -1)), contrast.mean((-2, -1))

    with mock.patch.object(room, "_similarity", similarity):
        return seconds(layered(config, size), steps)


if __name__ == "__main__":
    main()
