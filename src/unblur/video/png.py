"""Looking at PNG files before they are decoded: a few bytes can claim or inflate to any size."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from unblur.errors import MediaError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_PROFILE = 16 << 20
"""Bytes that a colour profile or a text may have; the largest profiles in use have 4 MB."""
_COMPRESSED = (b"iCCP", b"zTXt", b"iTXt")


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height that a PNG file claims; None where it is none."""
    if not data.startswith(SIGNATURE) or len(data) < 24:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def has_profile(path: Path) -> bool:
    """Whether a colour profile stands in a PNG, which is before its first image."""
    with path.open("rb") as file:
        return b"iCCP" in file.read(1 << 12)


def check_png(path: Path | str, data: bytes) -> None:
    """MediaError where a profile or text in a PNG file inflates to more than any has."""
    for kind, body in chunks(data):
        if kind in _COMPRESSED and not _is_bounded(kind, body):
            raise MediaError(
                f"{path}: its {'colour profile' if kind == b'iCCP' else 'text'} is larger than"
                f" {LARGEST_PROFILE >> 20} MB when it is decompressed: save it without"
            )


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of each chunk of a PNG file."""
    view, at = memoryview(data), len(SIGNATURE)
    while data.startswith(SIGNATURE) and at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, view[at + 8 : at + 8 + size]
        at += 12 + size


def _is_bounded(kind: bytes, body: memoryview) -> bool:
    """Whether what is compressed in a chunk is at most `LARGEST_PROFILE`."""
    head = bytes(body[:4096])
    name = head.find(b"\0")
    if name < 0:
        return True
    start = name + 2  # how it is compressed
    if kind == b"iTXt":
        if head[name + 1 : name + 2] != b"\1":
            return True
        for _ in range(2):  # language, translated name
            start = head.find(b"\0", start + 1) + 1
            if start == 0:
                return False
    inflater, left = zlib.decompressobj(), LARGEST_PROFILE
    try:
        for at in range(start, len(body), 1 << 16):
            piece = bytes(body[at : at + (1 << 16)])
            while piece and left >= 0:
                left -= len(inflater.decompress(piece, min(left + 1, 1 << 20)))
                piece = inflater.unconsumed_tail
            if left < 0:
                return False
    except zlib.error:
        return True  # the decoder stops there as well
    return True
