"""flow-s: learns where things go from frames that motion has blurred.

The truth is the flow between the middles of the exposures, which is that of the sharp frames, so
blurred and sharp renderings of a clip share it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.errors import UsageError
from unblur.guidance.flow_image import flow_to_rgb
from unblur.metrics import end_point_error
from unblur.models.flow_s import FlowConfig, FlowS
from unblur.schema import changed
from unblur.training.batches import Batch
from unblur.training.image_grid import write_grid
from unblur.training.recipe import Recipe
from unblur.training.source import held_out_clips
from unblur.weights.switches import switches_of

FRAMES = 3
"""Frames of a clip that a step looks at: the features of the middle one serve two pairs."""
BLURRED, SHARP = 0.7, 0.15
"""Shares of clips that are all blurred and all sharp; in the others each frame is either."""
GAMMA = 2.0
"""Clips are brightened or darkened by a power of up to this: videos differ in their curve."""
SMALL = 0.05
"""Mean error, in elements, below which less hardly counts."""
SHOWN = 6
"""Validation clips in the image."""

Flows = tuple[Tensor, Tensor]


class TrainFlow:
    """flow-s on rendered clips."""

    needs_flow = True
    takes_turns = False

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        if recipe.data != "scenes":
            raise UsageError("recipe: flow-s learns from the true flow, take data: scenes")
        self.recipe, self.device = recipe, device
        self.config = changed(FlowConfig(), recipe.options, "options")

    @property
    def switches(self) -> Mapping[str, Any]:
        """Its sizes."""
        return switches_of(self.config)

    def network(self) -> nn.Module:
        """A network that at first mends DIS flow, and no more."""
        return FlowS(self.config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As they are."""
        return state

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Mean logarithm of the end-point errors."""
        shown, truth = drawn(batch, seed)
        found = network(shown, *first_guess(shown))
        with torch.autocast(shown.device.type, enabled=False):
            return log_error(found, truth)

    @cached_property
    def held_out(self) -> list[tuple[Batch, Flows, Flows]]:
        """Rendered clips of textures that no training sees, with DIS flow, blurred and sharp."""
        clips = held_out_clips(self.recipe, self.device, flows=True)
        return [(clip, first_guess(clip.blurred), first_guess(clip.sharp)) for clip in clips]

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Mean end-point errors of DIS and the network on held-out clips, in pixels of the frame.

        `gain` is what the network takes off that of DIS on blurred frames.
        """
        errors: dict[str, list[float]] = {}
        rows = []
        for clip, guess, guess_sharp in self.held_out:
            truth = true_flows(clip)
            found = network(clip.blurred, *guess)
            found_sharp = network(clip.sharp, *guess_sharp)
            for name, flows in {
                "dis": guess,
                "blurred": found,
                "dis_sharp": guess_sharp,
                "sharp": found_sharp,
            }.items():
                errors.setdefault(name, []).append(4 * mean_error(flows, truth))
            rows.append(image_row(clip, guess, found, truth))
        write_grid(folder / "validation.png", rows[:SHOWN])
        means = {name: sum(x) / len(x) for name, x in errors.items()}
        return {
            "gain": means["dis"] - means["blurred"],
            "gain_sharp": means["dis_sharp"] - means["sharp"],
            **means,
        }


def first_guess(frames: Tensor) -> Flows:
    """DIS flow of clips `(B, T, 3, H, W)`, each `(B, T-1, 2, h, w)`."""
    from unblur.guidance.flow import dis_flow

    both = [dis_flow(clip) for clip in frames]
    forward, backward = (torch.stack(x).to(frames.device) for x in zip(*both, strict=True))
    return forward, backward


def true_flows(batch: Batch) -> Flows:
    """The true flow both ways."""
    if batch.flow_forward is None or batch.flow_backward is None:
        raise UsageError("recipe: flow-s needs data that brings the true flow")
    return batch.flow_forward, batch.flow_backward


def drawn(batch: Batch, seed: int) -> tuple[Tensor, Flows]:
    """A few neighbouring frames of each clip, blurred or sharp, dark or bright, and their flows."""
    generator = torch.Generator().manual_seed(seed)
    B, T = batch.blurred.shape[:2]
    first = int(torch.randint(max(1, T - FRAMES + 1), (1,), generator=generator))
    part = slice(first, first + FRAMES)
    blurred, sharp = batch.blurred[:, part], batch.sharp[:, part]
    flows = slice(first, first + blurred.shape[1] - 1)
    forward, backward = true_flows(batch)
    kind, gamma = torch.rand(2, B, 1, generator=generator)
    either = torch.rand(B, blurred.shape[1], generator=generator) < 0.5
    take_blurred = (kind < BLURRED) | ((kind >= BLURRED + SHARP) & either)
    power = torch.exp((2 * gamma - 1) * math.log(GAMMA))
    at = (..., None, None, None)
    frames = torch.where(take_blurred.to(blurred.device)[at], blurred, sharp)
    frames = frames.clamp(0, 1) ** power.to(blurred.device)[at]
    return frames, (forward[:, flows], backward[:, flows])


def log_error(found: Flows, truth: Flows) -> Tensor:
    """Mean logarithm of the end-point error of each pair of frames.

    So a tenth less counts the same where flow is easy and where it is wholly wrong; of plain errors
    the few wrong pairs would be all that is learned from.
    """
    both = [end_point_error(a, b) for a, b in zip(found, truth, strict=True)]  # (B, T-1) each
    return (torch.stack(both) / SMALL).log1p().mean()


def mean_error(flows: Flows, truth: Flows) -> float:
    """Mean end-point error of both directions, in elements."""
    both = [end_point_error(a.float(), b).mean() for a, b in zip(flows, truth, strict=True)]
    return float(sum(both) / 2)


def image_row(
    clip: Batch, given: Flows, found: Flows, truth: Flows, mask: Tensor | None = None
) -> list[Tensor]:
    """A blurred frame, its mask where there is one, and three flows: given, found, true."""
    longest = float(truth[0][0, 0].norm(dim=0).max())
    size = clip.blurred.shape[-2:]
    flows = [flow_to_rgb(x[0][0, :1], longest) for x in (given, found, truth)]
    masks = [] if mask is None else [mask[0, :1].expand(-1, 3, -1, -1)]
    return [clip.blurred[0, 0], *(F.interpolate(x.float(), size)[0] for x in (*masks, *flows))]
