"""How the networks of `models.dabit` are trained: DaBiT (arXiv 2407.01230) and narrower ones.

Of rendered scenes the renderer knows the depth of each pixel, which takes the place of that of
Depth Anything. Blur maps are made of it and of the blurred frames as in use. Narrower networks are
given how far out of focus each pixel is, which stands in for depth too, as in `--depth builtin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.errors import UsageError
from unblur.guidance.coc import BLUREST
from unblur.guidance.defocus import above_least, blur_mask
from unblur.guidance.flow_refocus import load_flow_refocus, refocused_flow
from unblur.models.dabit import Dabit, DabitConfig
from unblur.models.dabit.begin import begin
from unblur.models.dabit.windows import references
from unblur.models.flow_refocus import FlowRefocus
from unblur.ops.propagation import propagate_by
from unblur.ops.wavelet import blur_of_depths
from unblur.training.batches import Batch, at_full_size
from unblur.training.deblur_task import Deblur
from unblur.training.focal_task import alone, check_half, halved, radius_of
from unblur.training.guiding import guided
from unblur.training.losses import charbonnier
from unblur.training.recipe import Recipe

LOSSES = ("charbonnier", "blurred", "clear")
"""Charbonnier distance of what comes out, and, at the input's size, L1 of its blurred and of its
clear pixels. In the paper each has weight 1."""


class Maps(NamedTuple):
    """Of frames (B, T, 3, H, W)."""

    depth: Tensor
    """(B, T, 1, H, W), 0 = near, 1 = far."""
    blur: Tensor
    """(B, T, 1, H, W), 0 = sharp, 1 = most blurred."""
    mask: Tensor
    """(B, T, 1, H, W), 1 where a pixel is blurred, before any is replaced."""


class Seen(NamedTuple):
    """Frames of a clip that a step looks at."""

    window: list[int]
    """Those that are restored, in a row."""
    references: list[int]
    """Those that are only looked at, in their order."""


class TrainDabit(Deblur):
    """DaBiT of any size.

    Args:
        recipe: with `losses` out of `LOSSES`.
        device: where it trains.
        preset: sizes and choices, changed by the recipe's options.
    """

    needs_flow = True
    takes_turns = True

    def __init__(self, recipe: Recipe, device: torch.device, preset: DabitConfig) -> None:
        super().__init__(recipe, device, preset)
        self.needs_depth = self.config.blur == "wavelet"
        if 2 in self.config.scales:
            check_half(recipe)
        if unknown := set(recipe.losses) - set(LOSSES):
            raise ValueError(f"unknown loss {min(unknown)}: use {', '.join(LOSSES)}")

    def network(self) -> nn.Module:
        """DaBiT with `options` on top of its preset; at first a correction changes nothing."""
        net = Dabit(self.config)
        if self.config.residual:
            begin(net)
        return net

    def seen(self, length: int, seed: int | None) -> Seen:
        """A window anywhere in a clip, and references around it.

        Without a seed the middle of the window is frame `length // 2`, at which validation looks.
        """
        size = self.recipe.window or length
        first = length // 2 - size // 2
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            first = int(torch.randint(length - size + 1, (1,), generator=generator))
        count, reach = self.recipe.references, self.config.reach
        far = references(length, first, size, count, reach) if count and reach != 0 else []
        return Seen(list(range(first, first + size)), list(dict.fromkeys(far)))

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Of all frames of the window, at one of the scales that the network gives."""
        scale = self.config.scales[seed % len(self.config.scales)]
        small = halved(batch) if scale == 2 else batch
        maps, seen = self.maps(small, seed), self.seen(batch.blurred.shape[1], seed)
        found = self.found(network, small, maps, seed, scale, seen)
        mask, window = maps.mask[:, seen.window], seen.window
        with torch.autocast(found.device.type, enabled=False):
            return focal_loss(
                found, alone(batch, window), alone(small, window), mask, self.recipe.losses
            )

    def restore(
        self, network: nn.Module, batch: Batch, outputs: list[int], seed: int | None
    ) -> Tensor:
        """Encoded `(B, len(outputs), 3, H, W)`; from half the size where it only enlarges.

        Where the recipe names a window, `outputs` are frames of the one in the middle of the clip.
        """
        scale = min(self.config.scales)
        small = halved(batch) if scale == 2 else batch
        seen = self.seen(batch.blurred.shape[1], None)
        found = self.found(network, small, self.maps(small, seed), seed, scale, seen)
        return found[:, [seen.window.index(t) for t in outputs]]

    def maps(self, batch: Batch, seed: int | None) -> Maps:
        """What the network is given of depth and blur."""
        if self.config.blur == "wavelet":
            return self.maps_by_depth(batch)
        radius = radius_of(batch, self.recipe.radius, seed)
        blur = (radius / BLUREST).clamp(0, 1)
        depth = torch.zeros_like(blur) if self.config.depth == "none" else blur
        if self.config.blur == "none":
            everywhere = torch.ones_like(blur)
            return Maps(depth, everywhere, everywhere)
        return Maps(depth, blur, blur_mask(blur))

    def maps_by_depth(self, batch: Batch) -> Maps:
        """The same by the wavelets at each depth."""
        if batch.depth is None:
            raise UsageError("recipe: the blur map of the paper needs depth: take data: scenes")
        pairs = zip(batch.blurred.float(), batch.depth.float(), strict=True)
        blur = torch.stack([blur_of_depths(frames, depth) for frames, depth in pairs])
        depth = torch.zeros_like(blur) if self.config.depth == "none" else batch.depth
        return Maps(depth, blur, torch.stack([above_least(clip) for clip in blur]))

    def found(
        self,
        network: nn.Module,
        batch: Batch,
        maps: Maps,
        seed: int | None,
        scale: int,
        seen: Seen,
    ) -> Tensor:
        """The frames of the window at a scale; references neither give nor take pixels."""
        window, far = seen
        local = batch.mapped(lambda x: x[:, window], lambda flow: flow[:, window[:-1]])
        refocus = self.recipe.flow == "refocused"
        flows = full_size(guided(local, "dis" if refocus else self.recipe.flow, seed))
        frames, left = local.blurred, maps.mask[:, window]
        if refocus:
            flows = refocused_clips(frames, flows, left)
        if self.config.pixels != "kept":
            frames, left = propagate_by(self.config.pixels, frames, left, *flows)
        frames = torch.cat((frames, batch.blurred[:, far]), 1)
        left = torch.cat((left, maps.mask[:, far]), 1)
        depth, blur = (x[:, [*window, *far]] for x in (maps.depth, maps.blur))
        return network(frames, depth, blur, left, *flows, outputs=len(window), scale=scale).float()


def refocused_clips(
    frames: Tensor,  # (B, T, 3, H, W)
    flows: tuple[Tensor, Tensor],  # (B, T-1, 2, H, W) each
    mask: Tensor,  # (B, T, 1, H, W)
) -> tuple[Tensor, Tensor]:
    """Flows of each clip, corrected where the mask says that it is blurred."""
    network = refocuser(frames.device)
    both = [
        refocused_flow(network, *clip, threshold=0.5, stride=1)
        for clip in zip(frames, *flows, mask, strict=True)
    ]
    forward, backward = (torch.stack(x).to(frames.dtype) for x in zip(*both, strict=True))
    return forward, backward


@cache
def refocuser(device: torch.device) -> FlowRefocus:
    """The network that refocuses flow, loaded once."""
    return load_flow_refocus(device)


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
