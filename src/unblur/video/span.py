"""From `--start` and `--end` to the timestamps of the frames in between."""

from __future__ import annotations

import warnings
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import av

from unblur.errors import UnblurWarning, UsageError
from unblur.video.clock import Ticking, clock_of
from unblur.video.decode import Damage, images
from unblur.video.packets import shows_image
from unblur.video.probe import MAX_PIXELS, Opened, no_frames, open_media
from unblur.video.ticks import possible
from unblur.video.timecode import Time

PAST_END = "--end {end} lies past the end, all frames up to there are taken: {length}"
_UNSURE_PACKETS = ("mpeg4", "mpeg2video")
"""Codecs whose packets are not one shown frame each."""


@dataclass(frozen=True)
class Span:
    """Frames of a file from the place `first` up to `last`, which is not included."""

    first: int
    last: int
    timeline: array[int]
    """The timestamps of all frames of the file."""

    @property
    def count(self) -> int:
        """Number of frames."""
        return self.last - self.first

    @property
    def start(self) -> int:
        """Presentation timestamp of the first frame."""
        return self.timeline[self.first]

    @property
    def end(self) -> int | None:
        """Presentation timestamp of the first frame after the range; None: there is none."""
        return self.timeline[self.last] if self.last < len(self.timeline) else None

    def index(self, pts: int, before: int = -1) -> int:
        """Place of a frame in the file, from 0.

        Args:
            pts: its presentation timestamp, which several frames may have.
            before: place of the frame that came before it.
        """
        return max(bisect_left(self.timeline, pts), before + 1)


def resolve(
    path: Path,
    start: Time | None,
    end: Time | None,
    max_pixels: int = MAX_PIXELS,
    stream: int | None = None,
) -> Span:
    """Reads the timestamps of all frames, without decoding them where that will do.

    Times count from the first frame.

    Raises:
        UsageError: the range is empty or begins past the end.

    Warns:
        UnblurWarning: it reaches past the end, where it stops.
    """
    status = path.stat()
    version = status.st_mtime_ns, status.st_size
    timeline, stop, time_base = _timeline(path, max_pixels, stream, version)
    return _span(path, timeline, stop, time_base, start, end)


def longest_frame(path: Path, max_pixels: int = MAX_PIXELS, stream: int | None = None) -> Fraction:
    """Seconds between the two frames of a file that are farthest apart."""
    status = path.stat()
    version = status.st_mtime_ns, status.st_size
    timeline, _, base = _timeline(path, max_pixels, stream, version)
    return max((b - a for a, b in pairwise(timeline)), default=0) * base


@lru_cache(maxsize=2)  # reader and writer of one run request the same
def _timeline(
    path: Path, max_pixels: int, stream: int | None, version: tuple[int, int]
) -> tuple[array[int], int, Fraction]:
    """Timestamps of all frames in order, the end of the last one, and seconds per tick.

    `version` tells a file from the one that replaced it.
    """
    with open_media(path, max_pixels=max_pixels, stream=stream) as opened:
        time_base = opened.time_base
        codec = opened.stream.codec.canonical_name
        unsure = codec in _UNSURE_PACKETS
        if opened.container.format.name == "avi":
            unsure |= not opened.stream.codec.intra_only
        found = None if unsure else _packet_times(opened)
    if found is None:
        with open_media(path, max_pixels=max_pixels, stream=stream) as opened:
            found = [(p.pts or 0, p.duration) for p in images(opened, Damage(path))]
    if not found:
        raise no_frames(path)
    timeline = array("q", sorted(pts for pts, _ in found))
    step = max(found)[1] or (timeline[-1] - timeline[-2] if len(timeline) > 1 else 1)
    return timeline, timeline[-1] + max(step, 1), time_base


def _packet_times(opened: Opened) -> list[tuple[int, int]] | None:
    """Timestamp and duration of each packet; None where some are missing."""
    times = []
    stream = opened.stream
    ticking = Ticking(clock_of(opened.path, opened.container, stream.index))
    try:
        for packet in opened.container.demux(stream):
            ticking.set(packet)
            if not shows_image(packet, stream.codec.canonical_name):
                continue
            if packet.pts is None or not possible(packet.pts, opened.time_base):
                return None
            times.append((packet.pts, packet.duration or 0))
    except (av.FFmpegError, OSError):
        pass  # the reader says what is wrong with the file
    return times


def _span(
    path: Path,
    timeline: array[int],
    stop: int,
    time_base: Fraction,
    start: Time | None,
    end: Time | None,
) -> Span:
    length = f"{path} has {len(timeline)} frames, {float((stop - timeline[0]) * time_base):.3f} s"

    def place(time: Time) -> int:
        """Index of the first frame at or after `time`; the number of frames if there is none."""
        if time.frame is not None:
            return time.frame
        wanted = timeline[0] + (time.seconds or 0) / time_base
        return bisect_left(timeline, -int(-wanted // 1))

    first = 0 if start is None else place(start)
    if first >= len(timeline):
        raise UsageError(f"{start} lies past the end: {length}")
    if end is None:
        return Span(first, len(timeline), timeline)
    past = (
        end.frame > len(timeline)
        if end.frame is not None
        else (end.seconds or 0) > (stop - timeline[0]) * time_base
    )
    if past:
        warnings.warn(PAST_END.format(end=end, length=length), UnblurWarning, stacklevel=3)
    last = min(place(end), len(timeline))
    if last <= first:
        raise UsageError(f"--end {end} is not after --start {start or 'f0'}: {length}")
    return Span(first, last, timeline)
