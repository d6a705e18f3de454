"""How well blur maps tell what is out of focus, on rendered scenes: the table of docs/focus.md."""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from unblur.guidance.defocus import at_depth, blur_mask, defocus, defocus_of_depths
from unblur.ops.wavelet import blur_of_depths
from unblur.synth import SceneConfig, held_out, render, sample_scenes

BLURRED = 2.5
"""Radius in pixels from which a pixel counts as blurred."""


def ranks(x: Tensor) -> Tensor:
    return x.flatten().argsort().argsort().double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=10)
    count = parser.parse_args().scenes
    methods = {
        "builtin": lambda x, depth: defocus(x),
        "with true depth": lambda x, depth: at_depth(defocus_of_depths(x, depth), depth),
        "DaBiT's released code, with true depth": blur_of_depths,
    }
    scores: dict[str, list[tuple[float, float, float]]] = {name: [] for name in methods}
    config = SceneConfig(mode="focus", interpolation="bicubic")
    for seed in range(count):
        scene = sample_scenes(config, held_out(), 1, torch.Generator().manual_seed(seed))
        r = render(scene, 256, 320, 1, truth={"coc", "depth"})
        assert r.coc is not None
        assert r.depth is not None
        truth = r.coc[0]
        for name, method in methods.items():
            began = time.perf_counter()
            blur = method(r.blurred[0], r.depth[0])
            seconds = time.perf_counter() - began
            correlation = torch.corrcoef(torch.stack((ranks(blur), ranks(truth))))[0, 1]
            right = (blur_mask(blur) > 0) == (truth > BLURRED)
            scores[name].append((float(correlation), float(right.float().mean()), seconds))
    print("| map | correlation | mask | s a frame of 320x256 |\n|---|---|---|---|")
    for name, found in scores.items():
        correlation, right, seconds = torch.tensor(found).mean(0).tolist()
        print(f"| {name} | {correlation:.2f} | {right:.0%} | {seconds:.3f} |")


if __name__ == "__main__":
    main()
