"""What the muxer of MP4 and MOV does not write: sound that begins late, and has samples to hide.

Its edit lists either wait or hide something. Here both are put into the finished file, whose header
comes last, so that nothing else moves (ISO 14496-12, 8.6.6).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

_LONGEST_HEADER = 1 << 28


class Late(NamedTuple):
    """When sound begins that has something in front."""

    heard: Fraction
    """Seconds at which it is heard first."""
    hidden: Fraction
    """Seconds in front of that, which are not to be heard."""


def hide_before(path: Path, tracks: Mapping[int, Late]) -> None:
    """Writes edit lists of tracks anew.

    Args:
        path: a finished MP4 or MOV.
        tracks: when each is heard, by its place in the file.

    Raises:
        ValueError: the file is not as expected; it is as it was.
    """
    with path.open("r+b") as file:
        place, length, size = 0, 0, file.seek(0, os.SEEK_END)
        while place + 8 <= size:
            file.seek(place)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:
                length = int.from_bytes(file.read(8), "big")
            if kind == b"moov":
                break
            if length < 8:
                raise ValueError("the header is not found")
            place += length
        if place + length != size or length > _LONGEST_HEADER:
            raise ValueError("the header does not come last")
        file.seek(place + 8)
        header = _header(file.read(), tracks)
        file.seek(place)
        file.write(header)
        file.truncate()


def _header(moov: bytes, tracks: Mapping[int, Late]) -> bytes:
    (scale,) = struct.unpack_from(">I", _only(moov, b"mvhd"), _scale_at(_only(moov, b"mvhd")))
    out, number = b"", 0
    for kind, content in _boxes(moov):
        if kind == b"trak":
            late = tracks.get(number)
            content = content if late is None else _track(content, late, scale)
            number += 1
        out += _box(kind, content)
    return _box(b"moov", out)


def _track(trak: bytes, late: Late, scale: int) -> bytes:
    mdhd = _only(_only(trak, b"mdia"), b"mdhd")
    (ticks,) = struct.unpack_from(">I", mdhd, _scale_at(mdhd))
    old = _only(_only(trak, b"edts"), b"elst")
    wide = ">qq" if old[0] else ">ii"
    step = struct.calcsize(wide) + 4
    rows = [struct.unpack_from(wide, old, at) for at in range(8, len(old), step)]
    wait = round(late.heard * scale)
    shown = sum(length for length, _ in rows) - wait
    fresh = [(wait, -1), (shown, round(late.hidden * ticks))]
    lines = [struct.pack(wide, *row) + struct.pack(">HH", 1, 0) for row in fresh]
    table = _box(b"elst", old[:4] + struct.pack(">I", len(fresh)) + b"".join(lines))
    return b"".join(
        _box(kind, table if kind == b"edts" else content) for kind, content in _boxes(trak)
    )


def _scale_at(head: bytes) -> int:
    """Where a header says its ticks per second, behind two dates."""
    return 20 if head[:1] == b"\1" else 12


def _only(parent: bytes, wanted: bytes) -> bytes:
    for kind, content in _boxes(parent):
        if kind == wanted:
            return content
    raise ValueError(f"{wanted.decode()} is missing")


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    out, at = [], 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length < 8 or at + length > len(data):
            raise ValueError("a box is not whole")
        out.append((kind, data[at + 8 : at + length]))
        at += length
    return out


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
