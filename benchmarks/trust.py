"""How far to trust what a model makes of coarsely encoded frames, and what that trust is worth.

Usage: python benchmarks/trust.py curve TEXTURES MODEL... [--scenes N]
       python benchmarks/trust.py measure MODEL... [--clips N]

`curve` renders scenes of a texture bank, blurred and sharp, encodes them coarsely, and prints for
quantizers of H.264 which part of the change that a model makes would be best by least squares.
`measure` prints gains on held-out clips, blurred and sharp, with all of the change and with
`ops.trust`. Not fused. One frame of each clip.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.data.codec import Encoding, encode, images, of_images
from unblur.engine.run import trusted
from unblur.evaluation.clip import Clip
from unblur.evaluation.models import ClipFrame
from unblur.evaluation.rendered import DAYLIGHT, moving, unfocused
from unblur.evaluation.suites import Sources, find_suite
from unblur.ops.trust import BLOCK
from unblur.restorers.base import Restorer
from unblur.restorers.registry import load_model
from unblur.synth import TextureBank, render, sample_scenes
from unblur.video.quantizer import REQUEST, quantizers

SIDE, LENGTH = 256, 7
SPEEDS, RADII = ((2, 6), (6, 12), (12, 26)), ((1, 3), (2, 5), (5, 9))
RATES = ("28", "32", "36", "40", "44")
COARSE = (None, "23", "29", "34", "38", "42", "46")
STEP = 3
"""Quantizers that stand together."""


def encoded(frames: Tensor, sharp: Tensor, t: int, rate: str | None) -> Clip:
    """Frames around one, as they come out of a file."""
    noted: list[Tensor | None] = [None] * len(frames)
    if rate is not None:
        data = encode(frames, Encoding("libx264", {"crf": rate, "preset": "medium"}))
        decoded = list(images(data, REQUEST))
        noted, frames = [quantizers(image) for image in decoded], of_images(decoded)
    near = slice(max(0, t - 2), t + 4)
    frames = (frames[near] * 255).round() / 255
    return Clip("clip", frames, sharp[near], (t - near.start,), quantizers=noted[near])


def restored(restorer: Restorer, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
    """The frame (3, H, W) as it came, as it was restored, and its truth."""
    after = restorer.run(clip.blurred, restorer.guide(clip.blurred), clip.scored)[0]
    return clip.input[0], after.float().clamp(0, 1), clip.truth[0]


def rendered(bank: TextureBank, focus: bool, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Blurred and sharp frames (T, 3, H, W) of scenes."""
    for i in range(count):
        draw = random.Random(i)
        config = moving("motion", draw.choice(SPEEDS))
        if focus:
            config = unfocused(replace(DAYLIGHT, mode="focus"), draw.choice(RADII))
        scenes = sample_scenes(
            replace(config, compressed=0.0), bank, 1, torch.Generator().manual_seed(555_000 + i)
        )
        clip = render(scenes, SIDE, SIDE, LENGTH)
        yield clip.blurred[0], clip.sharp[0]


def blocks(image: Tensor) -> np.ndarray:
    """Means over macroblocks, in one row."""
    return F.avg_pool2d(image.mean(0, keepdim=True)[None], BLOCK).flatten().numpy()


def curve(models: list[str], textures: str, scenes: int) -> None:
    """Prints the best part of the change for quantizers."""
    bank = TextureBank.load(textures)
    for name in models:
        restorer = load_model(name, device="cpu")
        sums: dict[tuple[str, int], np.ndarray] = defaultdict(lambda: np.zeros(3))
        for frames, sharp in rendered(bank, name.startswith("focus"), scenes):
            for kind, source in (("blurred", frames), ("sharp", sharp)):
                for rate in RATES:
                    clip = encoded(source, sharp, LENGTH // 2, rate)
                    before, after, truth = restored(restorer, clip)
                    change = after - before
                    products = blocks(change * (truth - before)), blocks(change * change)
                    noted = clip.quantizers[clip.scored[0]].flatten()
                    for q, product, energy in zip(noted.tolist(), *products, strict=True):
                        sums[kind, int(q) // STEP * STEP] += (product, energy, 1)
        for kind, q in sorted(sums):
            product, energy, count = sums[kind, q]
            size = 255 * (energy / count) ** 0.5
            print(f"| {name} | {kind} | {q} | {product / energy:.2f} | {size:.1f} | {count:.0f} |")


def measure(models: list[str], clips: int) -> None:
    """Prints mean and worst gains, with all of the change and with what is trusted."""
    for name in models:
        restorer = load_model(name, device="cpu")
        suite = find_suite("synth-focus" if name.startswith("focus") else "synth-motion", Sources())
        gains: dict[tuple[str, str | None], list[tuple[float, float]]] = defaultdict(list)
        makers = list(suite.clips(Sources()))
        for make in makers[1 :: len(makers) // clips]:
            clip = make()
            t = clip.scored[len(clip.scored) // 2]
            for kind, source in (("blurred", clip.blurred), ("sharp", clip.sharp)):
                for rate in COARSE:
                    if rate is None and kind == "sharp":
                        continue
                    small = encoded(source, clip.sharp, t, rate)
                    before, after, truth = restored(restorer, small)
                    frame = ClipFrame(before, 0, small.quantizers[small.scored[0]])
                    less = trusted([frame], before[None], after[None].clone())[0]
                    both = [gain(before, image, truth) for image in (after, less)]
                    gains[kind, rate].append((both[0], both[1]))
        for (kind, rate), found in gains.items():
            pairs = list(zip(*found, strict=True))
            words = [f"{np.mean(each):+.2f} ({min(each):+.2f})" for each in pairs]
            print(f"| {name} | {kind} | {rate} | {' | '.join(words)} |", flush=True)


def gain(before: Tensor, after: Tensor, truth: Tensor) -> float:
    """In dB of PSNR."""
    errors = [float(((x.clamp(0, 1) - truth) ** 2).mean()) for x in (before, after)]
    return float(10 * np.log10(errors[0] / errors[1]))


def main() -> None:
    """Prints the rows of a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    curving = verbs.add_parser("curve")
    curving.add_argument("textures")
    curving.add_argument("models", nargs="+")
    curving.add_argument("--scenes", type=int, default=8)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("models", nargs="+")
    measuring.add_argument("--clips", type=int, default=6)
    options = parser.parse_args()
    if options.verb == "curve":
        curve(options.models, options.textures, options.scenes)
    else:
        measure(options.models, options.clips)


if __name__ == "__main__":
    main()
