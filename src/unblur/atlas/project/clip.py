"""A clip as sharp layers: the data, and how frames are named by times."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from unblur.atlas.project.maps import Maps
from unblur.errors import UsageError
from unblur.video.timecode import Time, parse_time

Light = Literal["linear", "encoded"]
ROUNDED = Fraction(1, 1000)
"""Seconds by which a time that was rounded may lie past the end."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


@dataclass(frozen=True, eq=False)
class Layer:
    """A sharp image, and where each frame shows it."""

    name: str
    """`foreground`, `background`, or `layer-1` and so on: small letters, digits and hyphens."""
    texture: Tensor
    """(3, Ha, Wa) the atlas: encoded RGB in [0, 1]."""
    seen: Tensor
    """(1, Ha, Wa) how much of a point the frame shows that shows it best, 0 to 1."""
    uv: Tensor | Maps
    """(T, 2, H, W) place in the atlas that a pixel shows, in pixels of the atlas whose centres are
    whole numbers from 0; channel 0 is x. May lie outside: there the atlas goes on as it ends."""
    alpha: Tensor | Maps
    """(T, 1, H, W) opacity of this layer, whatever lies before it; 1 everywhere in the last."""
    radius: Tensor | Maps | None = None
    """(T, 1, H, W) of this layer's circle of confusion in pixels of the frame, as the lens of
    `unblur.optics.disk_blur` takes it; None: sharp."""


@dataclass(frozen=True, eq=False)
class LayeredClip:
    """A clip taken apart. In memory, or a folder whose maps are read as they are needed."""

    layers: tuple[Layer, ...]
    """From front to back."""
    frames: Tensor | Maps
    """(T, 3, H, W) the clip as it was given to the fit: encoded RGB in [0, 1]."""
    times: tuple[Fraction, ...]
    """Seconds of each frame after the first."""
    rate: Fraction | None = None
    """Frames per second."""
    beta: float | None = None
    """Rim of the lens's disk: see `unblur.optics.disk_blur`."""
    light: Light = "linear"
    """Where blur was added up in the fit: `linear` light or the `encoded` signal."""
    transfer: str | None = None
    """FFmpeg's name of the clip's transfer function; None is sRGB."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the fit wants to be remembered, as JSON can hold it."""
    folder: Path | None = None
    """Where it lies; None while only in memory."""

    def __post_init__(self) -> None:
        check(self)

    def __len__(self) -> int:
        return self.frames.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.frames.shape[-2], self.frames.shape[-1]

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            UsageError: there is none.
        """
        return self.layers[self.place(name)]

    def place(self, name: str) -> int:
        """Number of the layer of that name, from the front.

        Raises:
            UsageError: there is none.
        """
        for number, layer in enumerate(self.layers):
            if layer.name == name:
                return number
        known = ", ".join(layer.name for layer in self.layers)
        raise UsageError(f"there is no layer called {name!r}: take one of {known}")

    def frame_at(self, time: Time | str | int) -> int:
        """Number of the first frame at or after a time such as `f10` or `2.5s`; numbers pass.

        Raises:
            UsageError: it lies past the end.
        """
        if isinstance(time, int):
            time = Time(frame=time)
        when = parse_time(time)
        seconds = when.seconds or Fraction(0)
        place = bisect_left(self.times, seconds) if when.frame is None else when.frame
        if not 0 <= place < len(self):
            raise UsageError(
                f"{time if isinstance(time, str) else when} lies past the end: the project has"
                f" {len(self)} frames, f0 to f{len(self) - 1}, {float(self.times[-1]):.3f} s"
            )
        return place

    def frames_between(
        self, start: Time | str | None = None, end: Time | str | None = None
    ) -> list[int]:
        """Numbers of the frames from `start` up to `end`, which may be the end of the clip.

        Raises:
            UsageError: they lie past the end, or hold no frame between them.
        """
        first = 0 if start is None else self.frame_at(start)
        last = len(self)
        if end is not None:
            when = parse_time(end)
            is_end = (
                when.frame == last
                if when.frame is not None
                else self.seconds_of(when) > self.times[-1]
            )
            if not is_end:
                last = self.frame_at(when)
        if last <= first:
            raise UsageError(f"--end {end} is not after --start {start or 'f0'}")
        return list(range(first, last))

    def seconds_of(self, time: Time) -> float:
        """Seconds after the first frame; the end of the last frame is the latest.

        Raises:
            UsageError: it lies past the end.
        """
        if time.frame is not None:
            return float(self.times[self.frame_at(time)])
        seconds = time.seconds or Fraction(0)
        end = self.times[-1] + (1 / self.rate if self.rate else 0)
        if seconds > end + ROUNDED:
            raise UsageError(f"{time} lies past the end: the project is {float(end):.3f} s long")
        return float(seconds)


def check(clip: LayeredClip) -> None:
    """ValueError where shapes and names do not fit each other."""
    T, C, H, W = clip.frames.shape
    names = [layer.name for layer in clip.layers]
    if not names or len(set(names)) < len(names) or not all(map(NAME.fullmatch, names)):
        raise ValueError(f"layers need names of small letters, each another: {names}")
    if T < 1 or C != 3 or len(clip.times) != T:
        raise ValueError(f"{T} frames of {C} channels and {len(clip.times)} times")
    for layer in clip.layers:
        expected: list[tuple[Tensor | Maps | None, tuple[int, ...]]] = [
            (layer.texture, (3, *layer.texture.shape[-2:])),
            (layer.seen, (1, *layer.texture.shape[-2:])),
            (layer.uv, (T, 2, H, W)),
            (layer.alpha, (T, 1, H, W)),
            (layer.radius, (T, 1, H, W)),
        ]
        for value, shape in expected:
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{layer.name}: {tuple(value.shape)} where {shape} is needed")
