"""What restores a clip: functions from a clip to the frames it wants. Models are in `models`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from unblur.evaluation.clip import Clip
from unblur.evaluation.wiener import restore_known_blur
from unblur.ops.gaussian import gaussian_blur
from unblur.ops.resize import bicubic

UNSHARP_SIGMA = 1.0
UNSHARP_AMOUNT = 0.5
"""Chosen on scenes of other seeds: docs/evaluation.md."""
THEN_BICUBIC = " + bicubic"
"""Behind the name of a method whose frames are enlarged."""


def nothing_missing(clip: Clip) -> str | None:
    """What most methods lack."""
    return None


@dataclass(frozen=True)
class Method:
    """A row of the table of methods."""

    name: str
    restore: Callable[[Clip], Tensor]
    """Gives the frames that are wanted, (W, 3, H, W), encoded; `scale` times that size."""
    whole_clip: bool = False
    """True where all frames are restored to get at the wanted ones."""
    misses: Callable[[Clip], str | None] = nothing_missing
    """What a clip lacks for this method, in words; None where it can be had."""
    warm_up: bool = False
    """True where the first run takes longer than others."""
    parameters: int | None = None
    """Of its networks."""
    ablated: bool = False
    """True for a model that lacks a part."""

    def timed(self, clip: Clip) -> tuple[Tensor, float]:
        """The wanted frames, and seconds per frame that was restored."""
        began = time.perf_counter()
        restored = self.restore(clip)
        frames = len(clip.blurred) if self.whole_clip else len(clip.wanted)
        return restored, (time.perf_counter() - began) / frames


def untouched(clip: Clip) -> Tensor:
    """The input."""
    return clip.input


def unsharp_mask(clip: Clip) -> Tensor:
    """Adds a part of what a Gaussian blur takes away, on encoded values."""
    frames = clip.input
    return (frames + UNSHARP_AMOUNT * (frames - gaussian_blur(frames, UNSHARP_SIGMA))).clamp(0, 1)


def wiener(clip: Clip) -> Tensor:
    """Wiener's filter with the true blur of each layer."""
    if clip.blur is None:
        raise ValueError(f"{clip.name}: Wiener's filter needs the true blur")
    return restore_known_blur(clip.input, clip.blur)


def unknown_blur(clip: Clip) -> str | None:
    """Why Wiener's filter cannot be had for a clip."""
    if clip.scale != 1:
        return "it gives frames of the input's size only"
    return "the true blur of real frames is not known" if clip.blur is None else None


def enlarge(
    frames: Tensor,  # (W, 3, H, W)
    scale: int,
) -> Tensor:  # (W, 3, scale * H, scale * W)
    """Bicubic, within [0, 1]."""
    return bicubic(frames, [scale * side for side in frames.shape[-2:]])


def classical(scale: int) -> tuple[Method, ...]:
    """The methods that need no network. The first is what all others are measured against."""
    if scale == 1:
        return (
            Method("input", untouched),
            Method("unsharp", unsharp_mask),
            Method("wiener", wiener, misses=unknown_blur),
        )
    return (
        Method("bicubic", lambda clip: enlarge(clip.input, scale)),
        Method("unsharp" + THEN_BICUBIC, lambda clip: enlarge(unsharp_mask(clip), scale)),
        Method("wiener", wiener, misses=unknown_blur),
    )
