"""What a job would cost here and now, by short runs of its models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from unblur.engine.estimate import SMALL_SIDE, Cost, cost_per_frame, side_for
from unblur.engine.fusion import choose_fusion
from unblur.engine.plan import bytes_needed, choose_fit
from unblur.ops import memory
from unblur.ops.device import choose_device
from unblur.restorers.registry import (
    NOTHING,
    RESTORED_BY,
    Kind,
    Quality,
    choose_quality,
    load_model,
)
from unblur.video.codecs import CODECS
from unblur.video.kept import frame_bytes


@dataclass(frozen=True)
class Estimate:
    """What a quality costs on this machine."""

    quality: Literal["fast", "best"] | None
    """None where the models were named."""
    model: str
    """Or models, of the shots that are blurred."""
    seconds: float
    """For all of these frames."""
    memory: int
    """Bytes beside the program itself, at its peak, with an encoder of H.264."""
    frames: int
    """That are restored; sharp ones pass."""


def models_for(kinds: Mapping[Kind, int], quality: Literal["fast", "best"]) -> dict[str, int]:
    """Frames by the model that restores them, of frames by the kind of blur."""
    parts: dict[str, int] = {}
    for kind, frames in kinds.items():
        name = RESTORED_BY[kind][quality == "best"]
        if name != NOTHING and frames:
            parts[name] = parts.get(name, 0) + frames
    return parts


def cost_of(
    parts: Mapping[str, int],
    size: tuple[int, int],
    device: str,
    limit: int | None = None,
    measured: Callable[[], None] = lambda: None,
) -> Estimate:
    """Time and memory of restoring frames, each model measured with what fuses its frames.

    Args:
        parts: frames by the model that restores them; at least one model.
        size: height and width of the frames.
        device: as `choose_device` takes it.
        limit: bytes that the process may use at its peak.
        measured: called after each model.

    Raises:
        WeightsError: those of a model are not there.
        ResourceError: memory is not enough.
    """
    where, frames = choose_device(device), sum(parts.values())
    side = side_for(frames, *size) or SMALL_SIDE
    encoder = CODECS["h264"].encoder_bytes(frame_bytes("yuv420p", *size[::-1]), frames)
    beside = encoder if where.type == "cpu" else 0
    seconds, peak = 0.0, 0
    for name, many in parts.items():
        cost, need = _cost(name, size, side, where, limit, beside)
        seconds, peak = seconds + many * sum(cost), max(peak, need)
        measured()
    return Estimate(None, " and ".join(parts), seconds, peak + beside, frames)


def cost_for(
    kinds: Mapping[Kind, int],
    quality: Literal["fast", "best"],
    size: tuple[int, int],
    device: str,
    limit: int | None = None,
    measured: Callable[[], None] = lambda: None,
) -> Estimate:
    """The same of frames by the kind of blur, those that are not sharp."""
    found = cost_of(models_for(kinds, quality), size, device, limit, measured)
    return dataclasses.replace(found, quality=quality)


def cost_as_chosen(
    kinds: Mapping[Kind, int],
    quality: Quality,
    size: tuple[int, int],
    device: str,
    limit: int | None = None,
) -> Estimate:
    """The same with the quality that `restore` would choose."""
    first: Literal["fast", "best"] = "best" if quality == "auto" else quality
    found = cost_for(kinds, first, size, device, limit)
    if choose_quality(quality, lambda: found.seconds) == first:
        return found
    return cost_for(kinds, "fast", size, device, limit)


def _cost(
    name: str, size: tuple[int, int], side: int, where: torch.device, limit: int | None, beside: int
) -> tuple[Cost, int]:
    """Seconds a frame takes, and bytes at the peak, where others are for something else."""
    restorer = load_model(name, device=str(where))
    fusion = choose_fusion("auto", restorer.info, where)
    room = memory.budget(where, limit) - beside
    fit = choose_fit(restorer, *size, room, limit=limit, fusion=fusion)
    cost = cost_per_frame(restorer, *size, side, fusion)
    return cost, bytes_needed(restorer, fit, *size, fusion)
