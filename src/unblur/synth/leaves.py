"""Dead-leaves images: shapes of all sizes that cover each other.

The sizes follow the power law r ** -3 of natural images (Lee, Mumford and Huang, IJCV 2001), so
that the image has edges at each scale. What networks learn from such images carries over to
photographs where the leaves are varied and filled (Achddou et al. 2023; arXiv 2504.10201): colours
of photographs, pieces of photographs, periodic patterns, noise, shading, writing and thin lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from unblur.synth.shapes import font
from unblur.synth.textures import Source, TextureBank

Array = np.ndarray

OVERSAMPLING = 2
"""Images are drawn larger and shrunk: soft edges without stairs."""
SMALLEST, LARGEST = (1.5, 8.0), 0.3
"""Radius of the smallest leaf in pixels, from image to image; of the largest over the side."""
COVERED = 2.5
"""Leaves are drawn until their areas add up to this many images."""
AUTHOR = "The unblur authors"
LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class Palette:
    """What leaves are filled with."""

    colours: Array
    """(N, 3) in [0, 1]."""
    photos: Array | None
    """(N, S, S, 3) uint8, or None."""


def leaves(seed: int, size: int, photos: TextureBank | None = None) -> Array:
    """Draws one image.

    Args:
        seed: the same seed gives the same image.
        size: side in pixels.
        photos: lends colours and texture; without it both are made up.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    random = np.random.default_rng(seed)
    palette = choose_palette(random, photos)
    side = size * OVERSAMPLING
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = fill(random, palette, side, side)
    flatness = random.uniform(0.0, 0.5)  # share of leaves in one plain colour
    for radius in radii(random, side):
        draw_leaf(random, palette, canvas, radius, flatness)
    for _ in range(random.poisson(6)):
        draw_line(random, palette, canvas)
    for _ in range(random.poisson(2)):
        write_words(random, palette, canvas)
    small = canvas.reshape(size, OVERSAMPLING, size, OVERSAMPLING, 3).mean((1, 3))
    return np.rint(small.clip(0, 1) * 255).astype(np.uint8)


def leaves_bank(
    count: int,
    size: int,
    seed: int = 0,
    photos: TextureBank | None = None,
    tell: Callable[[int], None] | None = None,
) -> TextureBank:
    """A bank of `count` images; every second one is drawn without photographs.

    `tell` is called with the number of those that are drawn.
    """
    images = []
    for i in range(count):
        images.append(leaves(seed + i, size, photos if i % 2 else None))
        if tell is not None:
            tell(i + 1)
    names = [f"leaves_{seed + i:05}.jpg" for i in range(count)]
    credit = "" if photos is None else "; pieces of the photographs listed beside it"
    sources = tuple(
        Source(name, "dead leaves" + (credit if i % 2 else ""), AUTHOR, LICENCE)
        for i, name in enumerate(names)
    )
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return TextureBank(stacked, sources)


def choose_palette(random: np.random.Generator, photos: TextureBank | None) -> Palette:
    """Colours of one photograph, or a few hues that go together and their shades."""
    if photos is not None:
        some = random.choice(len(photos), min(6, len(photos)), replace=False)
        tiles = photos.images[torch.from_numpy(some)].permute(0, 2, 3, 1).cpu().numpy()
        pixels = tiles[0].reshape(-1, 3)
        return Palette(pixels[random.choice(len(pixels), 256)] / np.float32(255), tiles)
    # Most things are nearly grey, and differ more in brightness than in hue.
    grey = random.uniform(0.15, 0.65, (random.integers(2, 6), 1, 1))
    hue = random.normal(size=(len(grey), 1, 3)) * random.uniform(0.1, 0.5)
    shades = grey * np.exp(hue + 0.45 * random.normal(size=(len(grey), 40, 1)))
    return Palette((shades + 0.03 * random.normal(size=shades.shape)).reshape(-1, 3), None)


def radii(random: np.random.Generator, side: int) -> Array:
    """Radii by the law r ** -3, in the order of drawing: by chance."""
    low = OVERSAMPLING * np.exp(random.uniform(*np.log(SMALLEST)))
    high = LARGEST * side
    # Mean area under the law: pi * 2 ln(high / low) / (low ** -2 - high ** -2).
    mean = np.pi * 2 * np.log(high / low) / (low**-2 - high**-2)
    count = int(COVERED * side * side / mean)
    u = random.uniform(size=count)
    return (low**-2 - u * (low**-2 - high**-2)) ** -0.5


def draw_leaf(
    random: np.random.Generator, palette: Palette, canvas: Array, radius: float, flatness: float
) -> None:
    """Covers a part of the canvas by one leaf."""
    side = len(canvas)
    cx, cy = random.uniform(-0.05 * side, 1.05 * side, 2)
    reach = 1.6 * radius + 1
    x0, x1 = max(0, int(cx - reach)), min(side, int(cx + reach) + 2)
    y0, y1 = max(0, int(cy - reach)), min(side, int(cy + reach) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    x = np.arange(x0, x1, dtype=np.float32) - np.float32(cx)
    y = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
    inside = outline(random, x, y, radius)
    soft = 1.0 if random.uniform() < 0.9 else random.uniform(1, 6)
    alpha = (0.5 + inside / soft).clip(0, 1)[..., None]
    plain = radius < 5 or random.uniform() < flatness
    colour = pick(random, palette) if plain else fill(random, palette, y1 - y0, x1 - x0)
    if radius > 8 and random.uniform() < 0.6:  # light from one side
        slope = random.normal(size=2) * 0.3 / radius
        colour = colour * np.exp((slope[0] * x + slope[1] * y).clip(-0.7, 0.7))[..., None]
    part = canvas[y0:y1, x0:x1]
    part += alpha * (colour - part)


def outline(random: np.random.Generator, x: Array, y: Array, radius: float) -> Array:
    """Distance to the rim of a random shape, positive inside: disc, wave, box or spindle."""
    angle = random.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = c * x + s * y, c * y - s * x
    kind = random.uniform()
    if kind < 0.3 or radius < 3:
        return np.float32(radius) - np.hypot(u, v * np.float32(random.uniform(1, 1.8)))
    if kind < 0.6:
        theta = np.arctan2(v, u)
        rim = np.ones_like(theta)
        for k in range(2, 7):
            rim += (0.35 / k * random.normal()) * np.cos(k * theta + random.uniform(0, 6.3))
        return rim.clip(0.2, 1.5) * radius - np.hypot(u, v)
    if kind < 0.85:
        half = radius * random.uniform(0.15, 0.7)
        return np.minimum(0.9 * radius - np.abs(u), half - np.abs(v))
    width = radius * random.uniform(0.2, 0.5)
    return width * (1 - (u / (1.4 * radius)) ** 2) - np.abs(v)


def pick(random: np.random.Generator, palette: Palette) -> Array:
    """One colour."""
    return palette.colours[random.integers(len(palette.colours))]


def fill(random: np.random.Generator, palette: Palette, height: int, width: int) -> Array:
    """What is on a leaf: (height, width, 3)."""
    kind = random.uniform()
    if palette.photos is not None and kind < 0.6:
        return photo(random, palette.photos, height, width)
    one, two = pick(random, palette), pick(random, palette)
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    if kind < 0.72:
        mix = noise(random, height, width)
    elif kind < 0.9:
        mix = pattern(random, x, y)
    else:
        a, b = random.normal(size=2) / max(height, width)
        mix = (0.5 + a * (x - width / 2) + b * (y - height / 2)).clip(0, 1)
    filled = one + mix[..., None] * (two - one)
    grain = random.uniform(0, 0.05) * random.standard_normal((height, width, 1), np.float32)
    return filled + grain.astype(np.float32)


def photo(random: np.random.Generator, photos: Array, height: int, width: int) -> Array:
    """A piece of a photograph, at the scale of the finished image."""
    tile = photos[random.integers(len(photos))]
    rows = np.arange(height) // OVERSAMPLING + random.integers(len(tile))
    cols = np.arange(width) // OVERSAMPLING + random.integers(len(tile))
    rows, cols = (mirrored(i, len(tile)) for i in (rows, cols))
    piece = tile[rows[:, None], cols] / np.float32(255)
    return (piece * np.exp(0.3 * random.normal())).clip(0, 1)


def mirrored(index: Array, size: int) -> Array:
    """Indices that turn round at the ends."""
    index = index % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


def noise(random: np.random.Generator, height: int, width: int) -> Array:
    """Noise with a spectrum between white and that of clouds, (height, width), mostly in 0..1."""
    slope = random.uniform(0.5, 2.0)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    stretch = np.hypot(fy * random.uniform(0.3, 3), fx) + 1e-3  # grain of wood, water, grass
    white = np.fft.rfft2(random.standard_normal((height, width)))
    cut = np.exp(-((frequency / 0.25) ** 2))  # what the finished image can hold
    cut[0, 0] = 0
    field = np.fft.irfft2(white * cut / stretch**slope, s=(height, width))
    return (0.5 + field / (3 * field.std() + 1e-9)).astype(np.float32)


def pattern(random: np.random.Generator, x: Array, y: Array) -> Array:
    """Stripes, checks or dots, (height, width) in 0..1."""
    period = OVERSAMPLING * np.exp(random.uniform(np.log(3), np.log(30)))
    angle = random.uniform(0, np.pi)
    u = (np.cos(angle) * x + np.sin(angle) * y) * (2 * np.pi / period)
    v = (np.cos(angle) * y - np.sin(angle) * x) * (2 * np.pi / period)
    wave = random.choice(("stripes", "checks", "dots"))
    field = {
        "stripes": np.sin(u + 0.3 * np.sin(v / 5)),
        "checks": np.sin(u) * np.sin(v),
        "dots": np.sin(u) + np.sin(v) - 0.7,
    }[str(wave)]
    hard = np.exp(random.uniform(-1, 1.2))
    return (0.5 + 0.5 * hard * field).clip(0, 1).astype(np.float32)


def draw_line(random: np.random.Generator, palette: Palette, canvas: Array) -> None:
    """A thin bent line across the image."""
    side = len(canvas)
    points = random.uniform(-0.1 * side, 1.1 * side, (3, 2))
    t = np.linspace(0, 1, 3 * side)[:, None]
    way = (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * points[2]
    half = random.uniform(0.4, 2.5) * OVERSAMPLING
    colour = pick(random, palette)
    brush = np.arange(-int(half), int(half) + 1)
    dx, dy = (b.ravel() for b in np.meshgrid(brush, brush))
    near = dx * dx + dy * dy <= half * half
    place = np.rint(way)[:, None].astype(int) + np.stack((dx[near], dy[near]), -1)
    place = place.reshape(-1, 2)
    place = place[((place >= 0) & (place < side)).all(1)]
    canvas[place[:, 1], place[:, 0]] = colour


def write_words(random: np.random.Generator, palette: Palette, canvas: Array) -> None:
    """Some lines of writing."""
    letters = font(torch.device("cpu")).numpy()
    rows, columns = random.integers(1, 5), random.integers(3, 14)
    words = letters[random.integers(0, len(letters), (rows, columns))]  # (rows, columns, 9, 7)
    dot = int(random.integers(1, 5)) * OVERSAMPLING
    sheet = words.transpose(0, 2, 1, 3).reshape(rows * 9, columns * 7)
    sheet = sheet.repeat(dot, 0).repeat(dot, 1)
    side = len(canvas)
    top, left = random.integers(0, side, 2)
    sheet = sheet[: side - top, : side - left, None]
    part = canvas[top : top + len(sheet), left : left + sheet.shape[1]]
    part += sheet * (pick(random, palette) - part)
