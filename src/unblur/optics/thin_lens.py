"""The circle of confusion of a thin lens, and blur by one disk all over an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NO_BLUR = 0.5
"""Radius in pixels below which a disk lies inside one pixel and blurs nothing."""
SUBPOINTS = 5
"""A pixel of the disk is the mean of 5 x 5 points."""


def thin_lens_radius(
    distance: Tensor, focus: Tensor, focal_length: Tensor, f_number: Tensor, pixels_per_mm: Tensor
) -> Tensor:
    """Radius of the circle of confusion of a thin lens, in pixels.

    The diameter on the sensor is `A f |z - s| / (z (s - f))` with the aperture `A = f / N`, the
    distance z of the object and s of the plane in focus (Potmesil and Chakravarty 1981, eq. 4).

    Args:
        distance: metres.
        focus: metres, more than the focal length.
        focal_length: millimetres.
        f_number: without unit; infinite for a pinhole.
        pixels_per_mm: of the sensor.
    """
    f = focal_length / 1000
    diameter = f * f / f_number * (distance - focus).abs() / (distance * (focus - f))  # metres
    return 0.5 * 1000 * diameter * pixels_per_mm


def disk(radius: Tensor, reach: int) -> Tensor:
    """Area of a disk inside each pixel, over the area of the disk.

    Args:
        radius: (M,) pixels.
        reach: pixels from the middle to the edge of the kernel; at least the greatest radius.

    Returns:
        (M, 2 reach + 1, 2 reach + 1), each summing to 1, none negative.
    """
    offsets = (torch.arange(SUBPOINTS, device=radius.device) + 0.5) / SUBPOINTS - 0.5
    cells = torch.arange(-reach, reach + 1, device=radius.device)
    at = (cells[:, None] + offsets).flatten()  # (2 reach + 1) * 5
    rho = (at[:, None] ** 2 + at**2).sqrt()
    inside = (0.5 + SUBPOINTS * (radius[:, None, None] - rho)).clamp(0, 1)
    kernel = F.avg_pool2d(inside[:, None], SUBPOINTS)[:, 0]
    total = kernel.sum((-2, -1), keepdim=True)
    point = torch.zeros_like(kernel)
    point[:, reach, reach] = 1
    return torch.where(total > 1e-3, kernel / total.clamp_min(1e-3), point)


def lens_blur(x: Tensor, radius: Tensor, reach: int) -> Tensor:
    """Blurs images by disks. The image wraps around: its rim of `reach` pixels is spoilt.

    Args:
        x: (M, C, H, W).
        radius: (M,) pixels, at most `reach`.
        reach: width of the rim.

    Returns:
        (M, C, H, W), none negative where `x` is not, the same where the radius is below 0.5.
    """
    H, W = x.shape[-2:]
    kernel = F.pad(disk(radius, reach), (0, W - 2 * reach - 1, 0, H - 2 * reach - 1))
    kernel = kernel.roll((-reach, -reach), (-2, -1))
    blurred = torch.fft.irfft2(
        torch.fft.rfft2(x) * torch.fft.rfft2(kernel)[:, None], s=(H, W)
    ).clamp_min(0)
    return torch.where((radius < NO_BLUR)[:, None, None, None], x, blurred)
