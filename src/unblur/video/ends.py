"""Files that stop in the middle of something: demuxers take what is there for all of it.

Only what a file itself says is believed: the length of a packet, a page or a box that reaches
beyond the last byte, or an end mark that must be there. A recording that was stopped between two
packets is whole, for nothing in it says otherwise.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer

from unblur.video.holes import is_whole_page, page_size

_TAIL = 1 << 20
"""Bytes at the end that are enough to find where packets begin."""
_JPEG_TAIL = 1 << 24
_SYNC = 0x47
_TS_SIZES = (188, 192, 204)
"""Bytes of a packet: plain, with a time in front (M2TS), with a checksum behind."""
_IN_STEP = 5
"""So many packets in a row tell their size."""
_CLUSTER, _SEGMENT = 0x1F43B675, 0x18538067
_BEHIND = "another file lies behind it, which is not read: store the two apart"
_MXF = b"\x06\x0e\x2b\x34"
_Y4M_LINE = 1 << 12
_PACK, _PS_END = 0xBA, 0xB9


def cut_short(path: Path, container: InputContainer) -> str | None:
    """Says what at the end of a file is not all there; None where nothing shows that.

    Args:
        path: the file.
        container: the same, read to its end.
    """
    name = container.format.name
    look = next((each for begin, each in _LOOKS.items() if name.startswith(begin)), None)
    if look is None and not name.startswith("mov,mp4"):
        return None
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return look(file, size) if look else _mp4(file, size, container)
    except (OSError, IndexError, struct.error):
        return None


def _mp4(file: BinaryIO, size: int, container: InputContainer) -> str | None:
    """A sample of any track, a fragment's header, or what an index of fragments counts."""
    for stream in container.streams:
        ends = (entry.pos + entry.size for entry in stream.index_entries)
        if any(end > size for end in ends):
            return f"it ends within the samples of {stream.type} stream {stream.index}"
    at, fragments, promised, headers = 0, False, 0, 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            length, head = int.from_bytes(file.read(8), "big"), 16
        fragments |= kind == b"moof"
        headers += kind == b"moov"
        if length < head:  # to the end of the file, or no box at all
            break
        if at + length > size:
            return "it ends within the header of a fragment" if kind == b"moof" else None
        if kind == b"sidx":
            promised = max(promised, at + length + _indexed(file.read(length - head)))
        at += length
    if headers > 1 and not fragments:
        return _BEHIND
    if fragments and promised > size:
        return f"it has {size} of the {promised} bytes that its index counts"
    return None


def _indexed(box: bytes) -> int:
    """Bytes behind an index of segments that belong to it (ISO 14496-12, 8.16.3)."""
    at = 12 + (16 if box[0] else 8)
    offset = int.from_bytes(box[12 + (at - 12) // 2 : at], "big")
    (count,) = struct.unpack_from(">H", box, at + 2)
    rows = struct.unpack_from(f">{3 * count}I", box, at + 4)
    return offset + sum(row & 0x7FFFFFFF for row in rows[::3])


def _ts(file: BinaryIO, size: int) -> str | None:
    """The last transport packet, or the last packet of a stream, which may say how long it is."""
    data = _tail(file, size, _TAIL)
    found = _in_step(data)
    if found is None:
        return None
    at, step = found
    missing: dict[int, int] = {}
    while at + 188 <= len(data) and data[at] == _SYNC:
        _count_packet(data[at : at + 188], missing)
        at += step
    if at < len(data) < at + 188 and data[at] == _SYNC:
        return f"its last transport packet has {len(data) - at} of 188 bytes"
    if at < len(data):  # something else lies behind
        return None
    short = [pid for pid, bytes_ in missing.items() if bytes_ > 0]
    return f"it ends within the last packet of PID {short[0]}" if short else None


def _in_step(data: bytes) -> tuple[int, int] | None:
    """Where the first transport packet begins, and from one to the next."""
    for step in _TS_SIZES:
        for at in range(min(step, len(data))):
            marks = data[at : at + _IN_STEP * step : step]
            if len(marks) == _IN_STEP and not marks.strip(b"G"):
                return at, step
    return None


def _count_packet(packet: bytes, missing: dict[int, int]) -> None:
    """Keeps how much of the last packet of each stream (PES) is still to come."""
    pid = (packet[1] & 0x1F) << 8 | packet[2]
    at = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    if not packet[3] & 0x10 or packet[3] & 0xC0 or at >= 188:
        return
    if packet[1] & 0x40:
        missing.pop(pid, None)
        if packet[at : at + 3] == b"\0\0\1" and at + 6 <= 188:
            length = int.from_bytes(packet[at + 4 : at + 6], "big")
            if length:  # otherwise it lasts until the next one begins
                missing[pid] = length + 6 - (188 - at)
    elif pid in missing:
        missing[pid] -= 188 - at


def _ps(file: BinaryIO, size: int) -> str | None:
    """The last packet of a program stream (ISO 13818-1, 2.5.3)."""
    data = _tail(file, size, _TAIL)
    at = data.find(b"\0\0\1\xba")
    while 0 <= at < len(data):
        kind = data[at + 3 : at + 4]
        if data[at : at + 3] != b"\0\0\1" or kind < b"\xb9":
            # Not a packet: the mark was one by chance, or something else lies behind.
            at = data.find(b"\0\0\1\xba", at + 1)
            continue
        if kind[0] == _PS_END:
            return None
        head = data[at : at + 14]
        if kind[0] == _PACK and len(head) > 4:
            length = 14 + (head[-1] & 7) if head[4] >> 6 == 1 else 12
        else:
            length = 6 + int.from_bytes(head[4:6], "big")
        if len(head) < 6 or at + length > len(data):
            return "it ends within its last packet"
        at += length
    return None


def _gif(file: BinaryIO, size: int) -> str | None:
    """A block, or the end mark (GIF89a, 27)."""
    head = file.read(13)
    _skip_table(file, head[10])
    while True:
        kind = file.read(1)
        if kind == b";":
            return None
        if not kind:
            return "its end mark is missing"
        if kind == b",":
            place = file.read(9)
            if len(place) < 9:
                return "it ends within an image"
            _skip_table(file, place[8])
            file.seek(1, os.SEEK_CUR)
        elif kind == b"!":
            file.seek(1, os.SEEK_CUR)
        else:  # no block
            return None
        while (length := file.read(1)) != b"\0":
            if not length or file.seek(length[0], os.SEEK_CUR) > size:
                return "it ends within an image" if kind == b"," else "it ends within a block"


def _skip_table(file: BinaryIO, flags: int) -> None:
    """Passes over a table of colours."""
    if flags & 0x80:
        file.seek(3 << 1 + (flags & 7), os.SEEK_CUR)


def _y4m(file: BinaryIO, size: int) -> str | None:
    """A frame, all of which are of the same size."""
    picture = _picture_size(file.readline(_Y4M_LINE).decode("ascii", "replace"))
    while picture and (at := file.tell()) < size:
        head = file.readline(_Y4M_LINE)
        if head[:5] != b"FRAME"[: len(head)]:
            return None
        end = at + len(head) + picture
        if end > size:
            return f"its last frame has {size - at} of {end - at} bytes"
        file.seek(end)
    return None


def _picture_size(header: str) -> int:
    """Bytes of a frame of YUV4MPEG2; 0: unknown."""
    words = {word[:1]: word[1:] for word in header.split()[:0:-1]}
    width, height = int(words.get("W", 0)), int(words.get("H", 0))
    kind = words.get("C", "420")
    half, fourth = -(-width // 2), -(-width // 4)
    low = -(-height // 2)
    chroma = {
        "420": 2 * half * low,
        "422": 2 * half * height,
        "444": 2 * width * height,
        "411": 2 * fourth * height,
        "mono": 0,
    }
    name = next((each for each in chroma if kind.startswith(each)), None)
    if name is None:
        return 0
    samples = width * height + chroma[name] + ("alpha" in kind) * width * height
    deep = (name == "mono" and kind[4:].isdigit()) or "p1" in kind or kind.endswith("p9")
    return samples * (2 if deep else 1)


def _ogg(file: BinaryIO, size: int) -> str | None:
    """The last page; chance puts the letters it begins with into others."""
    data = _tail(file, size, _TAIL)
    at = data.find(b"OggS")
    while 0 <= at < len(data):
        length = page_size(data, at)
        if length is None and at and data[at : at + 4] == b"OggS"[: len(data) - at]:
            return "it ends within its last page"
        if length is None or not is_whole_page(data[at : at + length]):
            at = data.find(b"OggS", at + 1)
        else:
            at += length
    return None


def _matroska(file: BinaryIO, size: int) -> str | None:
    """The segment or, where its size was not known when it was begun, its last element."""
    cluster = False
    for kind, end in _elements(file, size):
        cluster |= kind == _CLUSTER
        if end is not None and end > size and (cluster or kind == _SEGMENT):
            return f"its last {end - size} bytes are missing"
        if end is None:
            return "it ends within a cluster" if cluster else None
    return None


def segments(path: Path) -> int:
    """How many files of Matroska lie one behind the other in a file."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        return sum(kind == _SEGMENT for kind, _ in _elements(file, size))


def _elements(file: BinaryIO, size: int) -> Iterator[tuple[int, int | None]]:
    """Kind of each element, and where it ends; None: within its head.

    Of segments and clusters that do not say how long they are, which last until another one
    begins, the elements within follow.
    """
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(12)
        number = 9 - head[0].bit_length() if head[0] else 0
        width = 9 - head[number].bit_length() if len(head) > number else 1
        if not 1 <= number <= 4 or not 1 <= width <= 8:
            return  # no element
        kind = int.from_bytes(head[:number], "big")
        if len(head) < number + width:
            yield kind, None
            return
        length = int.from_bytes(head[number : number + width], "big") & ((1 << 7 * width) - 1)
        at += number + width
        if kind in (_SEGMENT, _CLUSTER) and length == (1 << 7 * width) - 1:
            yield kind, at
            continue
        at += length
        yield kind, at


def _mxf(file: BinaryIO, size: int) -> str | None:
    """The last of the parts that the file consists of, each with its length (SMPTE 336)."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(25)
        if head[:4] != _MXF[: len(head)]:
            return None
        if len(head) < 18:
            return "it ends within a part"
        wide = head[16] & 127 if head[16] & 128 else 0
        length = int.from_bytes(head[17 : 17 + wide], "big") if head[16] & 128 else head[16]
        at += 17 + wide + length
        if at > size:
            return "it ends within a part"
    return None


def _flv(file: BinaryIO, size: int) -> str | None:
    """A tag: kind, length, and behind its content how long it was (Annex E.4)."""
    at = int.from_bytes(file.read(9)[5:], "big") + 4
    while at < size:
        file.seek(at)
        head = file.read(11)
        if head[:4] == b"FLV\1":
            return _BEHIND
        if head[0] & 31 not in (8, 9, 18):
            return None
        at += 11 + int.from_bytes(head[1:4], "big")
        if len(head) < 4 or at > size:
            return "it ends within a tag"
        at += 4
    return None


def _mjpeg(file: BinaryIO, size: int) -> str | None:
    data = _tail(file, size, _JPEG_TAIL)
    open_ended = data.rfind(b"\xff\xd8\xff") > data.rfind(b"\xff\xd9")
    return "its last image has no end" if open_ended else None


def _tail(file: BinaryIO, size: int, length: int) -> bytes:
    file.seek(max(0, size - length))
    return file.read()


_LOOKS: dict[str, Callable[[BinaryIO, int], str | None]] = {
    "mpegts": _ts,
    "mpeg": _ps,
    "gif": _gif,
    "yuv4mpegpipe": _y4m,
    "ogg": _ogg,
    "matroska": _matroska,
    "mxf": _mxf,
    "flv": _flv,
    "mjpeg": _mjpeg,
}
"""By how the name of a demuxer begins; the first that fits."""
