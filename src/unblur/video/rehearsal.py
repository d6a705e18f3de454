"""What of a source an output can hold, found before the first frame is computed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

from unblur.errors import UnblurWarning


class Parts(NamedTuple):
    """What of the source is written."""

    left_out: tuple[int, ...] = ()
    """Streams that the container refuses."""
    timecode: bool = True


class Outcome(NamedTuple):
    """What came of an attempt."""

    streams: tuple[int, ...]
    """Indices of the streams that were copied."""
    error: Exception | None


def rehearse(attempt: Callable[[Parts], Outcome]) -> tuple[Parts, Exception | None]:
    """Finds the most that can be written.

    Containers refuse some streams only with their last byte, after all the work; so header, a
    frame, a packet of each stream and trailer are tried before.

    Args:
        attempt: writes all of that but what is left out.

    Returns:
        What can be written, and the error where not even the frames alone can.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)
        streams, error = attempt(Parts())
        if error is None:
            return Parts(), None
        for timecode in (True, False):
            if attempt(Parts(streams, timecode)).error is None:
                refused = [each for each in streams if _refused(attempt, each, streams, timecode)]
                return Parts(tuple(refused), timecode), None
    return Parts(), error


def _refused(
    attempt: Callable[[Parts], Outcome], one: int, streams: tuple[int, ...], timecode: bool
) -> bool:
    """Whether it is this stream, alone with the frames, that cannot be written."""
    others = tuple(each for each in streams if each != one)
    return attempt(Parts(others, timecode)).error is not None
