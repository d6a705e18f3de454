"""Boxes of MP4 and MOV, taken apart and put together again."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

HOLDERS = ("moov", "trak", "mdia", "minf", "stbl")


def box(kind: str, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind.encode()) + content


def boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Kind and content of each."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        size = len(data) - at if size == 0 else size
        yield kind.decode("latin-1"), data[at + 8 : at + size]
        at += size


def rewritten(data: bytes, change: Callable[[str, bytes], bytes], path: str = "") -> bytes:
    """With the content of each box changed, which knows its path: `/moov/trak`."""
    out = b""
    for kind, content in boxes(data):
        here = f"{path}/{kind}"
        if kind in HOLDERS:
            content = rewritten(content, change, here)
        out += box(kind, change(here, content))
    return out


def with_edits(data: bytes, edits: Sequence[tuple[float | None, float]]) -> bytes:
    """Every track shows these parts of itself: where in it, in seconds (None: nothing), how long.

    The samples must lie before the header, as they do unless asked otherwise.
    """
    heads = {}
    rewritten(data, lambda path, content: heads.setdefault(path, content))
    (scale,) = struct.unpack_from(">I", heads["/moov/mvhd"], 12)

    def change(path: str, content: bytes) -> bytes:
        if path != "/moov/trak":
            return content
        parts = dict(boxes(content))
        (ticks,) = struct.unpack_from(">I", dict(boxes(parts["mdia"]))["mdhd"], 12)
        rows = [
            struct.pack(
                ">IiI", round(length * scale), -1 if at is None else round(at * ticks), 1 << 16
            )
            for at, length in edits
        ]
        table = box("elst", struct.pack(">II", 0, len(rows)) + b"".join(rows))
        kept = b"".join(box(kind, part) for kind, part in boxes(content) if kind != "edts")
        return kept + box("edts", table)

    return rewritten(data, change)


def described(data: bytes, more: bytes) -> bytes:
    """With boxes in the description of the only video track (a visual sample entry)."""

    def change(path: str, content: bytes) -> bytes:
        if not path.endswith("/stsd"):
            return content
        kind, entry = next(boxes(content[8:]))
        return content[:8] + box(kind, entry + more)

    return rewritten(data, change)
