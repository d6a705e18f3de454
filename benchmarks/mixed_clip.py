"""Clips of three shots (sharp, shaken, out of focus): `--model auto` beside each single model.

Usage: python benchmarks/mixed_clip.py [--clips 2] [--side 192] [--frames 6] [--quality best]

Each clip is rendered from held-out textures, with its truth, and restored twice: from lossless
images, and out of an H.264 file (rate factor 23). A row gives the PSNR of each shot to the truth,
and of the sharp shot to the input, which is infinite where no bit changed.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import unblur
from unblur.data.codec import Encoding, encode
from unblur.evaluation.rendered import CAMERA, DAYLIGHT, moving, unfocused
from unblur.restorers.registry import FOR
from unblur.synth import SceneConfig, held_out, render, sample_scenes
from unblur.video import open_video

SHOTS: dict[str, SceneConfig] = {
    "sharp": replace(
        DAYLIGHT, mode="motion", static=0.0, light=0.0, camera=CAMERA, motion=(1, 8),
        exposure=(0.01, 0.03),
    ),
    "shaken": moving("motion", (12, 26)),
    "out of focus": unfocused(replace(DAYLIGHT, mode="focus"), (5, 9)),
}  # fmt: skip
SEED = 58_000_000
SAME = 99.0
"""PSNR in dB that stands for no difference."""


def clip(number: int, side: int, frames: int) -> tuple[Tensor, Tensor]:
    """Blurred and sharp frames (T, 3, H, W) of all shots, one after the other."""
    blurred, sharp = [], []
    for n, config in enumerate(SHOTS.values()):
        generator = torch.Generator().manual_seed(SEED + 10 * number + n)
        config = replace(config, repeated=0.0, static=0.0, light=0.0, compressed=0.0)
        made = render(sample_scenes(config, held_out(), 1, generator), side, side, frames)
        blurred.append(made.blurred[0])
        sharp.append(made.sharp[0])
    return torch.cat(blurred), torch.cat(sharp)


def write_images(folder: Path, frames: Tensor) -> Path:
    """Frames as PNG."""
    from unblur.engine.compare import as_png

    folder.mkdir()
    for n, frame in enumerate(frames):
        (folder / f"{n:05}.png").write_bytes(as_png(frame))
    return folder


def read(path: Path) -> Tensor:
    """All frames (T, 3, H, W) of a video or a folder."""
    with open_video(path) as reader:
        return torch.stack([frame.rgb() for frame in reader])


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean over frames (T, 3, H, W)."""
    error = (a - b).square().flatten(1).mean(1)
    return float((-10 * error.clamp_min(1e-12).log10()).clamp(max=SAME).mean())


def row(name: str, found: Tensor, truth: Tensor, before: Tensor, frames: int) -> list[float]:
    """Prints PSNR of the whole, of each shot, and of the sharp shot to the input."""
    parts = [psnr(found, truth)]
    parts += [psnr(a, b) for a, b in zip(found.split(frames), truth.split(frames), strict=True)]
    parts.append(psnr(found[:frames], before[:frames]))
    print(f"| {name} | " + " | ".join(f"{x:.2f}" for x in parts) + " |", flush=True)
    return parts


def main() -> None:
    """Renders, restores, compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--quality", choices=("fast", "best"), default="best")
    options = parser.parse_args()
    print("| clip, by | all | " + " | ".join(SHOTS) + " | sharp shot to input |")
    print("|---|--:|" + "--:|" * (len(SHOTS) + 1))
    sums: dict[str, list[list[float]]] = {}
    for number in range(options.first, options.first + options.clips):
        blurred, truth = clip(number, options.side, options.frames)
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            encoded = folder / "encoded.mkv"
            encoded.write_bytes(encode(blurred, Encoding("libx264", {"crf": "23"})))
            sources = {"lossless": write_images(folder / "lossless", blurred), "crf 23": encoded}
            for kind, source in sources.items():
                before = read(source)
                ways = {"input": {}, "auto": {"quality": options.quality}}
                for blur in ("motion", "focus"):
                    name = FOR[blur][options.quality == "best"]  # type: ignore[index]
                    ways[name] = {"model": name}
                for name, how in ways.items():
                    found = before
                    if how:
                        images = Path(f"{kind}-{name}") / "%05d.png"
                        out = folder / (f"{kind}-{name}.mkv" if source.suffix else images)
                        codec = {"codec": "ffv1"} if source.suffix else {}
                        report = unblur.restore(source, out, **codec, **how)
                        found = read(out)
                        name = f"auto: {report.model}" if name == "auto" else name
                    parts = row(f"{number} {kind}, {name}", found, truth, before, options.frames)
                    key = "auto" if name.startswith("auto") else name
                    sums.setdefault(f"mean {kind}, {key}", []).append(parts)
    for name, all_parts in sums.items():
        means = torch.tensor(all_parts).mean(0).tolist()
        print(f"| {name} | " + " | ".join(f"{x:.2f}" for x in means) + " |")


if __name__ == "__main__":
    main()
