"""Draws what is hard about missed focus: fine text, skies, low light. As it came, restored, truth.

Usage: python examples/focus_hard.py [--model NAME] [--out IMAGE.jpg]

Text is written on a held-out texture, and a sky is put above one; five frames of them drift by, all
out of focus by the same disk, with a little noise, in 8 bits. The night is the third clip of the
suite `synth-lowlight`. Prints for each row PSNR, the correlation of fine detail with the truth's,
and the gradient added to flat areas (in steps of 8 bits), before and after.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from beside import beside
from torch import Tensor

import unblur
from unblur.evaluation.suites import SUITES, Sources
from unblur.metrics import added_gradient, detail, psnr
from unblur.ops.color import SRGB, from_linear, to_linear
from unblur.optics.focal import disk_blur
from unblur.synth import held_out

SIDE, FRAMES, STEP, GAP = 256, 5, 3, 6
MIDDLE = FRAMES // 2
NOISE = 0.002
"""Of a frame by day, in linear light."""
BEHIND_TEXT = "friends_by_Aitzol_Berasategi_800_0_0.jpg"
BELOW_SKY = "life_by_Aitzol_Berasategi_1600_617_384.jpg"
LINES = (
    "Sphinx of black quartz, judge my vow",
    "Pack my box with five dozen jugs: 0123456789",
    "How vexingly quick daft zebras jump",
)
NIGHT = 2
"""Clip of `synth-lowlight`, from 0."""


@dataclass(frozen=True)
class Row:
    """A clip out of focus and its truth, both (T, 3, H, W), and the frame that is shown."""

    name: str
    blurred: Tensor
    sharp: Tensor
    shown: int = MIDDLE


def main() -> None:
    """Makes, restores, measures and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="focus-m")
    parser.add_argument("--out", type=Path, default=Path("out/focus_hard.jpg"))
    options = parser.parse_args()
    lines = []
    for row in rows():
        restored = unblur.restore(row.blurred, model=options.model)[row.shown].clamp(0, 1)
        before, truth = row.blurred[row.shown], row.sharp[row.shown]
        figures = [
            f"{name} {float(metric(before, truth)):.2f} -> {float(metric(restored, truth)):.2f}"
            for name, metric in (("PSNR", psnr), ("detail", detail), ("added", added_gradient))
        ]
        print(f"{row.name}: {', '.join(figures)}")
        lines.append(beside([before, restored, truth], GAP))
    gap = np.full((GAP, lines[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([part for line in lines for part in (line, gap)][:-1])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.out), sheet, [cv2.IMWRITE_JPEG_QUALITY, 70])
    print(options.out)


def rows() -> Iterator[Row]:
    """What is drawn, from above."""
    yield out_of_focus("text, radius 2", text(), 2.0)
    yield out_of_focus("text, radius 4", text(), 4.0)
    yield out_of_focus("sky, radius 4", sky(), 4.0)
    clip = SUITES["synth-lowlight"].clips(Sources())[NIGHT]()
    yield Row("night", clip.blurred, clip.sharp, clip.scored[0])


def texture(name: str) -> np.ndarray:
    """A held-out one, (S, S, 3) RGB."""
    bank = held_out()
    place = next(i for i, source in enumerate(bank.sources) if source.name == name)
    return np.ascontiguousarray(bank.images[place].permute(1, 2, 0).numpy())


def text() -> np.ndarray:
    """Lines of several sizes, on paper and on the texture itself."""
    image = texture(BEHIND_TEXT)
    cv2.rectangle(image, (20, 90), (430, 205), (236, 232, 222), -1)
    y = 112
    for size, color in ((0.35, (30, 30, 40)), (0.45, (30, 30, 40)), (0.6, (150, 30, 30))):
        for line in LINES[: 3 if size < 0.6 else 1]:
            put(image, line, (30, y), size, color)
            y += round(34 * size) + 2
    y = 232
    for size in (0.4, 0.55, 0.8):
        for line in LINES[:2]:
            put(image, line, (30, y), size, (250, 250, 245))
            y += round(36 * size) + 2
    return image


def put(
    image: np.ndarray, line: str, at: tuple[int, int], size: float, color: tuple[int, int, int]
) -> None:
    """A line of text with soft edges."""
    cv2.putText(image, line, at, cv2.FONT_HERSHEY_SIMPLEX, size, color, 1, cv2.LINE_AA)


def sky() -> np.ndarray:
    """A clear sky with bare twigs in it, above a texture."""
    image = texture(BELOW_SKY)
    side = len(image)
    high = np.linspace(0, 1, side)[:, None, None]
    blue = (np.array([90, 135, 205]) * (1 - high) + np.array([205, 222, 238]) * high).round()
    x = np.arange(side)
    skyline = (0.55 * side + 18 * np.sin(x / 37) + 9 * np.sin(x / 11)).astype(int)
    above = np.arange(side)[:, None] < skyline
    image = np.where(above[..., None], np.broadcast_to(blue, image.shape), image)
    image = np.ascontiguousarray(image.astype(np.uint8))
    generator = np.random.default_rng(0)
    for _ in range(9):
        place = np.array([generator.uniform(60, side - 60), 0.62 * side])
        angle = -np.pi / 2 + generator.uniform(-0.5, 0.5)
        for joint in range(5):
            angle += generator.uniform(-0.4, 0.4)
            end = place + generator.uniform(14, 30) * np.array([np.cos(angle), np.sin(angle)])
            ends = [tuple(int(v) for v in p.round()) for p in (place, end)]
            cv2.line(image, ends[0], ends[1], (45, 38, 30), 3 - joint // 2, cv2.LINE_AA)
            place = end
    return image


def out_of_focus(name: str, image: np.ndarray, radius: float) -> Row:
    """A clip that drifts over an image, blurred by a disk where the camera adds up light."""
    sharp = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    blurred = disk_blur(to_linear(sharp, SRGB), radius)
    generator = torch.Generator().manual_seed(0)
    top = (image.shape[0] - SIDE) // 2
    frames = []
    for t in range(FRAMES):
        left = (image.shape[1] - SIDE) // 2 + STEP * (t - MIDDLE)
        frames.append([x[:, top : top + SIDE, left : left + SIDE] for x in (blurred, sharp)])
    light, truth = (torch.stack(x) for x in zip(*frames, strict=True))
    light = light + NOISE * torch.randn(light.shape, generator=generator)
    codes = (from_linear(light.clamp(0, 1), SRGB) * 255).round() / 255
    return Row(name, codes, truth)


if __name__ == "__main__":
    main()
