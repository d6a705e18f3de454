"""Parts of a file that nothing could be read of: demuxers step over them without a word.

A step in the time stamps alone proves nothing, since cameras and screen recorders leave frames out.
So it counts only where bytes of the file were stepped over at the same place.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import av
from av.packet import Packet
from av.video.stream import VideoStream

from unblur.video.probe import Opened, frame_rate
from unblur.video.ticks import possible

_IN_ORDER = ("matroska", "nut", "flv", "asf")
"""Containers that are read byte after byte, with little between packets."""
_BETWEEN = 512
"""Bytes that any container may put between two packets, beyond what was met before."""
_LEARNED = 8
"""Packets after which it is known what a file puts between them."""
_STEPS = 33
"""Steps of time whose median is the usual one."""
_LEAP = Fraction(3, 2)
"""Usual steps from which on a frame is missing."""
NOT_ITS_SUM = "Verifying checksum"
"""FFmpeg's words, said as an error, where a frame of H.265 differs from its checksum."""
_WORDS = {
    "hevc": ("Could not find ref", "Error constructing the frame RPS", NOT_ITS_SUM),
    "ffv1": ("slice CRC mismatch", "Slice pointer chain broken", "quantization table"),
}
"""FFmpeg's words where a frame of H.265 leans on one that is not there, which it then makes up, or
is not what its checksum says (D.3.19, where encoders write one: x265 with `hash`, unblur), and
where a part of a frame of FFV1 is damaged, in whose place it shows what was in memory."""


class Holes:
    """Looks at all packets of a file as they are read, and at all frames as they are shown.

    Args:
        opened: the file.
    """

    def __init__(self, opened: Opened) -> None:
        self._stream = opened.stream.index
        self._base = opened.time_base
        self._looks = opened.container.format.name.startswith(_IN_ORDER)
        self._everywhere = ogg_holes(opened.path) if opened.container.format.name == "ogg" else 0
        rate = frame_rate(opened.container, opened.stream)
        self._rate = Fraction(1) / rate / self._base if rate else None
        self._steps: deque[int] = deque(maxlen=_STEPS)
        self._end: int | None = None
        self._usual = self._read = self._skipped = 0
        self._newest: int | None = None
        self._places: deque[tuple[int, int, int]] = deque()
        """First and last time around a hole, and its bytes."""
        self._shown: int | None = None

    def read(self, packet: Packet[Any]) -> None:
        """Notes where a packet lies; those of all streams must pass, in the order of the file."""
        if self._looks and packet.size and packet.pos is not None and packet.pos >= 0:
            self._place(packet.pos, packet.size)
        pts = packet.pts
        if packet.stream_index != self._stream or pts is None or not possible(pts, self._base):
            return
        if self._skipped and self._newest is not None:
            self._places.append((min(pts, self._newest), max(pts, self._newest), self._skipped))
        self._skipped = 0
        self._newest = pts if self._newest is None else max(pts, self._newest)

    def shown(self, pts: int | None) -> tuple[int, str] | None:
        """How many frames are missing before a frame, and what is wrong; None where none are."""
        if pts is None or not possible(pts, self._base):
            return None
        last, self._shown = self._shown, pts
        usual = median(self._steps) if len(self._steps) > 2 else self._rate
        if last is None or pts <= last:
            return None
        step = pts - last
        if usual is None or step < _LEAP * usual:
            self._steps.append(step)
            return None
        while self._places and self._places[0][1] + usual < last:
            self._places.popleft()
        # Frames on both sides may be missing singly, so a hole counts for each step across it.
        here = [size for first, _, size in self._places if first - usual <= pts]
        skipped = self._everywhere + sum(here)
        if not skipped:
            self._steps.append(step)
            return None
        missing = max(1, round(step / usual) - 1)
        return missing, f"{skipped} bytes at {float(last * self._base):.2f} s cannot be read"

    def _place(self, begin: int, size: int) -> None:
        """Notes the bytes between two packets, unless they are what this file puts there."""
        if self._end is not None:
            between = begin - self._end
            if self._read > _LEARNED and between > _BETWEEN + 1.5 * self._usual:
                self._skipped += between
            else:
                self._usual = max(self._usual, between)
        self._read += 1
        self._end = max(begin + size, self._end or 0)


@contextmanager
def noted_words(stream: VideoStream) -> Iterator[list[Any]]:
    """Within it a list fills with FFmpeg's words on frames that are not right: `_WORDS`.

    Decoders of other codecs flag such frames. The words come from threads of the decoder, which is
    why none may run on behind Python's back: these codecs are decoded with threads for slices only.
    """
    name = stream.codec.canonical_name
    if name not in _WORDS:
        yield []
        return
    level, once = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # another decoder may have said the same
    found: list[Any] = []
    try:
        with av.logging.Capture(local=False) as words:
            yield found
        found += [w for w in words if w[1] == name and w[2].startswith(_WORDS[name])]
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(once)


def has_illegal_zeros(packet: Packet[Any], stream: VideoStream) -> bool:
    """Whether a frame of H.265 holds three zeros, which no encoder writes.

    Emulation prevention (7.4.1) keeps them out of units, and units behind their size have none
    between them. They come from parts of a disk that were never written or cannot be read, and
    FFmpeg decodes them without a word; of other codecs it complains.
    """
    if stream.codec.canonical_name != "hevc":
        return False
    extradata = stream.codec_context.extradata or b""
    if extradata[:1] != b"\x01" or len(extradata) < 22 or extradata[21] & 3 != 3:
        return False
    data, at = memoryview(packet), 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if bytes(data[at + 4 : at + 4 + size]).rstrip(b"\0").find(b"\0\0\0") >= 0:
            return True
        at += 4 + size
    return False


def ogg_holes(path: Path) -> int:
    """Bytes of an Ogg file that belong to no page with a right checksum (RFC 3533, 6)."""
    lost = 0
    with path.open("rb") as file:
        rest = b""
        while True:
            block = file.read(_BLOCK)
            data = rest + block
            at = 0
            while True:
                page = data.find(b"OggS", at)
                if page < 0:
                    keep = min(3, len(data) - at) if block else 0
                    lost += len(data) - at - keep
                    rest = data[len(data) - keep :]
                    break
                lost += page - at
                size = page_size(data, page)
                if size is None:  # it goes on in the next block
                    if block and len(data) - page < _LARGEST_PAGE:
                        rest = data[page:]
                        break
                    size = 0
                if size and is_whole_page(data[page : page + size]):
                    at = page + size
                else:
                    lost, at = lost + 4, page + 4
            if not block:
                return lost


_BLOCK = 1 << 20
_LARGEST_PAGE = 27 + 255 + 255 * 255
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def page_size(data: bytes, at: int) -> int | None:
    """Size of the page that begins there; None where the data end before it does."""
    if len(data) < at + 27 or len(data) < at + 27 + data[at + 26]:
        return None
    size = 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
    return size if len(data) >= at + size else None


def is_whole_page(page: bytes) -> bool:
    """Whether the checksum is right: that of zlib, with all bits in the other order."""
    clear = page[:22] + bytes(4) + page[26:]
    ours = zlib.crc32(clear.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    theirs = int.from_bytes(page[22:26], "little")
    return int(f"{ours:032b}"[::-1], 2) == theirs
