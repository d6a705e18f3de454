"""Metrics of pictures `(..., C, H, W)` in [0, 1]: one number for each of the leading axes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
    cap: float = torch.inf,
) -> Tensor:  # (...)
    """Peak signal-to-noise ratio in dB over all channels, for a peak of 1.

    Args:
        x: picture.
        truth: what it should be.
        cap: largest value given, so that frames that are equal do not rule a mean.

    >>> float(psnr(torch.full((3, 4, 4), 0.6), torch.full((3, 4, 4), 0.5)).round())
    20.0
    """
    error = (x.double() - truth.double()).square().mean(dim=(-3, -2, -1))
    return (-10 * error.log10()).clamp(max=cap).float()


def ssim(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
) -> Tensor:  # (...)
    """Structural similarity (Wang et al. 2004), mean over channels.

    Gaussian window with sigma 1.5 cut at 11x11, constants .01 and .03, biased covariances, the
    outer 5 pixels left out: scikit-image's with `gaussian_weights` and no sample covariance.
    Pictures must be at least 11x11.
    """
    if min(x.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs pictures of at least 11x11, not {tuple(x.shape[-2:])}")
    a, b = x.double(), truth.double()
    moments = torch.stack([a, b, a * a, b * b, a * b])  # (5, ..., C, H, W)
    mean_a, mean_b, aa, bb, ab = gaussian_blur(moments, 1.5, radius=5)[..., 5:-5, 5:-5]
    c1, c2 = 0.01**2, 0.03**2
    variances = aa - mean_a**2 + bb - mean_b**2
    covariance = ab - mean_a * mean_b
    similar = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    )
    return similar.mean(dim=(-3, -2, -1)).float()


def detail(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
) -> Tensor:  # (...)
    """Correlation of the high-pass with the truth's: is the fine structure in its place? 1 is best.

    Contrast does not matter to it, only position: see `sharpness` for contrast.
    """
    a, b = high_pass(x).flatten(-3).double(), high_pass(truth).flatten(-3).double()
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    return ((a * b).sum(-1) / norms.clamp(min=1e-12)).float()


def sharpness(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
) -> Tensor:  # (...)
    """Root of the gradient energy over the truth's: 1 is right, less is soft, more is harsh."""
    return (_gradient_energy(x) / _gradient_energy(truth).clamp(min=1e-12)).sqrt().float()


def end_point_error(
    flow: Tensor,  # (..., 2, H, W)
    truth: Tensor,  # (..., 2, H, W)
    valid: Tensor | None = None,  # (..., 1, H, W)
) -> Tensor:  # (...)
    """Mean length of the difference of two flows in pixels, where `valid` is not 0."""
    distance = (flow - truth).norm(dim=-3, keepdim=True)  # (..., 1, H, W)
    weight = torch.ones_like(distance) if valid is None else (valid > 0).to(distance)
    return (distance * weight).sum(dim=(-3, -2, -1)) / weight.sum(dim=(-3, -2, -1)).clamp(min=1)


def high_pass(x: Tensor, sigma: float = 2.0) -> Tensor:
    """The picture less its Gaussian blur."""
    return x - gaussian_blur(x, sigma)


def gaussian_blur(
    x: Tensor,  # (..., H, W)
    sigma: float,
    radius: int | None = None,
) -> Tensor:  # (..., H, W)
    """Blurs the last two axes by a Gaussian, the border repeated.

    Args:
        x: any tensor of at least two axes.
        sigma: in pixels.
        radius: where the kernel is cut; 4 sigma by default.
    """
    radius = int(4 * sigma + 0.5) if radius is None else radius
    at = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    planes = x.reshape(-1, 1, *x.shape[-2:])
    planes = F.conv2d(
        F.pad(planes, (radius, radius, 0, 0), mode="replicate"), kernel[None, None, None]
    )
    planes = F.conv2d(
        F.pad(planes, (0, 0, radius, radius), mode="replicate"), kernel[None, None, :, None]
    )
    return planes.reshape(x.shape)


def _gradient_energy(x: Tensor) -> Tensor:  # (..., C, H, W) -> (...)
    x = x.double()
    across = (x[..., 1:] - x[..., :-1]).square().mean(dim=(-3, -2, -1))
    down = (x[..., 1:, :] - x[..., :-1, :]).square().mean(dim=(-3, -2, -1))
    return across + down
