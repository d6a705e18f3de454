"""How far to trust what a model makes of coarsely encoded frames, and what that trust is worth.

Usage: python benchmarks/trust.py curve TEXTURES MODEL... [--scenes N]
       python benchmarks/trust.py measure MODEL... [--clips N] [--encoders NAME...]
       python benchmarks/trust.py others MODEL... [--clips N]

`curve` renders scenes of a texture bank, blurred and sharp, encodes them coarsely, and prints for
quantizers of H.264 which part of the change that a model makes would be best by least squares.
`measure` prints gains on held-out clips out of encoders, blurred and sharp, with all of the change
and with `ops.trust`. `others` prints what becomes of frames that look otherwise: out of other
encoders, with noise, with letters over them, drawn. Not fused. One frame of each clip.
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

import unblur
from unblur.data.codec import Encoding, encode, images, of_images
from unblur.engine.guard import as_before, standing_in, trusted
from unblur.engine.rendition import Rendition
from unblur.evaluation.clip import Clip
from unblur.evaluation.models import ClipFrame
from unblur.evaluation.rendered import DAYLIGHT, moving, unfocused
from unblur.evaluation.suites import Sources, find_suite
from unblur.ops.color import SRGB
from unblur.ops.gaussian import gaussian_blur
from unblur.ops.trust import BLOCK
from unblur.restorers.base import Restorer
from unblur.restorers.registry import load_model
from unblur.synth import TextureBank, render, sample_scenes
from unblur.training.footage import Draws, Titles
from unblur.video.quantizer import REQUEST, quantizers, stated

SIDE, LENGTH = 256, 7
SPEEDS, RADII = ((2, 6), (6, 12), (12, 26)), ((1, 3), (2, 5), (5, 9))
RATES = (28, 32, 36, 40, 44)
ENCODERS = {
    "libx264": ("crf", (23, 29, 34, 38, 42, 46), {"preset": "medium"}),
    "libvpx-vp9": ("crf", (46, 53, 58, 63), {"b": "0", "cpu-used": "4"}),
    "mpeg4": ("quantizer", (6, 12, 20, 31), {}),
    "mpeg2video": ("quantizer", (12, 20, 28), {"non_linear_quant": "1"}),
    "mjpeg": ("quantizer", (12, 31), {}),
    "libx265": ("crf", (28, 34, 40, 46), {"x265-params": "log-level=none"}),
    "libsvtav1": ("crf", (48, 55, 63), {"preset": "8"}),
}
"""What each is told how coarse to be by, settings that make it coarser, and others."""
ENCODED = Rendition("encoded", SRGB)
CODERS = {
    "H.265, crf 34": ("libx265", 34),
    "VP9, crf 46": ("libvpx-vp9", 46),
    "AV1, crf 48": ("libsvtav1", 48),
    "MPEG-4, quantizer 12": ("mpeg4", 12),
    "JPEG, quantizer 12": ("mjpeg", 12),
}
"""Coarse, each."""
NOISE = (4, 8, 16)
"""Deviations, of 255."""
LEVELS = 5
"""Of each colour of a drawn image."""
STEP = 3
"""Quantizers that stand together."""


def coarse(encoder: str, setting: int) -> Encoding:
    """An encoder that is told how coarse to be."""
    told, _, options = ENCODERS[encoder]
    names = ("crf",) if told == "crf" else ("qmin", "qmax")
    return Encoding(encoder, {**options, **dict.fromkeys(names, str(setting))})


def encoded(frames: Tensor, sharp: Tensor, t: int, encoding: Encoding | None) -> Clip:
    """Frames around one, as they come out of a file."""
    noted: list[Tensor | None] = [None] * len(frames)
    if encoding is not None:
        data = encode(frames, encoding)
        decoded = list(images(data, REQUEST))
        codec = "hevc" if encoding.codec == "libx265" else encoding.codec
        all_of_it = stated(codec, data, *frames.shape[-2:])  # the header is a part of the file
        noted = [all_of_it if (x := quantizers(image)) is None else x for image in decoded]
        frames = of_images(decoded)
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
                    clip = encoded(source, sharp, LENGTH // 2, coarse("libx264", rate))
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


def measure(models: list[str], clips: int, encoders: list[str]) -> None:
    """Prints mean and worst gains, with all of the change and with what is trusted."""
    settings = [(name, setting) for name in encoders for setting in ENCODERS[name][1]]
    for name in models:
        restorer = load_model(name, device="cpu")
        suite = find_suite("synth-focus" if name.startswith("focus") else "synth-motion", Sources())
        gains: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
        makers = list(suite.clips(Sources()))
        for make in makers[1 :: len(makers) // clips]:
            clip = make()
            t = clip.scored[len(clip.scored) // 2]
            for kind, source in (("blurred", clip.blurred), ("sharp", clip.sharp)):
                for encoder, setting in settings:
                    small = encoded(source, clip.sharp, t, coarse(encoder, setting))
                    before, after, truth = restored(restorer, small)
                    less = trusted([frame_of(small)], before[None], after[None].clone())[0]
                    both = [gain(before, image, truth) for image in (after, less)]
                    gains[kind, encoder, setting].append((both[0], both[1]))
        for (kind, encoder, setting), found in gains.items():
            pairs = list(zip(*found, strict=True))
            words = [f"{np.mean(each):+.2f} ({min(each):+.2f})" for each in pairs]
            print(f"| {name} | {kind} | {encoder} {setting} | {' | '.join(words)} |", flush=True)


def frame_of(clip: Clip) -> ClipFrame:
    """The frame of a clip that is restored."""
    t = clip.scored[0]
    return ClipFrame(clip.blurred[t], t, clip.quantizers[t] if clip.quantizers else None)


def others(models: list[str], clips: int) -> None:
    """Prints gains and PSNR, means and the worst, on frames unlike those that most videos hold.

    And how many of the clips `auto` would restore.
    """
    for name in models:
        restorer = load_model(name, device="cpu")
        lens = restorer.info.blur == "focal"
        suite = find_suite("synth-focus" if name.startswith("focus") else "synth-motion", Sources())
        rows: dict[str, list[tuple[float, float, bool]]] = defaultdict(list)
        makers = list(suite.clips(Sources()))
        for number, make in enumerate(makers[1 :: len(makers) // clips]):
            clip = make()
            t = clip.scored[len(clip.scored) // 2]
            near = slice(max(0, t - 2), t + 4)
            sources = clip.blurred[near], clip.sharp[near]
            for what, small, where in unlike(*sources, t - near.start, number):
                before, after, wanted = restored(restorer, small)
                after = trusted([frame_of(small)], before[None], after[None])[0]
                numbers = range(len(small.blurred))
                still = standing_in(small.blurred, numbers, small.scored[0], ENCODED, lens)
                after = as_before(before, after, still)
                error = float(((after - wanted) ** 2 * where).mean() / where.mean())
                better = gain(*(x * where for x in (before, after, wanted)))
                touched = unblur.analyze(small.blurred, estimate=False).kind != "sharp"
                rows[what].append((better, -10 * np.log10(error), touched))
        for what, row in rows.items():
            better, psnr, touched = zip(*row, strict=True)
            words = [f"{np.mean(x):+.2f} ({min(x):+.2f})" for x in (better, psnr)]
            print(f"| {name} | {what} | {' | '.join(words)} | {sum(touched)} of {len(row)} |")


def unlike(
    blurred: Tensor, sharp: Tensor, t: int, number: int
) -> Iterator[tuple[str, Clip, Tensor]]:
    """Frames around one by what is odd about them, and where to look (1, H, W)."""
    whole = torch.ones_like(sharp[0, :1])
    dice = torch.Generator().manual_seed(number)
    for kind, frames in (("blurred", blurred), ("sharp", sharp)):
        for what, coder in CODERS.items():
            yield f"{kind}, {what}", encoded(frames, sharp, t, coarse(*coder)), whole
        for sigma in NOISE:
            noisy = frames + sigma / 255 * torch.randn(frames.shape, generator=dice)
            yield f"{kind}, noise of {sigma}", encoded(noisy.clamp(0, 1), sharp, t, None), whole
        titles = Titles(frames.shape[-2:], Draws(number))
        there = (titles(frames) != frames).any(1).any(0, keepdim=True).float()
        there = F.max_pool2d(there, 9, 1, 4)
        titled = encoded(titles(frames), titles(sharp), t, None)
        yield f"{kind}, letters", titled, there
        yield f"{kind}, beside letters", titled, 1 - there
    pictures = drawn(sharp)
    yield "drawn, sharp", encoded(pictures, pictures, t, None), whole
    yield (
        "drawn, sharp, H.264 at crf 29",
        encoded(pictures, pictures, t, coarse("libx264", 29)),
        whole,
    )


def drawn(frames: Tensor) -> Tensor:
    """Frames (T, 3, H, W) in a few flat colours with dark lines around them."""
    flat = (gaussian_blur(frames, 2.0) * (LEVELS - 1)).round() / (LEVELS - 1)
    grown = F.max_pool2d(flat, 3, 1, 1), -F.max_pool2d(-flat, 3, 1, 1)
    return torch.where((grown[0] - grown[1]).amax(1, keepdim=True) > 0, 0.08, flat)


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
    measuring.add_argument("--encoders", nargs="+", choices=ENCODERS, default=["libx264"])
    other = verbs.add_parser("others")
    other.add_argument("models", nargs="+")
    other.add_argument("--clips", type=int, default=6)
    options = parser.parse_args()
    if options.verb == "curve":
        curve(options.models, options.textures, options.scenes)
    elif options.verb == "others":
        others(options.models, options.clips)
    else:
        measure(options.models, options.clips, options.encoders)


if __name__ == "__main__":
    main()
