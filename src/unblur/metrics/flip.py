"""FLIP: the difference that a viewer sees who flips between an image and its truth.

Andersson, Nilsson, Akenine-Moller, Oskarsson, Astrom, Fairchild: FLIP, A Difference Evaluator for
Alternating Images (Proceedings of the ACM on Computer Graphics and Interactive Techniques, 2020),
for images of standard dynamic range. Names of constants are the paper's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unblur.ops.color import to_linear
from unblur.ops.gaussian import convolved

PIXELS_PER_DEGREE = 0.7 * 3840 / 0.7 * math.pi / 180
"""Of the paper's viewer: .7 m from a screen of 3840 pixels that is .7 m wide."""
XYZ = (
    (10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794),
    (2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897),
    (1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382),
)
"""Linear sRGB to CIE XYZ; white is the sum of each row."""
SENSITIVITY = (
    ((1.0, 0.0047),),
    ((1.0, 0.0053),),
    ((34.1, 0.04), (13.5, 0.025)),
)
"""Gaussians (a, b) of what an eye resolves: light and dark, red and green, blue and yellow."""
QC, PC, PT = 0.7, 0.4, 0.95
"""How differences of colour become a number in [0, 1]."""
FEATURE, QF = 0.082, 0.5
"""Width of an edge or point in degrees, and how their differences become a number."""
GREEN, BLUE = (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
"""The two colours that are furthest apart."""


def flip(
    x: Tensor,  # (..., 3, H, W)
    truth: Tensor,  # (..., 3, H, W)
    pixels_per_degree: float = PIXELS_PER_DEGREE,
) -> Tensor:  # (...)
    """Mean of the FLIP map: 0 for equal images, at most 1; lower is better."""
    return flip_map(x, truth, pixels_per_degree).mean(dim=(-2, -1)).float()


def flip_map(
    x: Tensor,  # (..., 3, H, W)
    truth: Tensor,  # (..., 3, H, W)
    pixels_per_degree: float = PIXELS_PER_DEGREE,
) -> Tensor:  # (..., H, W)
    """What is seen of the difference at each pixel, encoded sRGB in [0, 1]."""
    a, b = (opponent(y.double().clamp(0, 1)) for y in (x, truth))
    colour = colour_difference(*(perceived(resolved(y, pixels_per_degree)) for y in (a, b)))
    features = feature_difference(a[..., 0, :, :], b[..., 0, :, :], pixels_per_degree)
    return colour ** (1 - features)


def mixed(
    x: Tensor,  # (..., 3, H, W)
    matrix: Tensor,  # (3, 3)
) -> Tensor:  # (..., 3, H, W)
    """Channels by a matrix."""
    return torch.einsum("ij,...jhw->...ihw", matrix, x)


def to_white(like: Tensor) -> Tensor:  # (3, 3)
    """Linear sRGB to XYZ over that of white."""
    matrix = torch.tensor(XYZ, dtype=like.dtype, device=like.device)
    return matrix / matrix.sum(1, keepdim=True)


def opponent(
    x: Tensor,  # (..., 3, H, W)
) -> Tensor:  # (..., 3, H, W)
    """Encoded sRGB to Y, Cx and Cz: CIELAB without its root."""
    X, Y, Z = mixed(to_linear(x), to_white(x)).unbind(-3)
    return torch.stack((116 * Y - 16, 500 * (X - Y), 200 * (Y - Z)), -3)


def resolved(
    x: Tensor,  # (..., 3, H, W)
    pixels_per_degree: float,
) -> Tensor:  # (..., 3, H, W)
    """Y, Cx and Cz less what is too fine to see, as linear sRGB in [0, 1]."""
    widest = max(b for channel in SENSITIVITY for _, b in channel)
    radius = math.ceil(3 * math.sqrt(widest / (2 * math.pi**2)) * pixels_per_degree)
    at = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device) / pixels_per_degree
    channels = []
    for i, gaussians in enumerate(SENSITIVITY):
        total, weight = torch.zeros_like(x[..., 0, :, :]), 0.0
        for a, b in gaussians:
            kernel = torch.exp(-(math.pi**2) * at**2 / b)
            share = a * math.sqrt(math.pi / b) * float(kernel.sum()) ** 2
            total = total + share * separable(x[..., i, :, :], kernel / kernel.sum())
            weight += share
        channels.append(total / weight)
    Y, Cx, Cz = channels
    Y = (Y + 16) / 116
    light = torch.stack((Cx / 500 + Y, Y, Y - Cz / 200), -3)
    return mixed(light, torch.linalg.inv(to_white(x))).clamp(0, 1)


def separable(
    x: Tensor,  # (..., H, W)
    across: Tensor,
    down: Tensor | None = None,
) -> Tensor:  # (..., H, W)
    """Convolves both axes, the border repeated."""
    planes = x.reshape(-1, 1, *x.shape[-2:])
    return convolved(convolved(planes, across, -1), across if down is None else down, -2).reshape(
        x.shape
    )


def perceived(
    light: Tensor,  # (..., 3, H, W)
) -> Tensor:  # (..., 3, H, W)
    """Linear sRGB to CIELAB, its colours the weaker the darker they are (Hunt's effect)."""
    ratio = mixed(light, to_white(light))
    edge = 6 / 29
    root = torch.where(
        ratio > edge**3, ratio.clamp_min(edge**3) ** (1 / 3), ratio / (3 * edge**2) + 4 / 29
    )
    X, Y, Z = root.unbind(-3)
    lightness = 116 * Y - 16
    return torch.stack(
        (lightness, 0.01 * lightness * 500 * (X - Y), 0.01 * lightness * 200 * (Y - Z)), -3
    )


def distance(
    a: Tensor,  # (..., 3, H, W)
    b: Tensor,  # (..., 3, H, W)
) -> Tensor:  # (..., H, W)
    """HyAB: lightness and colour each for itself, to the power of QC."""
    apart = a - b
    return (apart[..., 0, :, :].abs() + apart[..., 1:, :, :].norm(dim=-3)) ** QC


def colour_difference(
    a: Tensor,  # (..., 3, H, W)
    b: Tensor,  # (..., 3, H, W)
) -> Tensor:  # (..., H, W)
    """From 0 to 1: the smaller differences, up to PC of the largest, take PT of the range."""
    extremes = torch.tensor((GREEN, BLUE), dtype=a.dtype, device=a.device)[..., None, None]
    green, blue = perceived(extremes)
    most = float(distance(green, blue))
    found = distance(a, b)
    edge = PC * most
    return torch.where(
        found < edge, PT / edge * found, PT + (found - edge) / (most - edge) * (1 - PT)
    )


def feature_difference(
    a: Tensor,  # (..., H, W)
    b: Tensor,  # (..., H, W)
    pixels_per_degree: float,
) -> Tensor:  # (..., H, W)
    """How much edges and points differ, of the Y of both."""
    sigma = 0.5 * FEATURE * pixels_per_degree
    radius = math.ceil(3 * sigma)
    at = torch.arange(-radius, radius + 1, dtype=a.dtype, device=a.device)
    bell = torch.exp(-(at**2) / (2 * sigma**2))
    edge, point = balanced(-at * bell), balanced((at**2 / sigma**2 - 1) * bell)
    bell = bell / bell.sum()

    def strength(y: Tensor, kernel: Tensor) -> Tensor:
        y = (y + 16) / 116
        return torch.hypot(separable(y, kernel, bell), separable(y, bell, kernel))

    apart = [(strength(a, k) - strength(b, k)).abs() for k in (edge, point)]
    return (torch.maximum(*apart) / math.sqrt(2)) ** QF


def balanced(kernel: Tensor) -> Tensor:
    """Scaled so that what is positive sums to 1 and what is negative to -1."""
    above, below = kernel.clamp_min(0), kernel.clamp_max(0)
    return above / above.sum() - below / below.sum()
