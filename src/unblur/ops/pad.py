"""Padding to the sizes a network accepts, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def padded_length(length: int, multiple: int, minimum: int = 1) -> int:
    """Smallest multiple of `multiple` that is at least `length` and at least `minimum`."""
    return -(-max(length, minimum) // multiple) * multiple


def pad_to(
    x: Tensor,  # (..., H, W)
    height: int,
    width: int,
    centered: bool = False,
) -> Tensor:  # (..., height, width)
    """Pads the last two axes by reflection, as often as needed (a 1-pixel axis is repeated).

    Args:
        x: any tensor of at least two axes.
        height: wanted height, at least `H`.
        width: wanted width, at least `W`.
        centered: half of the padding on each side instead of all of it at the bottom right.
    """
    h, w = x.shape[-2:]
    top = (height - h) // 2 if centered else 0
    left = (width - w) // 2 if centered else 0
    if (height, width) == (h, w):
        return x
    rows = reflected_indices(h, -top, height - top, x.device)
    cols = reflected_indices(w, -left, width - left, x.device)
    return x.index_select(-2, rows).index_select(-1, cols)


def pad_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """Pads (..., 2, h, w) by reflection: in a mirror things move the other way."""
    h, w = flow.shape[-2:]
    if (h, w) == (height, width):
        return flow
    mirrored = pad_to(flow, height, width)
    x, y = mirrored.unbind(-3)
    return torch.stack((x * mirror_sign(w, width, x), y * mirror_sign(h, height, y)[:, None]), -3)


def mirror_sign(length: int, padded: int, like: Tensor) -> Tensor:
    """Sign of motion in each of `padded` elements: 1 in the original and its shifted copies."""
    at = torch.arange(padded, device=like.device)
    return torch.where(at % max(1, 2 * (length - 1)) < length, 1, -1).to(like.dtype)


def crop_from(x: Tensor, height: int, width: int, centered: bool = False) -> Tensor:
    """Inverse of `pad_to`: takes the `height` x `width` region that the padding was put around."""
    h, w = x.shape[-2:]
    top = (h - height) // 2 if centered else 0
    left = (w - width) // 2 if centered else 0
    return x[..., top : top + height, left : left + width]


def reflected_indices(
    length: int, start: int, stop: int, device: torch.device | None = None
) -> Tensor:
    """Indices `start..stop-1` folded into `0..length-1` by reflection without repeating the edge.

    >>> reflected_indices(3, -2, 5).tolist()
    [2, 1, 0, 1, 2, 1, 0]
    """
    index = torch.arange(start, stop, device=device)
    if length == 1:
        return torch.zeros_like(index)
    period = 2 * (length - 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index)
