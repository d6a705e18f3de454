"""What a suite gives: a blurred clip, its truth, and what is known of the blur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Blur:
    """The exact blur of the frames that are wanted: S of them, L layers, N moments of an exposure.

    Places have their origin in the middle of the frame, x to the right, y down, in pixels.
    """

    paths: Tensor
    """(S, L, N, 3, 3) homographies: from a place in the sharp frame to where it is at moment n."""
    radius: Tensor
    """(S, L) radius of the circle of confusion in pixels."""
    share: Tensor
    """(S, L, H, W) part of each layer in each pixel of the sharp frame; sums to 1."""


@dataclass(frozen=True)
class Clip:
    """A blurred clip and its truth, encoded RGB in [0, 1]."""

    name: str
    blurred: Tensor
    """(T, 3, H, W)"""
    sharp: Tensor
    """(T, 3, scale * H, scale * W)"""
    scored: tuple[int, ...]
    """Frames that count; methods may use all of them to restore these."""
    blur: Blur | None = None
    """Of the frames that are wanted; None where it is unknown."""
    facts: dict[str, float] = field(default_factory=dict)
    """Figures of the blur, such as its mean extent in pixels."""
    watched: tuple[int, ...] = ()
    """Frames in a row whose motion is compared with the truth's; none: motion is not looked at."""
    depth: Tensor | None = None
    """(T, 1, H, W) that the blur was made with, 0 = near, 1 = far; None where it is unknown."""
    radius: Tensor | None = None
    """(T, 1, H, W) of the circle of confusion, pixels of the input; None where it is unknown."""
    quantizers: Sequence[Tensor | None] | None = None
    """Of each frame, as `ops.trust.Encoded` has them; None where no file holds the clip."""

    flow: tuple[Tensor, Tensor] | None = None
    """True flow between the middles of exposures, (T - 1, 2, H, W) pixels of the input each: on
    frame t to t + 1, and on t + 1 back to t; None where it was not rendered."""
    visible: tuple[Tensor, Tensor] | None = None
    """(T - 1, 1, H, W) each: 1 where that flow ends at the same point of the scene."""

    @property
    def scale(self) -> int:
        """Size of the truth in multiples of the input's."""
        return self.sharp.shape[-1] // self.blurred.shape[-1]

    @property
    def wanted(self) -> tuple[int, ...]:
        """Frames that a method has to give, those scored and those watched, W of them."""
        return tuple(sorted({*self.scored, *self.watched}))

    @property
    def input(self) -> Tensor:
        """Wanted frames as they came, (W, 3, H, W)."""
        return self.blurred[list(self.wanted)]

    @property
    def truth(self) -> Tensor:
        """Wanted frames as they should be, (W, 3, scale * H, scale * W)."""
        return self.sharp[list(self.wanted)]
