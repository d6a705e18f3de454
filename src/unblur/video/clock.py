"""Clocks that restart or leap inside a file: recordings joined end to end, streams cut in the air.

Transport and program streams and Ogg are written as they come, so a file may hold several clocks,
and so does Matroska where files were put one behind the other.
All packets are looked through once; what follows a break is put right behind what was before it,
sound and video by the same time. Other containers have one clock by design.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet

from unblur.video.ends import segments
from unblur.video.packets import is_header, is_repeat
from unblur.video.probe import open_container
from unblur.video.ticks import possible

_SEVERAL_CLOCKS = ("mpegts", "mpeg", "ogg")
_BACK = Fraction(1, 10)
_AHEAD = 10
"""Seconds by which decoding times go back or ahead where a clock breaks: what FFmpeg takes."""
_JOINT = 3
"""So many packets before a break FFmpeg calls incomplete, for the counters of the parts differ."""
_ALIKE = 1
"""Seconds by which the breaks of two streams may differ and still be the same break."""


@dataclass
class _Piece:
    """Packets of one stream between two breaks."""

    ordinal: int
    """Of its first packet, among those of the stream."""
    leap: Fraction = Fraction(0)
    """Seconds from what was to be expected to what came."""
    start: Fraction = Fraction(0)
    end: Fraction = Fraction(0)
    undated: Fraction = Fraction(0)
    """Seconds of the packets behind the last date."""
    shift: Fraction = Fraction(0)


@dataclass(frozen=True)
class Clock:
    """What to add to the times of a file's packets; nothing where it has one clock."""

    ordinals: Mapping[int, list[int]] = field(default_factory=dict)
    """For each stream the ordinals of the packets behind its breaks."""
    shifts: Mapping[int, list[Fraction]] = field(default_factory=dict)
    """Seconds to add before the first break, after it, ..."""

    @property
    def breaks(self) -> int:
        """How often the clock of the stream with most breaks restarts or leaps."""
        return max((len(each) for each in self.ordinals.values()), default=0)


class Ticking:
    """Gives the packets of a file, read from its beginning, the times of one clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read: dict[int, int] = {}

    def set(self, packet: Packet[Any]) -> bool:
        """Corrects the times of a packet; each packet of a stream must pass, in order.

        Returns:
            Whether the packet lies at a break.
        """
        index = packet.stream_index
        ordinals = self._clock.ordinals.get(index)
        if not ordinals or not packet.size:
            return False
        ordinal = self._read.get(index, 0)
        self._read[index] = ordinal + 1
        shift = self._clock.shifts[index][bisect_right(ordinals, ordinal)]
        ticks = round(shift / packet.time_base)
        if packet.pts is not None and possible(packet.pts, packet.time_base):
            packet.pts += ticks
        if packet.dts is not None and possible(packet.dts, packet.time_base):
            packet.dts += ticks
        return any(0 <= each - ordinal <= _JOINT for each in ordinals)


def clock_of(path: Path, container: InputContainer, leading: int) -> Clock:
    """The clock of an open file.

    Args:
        path: the file.
        container: the same, open.
        leading: index of the stream whose frames are to follow each other without a gap.
    """
    name = container.format.name
    joined = name.startswith("matroska") and segments(path) > 1
    if name not in _SEVERAL_CLOCKS and not joined:
        return Clock()
    status = path.stat()
    return _clock(path, leading, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=4)
def _clock(path: Path, leading: int, version: tuple[int, int]) -> Clock:
    pieces = _pieces(path)
    if all(len(each) < 2 for each in pieces.values()):
        return Clock()
    first = pieces.pop(leading, [])
    others = list(pieces.values())
    if any(len(each) == 1 for each in others):
        # Where others go on, the frames were held: a pause, not a leap.
        first = _joined(first)
    _follow(first)
    for each in others:
        each[:] = _matched(each, first)
    pieces[leading] = first
    return Clock(
        {index: [piece.ordinal for piece in each[1:]] for index, each in pieces.items()},
        {index: [piece.shift for piece in each] for index, each in pieces.items()},
    )


def _pieces(path: Path) -> dict[int, list[_Piece]]:
    """The pieces of each video and audio stream, between breaks of its own decoding times."""
    pieces: dict[int, list[_Piece]] = {}
    last: dict[int, Fraction] = {}
    ordinals: dict[int, int] = {}
    container = open_container(path)
    try:
        moving = [s for s in container.streams if s.type in ("video", "audio")]
        codecs = {s.index: s.codec.canonical_name if s.codec_context else "" for s in moving}
        for packet in container.demux(moving):
            index = packet.stream_index
            if not packet.size:
                if is_repeat(packet) and index in pieces:
                    shown = ((packet.pts or 0) + (packet.duration or 0)) * packet.time_base
                    pieces[index][-1].end = max(pieces[index][-1].end, shown)
                continue
            ordinal = ordinals[index] = ordinals.get(index, -1) + 1
            if is_header(packet, codecs[index]):
                continue
            tick = packet.dts if packet.dts is not None else packet.pts
            base = packet.time_base
            if not possible(tick, base) or not possible(packet.pts or 0, base):
                tick = None
            if tick is None:  # program streams date one frame of several
                if index in pieces:
                    pieces[index][-1].undated += (packet.duration or 0) * base
                continue
            now, shown = tick * base, (tick if packet.pts is None else packet.pts) * base
            length = (packet.duration or 0) * base
            mine = pieces.setdefault(index, [])
            leap = now - (last.get(index, now) + (mine[-1].undated if mine else 0))
            if not mine or leap < -_BACK or leap > _AHEAD:
                mine.append(_Piece(ordinal, leap, shown, shown))
            last[index] = now
            mine[-1].start = min(mine[-1].start, shown)
            if shown + length >= mine[-1].end:
                mine[-1].end, mine[-1].undated = shown + length, Fraction(0)
    except (av.FFmpegError, OSError):
        pass  # the reader says what is wrong with the file
    finally:
        container.close()
    return pieces


def _joined(pieces: list[_Piece]) -> list[_Piece]:
    """Without the leaps ahead."""
    kept = pieces[:1]
    for piece in pieces[1:]:
        if piece.leap < 0:
            kept.append(piece)
        else:
            kept[-1].end, kept[-1].undated = piece.end, piece.undated
    return kept


def _follow(pieces: list[_Piece]) -> None:
    """Puts each piece behind the one before it."""
    for before, piece in pairwise(pieces):
        piece.shift = before.end + before.undated + before.shift - piece.start


def _matched(pieces: list[_Piece], leading: list[_Piece]) -> list[_Piece]:
    """Pieces of a stream, moved by the same time as those of the leading one at the same break."""
    _follow(pieces)
    taken = 0
    for piece in pieces[1:]:
        for number in range(taken + 1, len(leading)):
            if abs(leading[number].leap - piece.leap) < _ALIKE:
                piece.shift, taken = leading[number].shift, number
                break
    return pieces
