"""How well blur maps tell what is out of focus, on rendered scenes: the tables of docs/focus.md."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.guidance.coc import BLUREST, coc_radius, load_coc_s
from unblur.guidance.defocus import (
    CELL,
    as_map,
    at_depth,
    blur_mask,
    defocus_of_depths,
    energies,
    padded,
    width_of,
)
from unblur.models import load_state
from unblur.models.coc import CocNet
from unblur.ops.wavelet import blur_of_depths
from unblur.synth import Rendered, SceneConfig, held_out, render, sample_scenes
from unblur.weights import load

BLURRED = 2.5
"""Radius in pixels from which a pixel counts as blurred, for masks of maps in other units."""
SHARP, BETWEEN, SOFT = 0.7, 1.0, 1.3
"""Radii in pixels: what is below the first should come out below the second."""
SEED = 40_000
WINDOWS = ((3, 1.0), (7, 0.1), (25, 0.003))
"""Cells across, and weight: far ones speak where near ones have no detail."""
GUIDE_REACH, GUIDE_EPS = 4, 1e-3
SCENES = {
    "mild noise": SceneConfig(
        mode="focus", in_focus=0.0, layers=(2, 6), coc=(1.5, 14.0), gain=(0.5, 1.2),
        highlights=0.25, noise=0.5, read_noise=(0.0003, 0.002), shot_noise=(0.00002, 0.0004),
        compressed=0.0,
    ),
    "noise and compression": SceneConfig(mode="focus", in_focus=0.0),
}  # fmt: skip
Method = Callable[[Tensor, Tensor], Tensor]


def ranks(x: Tensor) -> Tensor:
    """Place of each value among all; equal ones share theirs."""
    _, index, count = x.flatten().unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count - 1) / 2)[index].double()


def energy_of_details(frames: Tensor) -> Tensor:
    """What unblur took before coc-s: the ratio of the energies of wavelets before and after a
    second blur (see `unblur.guidance.defocus`) around each pixel, laid over edges by the guided
    filter (He et al., TPAMI 2013).
    """
    once, twice = (sum_around(x) for x in energies(frames))
    coarse = as_map(width_of(once, twice))  # (T, 1, h, w)
    gray = F.avg_pool2d(padded(frames).mean(1, keepdim=True), 2 * CELL)

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2 * GUIDE_REACH + 1, 1, GUIDE_REACH, count_include_pad=False)

    mean_g, mean_v = mean(gray), mean(coarse)
    slope = (mean(gray * coarse) - mean_g * mean_v) / (mean(gray * gray) - mean_g**2 + GUIDE_EPS)
    offset = mean(mean_v - slope * mean_g)
    height, width = frames.shape[-2:]
    slope, offset = (
        F.interpolate(x, scale_factor=2 * CELL, mode="bilinear")[..., :height, :width]
        for x in (mean(slope), offset)
    )
    return (slope * frames.mean(1, keepdim=True) + offset).clamp(0, 1)


def sum_around(energy: Tensor) -> Tensor:
    return torch.stack(
        [
            weight * F.avg_pool2d(energy, size, 1, size // 2, count_include_pad=False)
            for size, weight in WINDOWS
        ]
    ).sum(0)


def clips(config: SceneConfig, count: int) -> list[Rendered]:
    """The first frame of scenes of held-out textures."""
    found = []
    for seed in range(SEED, SEED + count):
        scene = sample_scenes(config, held_out(), 1, torch.Generator().manual_seed(seed))
        found.append(render(scene, 256, 320, 1, truth={"coc", "depth"}))
    return found


def true_radius(clip: Rendered) -> Tensor:
    assert clip.coc is not None
    return clip.coc[0]


def compare_maps(scenes: list[Rendered], methods: dict[str, Method]) -> None:
    """Rank correlation, and masks at what DaBiT takes for blurred."""
    print("| map | correlation | mask | s a frame of 320x256 |\n|---|---|---|---|")
    for name, method in methods.items():
        scores = []
        for clip in scenes:
            assert clip.depth is not None
            truth = true_radius(clip)
            began = time.perf_counter()
            blur = method(clip.blurred[0], clip.depth[0])
            seconds = time.perf_counter() - began
            correlation = torch.corrcoef(torch.stack((ranks(blur), ranks(truth))))[0, 1]
            right = (blur_mask(blur) > 0) == (truth > BLURRED)
            scores.append((float(correlation), float(right.float().mean()), seconds))
        correlation, right, seconds = torch.tensor(scores).nanmean(0).tolist()
        print(f"| {name} | {correlation:.2f} | {right:.0%} | {seconds:.3f} |")


def compare_radii(scenes: list[Rendered], networks: dict[str, CocNet]) -> None:
    """Errors of the diameter in pixels, over all pixels of all scenes."""
    truth = torch.cat([true_radius(clip) for clip in scenes])
    radii = {
        name: torch.cat([coc_radius(net, clip.blurred[0]) for clip in scenes])
        for name, net in networks.items()
    }
    radii["one value everywhere"] = truth.mean().expand_as(truth)
    print("| | RMSE | MAE | sharp found | blurred found |\n|---|---|---|---|---|")
    for name, radius in radii.items():
        rmse, mae, sharp, soft = errors(radius, truth).values()
        print(f"| {name} | {rmse:.2f} | {mae:.2f} | {sharp:.1%} | {soft:.1%} |")


def errors(radius: Tensor, truth: Tensor) -> dict[str, float]:
    """Errors of the diameter in pixels, and shares of what is sharp and blurred found so."""
    off = 2 * (radius - truth)
    return {
        "rmse": float(off.square().mean().sqrt()),
        "mae": float(off.abs().mean()),
        "sharp": float((radius < BETWEEN)[truth < SHARP].float().mean()),
        "blurred": float((radius > BETWEEN)[truth > SOFT].float().mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="other runs of coc-s")
    options = parser.parse_args()
    net = load_coc_s()
    networks = {"coc-s": net}
    for path in options.weights:
        networks[str(path)] = load_state(CocNet(), load(path), str(path))
    methods: dict[str, Method] = {
        "`builtin` (`coc-s`)": lambda x, _: coc_radius(net, x) / BLUREST,
        "energy of details": lambda x, _: energy_of_details(x),
        "energy of details, with true depth": lambda x, d: at_depth(defocus_of_depths(x, d), d),
        "DaBiT's released code, with true depth": blur_of_depths,
    }
    for name, config in SCENES.items():
        scenes = clips(config, options.scenes)
        print(f"\n{options.scenes} scenes, {name}\n")
        compare_maps(scenes, methods)
        print()
        compare_radii(scenes, networks)


if __name__ == "__main__":
    main()
