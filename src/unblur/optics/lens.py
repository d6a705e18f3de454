"""Blur of a layer whose radius may be the same all over: then one convolution does it."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.optics.disk_blur import disk_blur
from unblur.optics.disk_kernels import OUTER, SOFTEST, soft_disk, softness


def through_lens(
    colour: Tensor, alpha: Tensor | None, radius: Tensor, even: bool, beta: float | None
) -> tuple[Tensor, Tensor | None]:
    """A layer's light times its alpha, and its alpha, out of focus.

    Args:
        colour: (B, 3, H, W) light.
        alpha: (B, 1, H, W); None for a layer that covers all.
        radius: (B, 1, H, W) pixels.
        even: the radius is the same all over each frame. Then what leaves the canvas comes back
            on the other side: keep a margin.
        beta: of the lens.
    """
    light = colour if alpha is None else torch.cat((colour * alpha, alpha), 1)
    blurred = evenly(light, radius[:, :, :1, :1], beta) if even else disk_blur(light, radius, beta)
    return blurred[:, :3], None if alpha is None else blurred[:, 3:]


def evenly(x: Tensor, radius: Tensor, beta: float | None) -> Tensor:
    """Blurs each image by one disk; the image wraps around.

    Args:
        x: (B, C, H, W).
        radius: (B, 1, 1, 1) pixels.
        beta: of the lens.
    """
    H, W = x.shape[-2:]
    softest = SOFTEST if beta is None else beta
    reach = math.ceil(float(radius.detach().max()) + OUTER / softest)
    if 2 * reach + 1 > min(H, W):
        return disk_blur(x, radius.expand(-1, 1, H, W), beta)
    axis = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    rho = (axis[:, None].square() + axis.square()).sqrt()
    disk = soft_disk(radius - rho, softness(radius) if beta is None else beta)  # (B, 1, n, n)
    disk = disk / disk.sum((-2, -1), keepdim=True)
    disk = F.pad(disk, (0, W - 2 * reach - 1, 0, H - 2 * reach - 1))
    # An even kernel has a real spectrum, once its middle lies in the corner.
    kernel = torch.fft.rfft2(disk.roll((-reach, -reach), (-2, -1))).real
    out: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * kernel, s=(H, W))
    return out


@lru_cache(maxsize=4)
def radii_table(
    beta: float | None, largest: float = 64.0, steps: int = 257
) -> tuple[Tensor, Tensor]:
    """Radii of the lens's disks, and of ideal disks that spread light as far."""
    radius = torch.linspace(0, 1, steps, dtype=torch.float64).square() * largest
    axis = torch.arange(-int(largest) - 5, int(largest) + 6, dtype=torch.float64)
    square = axis[:, None] ** 2 + axis**2
    equal = []
    for r in radius:
        soft = softness(r) if beta is None else torch.tensor(beta, dtype=torch.float64)
        disk = soft_disk(r - square.sqrt(), soft)
        equal.append((2 * (disk * square).sum() / disk.sum()).sqrt())
    return radius, torch.stack(equal)


def lens_radius(ideal: Tensor, beta: float | None) -> Tensor:
    """Radius to give to the lens so that it spreads light as far as an ideal disk of that radius.

    Its rim is soft, so it needs about 0.7 pixels less; both spreads are compared by their second
    moment.
    """
    radius, equal = (x.to(ideal.device) for x in radii_table(beta))
    x = ideal.double().clamp(float(equal[0]), float(equal[-1]))
    right = torch.searchsorted(equal, x.contiguous()).clamp(1, len(equal) - 1)
    low, high = equal[right - 1], equal[right]
    share = (x - low) / (high - low).clamp_min(1e-9)
    return torch.lerp(radius[right - 1], radius[right], share).to(ideal)


def ideal_radius(radius: Tensor, beta: float | None) -> Tensor:
    """Inverse of `lens_radius`."""
    known, equal = (x.to(radius.device) for x in radii_table(beta))
    x = radius.double().clamp(0, float(known[-1]))
    right = torch.searchsorted(known, x.contiguous()).clamp(1, len(known) - 1)
    share = (x - known[right - 1]) / (known[right] - known[right - 1]).clamp_min(1e-9)
    return torch.lerp(equal[right - 1], equal[right], share).to(radius)
