"""How the networks of `models.dabit` are trained: DaBiT (arXiv 2407.01230) and narrower ones.

Of rendered scenes the renderer knows how far out of focus each pixel is: the blur map that the
paper speaks of (its code estimates one). The same stands in for depth, as in `--depth builtin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.guidance.coc import BLUREST
from unblur.guidance.defocus import blur_mask
from unblur.models.dabit import Dabit, DabitConfig
from unblur.ops.propagation import propagate_pixels
from unblur.train.batches import Batch, at_full_size
from unblur.train.focal_task import halved, radius_of
from unblur.train.losses import charbonnier
from unblur.train.recipe import Recipe
from unblur.train.tasks import Deblur, guided, tuples
from unblur.weights.switches import switches_of

LOSSES = ("charbonnier", "blurred", "clear")
"""Charbonnier distance of what comes out, and, at the input's size, L1 of its blurred and of its
clear pixels. In the paper each has weight 1."""


class TrainDabit(Deblur):
    """DaBiT of any size.

    Args:
        recipe: with `losses` out of `LOSSES`.
        device: where it trains.
        preset: sizes, changed by the recipe's options.
        replaces: whether sharp pixels are propagated before the network sees the frames.
    """

    needs_flow = True
    takes_turns = True

    def __init__(
        self, recipe: Recipe, device: torch.device, preset: DabitConfig, replaces: bool = False
    ) -> None:
        super().__init__(recipe, device)
        self.config = replace(preset, **tuples(recipe.options))
        self.replaces = replaces
        if unknown := set(recipe.losses) - set(LOSSES):
            raise ValueError(f"unknown loss {min(unknown)}: use {', '.join(LOSSES)}")

    @property
    def switches(self) -> Mapping[str, Any]:
        """Its sizes and choices, and what is done before it."""
        return switches_of(self.config, replaces=self.replaces)

    def network(self) -> nn.Module:
        """DaBiT with `options` on top of its preset."""
        return Dabit(self.config)

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Of all frames, at one of the scales that the network gives."""
        scale = self.config.scales[seed % len(self.config.scales)]
        small = halved(batch) if scale == 2 else batch
        radius = radius_of(small, self.recipe.radius, seed)
        found = self.found(network, small, radius, seed, scale)
        with torch.autocast(radius.device.type, enabled=False):
            return focal_loss(found, batch, small, mask_of(radius), self.recipe.losses)

    def restore(
        self, network: nn.Module, batch: Batch, outputs: list[int], seed: int | None
    ) -> Tensor:
        """Encoded `(B, len(outputs), 3, H, W)`; from half the size where it only enlarges."""
        scale = min(self.config.scales)
        small = halved(batch) if scale == 2 else batch
        radius = radius_of(small, self.recipe.radius, seed)
        return self.found(network, small, radius, seed, scale)[:, outputs]

    def found(
        self, network: nn.Module, batch: Batch, radius: Tensor, seed: int | None, scale: int
    ) -> Tensor:
        """All frames at a scale."""
        blur, mask = (radius / BLUREST).clamp(0, 1), mask_of(radius)
        flows = full_size(guided(batch, self.recipe.flow, seed))
        frames, left = batch.blurred, mask
        if self.replaces:
            frames, left = propagate_pixels(frames, mask, *flows)
        return network(frames, blur, blur, left, *flows, scale=scale).float()


def focal_loss(
    found: Tensor, batch: Batch, small: Batch, mask: Tensor, weights: Mapping[str, float]
) -> Tensor:
    """The losses of DaBiT, section 3.4.

    Args:
        found: frames (B, T, 3, scale * h, scale * w).
        batch: truth of their size.
        small: truth of the input's size.
        mask: (B, T, 1, h, w), 1 where a pixel is blurred.
        weights: of the parts, see `LOSSES`.
    """
    error = (shrunk(found, mask.shape[-2:]) - small.sharp).abs()
    parts = {
        "charbonnier": charbonnier(found, batch.sharp),
        "blurred": mean_where(error, mask),
        "clear": mean_where(error, 1 - mask),
    }
    return torch.stack([weight * parts[name] for name, weight in weights.items()]).sum()


def mean_where(error: Tensor, mask: Tensor) -> Tensor:
    """Mean over the pixels of a mask; 0 where it has none (the release divides by zero there)."""
    return (error * mask).mean() / mask.mean().clamp(min=1e-3)


def mask_of(radius: Tensor) -> Tensor:
    """1 where the blur map of these radii says blurred."""
    return blur_mask((radius / BLUREST).clamp(0, 1))


def shrunk(x: Tensor, size: Sequence[int]) -> Tensor:
    """Frames (B, T, 3, H, W) at another size, bilinear without smoothing, as in the release."""
    return F.interpolate(x.flatten(0, 1), tuple(size), mode="bilinear").unflatten(0, x.shape[:2])


def full_size(batch: Batch) -> tuple[Tensor, Tensor]:
    """The batch's flows (B, T-1, 2, H, W) in pixels."""
    size = batch.blurred.shape[-2:]

    def enlarged(flow: Tensor | None) -> Tensor:
        if flow is None:
            raise ValueError("a batch without flow")
        return at_full_size(flow)[..., : size[0], : size[1]]

    return enlarged(batch.flow_forward), enlarged(batch.flow_backward)
