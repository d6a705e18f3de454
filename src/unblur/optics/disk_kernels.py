"""Kernels of a lens out of focus: what a point becomes on the sensor.

Kernels of one nominal radius differ in width. To compare them, or to label images that were made
with several, take the radius of the ideal disk with the same second moment: `to_equivalent`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

INNER, OUTER = 6.0, 8.0
"""A soft rim ends smoothly between these distances from the disk's edge, in units of 1 / beta."""
SHARPEST, SOFTEST = 8.0, 2.0
"""Softness beta of a disk of radius 0, and of a large one, where none is given."""

Kind = Literal["soft", "gaussian", "disk", "box", "tanh"]


def softness(radius: Tensor) -> Tensor:
    """Softness beta that makes a disk of radius 0 the identity, and leaves large ones as they are.

    Args:
        radius: pixels, at least 0.

    Returns:
        `2 + 6 exp(-(radius / 0.8)^2)`, from 8 at radius 0 to 2 from about 3 pixels on.
    """
    return SOFTEST + (SHARPEST - SOFTEST) * torch.exp(-((radius / 0.8) ** 2))


def soft_disk(depth: Tensor, beta: Tensor | float) -> Tensor:
    """Profile of a disk with a bright soft rim (Video Defocus Deblurring with Atlases, eq. 2).

    `e^(beta d) / (e^(beta d) - d)`, written with exponents below zero only, so that it is finite
    for any depth. It falls to 1e-4 at `OUTER / beta` outside of the edge, and to zero there.

    Args:
        depth: d, pixels inside of the disk's edge; negative outside.
        beta: softness in 1 / pixels, more than 1 / e.

    Returns:
        Not normalised: 1 at the edge and deep inside, at most 1.23 for beta = 2.
    """
    distance = depth.abs()
    decay = torch.exp(-beta * distance)
    inside = 1 / (1 - distance * decay)
    t = ((OUTER - beta * distance) / (OUTER - INNER)).clamp(0, 1)
    outside = decay / (decay + distance) * t * t * (3 - 2 * t)
    return torch.where(depth >= 0, inside, outside)


def soft_kernel(radius: Tensor, reach: int, beta: float | None = None) -> Tensor:
    """Kernels of `soft_disk`: those of `disk_blur`.

    Args:
        radius: (M,) pixels, at least 0.
        reach: k, pixels from the middle to the edge of the kernel.
        beta: softness; None: that of `softness`.

    Returns:
        (M, 2 k + 1, 2 k + 1), each summing to 1.
    """
    radius = radius[:, None, None]
    return unit(soft_disk(radius - rho(reach, radius), softness(radius) if beta is None else beta))


def gaussian_kernel(radius: Tensor, reach: int) -> Tensor:
    """Gaussians of standard deviation `radius / 2`, which have a disk's second moment.

    Shapes as for `soft_kernel`.
    """
    sigma = (radius[:, None, None] / 2).clamp_min(1e-6)
    return unit(torch.exp(-0.5 * (rho(reach, radius) / sigma) ** 2))


def hard_kernel(radius: Tensor, reach: int) -> Tensor:
    """All pixels whose middle lies in the disk, with equal weights.

    It jumps with the radius: no derivative.

    Shapes as for `soft_kernel`.
    """
    return unit((rho(reach, radius) <= radius[:, None, None]).to(radius.dtype))


def box_kernel(radius: Tensor, reach: int, passes: int = 3) -> Tensor:
    """Boxes with fractional ends, one after another (Gwosdek et al., SSVM 2011).

    Standard deviation `radius / 2` exactly, as far as the kernel is not cut.
    Shapes as for `soft_kernel`.

    Args:
        radius: (M,) pixels, at least 0.
        reach: pixels from the middle to the edge of the kernel.
        passes: boxes; more come nearer to a Gaussian.
    """
    variance = (radius[:, None] / 2) ** 2 / passes  # (M, 1)
    whole = torch.floor((torch.sqrt(12 * variance + 1) - 1) / 2)
    missing = 3 * variance - whole * (whole + 1)
    end = (2 * whole + 1) * missing / (6 * ((whole + 1) ** 2 - variance))
    steps = torch.arange(-reach, reach + 1, device=radius.device).abs()
    box = (steps <= whole) + end * (steps == whole + 1)
    box = box / box.sum(1, keepdim=True)  # (M, 2 k + 1)
    line = box[None]
    for _ in range(passes - 1):
        line = F.conv1d(line, box[:, None], padding=reach, groups=len(box))
    return unit(line[0, :, :, None] * line[0, :, None, :])


def tanh_kernel(radius: Tensor, reach: int, sharpness: float = 4.0) -> Tensor:
    """Disks with a smooth edge, `(1 + tanh(sharpness d)) / 2` (Busam et al., ICCV workshops 2019).

    Shapes as for `soft_kernel`.
    """
    depth = radius[:, None, None] - rho(reach, radius)
    return unit(torch.sigmoid(2 * sharpness * depth))


KERNELS: dict[Kind, Callable[[Tensor, int], Tensor]] = {
    "soft": soft_kernel,
    "gaussian": gaussian_kernel,
    "disk": hard_kernel,
    "box": box_kernel,
    "tanh": tanh_kernel,
}


def equivalent_radius(kernel: Tensor) -> Tensor:
    """Radius of the ideal disk with the second moment of a kernel.

    Args:
        kernel: (..., 2 k + 1, 2 k + 1), none negative in sum.

    Returns:
        (...) pixels: of a disk of radius R, the mean squared distance from the middle is R^2 / 2.
    """
    squared = rho(kernel.shape[-1] // 2, kernel) ** 2
    return torch.sqrt(2 * (kernel * squared).sum((-2, -1)) / kernel.sum((-2, -1)))


def to_equivalent(radius: Tensor, kind: Kind = "soft", beta: float | None = None) -> Tensor:
    """Radius of the ideal disk that is as wide as a kernel of some nominal radius.

    Args:
        radius: of any shape, pixels, 0 to 64.
        kind: of the kernel.
        beta: softness, of the kind "soft" only.

    Returns:
        Pixels, of the shape given; differentiable.
    """
    return interpolate(radius, *equivalents(kind, beta))


def from_equivalent(equivalent: Tensor, kind: Kind = "soft", beta: float | None = None) -> Tensor:
    """Inverse of `to_equivalent`: what to give a kernel that shall be as wide as an ideal disk.

    Args:
        equivalent: of any shape, pixels. Where it is less than a kernel of radius 0 has: 0.
        kind: of the kernel.
        beta: softness, of the kind "soft" only.

    Returns:
        Pixels, of the shape given; differentiable.
    """
    radius, table = equivalents(kind, beta)
    return interpolate(equivalent, table, radius)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept may meet gradients later
def equivalents(kind: Kind, beta: float | None) -> tuple[Tensor, Tensor]:
    """Nominal radii and what they are equivalent to, both growing; (M,) each, float64."""
    make = partial(soft_kernel, beta=beta) if kind == "soft" else KERNELS[kind]
    fine = torch.arange(0, 4, 1 / 16, dtype=torch.float64)
    radius = torch.cat((fine, torch.arange(4, 64.25, 1 / 2, dtype=torch.float64)))
    rim = math.ceil(OUTER / (beta or SOFTEST))
    found = [equivalent_radius(make(r[None], math.ceil(2 * r) + rim + 4)) for r in radius]
    # Strictly growing, where a kernel stays as it is while its nominal radius grows.
    table = torch.cat(found).cummax(0).values + 1e-9 * radius
    return radius, table


def interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Straight lines through the points (xs, ys); the first and last of `ys` beyond the ends."""
    xs, ys = xs.to(x.device), ys.to(x.device)
    inside = x.double().clamp(float(xs[0]), float(xs[-1]))  # points may lie close together
    above = torch.searchsorted(xs, inside.detach().contiguous()).clamp(1, len(xs) - 1)
    left, right = xs[above - 1], xs[above]
    share = (inside - left) / (right - left)
    return (ys[above - 1] + share * (ys[above] - ys[above - 1])).to(x.dtype)


def rho(reach: int, like: Tensor) -> Tensor:
    """Distance from the middle, (2 reach + 1, 2 reach + 1)."""
    axis = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    return torch.hypot(axis[:, None], axis)


def unit(kernel: Tensor) -> Tensor:
    """The same, summing to 1."""
    return kernel / kernel.sum((-2, -1), keepdim=True)
