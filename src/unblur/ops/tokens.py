"""Cutting a frame into sets of pixels that are mixed with each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Axis = Literal["grid", "block"]
STRIP_ELEMENTS = 1 << 19
"""Values per strip on the CPU: what is touched at once then stays in the cache (2 MB)."""


def strips(x: Tensor, tile: int, axis: Axis) -> Iterator[Tensor]:
    """Views of a feature map that together cover it once, each with its tokens in front.

    Args:
        x: `(B, H, W, C)`, contiguous; `tile` divides `H` and `W`.
        tile: side of a tile in pixels.
        axis: `block`: the `tile * tile` tokens of a group are neighbouring pixels. `grid`: they are
            the pixels at one offset in each of `tile` x `tile` cells that the frame is cut into.

    Yields:
        `(tile, tile, B, h, w, C)`: tokens row by row, then groups. One strip while gradients are
        recorded and on accelerators, where more would only cost time.
    """
    batch, height, width, channels = x.shape
    h, w = height // tile, width // tile
    if axis == "grid":
        tokens = x.view(batch, tile, h, tile, w, channels).permute(1, 3, 0, 2, 4, 5)
    else:
        tokens = x.view(batch, h, tile, w, tile, channels).permute(2, 4, 0, 1, 3, 5)
    step = h
    if x.device.type == "cpu" and not torch.is_grad_enabled():
        step = max(1, STRIP_ELEMENTS // (batch * tile * width * channels))
    for start in range(0, h, step):  # not `split`, whose views autograd keeps from being written to
        yield tokens[:, :, :, start : start + step]
