"""Checksums that writers of Matroska put into a file (RFC 9559, 6.2), and demuxers skip.

A decoder cannot always tell what was altered: FFmpeg decodes any bytes within a frame of H.265 to
some image, without a word.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_CRC = b"\xbf\x84"
_BLOCK = 1 << 20
_ELEMENTS = 10_000
"""So many elements may lie between two clusters."""


class Checksums:
    """Looks at the clusters of a file once the packets in them have been read.

    Clusters without a checksum, or without a size, are passed over, and so is all behind a place
    where no element begins.

    Args:
        path: a Matroska file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next: tuple[int, int] | None = (0, 0)

    def wrong(self, first: int, until: int) -> list[int]:
        """Where clusters begin that lie between two places of the file, and are not as written."""
        found: list[int] = []
        if self._next is None or self._next[1] > until:
            return found
        with self._path.open("rb") as file:
            while self._next is not None and self._next[1] <= until:
                start, stop = self._next
                if stop > first and not _is_whole(file, start, stop):
                    found.append(start)
                self._next = _cluster_from(file, stop)
        return found


def _is_whole(file: BinaryIO, start: int, stop: int) -> bool:
    """Whether the content of an element has the checksum that it begins with, if any."""
    file.seek(start)
    if file.read(2) != _CRC:
        return True
    said, found, rest = file.read(4), 0, stop - start - 6
    while rest > 0:
        block = file.read(min(rest, _BLOCK))
        if not block:  # the file ends early, which is noticed elsewhere
            return True
        found, rest = zlib.crc32(block, found), rest - len(block)
    return said == found.to_bytes(4, "little")


def _cluster_from(file: BinaryIO, place: int) -> tuple[int, int] | None:
    """First and last place of the content of the next cluster."""
    for _ in range(_ELEMENTS):
        file.seek(place)
        head = file.read(12)
        number, length = _variable(head, 0)
        size, length = _variable(head, length)
        if number is None or size is None:
            return None
        start, width = place + length, size.bit_length() // 7
        size &= ~(1 << 7 * width)
        if number == _SEGMENT:
            place = start
            continue
        if size == (1 << 7 * width) - 1:  # it is not known
            return None
        if number == _CLUSTER:
            return start, start + size
        place = start + size
    return None


def _variable(head: bytes, at: int) -> tuple[int | None, int]:
    """A number of variable length with its marker, and the place behind it."""
    length = 9 - head[at].bit_length() if at < len(head) else 9
    if length > 8 or at + length > len(head):
        return None, at
    return int.from_bytes(head[at : at + length], "big"), at + length
