"""A window through the network: guidance on whole frames, tiles, and the tiles blended."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unblur.engine.plan import MemoryPlan, Tile, tile_weight, tiles
from unblur.restorers.base import Guidance, Priors, Restorer, Telling


def run_tiled(
    restorer: Restorer,
    shown: Tensor,  # (T, 3, H, W)
    outputs: list[int],
    fit: MemoryPlan,
    priors: Priors | None = None,
    tell: Callable[[float], None] | None = None,
) -> Tensor:  # (len(outputs), 3, scale * H, scale * W)
    """Guidance on whole frames, the network on tiles, and the tiles blended.

    `tell` is called with the share of the network's part that is done.
    """
    with torch.inference_mode():
        info = restorer.info
        height, width = shown.shape[-2:]
        guidance = restorer.guide(shown) if priors is None else restorer.guide(shown, priors)
        layout = tiles(height, width, fit.tiling)

        def run(number: int, part: Tensor, guidance: Guidance) -> Tensor:
            def report(share: float) -> None:
                if tell is not None:
                    tell((number + share) / len(layout))

            report(0.0)
            if isinstance(restorer, Telling):
                restorer.tell = report
            try:
                return restorer.run(part, guidance, outputs)
            finally:
                if isinstance(restorer, Telling):
                    restorer.tell = None

        if len(layout) == 1:
            return run(0, shown, guidance)
        scale = info.scale
        blended = shown.new_zeros(len(outputs), 3, scale * height, scale * width)
        total = shown.new_zeros(scale * height, scale * width)
        for number, tile in enumerate(layout):
            part = run(number, cut(shown, tile), cut_guidance(guidance, tile, info.guidance_stride))
            at = Tile(*(scale * side for side in tile))
            weight = tile_weight(tile, height, width, fit.tiling, shown.device)
            weight = weight.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
            cut(blended, at).addcmul_(part, weight)
            cut(total, at).add_(weight)
        return blended / total


def cut(x: Tensor, tile: Tile) -> Tensor:
    """View of the tile in the last two axes."""
    return x[..., tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]


def cut_guidance(guidance: Guidance, tile: Tile, stride: int) -> Guidance:
    """The part of the maps that belongs to a tile: `ceil(side / stride)` elements per axis."""
    small = Tile(
        tile.top // stride, tile.left // stride, -(-tile.height // stride), -(-tile.width // stride)
    )
    return {name: cut(x, small) for name, x in guidance.items()}
