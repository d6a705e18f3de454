"""Flow refocusing: learns where things go in regions that a lens has blurred.

The network sees the flow of the blurred frames and where they are blurred; the truth is the flow of
the scene, which blur of focus leaves as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.errors import UsageError
from unblur.guidance.flow_refocus import mask_for
from unblur.models.flow_refocus import SMALL, FlowRefocus
from unblur.schema import changed
from unblur.training.batches import Batch, at_full_size
from unblur.training.flow_losses import (
    COMBINED,
    edge,
    edges_of,
    log_error,
    region,
    roughness,
    ternary,
)
from unblur.training.flow_task import Flows, first_guess, image_row, true_flows
from unblur.training.image_grid import write_grid
from unblur.training.losses import charbonnier
from unblur.training.recipe import Recipe
from unblur.training.source import held_out_clips
from unblur.weights.switches import switches_of

GRID = 4
"""Pixels per element of the flow that clips bring."""
BLURRED = 1.0
"""Radius of the circle of confusion, in pixels, from which a pixel counts as blurred."""
JUDGED = 2.0
"""Radius from which errors are measured in validation."""
DOUBT = 0.6
"""Spread of the logarithm by which an estimated radius may be wrong, the same over a region."""
EVERYWHERE = 0.1
"""Share of clips that are called blurred everywhere."""
SHOWN = 6
"""Validation clips in the image."""

RegionLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


class TrainFlowRefocus:
    """Flow refocusing on rendered clips of a lens out of focus."""

    needs_flow = True
    takes_turns = False
    guess = staticmethod(first_guess)
    """What clips of a pool are to bring beside the true flow."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        if recipe.data != "scenes":
            raise UsageError("recipe: flow-refocus learns from the true flow, take data: scenes")
        self.recipe, self.device = recipe, device
        self.config = changed(SMALL, recipe.options, "options")
        if self.config.stride not in (1, GRID):
            raise UsageError(f"recipe: options: stride is {self.config.stride}, take 1 or {GRID}")
        unknown = sorted(set(recipe.losses) - set(LOSSES))
        if unknown:
            raise UsageError(f"unknown loss {unknown[0]}: use {', '.join(LOSSES)}")
        if "edge" in recipe.losses and not self.config.edges:
            raise UsageError("recipe: the loss edge needs options: {edges: true}")

    @property
    def switches(self) -> Mapping[str, Any]:
        """Its sizes and choices."""
        return switches_of(self.config)

    def network(self) -> nn.Module:
        """A network that at first gives back the flow, where it is a correction."""
        return FlowRefocus(self.config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As they are."""
        return state

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Weighted losses of both directions."""
        mask = rough_mask(radius_of(batch), seed, self.config.stride)
        given = self.scaled(self.guess_of(batch))
        found = network(*given, batch.blurred, mask, merge=False)
        with torch.autocast(self.device.type, enabled=False):
            own = found[0].float(), found[1].float()
            truth = self.scaled(true_flows(batch))
            context = Context(network, batch.sharp, mask, given, self.config.stride)
            parts = [
                w * LOSSES[name](own, truth, context) for name, w in self.recipe.losses.items()
            ]
            return torch.stack(parts).sum()

    def guess_of(self, batch: Batch) -> Flows:
        """The flow of the blurred frames; clips of a pool bring it."""
        if batch.guess_forward is None or batch.guess_backward is None:
            return self.guess(batch.blurred)
        return batch.guess_forward, batch.guess_backward

    def scaled(self, flows: Flows) -> Flows:
        """Flows of clips on the network's grid."""
        if self.config.stride == GRID:
            return flows
        forward, backward = map(at_full_size, flows)
        return forward, backward

    @cached_property
    def held_out(self) -> list[tuple[Batch, Flows]]:
        """Rendered clips of textures that no training sees, with DIS flow."""
        clips = held_out_clips(self.recipe, self.device, flows=True)
        return [(clip, first_guess(clip.blurred)) for clip in clips]

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Mean end-point errors in blurred regions of held-out clips, in pixels of the frame.

        `gain` is what the network takes off that of DIS.
        """
        errors: dict[str, list[Tensor]] = {"dis": [], "refocused": []}
        rows = []
        s = self.config.stride
        for clip, guess in self.held_out:
            given, truth = self.scaled(guess), self.scaled(true_flows(clip))
            mask = mask_for(radius_of(clip), BLURRED, s)
            found = network(*given, clip.blurred, mask)
            judged = mask_for(radius_of(clip), JUDGED, s)
            places = judged[:, :-1], judged[:, 1:]
            for name, flows in {"dis": given, "refocused": found}.items():
                for flow, true, place in zip(flows, truth, places, strict=True):
                    errors[name].append(s * (flow.float() - true).norm(dim=2)[place[:, :, 0] > 0])
            rows.append(image_row(clip, given, found, truth, mask))
        write_grid(folder / "validation.png", rows[:SHOWN])
        means = {name: float(torch.cat(x).mean()) for name, x in errors.items()}
        return {"gain": means["dis"] - means["refocused"], **means}


@dataclass(frozen=True)
class Context:
    """What losses need beside the flows that were found and the true ones."""

    network: nn.Module
    sharp: Tensor
    """(B, T, 3, H, W)"""
    mask: Tensor
    """(B, T, 1, h, w), 1 where the network is to correct."""
    given: Flows
    stride: int

    def combined(self, found: Flows) -> list[Tensor]:
        """What is used: the network's flows where the mask is 1, else those that were given."""
        masks = self.mask[:, :-1], self.mask[:, 1:]
        return [x * m + flow * (1 - m) for x, flow, m in zip(found, self.given, masks, strict=True)]


def corrected(found: Flows, truth: Flows, context: Context) -> Tensor:
    """`log_error` of what the network is to correct."""
    return both(log_error, found, truth, context.mask) / 2


def blurred(found: Flows, truth: Flows, context: Context) -> Tensor:
    """Absolute difference where frames are blurred."""
    return both(region, found, truth, context.mask)


def other(found: Flows, truth: Flows, context: Context) -> Tensor:
    """Absolute difference where they are sharp."""
    return both(region, found, truth, 1 - context.mask)


def both(loss: RegionLoss, found: Flows, truth: Flows, where: Tensor) -> Tensor:
    """Sum of a loss over both directions; `where` is of the frames, (B, T, 1, h, w)."""
    forward = loss(found[0], truth[0], where[:, :-1])
    return forward + loss(found[1], truth[1], where[:, 1:])


def plain(found: Flows, truth: Flows, context: Context) -> Tensor:
    """Charbonnier difference of what is used."""
    pairs = zip(context.combined(found), truth, strict=True)
    return torch.stack([charbonnier(x, true) for x, true in pairs]).sum()


def smooth(found: Flows, truth: Flows, context: Context) -> Tensor:
    """`roughness` of both directions."""
    return roughness(found[0]) + roughness(found[1])


def warped(found: Flows, truth: Flows, context: Context) -> Tensor:
    """`ternary` of the sharp frames along the flows, where the network is to correct."""
    small = F.avg_pool2d(context.sharp.flatten(0, 1), context.stride, ceil_mode=True)
    frames = small.unflatten(0, context.sharp.shape[:2])
    ends = (frames[:, :-1], frames[:, 1:])
    masks = context.mask[:, :-1], context.mask[:, 1:]
    total = context.mask.new_zeros(())
    for flow, (here, there), mask in zip(
        context.combined(found), (ends, ends[::-1]), masks, strict=True
    ):
        total = total + ternary(*(x.flatten(0, 1) for x in (flow, here, there, mask)))
    return total


def edges(found: Flows, truth: Flows, context: Context) -> Tensor:
    """`edge` of what the network's edge layers see in its flows, and in those that are used."""
    network = getattr(context.network, "module", context.network)  # several processes wrap it
    if not isinstance(network, FlowRefocus) or network.edges is None:
        raise ValueError("the network has no edge layers")
    total = context.mask.new_zeros(())
    for own, used, true in zip(found, context.combined(found), truth, strict=True):
        wanted = edges_of(true.flatten(0, 1))
        total = total + edge(network.edges(own.flatten(0, 1)), wanted)
        total = total + COMBINED * edge(network.edges(used.flatten(0, 1)), wanted)
    return total


LOSSES: Mapping[str, Callable[[Flows, Flows, Context], Tensor]] = {
    "corrected": corrected,
    "charbonnier": plain,
    "blurred": blurred,
    "other": other,
    "smooth": smooth,
    "ternary": warped,
    "edge": edges,
}
"""`corrected` is ours. Those from `blurred` on trained the published network, though its paper does
not name them: .25 of `blurred`, `other` and `smooth`, .01 of `ternary`, 1 of `edge`."""


def radius_of(batch: Batch) -> Tensor:
    """The true radius of the circle of confusion."""
    if batch.radius is None:
        raise UsageError("recipe: flow-refocus needs the true blur: take scenes with mode: focus")
    return batch.radius


def rough_mask(radius: Tensor, seed: int, stride: int) -> Tensor:
    """Where a clip is blurred, as wrong as an estimate from the frames would be.

    The radius is off by a smooth factor, and the mask grown by up to two elements.

    Args:
        radius: (B, T, 1, H, W) true radius in pixels.
        seed: of the errors.
        stride: pixels per element.

    Returns:
        (B, T, 1, h, w), 0 or 1.
    """
    generator = torch.Generator().manual_seed(seed)
    clips, H, W = len(radius), *radius.shape[-2:]
    coarse = torch.randn(clips, 1, H // 32 + 2, W // 32 + 2, generator=generator)
    factor = (DOUBT * F.interpolate(coarse, (H, W), mode="bilinear")).exp()  # (B, 1, H, W)
    mask = mask_for(radius * factor[:, None].to(radius), BLURRED, stride)
    grown, everywhere = torch.rand(2, clips, generator=generator)
    grown_clips = []
    for clip, size, whole in zip(mask, grown.tolist(), everywhere.tolist(), strict=True):
        reach = int(3 * size)
        clip = F.max_pool2d(clip, 2 * reach + 1, 1, reach)
        grown_clips.append(torch.ones_like(clip) if whole < EVERYWHERE else clip)
    return torch.stack(grown_clips)
