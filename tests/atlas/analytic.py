"""A project whose every map is a formula, so that where anything must land is known exactly.

The background pans, turns and grows; a round foreground moves across it and bends a little.
Coordinates of a frame: pixel centres at whole numbers, x first.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

from unblur.atlas import Layer, Project

H, W, T = 48, 64, 10
HA, WA = 80, 104
RATE = Fraction(24)


def grid(height: int = H, width: int = W) -> Tensor:
    """(2, H, W) x and y of every pixel."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    return torch.stack((x, y))


def back(place: Tensor, t: int) -> Tensor:
    """Place in the background's atlas of places (2, ...) in frame t: a similarity."""
    angle, zoom = 0.01 * t, 1 + 0.01 * t
    x, y = place[0] - W / 2, place[1] - H / 2
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    return torch.stack((cos * x - sin * y + WA / 2 + 0.9 * t, sin * x + cos * y + HA / 2))


def back_inverse(uv: Tensor, t: int) -> Tensor:
    """The inverse of `back`."""
    angle, zoom = 0.01 * t, 1 + 0.01 * t
    u, v = (uv[0] - WA / 2 - 0.9 * t) / zoom, (uv[1] - HA / 2) / zoom
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.stack((cos * u + sin * v + W / 2, -sin * u + cos * v + H / 2))


def front(place: Tensor, t: int) -> Tensor:
    """Place in the foreground's atlas: it moves left and down, and bends."""
    x, y = place[0] + 1.3 * t, place[1] - 0.6 * t
    bend = 0.8 * torch.sin(0.12 * y + 0.2 * t)
    return torch.stack((x + bend + 14, y + 16))


def front_inverse(uv: Tensor, t: int) -> Tensor:
    """The inverse of `front`."""
    y = uv[1] - 16
    x = uv[0] - 14 - 0.8 * torch.sin(0.12 * y + 0.2 * t)
    return torch.stack((x - 1.3 * t, y + 0.6 * t))


def cover(place: Tensor, t: int) -> Tensor:
    """Opacity of the foreground at places (2, ...) in frame t: a soft disk of its atlas."""
    uv = front(place, t)
    away = (uv - torch.tensor([54.0, 36.0]).view(2, *[1] * (uv.ndim - 1))).norm(dim=0)
    return (12.5 - away).clamp(0, 1)


def texture(seed: int) -> Tensor:
    """(3, HA, WA) smooth noise in [0.1, 0.9]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, 3, HA // 4, WA // 4, generator=generator)
    large = torch.nn.functional.interpolate(noise, size=(HA, WA), mode="bicubic")
    return large[0].clamp(0, 1) * 0.8 + 0.1


def project(radii: tuple[float, float] | None = (0.0, 3.0), frames: int = T) -> Project:
    """The project; its clip is the sharp rendering."""
    place = grid()
    uv = {
        "foreground": torch.stack([front(place, t) for t in range(frames)]),
        "background": torch.stack([back(place, t) for t in range(frames)]),
    }
    alpha = {
        "foreground": torch.stack([cover(place, t)[None] for t in range(frames)]),
        "background": torch.ones(frames, 1, H, W),
    }
    layers = tuple(
        Layer(
            name,
            texture(number),
            torch.ones(1, HA, WA),
            uv[name].float(),
            alpha[name].float(),
            None if radii is None else torch.full((frames, 1, H, W), radii[number]),
        )
        for number, name in enumerate(uv)
    )
    times = tuple(Fraction(t) / RATE for t in range(frames))
    made = Project(layers, torch.zeros(frames, 3, H, W), times, RATE)
    clip = made.render("sharp")
    return Project(layers, clip, times, RATE)
