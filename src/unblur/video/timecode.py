"""Points in a video as people write them: `2.5s`, `f10`, `0:01:30`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from unblur.errors import UsageError

FORMS = "2.5s or 2.5 (seconds), f10 (frame, from 0), mm:ss or hh:mm:ss.mmm"
"""The accepted forms, for messages and help."""


@dataclass(frozen=True)
class Time:
    """A point in a video: either seconds after its first frame, or the index of a frame."""

    seconds: Fraction | None = None
    frame: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.frame is None):
            raise ValueError("a Time is either seconds or a frame")

    def reached(self, index: int, seconds: Fraction) -> bool:
        """Whether a frame lies at this point or after it.

        Args:
            index: place of the frame in the file, from 0.
            seconds: its time, counted from the first frame's.
        """
        if self.frame is not None:
            return index >= self.frame
        return self.seconds is not None and seconds >= self.seconds

    def __str__(self) -> str:
        return f"f{self.frame}" if self.seconds is None else f"{float(self.seconds):g}s"


def parse_time(text: str | Time) -> Time:
    """Reads a point in a video; a `Time` is returned as it is.

    Raises:
        UsageError: it has none of the accepted forms.

    >>> parse_time("1:02.5")
    Time(seconds=Fraction(125, 2), frame=None)
    >>> parse_time("f10")
    Time(seconds=None, frame=10)
    """
    if isinstance(text, Time):
        return text
    plain = text.strip()
    if match := re.fullmatch(r"f([0-9]{1,12})", plain):
        return Time(frame=int(match[1]))
    if match := re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})s?", plain):
        return Time(seconds=Fraction(match[1]))
    if match := re.fullmatch(
        r"(?:([0-9]{1,9}):)?([0-9]{1,9}):([0-5]?[0-9](?:\.[0-9]{1,12})?)", plain
    ):
        hours, minutes, seconds = match.groups()
        if hours is None or int(minutes) < 60:
            whole = int(hours or 0) * 3600 + int(minutes) * 60
            return Time(seconds=whole + Fraction(seconds))
    raise UsageError(f"{text!r} is not a time: write {FORMS}")


def parse_keyframe(text: str) -> tuple[str, Time]:
    """Reads `VALUE@TIME`: the value as it stands, and its time, 0 where none is given.

    Raises:
        UsageError: the time has none of the accepted forms.

    >>> parse_keyframe("near@f10")
    ('near', Time(seconds=None, frame=10))
    """
    value, _, when = text.partition("@")
    return value, parse_time(when or "0")
