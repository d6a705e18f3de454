"""Losses between a restored image and its truth: pure functions of `(..., C, H, W)` tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import UsageError
from unblur.metrics.functional import gradient_energy

CELL = 8
"""Side of the cells of `contrast`, in pixels."""
LEAST_ENERGY = (1 / 255) ** 2
"""Added to the gradient energy of a cell, so that noise in flat areas requests nothing."""


def l1(x: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (x - truth).abs().mean()


def charbonnier(x: Tensor, truth: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of `sqrt(d^2 + epsilon^2)`: L1 with a round bottom (Charbonnier et al. 1994)."""
    return ((x - truth).square() + epsilon**2).sqrt().mean()


def edge(x: Tensor, truth: Tensor) -> Tensor:
    """Charbonnier distance of Laplacians: requests edges as steep as the truth's."""
    return charbonnier(_laplacian(x), _laplacian(truth))


def frequency(x: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the two-dimensional spectra, real and imaginary parts.

    Divided by the square root of the number of pixels, so that noise counts as much as in `l1`.
    """
    difference = torch.fft.rfft2((x - truth).float(), norm="ortho")
    return torch.view_as_real(difference).abs().mean()


def contrast(x: Tensor, truth: Tensor) -> Tensor:
    """Charbonnier distance of local contrast: the root of the gradient energy in cells of 8 px.

    Where a network cannot know the place of a detail, the distances above are least for a soft
    image. This one requests as much detail as the truth has, wherever it lies in the cell.
    """
    return charbonnier(_local_contrast(x), _local_contrast(truth))


def _local_contrast(x: Tensor) -> Tensor:  # (..., C, H, W) -> (N, 1, H // 4, W // 4)
    energy = gradient_energy(x.float() if x.dtype == torch.bfloat16 else x)
    energy = energy.reshape(-1, 1, *energy.shape[-2:])
    cell = min(CELL, *energy.shape[-2:])
    means = F.avg_pool2d(energy, cell, max(1, cell // 2))  # cells overlap by half
    return (means + LEAST_ENERGY).sqrt()


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
    "contrast": contrast,
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
