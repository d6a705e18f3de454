"""Frames of a shot as they come, with their maps, and what a window takes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from unblur.engine.held import Held
from unblur.ops.shots import FrameLike
from unblur.restorers.base import Priors, Window

P = TypeVar("P", bound=FrameLike)


class Focus(Protocol):
    """Finds depth and blur map of the frames of a video, each once and in order."""

    def __call__(self, image: Any, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and blur map `(1, 1, H, W)` of an image whose RGB in [0, 1] is `(1, 3, H, W)`."""
        ...

    def restart(self) -> None:
        """The next frame is the first of a shot."""
        ...


class Arrivals(Generic[P]):
    """Frames of a shot that are fetched when they are needed, with their maps.

    Args:
        source: the frames, those of later shots may follow.
        held: where they wait.
        focus: where maps come from.
        start: number of the shot's first in `held`.
        came: number of the first that comes, where not all of the shot do.
    """

    def __init__(
        self,
        source: Iterator[P],
        held: Held[P],
        focus: Focus | None,
        start: int = 0,
        came: int | None = None,
    ) -> None:
        self.source, self.held, self.focus = source, held, focus
        self.start, self.end = start, start if came is None else came
        if focus is not None:
            focus.restart()

    def reach(self, index: int) -> bool:
        """Fetches frames up to that of the shot; False where they end before it."""
        while self.end <= self.start + index:
            frame = next(self.source, None)
            if frame is None:
                return False
            maps = None
            if self.focus is not None:
                maps = self.focus(frame, frame.rgb()[None].clamp(0, 1))
            self.held.put(self.end, frame, maps)
            self.end += 1
        return True


def gathered(held: Held[P], start: int, window: Window) -> tuple[Tensor, Priors | None]:
    """Images `(T, 3, H, W)` of a window whose shot begins at `start`, and what else is known."""
    images, depths, blurs = [], [], []
    for index in window.inputs:
        frame, maps = held.get(start + index)
        images.append(frame.rgb())
        if maps is not None:
            depths.append(maps[0].float())
            blurs.append(maps[1].float())
    if not depths:
        return torch.stack(images), None
    return torch.stack(images), Priors(window.inputs, torch.cat(depths), torch.cat(blurs))
