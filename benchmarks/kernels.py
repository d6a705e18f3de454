"""Kernels of a lens out of focus: how they differ, which fits a lens, and what the blur costs.

    python benchmarks/kernels.py [--no-timing]

After Fig. 4 of Video Defocus Deblurring with Atlases: Gaussian, hard disk, extended box (Gwosdek et
al. 2011), tanh disk (Busam et al. 2019) and the soft disk (eq. 2), as images, as profiles, and on
a sharp image whose blurred one is known. That is blurred by an ideal lens: the area of a disk
within each pixel, in linear light. Times are CPU seconds of one thread, so that other work
beside disturbs little. Writes results/kernels.csv and results/kernels.md beside this file, and
docs/images/kernels.png.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from unblur.metrics.functional import psnr
from unblur.ops.color import from_linear, to_linear
from unblur.optics.disk_blur import scatter
from unblur.optics.disk_kernels import (
    KERNELS,
    Kind,
    equivalent_radius,
    from_equivalent,
    soft_disk,
    soft_kernel,
    softness,
    to_equivalent,
)
from unblur.optics.thin_lens import disk
from unblur.synth import held_out

HERE = Path(__file__).parent
IMAGE = HERE.parent / "docs" / "images" / "kernels.png"
TEXTURE = 2
SIDE = 192
"""Of the image that is blurred."""
REACH = 40
SEED = 460_000
TRUE_RADII = (1.0, 2.0, 4.0, 8.0)
BETAS = (0.5, 1.0, 2.0, 4.0, 8.0)
NAMES: dict[Kind, str] = {
    "gaussian": "Gaussian",
    "disk": "hard disk",
    "box": "extended box",
    "tanh": "tanh disk",
    "soft": "soft disk",
}
TIMED = ((144, 256, 12.0), (288, 512, 16.0))

Kernel = Callable[[Tensor, int], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-timing", action="store_true", help="draw the image only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sharp = scene()
    cv2.imwrite(str(IMAGE), sheet(sharp), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if options.no_timing:
        return
    fits = [fit(sharp, name, kernel, radius) for name, kernel, radius in cases()]
    speeds = [speed(*size) for size in TIMED]
    (HERE / "results").mkdir(exist_ok=True)
    with open(HERE / "results" / "kernels.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fits[0])
        table.writeheader()
        table.writerows(fits)
    text = markdown(fits, speeds)
    (HERE / "results" / "kernels.md").write_text(text, encoding="utf-8")
    print(text)


def scene() -> Tensor:
    """(1, 3, SIDE, SIDE) a held-out texture with some bright points, linear light."""
    rgb = held_out().images[TEXTURE][:, :SIDE, :SIDE].float() / 255
    sharp = 0.7 * to_linear(rgb)[None]
    generator = torch.Generator().manual_seed(SEED)
    for row, col in torch.randint(8, SIDE - 8, (7, 2), generator=generator).tolist():
        sharp[..., row : row + 2, col : col + 2] = 12.0
    return sharp


def blurred(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolution of (1, 3, H, W) by one kernel (1, K, K); the image wraps around."""
    field = torch.zeros(image.shape[-2:])
    side = kernel.shape[-1]
    field[:side, :side] = kernel[0]
    field = field.roll((-(side // 2), -(side // 2)), (0, 1))
    return torch.fft.irfft2(
        torch.fft.rfft2(image) * torch.fft.rfft2(field), s=image.shape[-2:]
    ).clamp_min(0)


def seen(image: Tensor) -> Tensor:
    """As a video shows it: sRGB, clipped."""
    return from_linear(image.clamp(0, 1))


# How near each kernel comes to an ideal lens.


def cases() -> Iterator[tuple[str, Kernel, float]]:
    """Kernels and true radii."""
    for true in TRUE_RADII:
        for kind, name in NAMES.items():
            yield name, KERNELS[kind], true
        for beta in BETAS:
            yield f"soft disk, beta = {beta:g}", partial(soft_kernel, beta=beta), true


def fit(sharp: Tensor, name: str, kernel: Kernel, true: float) -> dict[str, object]:
    """PSNR with the true radius, with one that makes the kernel as wide, and with the best."""
    truth = seen(blurred(sharp, disk(torch.tensor([true]), REACH)))

    def score(radius: float) -> float:
        made = seen(blurred(sharp, kernel(torch.tensor([radius]), REACH)))
        return float(psnr(made, truth))

    grid = torch.arange(0, 2.2 * true + 1.5, 0.04, dtype=torch.float64)
    width = equivalent_radius(kernel(grid, REACH))
    ideal = equivalent_radius(disk(torch.tensor([true]), REACH))
    converted = float(grid[(width - ideal).abs().argmin()])
    tried = [max(0.0, true * (0.6 + 0.05 * i) - 0.25) for i in range(17)]
    best = max((converted, *tried), key=score)
    for step in (0.02 * true, 0.005 * true):
        best = max((max(0.0, best + step * i) for i in range(-3, 4)), key=score)
    return {
        "kernel": name,
        "true radius": f"{true:g}",
        "PSNR": f"{score(true):.2f}",
        "converted radius": f"{converted:.2f}",
        "PSNR, converted": f"{score(converted):.2f}",
        "best radius": f"{best:.2f}",
        "PSNR, best": f"{score(best):.2f}",
    }


# What it costs.


def speed(height: int, width: int, largest: float) -> dict[str, object]:
    """Seconds forward and backward, of the blur and of a loop over taps; and how they differ."""
    generator = torch.Generator().manual_seed(SEED)
    image = torch.rand(1, 3, height, width, generator=generator)
    radius = largest * torch.rand(1, 1, height, width, generator=generator)
    towards = torch.rand(1, 4, height, width, generator=generator)
    fast = timed(mix, image, radius, towards)
    slow = timed(loop, image, radius, towards)
    errors = [(a - b).norm() / b.norm() for a, b in zip(fast[2:], slow[2:], strict=True)]
    return {
        "frame": f"{width}x{height}",
        "radii": f"0 to {largest:g}",
        "loop, s": f"{slow[0] + slow[1]:.2f}",
        "blur, s": f"{fast[0] + fast[1]:.3f}",
        "forward": f"{fast[0]:.3f}",
        "backward": f"{fast[1]:.3f}",
        "times faster": f"{(slow[0] + slow[1]) / (fast[0] + fast[1]):.0f}",
        "difference": " / ".join(f"{100 * float(error):.2f} %" for error in errors),
    }


Result = tuple[float, float, Tensor, Tensor, Tensor]


def timed(method: Callable[..., Result], *inputs: Tensor) -> Result:
    """The best of four runs of something fast, the only one of something slow."""
    results = [method(*inputs)]
    while len(results) < 4 and results[-1][0] < 1:
        results.append(method(*inputs))
    return min(results, key=lambda result: result[0] + result[1])


def mix(image: Tensor, radius: Tensor, towards: Tensor) -> Result:
    """`scatter`: seconds forward and backward, light, and both gradients."""
    x, r = image.clone().requires_grad_(), radius.clone().requires_grad_()
    started = time.process_time()
    light = torch.cat(scatter(x, r), 1)
    between = time.process_time()
    (light * towards).sum().backward()
    ended = time.process_time()
    assert x.grad is not None
    assert r.grad is not None
    return between - started, ended - between, light.detach(), x.grad, r.grad


def loop(image: Tensor, radius: Tensor, towards: Tensor) -> Result:
    """The same by autograd, tap by tap: strips of 24 rows, or it would need 10 GB.

    Small strips stay in the cache, and the areas of the disks are made before the clock starts (a
    table would do): the loop is given every advantage.
    """
    reach = math.ceil(float(radius.max()) + 4)
    taps = [t for t in product(range(-reach, reach + 1), repeat=2) if math.hypot(*t) <= reach]
    squares = sorted({i * i + j * j for i, j in taps})
    copies = {s: sum(i * i + j * j == s for i, j in taps) for s in squares}
    width = image.shape[-1]
    light = torch.zeros_like(towards)
    grads, spent = [], [0.0, 0.0]
    for top in range(0, image.shape[-2], 24):
        rows = slice(top, top + 24)
        x = image[..., rows, :].clone().requires_grad_()
        r = radius[..., rows, :].clone().requires_grad_()
        area = area_of(r, squares, copies)
        leaf = area.detach().requires_grad_()
        height = x.shape[-2]
        started = time.process_time()
        sources = torch.cat((x, torch.ones_like(r)), 1) / leaf
        beta = softness(r)
        arrived = torch.zeros(1, 4, height + 2 * reach, width + 2 * reach)
        for i, j in taps:
            sent = soft_disk(r - math.hypot(i, j), beta) * sources
            arrived[..., reach + i : reach + i + height, reach + j : reach + j + width] += sent
        between = time.process_time()
        low, high = max(top - reach, 0), min(top + height + reach, image.shape[-2])
        inside = slice(low - top + reach, high - top + reach)
        part = arrived[..., inside, reach:-reach]
        (part * towards[..., low:high, :]).sum().backward()
        ended = time.process_time()
        spent[0] += between - started
        spent[1] += ended - between
        light[..., low:high, :] += part.detach()
        area.backward(leaf.grad)
        grads.append((x.grad, r.grad))
    by_image, by_radius = (
        torch.cat([g for g in part if g is not None], -2) for part in zip(*grads, strict=True)
    )
    return spent[0], spent[1], light, by_image, by_radius


def area_of(radius: Tensor, squares: Sequence[int], copies: dict[int, int]) -> Tensor:
    """Sum of the soft disk of each pixel."""
    beta = softness(radius)
    total = torch.zeros_like(radius)
    for s in squares:
        total = total + copies[s] * soft_disk(radius - math.sqrt(s), beta)
    return total


# The image.

CELL = 128
HEAD = 20
COLOURS = ((60, 60, 60), (46, 87, 228), (76, 175, 80), (200, 120, 40), (150, 50, 170))


def sheet(sharp: Tensor) -> np.ndarray:
    """Kernels, profiles, and blurred images; (H, W, 3) BGR uint8."""
    truth = blurred(sharp, disk(torch.tensor([6.0]), REACH))
    images = [("sharp", crop(sharp)), ("blurred, R = 6", crop(truth))]
    kernels: list[tuple[str, np.ndarray]] = []
    for kind, name in NAMES.items():
        made = KERNELS[kind](torch.tensor([6.0]), REACH)
        kernels.append((name, kernel_image(made)))
        images.append((name, crop(blurred(sharp, made))))
    radii = [
        (f"r = {r:g}", crop(blurred(sharp, soft_kernel(torch.tensor([r]), REACH))))
        for r in (0.0, 1.0, 2.0, 4.0, 6.0, 9.0, 13.0)
    ]
    betas = [
        (f"r = 6, beta = {b:g}", crop(blurred(sharp, soft_kernel(torch.tensor([6.0]), REACH, b))))
        for b in BETAS
    ]
    small = [
        (f"r = 0, {name}", kernel_image(soft_kernel(torch.tensor([0.0]), REACH, beta), 6))
        for name, beta in (("beta = 2", 2.0), ("identity", None))
    ]
    plots = np.concatenate((profiles_of_kernels(), profiles_of_beta()), 1)
    rows = [
        strip(kernels + small),
        plots,
        strip(images),
        strip(radii),
        strip(betas + [("", blank())] * 2),
    ]
    return np.concatenate(rows)


def blank() -> np.ndarray:
    return np.full((CELL, CELL, 3), 255, np.uint8)


def crop(image: Tensor) -> np.ndarray:
    """The middle of an image, grey; (CELL, CELL, 3) uint8."""
    start = (SIDE - CELL) // 2
    grey = seen(image)[0, :, start : start + CELL, start : start + CELL].mean(0)
    return np.repeat((grey * 255).round().byte().numpy()[..., None], 3, 2)


def kernel_image(kernel: Tensor, around: int = 10) -> np.ndarray:
    """A kernel, its greatest value white; (CELL, CELL, 3) uint8."""
    part = kernel[0, REACH - around : REACH + around + 1, REACH - around : REACH + around + 1]
    values = (part / part.max() * 255).round().byte().numpy()
    large = cv2.resize(values, (CELL, CELL), interpolation=cv2.INTER_NEAREST)
    return np.repeat(large[..., None], 3, 2)


def strip(cells: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Images side by side, each with its name on top."""
    page = np.full((HEAD + CELL + 4, len(cells) * (CELL + 4), 3), 255, np.uint8)
    for i, (name, image) in enumerate(cells):
        write(page, name, (i * (CELL + 4) + 2, 14))
        page[HEAD : HEAD + CELL, i * (CELL + 4) : i * (CELL + 4) + CELL] = image
    return page


def write(
    page: np.ndarray, text: str, at: tuple[int, int], colour: Sequence[int] = (0, 0, 0)
) -> None:
    cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, tuple(colour), 1, cv2.LINE_AA)


def profiles_of_kernels() -> np.ndarray:
    """Values along a row through the middle, over those of the ideal disk."""
    lines = []
    for kind, name in NAMES.items():
        values = KERNELS[kind](torch.tensor([6.0]), REACH)[0, REACH, REACH : REACH + 13]
        lines.append((name, torch.arange(13.0), values * math.pi * 36))
    return plot("along a row, r = 6 (1 = ideal disk)", lines, 12.0, 2.2)


def profiles_of_beta() -> np.ndarray:
    """Eq. 2 itself, over the distance from the middle."""
    rho = torch.linspace(0, 12, 400)
    lines = [(f"beta = {b:g}", rho, soft_disk(6 - rho, b)) for b in BETAS]
    return plot("eq. 2 over the distance, r = 6", lines, 12.0, 4.0)


def plot(
    title: str, lines: Sequence[tuple[str, Tensor, Tensor]], right: float, top: float
) -> np.ndarray:
    """Lines in a frame; (H, W, 3) uint8."""
    height, width = 180, 7 * (CELL + 4) // 2
    page = np.full((height, width, 3), 255, np.uint8)
    left, base, span, rise = 30, height - 22, width - 50, height - 48
    write(page, title, (left, 14))
    for tick in range(0, int(right) + 1, 2):
        write(page, str(tick), (left + int(span * tick / right) - 3, base + 14))
    for tick in range(int(top) + 1):
        y = base - int(rise * tick / top)
        cv2.line(page, (left, y), (left + span, y), (225, 225, 225), 1)
        write(page, str(tick), (left - 14, y + 4))
    for i, (_, x, values) in enumerate(lines):
        height_of = base - rise * values.clamp_max(top) / top
        points = torch.stack((left + span * x / right, height_of), 1)
        fixed = (points * 8).round().int().numpy()  # eighths of a pixel
        cv2.polylines(page, [fixed], False, COLOURS[i], 1, cv2.LINE_AA, 3)
    corner = left + span - 104, 22
    page[corner[1] : corner[1] + 15 * len(lines) + 2, corner[0] : left + span] = 255
    for i, (name, _, _) in enumerate(lines):
        write(page, name, (corner[0] + 4, corner[1] + 12 + 15 * i), COLOURS[i])
    return page


# The report.


def markdown(fits: Sequence[dict[str, object]], speeds: Sequence[dict[str, object]]) -> str:
    nominal = torch.tensor([0, 0.25, 0.5, 1, 2, 3, 5, 8, 16, 32, 64], dtype=torch.float64)
    widths: list[dict[str, object]] = [
        {
            "r": f"{r:g}",
            **{name: f"{float(to_equivalent(r, kind)):.2f}" for kind, name in NAMES.items()},
            "eq. 2, beta = 2": f"{float(to_equivalent(r, beta=2.0)):.2f}",
            "r for this R": f"{float(from_equivalent(r)):.2f}",
        }
        for r in nominal
    ]
    return "\n".join(
        [
            "# Kernels of a lens out of focus",
            "",
            "Made by `benchmarks/kernels.py`.",
            "",
            "## How wide they are",
            "",
            "Radius of the ideal disk with the same second moment, for a nominal radius r. Last",
            "column: what `disk_blur` must be given to be as wide as an ideal disk of radius r.",
            "",
            *as_table(widths),
            "",
            "## On an image that an ideal lens blurred",
            "",
            "PSNR in dB of the sharp image blurred by each kernel, against the true one: with",
            "r = R, with r converted so that both are as wide, and with the best r.",
            "`soft disk` is what `disk_blur` does; with a beta it is eq. 2 as in the paper.",
            "",
            *as_table(fits),
            "",
            "## What the blur costs",
            "",
            "CPU seconds of one thread for 3 channels and a weight, radii drawn evenly for",
            "every pixel, against an autograd loop over the taps of the disk, in the same run.",
            "Difference (root of squares): result / gradient of the image / of the radius.",
            f"torch {torch.__version__}.",
            "",
            *as_table(speeds),
            "",
        ]
    )


def as_table(rows: Sequence[dict[str, object]]) -> list[str]:
    head = list(rows[0])
    return [
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        *("| " + " | ".join(str(row[key]) for key in head) + " |" for row in rows),
    ]


if __name__ == "__main__":
    main()
