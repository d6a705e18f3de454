"""What a suite gives: a blurred clip, its truth, and what is known of the blur."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Blur:
    """The exact blur of the scored frames: S of them, L layers, N moments of an exposure.

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
    """(T, 3, H, W)"""
    scored: tuple[int, ...]
    """Frames that count; methods may use all of them to restore these."""
    blur: Blur | None = None
    """None where nobody knows it."""
    facts: dict[str, float] = field(default_factory=dict)
    """Figures of the blur, such as its mean extent in pixels."""

    @property
    def input(self) -> Tensor:
        """Scored frames as they came, (S, 3, H, W)."""
        return self.blurred[list(self.scored)]

    @property
    def truth(self) -> Tensor:
        """Scored frames as they should be, (S, 3, H, W)."""
        return self.sharp[list(self.scored)]
