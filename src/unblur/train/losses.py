"""Losses between a restored picture and its truth: pure functions of `(..., C, H, W)` tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import UsageError


def l1(x: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (x - truth).abs().mean()


def charbonnier(x: Tensor, truth: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of `sqrt(d^2 + epsilon^2)`: L1 with a round bottom (Charbonnier et al. 1994)."""
    return ((x - truth).square() + epsilon**2).sqrt().mean()


def edge(x: Tensor, truth: Tensor) -> Tensor:
    """Charbonnier distance of Laplacians: asks for edges as steep as the truth's."""
    return charbonnier(_laplacian(x), _laplacian(truth))


def frequency(x: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the two-dimensional spectra, real and imaginary parts.

    Divided by the square root of the number of pixels, so that noise counts as much as in `l1`.
    """
    difference = torch.fft.rfft2((x - truth).float(), norm="ortho")
    return torch.view_as_real(difference).abs().mean()


def _laplacian(x: Tensor) -> Tensor:  # (..., C, H, W) -> (N, 1, H, W)
    planes = x.flatten(0, -3)[:, None]
    planes = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    kernel = x.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 4
    return F.conv2d(planes, kernel[None, None])


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1,
    "charbonnier": charbonnier,
    "edge": edge,
    "frequency": frequency,
}


def weighted(x: Tensor, truth: Tensor, weights: Mapping[str, float]) -> Tensor:
    """Sum of losses, each times its weight.

    Raises:
        UsageError: a name is none of `LOSSES`.
    """
    unknown = sorted(set(weights) - set(LOSSES))
    if unknown:
        raise UsageError(f"unknown loss {unknown[0]}: use {', '.join(LOSSES)}")
    return torch.stack([w * LOSSES[name](x, truth) for name, w in weights.items()]).sum()
