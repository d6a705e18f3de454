"""What PyAV does not say of MP4, MOV, AVIF and HEIF: what a stream serves, what of it is hidden.

FFmpeg gives every coded image of AVIF and HEIF a stream, be it the image, its opacity, its depth or
one of its tiles. Which is which stands in the boxes of the file.
Boxes: ISO/IEC 14496-12 (MP4), ISO/IEC 23008-12 (HEIF), AV1 Image File Format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

TILE = "tile"
_AUXILIARY = {
    "alpha": "opacity",
    "auxid:1": "opacity",
    "depth": "depth",
    "auxid:2": "depth",
    "gainmap": "gain map",
}
"""What an auxiliary image holds, by the end of the name of its kind."""
_ENTRY = 78
"""Bytes of a video track's description before the boxes in it."""
_MOST = 1 << 16
"""Boxes that are looked at side by side."""
_LARGEST = 1 << 20
"""Bytes of a box whose content is read; those that are of use here are far smaller."""


class Part(NamedTuple):
    """An image or a track of a file."""

    number: int
    """By which the file calls it; images and tracks count each for themselves."""
    role: str = ""
    """What it is to another image or track: `opacity`, `depth`, `tile`, ...; empty: its own."""
    crop: tuple[int, int, int, int] | None = None
    """Lines and columns that are not to be shown: top, bottom, left, right."""
    in_tiles: bool = False
    """Whether the file's main image is not this one but one that is put together of tiles."""


class _Box(NamedTuple):
    kind: str
    start: int
    end: int


def parts_of(path: Path) -> list[Part]:
    """All images and tracks of a file, in the order in which FFmpeg makes streams of them.

    Of a file that is damaged or of another kind those that are found, maybe none.
    """
    found: list[Part] = []
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            for box in _boxes(file, 0, size):
                if box.kind == "moof":  # from here on there are only pieces of tracks
                    break
                if box.kind == "meta":
                    found += _images(file, box)
                elif box.kind == "moov":
                    inner = _boxes(file, box.start, box.end)
                    found += [_track(file, each) for each in inner if each.kind == "trak"]
    except (OSError, struct.error, ValueError, LookupError):
        pass  # FFmpeg says what is wrong with the file
    return found


def match(parts: Sequence[Part], numbers: Sequence[int]) -> dict[int, Part]:
    """Parts by the index of their stream, given the number that FFmpeg gives each stream."""
    left = iter(parts)
    found = {}
    for index, number in enumerate(numbers):
        part = next((each for each in left if each.number == number), None)
        if part is not None:
            found[index] = part
    return found


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    for _ in range(_MOST):
        if start + 8 > end:
            return
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,), head = struct.unpack(">Q", file.read(8)), 16
        stop = start + size if size else end
        if size and size < head:
            return
        yield _Box(kind.decode("latin-1"), start + head, min(stop, end))
        start = stop


def _content(file: BinaryIO, box: _Box, skip: int = 0) -> bytes:
    file.seek(box.start + skip)
    return file.read(min(box.end - box.start - skip, _LARGEST))


def _inner(file: BinaryIO, box: _Box, *path: str) -> _Box | None:
    """The first box at a path of kinds within another."""
    found: _Box | None = box
    for kind in path:
        if found is None:
            return None
        inner = _boxes(file, found.start, found.end)
        found = next((each for each in inner if each.kind == kind), None)
    return found


# Tracks


def _track(file: BinaryIO, track: _Box) -> Part:
    header = _inner(file, track, "tkhd")
    if header is None:
        return Part(0)
    data = _content(file, header)
    (number,) = struct.unpack_from(">I", data, 20 if data[0] else 12)
    handler = _inner(file, track, "mdia", "hdlr")
    if handler is None or _content(file, handler)[8:12] not in (b"vide", b"pict", b"auxv"):
        return Part(number)
    role, crop = "", None
    if _inner(file, track, "tref", "auxl") is not None:
        role = "auxiliary track"
    descriptions = _inner(file, track, "mdia", "minf", "stbl", "stsd")
    if descriptions is not None:
        for entry in _boxes(file, descriptions.start + 8, descriptions.end):
            for box in _boxes(file, entry.start + _ENTRY, entry.end):
                if box.kind == "auxi" and role:
                    role = _auxiliary(_content(file, box, 4))
                elif box.kind == "clap" and crop is None:
                    width, height = struct.unpack_from(">2H", _content(file, entry), 24)
                    crop = _crop(_content(file, box), width, height)
    return Part(number, role, crop)


# Images


@dataclass
class _Image:
    kind: str
    role: str = ""
    properties: list[_Box] = field(default_factory=list)


def _images(file: BinaryIO, meta: _Box) -> Iterator[Part]:
    """The images of a box `meta`."""
    inner = {box.kind: box for box in _boxes(file, meta.start + 4, meta.end)}
    if not {"iinf", "pitm"} <= inner.keys():
        return
    images = dict(_listed(file, inner["iinf"]))
    properties = _inner(file, inner["iprp"], "ipco") if "iprp" in inner else None
    if properties is not None:
        _associate(file, inner["iprp"], properties, images)
    if "iref" in inner:
        _refer(file, inner["iref"], images)
    data = _content(file, inner["pitm"])
    (primary,) = struct.unpack_from(">I" if data[0] else ">H", data, 4)
    in_tiles = primary in images and images[primary].kind in ("grid", "iovl")
    for number, image in images.items():
        crop, size = None, (0, 0)
        for box in image.properties:
            if box.kind == "ispe":
                width, height = struct.unpack_from(">2I", _content(file, box, 4))
                size = width, height
            elif box.kind == "clap":
                crop = _crop(_content(file, box), *size)
        yield Part(number, image.role, crop, in_tiles)


def _listed(file: BinaryIO, box: _Box) -> Iterator[tuple[int, _Image]]:
    """Numbers and kinds of all images."""
    skip = 8 if _content(file, box)[0] else 6
    for entry in _boxes(file, box.start + skip, box.end):
        data = _content(file, entry)
        long = data[0] >= 3
        number, _, kind = struct.unpack_from(">IH4s" if long else ">HH4s", data, 4)
        yield number, _Image(kind.decode("latin-1"))


def _associate(file: BinaryIO, box: _Box, properties: _Box, images: Mapping[int, _Image]) -> None:
    """Gives images their properties, which stand in one list for all."""
    known = list(_boxes(file, properties.start, properties.end))
    for each in _boxes(file, box.start, box.end):
        if each.kind != "ipma":
            continue
        data = _content(file, each)
        number_kind = ">I" if data[0] else ">H"
        place_kind, mask = (">H", 0x7FFF) if data[3] & 1 else (">B", 0x7F)
        (count,), at = struct.unpack_from(">I", data, 4), 8
        for _ in range(count):
            (number,) = struct.unpack_from(number_kind, data, at)
            at += struct.calcsize(number_kind)
            places = struct.unpack_from(f">{data[at]}{place_kind[1]}", data, at + 1)
            at += 1 + len(places) * struct.calcsize(place_kind)
            if number in images:
                wanted = [place & mask for place in places]  # without the flag `essential`
                images[number].properties += [known[n - 1] for n in wanted if 0 < n <= len(known)]


def _refer(file: BinaryIO, box: _Box, images: Mapping[int, _Image]) -> None:
    """Notes what images are to others."""
    number_kind = "I" if _content(file, box)[0] else "H"
    size = struct.calcsize(number_kind)
    for each in _boxes(file, box.start + 4, box.end):
        data = _content(file, each)
        origin, count = struct.unpack_from(f">{number_kind}H", data)
        targets = struct.unpack_from(f">{count}{number_kind}", data, size + 2)
        if each.kind == "auxl" and origin in images:
            kinds = [p for p in images[origin].properties if p.kind == "auxC"]
            name = _content(file, kinds[0], 4) if kinds else b""
            images[origin].role = _auxiliary(name)
        elif each.kind == "thmb" and origin in images:
            images[origin].role = "thumbnail"
        elif each.kind == "dimg" and origin in images and images[origin].kind in ("grid", "iovl"):
            for target in targets:
                if target in images:
                    images[target].role = TILE


def _auxiliary(name: bytes) -> str:
    """What is held by auxiliary images of a kind with that name."""
    text = name.partition(b"\0")[0].decode("latin-1")
    return next((said for end, said in _AUXILIARY.items() if text.endswith(end)), "auxiliary image")


def _crop(data: bytes, width: int, height: int) -> tuple[int, int, int, int] | None:
    """What a clean aperture leaves out: 14496-12, 12.1.4. None: nothing, or it makes no sense."""
    numbers = struct.unpack_from(">2I2I", data) + struct.unpack_from(">iIiI", data, 16)
    if not all(numbers[1::2]):
        return None
    wide, high, right, down = (
        Fraction(n, d) for n, d in zip(numbers[::2], numbers[1::2], strict=True)
    )
    left, top = right + (width - wide) / 2, down + (height - high) / 2
    sides = tuple(int(side) for side in (top, height - top - high, left, width - left - wide))
    if min(sides) < 0 or sides[0] + sides[1] >= height or sides[2] + sides[3] >= width:
        return None
    return (sides[0], sides[1], sides[2], sides[3]) if any(sides) else None
