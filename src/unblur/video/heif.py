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

TILE, OPACITY = "tile", "opacity"
_JOINED = ("grid", "iovl")
"""Kinds of images that are put together of others."""
_AUXILIARY = {
    "alpha": OPACITY,
    "auxid:1": OPACITY,
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


class Sheet(NamedTuple):
    """Coded images of one size side by side, row by row; or a single one."""

    tiles: tuple[int, ...]
    """Numbers of the images."""
    columns: int = 1
    width: int = 0
    """Pixels of the whole, of which the last tiles may hang over; 0: those of the single image."""
    height: int = 0


class Still(NamedTuple):
    """An image as it is shown, of coded ones."""

    colors: Sheet
    opacity: Sheet | None = None
    crop: tuple[int, int, int, int] | None = None
    """As of a `Part`."""
    matrix: tuple[int, ...] | None = None
    """How it is turned and mirrored, as in `VideoInfo.display_matrix`."""
    profile: bool = False
    """Whether it has a colour profile (ICC)."""
    tags: tuple[int, int, int, int] = (2, 2, 2, 0)
    """Colour matrix, primaries, transfer (2: not said) and range (0: not said), as H.273 counts."""


class Part(NamedTuple):
    """An image or a track of a file."""

    number: int
    """By which the file calls it; images and tracks count each for themselves."""
    role: str = ""
    """What it is to another image or track: `opacity`, `depth`, `tile`, ...; empty: its own."""
    crop: tuple[int, int, int, int] | None = None
    """Lines and columns that are not to be shown: top, bottom, left, right."""
    image: bool = False
    """Whether it is an image, and no track."""
    still: Still | None = None
    """What is to be shown instead of this image alone; None for tracks and what serves others."""
    overlay: bool = False
    """Whether the file's main image is one of which nothing but pieces is understood here."""


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
    of: int = 0
    """The image that it serves."""
    tiles: tuple[int, ...] = ()
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
    sheets = {
        number: Sheet((number,)) for number, image in images.items() if image.kind not in _JOINED
    }
    for number, place in _places(file, inner) if "iloc" in inner else ():
        if number in images and images[number].kind == "grid":
            sheet = _grid(file, place, images[number].tiles)
            if sheet is not None:
                sheets[number] = sheet
    data = _content(file, inner["pitm"])
    (primary,) = struct.unpack_from(">I" if data[0] else ">H", data, 4)
    joined = primary in images and images[primary].kind in _JOINED
    whole = _still(file, primary, images, sheets) if joined and primary in sheets else None
    for number, image in images.items():
        still = None
        if image.role == TILE and whole is not None and number in whole.colors.tiles:
            still = whole
        elif not image.role and number in sheets:
            still = _still(file, number, images, sheets)
        crop = still.crop if still else None
        yield Part(number, image.role, crop, True, still, joined and whole is None)


def _still(
    file: BinaryIO, number: int, images: Mapping[int, _Image], sheets: Mapping[int, Sheet]
) -> Still:
    """An image with its properties."""
    crop, size, angle, axis = None, (0, 0), 0, None
    profile, tags = False, (2, 2, 2, 0)
    for box in images[number].properties:
        data = _content(file, box)
        if box.kind == "ispe":
            width, height = struct.unpack_from(">2I", data, 4)
            size = width, height
        elif box.kind == "clap":
            crop = _crop(data, *size)
        elif box.kind == "irot":
            angle = data[0] & 3
        elif box.kind == "imir":
            axis = data[0] & 1
        elif box.kind == "colr" and data[:4] == b"nclx":
            primaries, transfer, matrix = struct.unpack_from(">3H", data, 4)
            tags = matrix, primaries, transfer, 2 if data[10] & 128 else 1
        elif box.kind == "colr":
            profile = True
    opacity = next((n for n, each in images.items() if each.of == number), None)
    return Still(
        sheets[number],
        sheets.get(opacity) if opacity is not None else None,
        crop,
        _turn(angle, axis),
        profile,
        tags,
    )


def _turn(angle: int, axis: int | None) -> tuple[int, ...] | None:
    """The matrix of quarter turns to the left, then of a mirror; None: upright.

    A mirror of axis 0 exchanges above and below, of axis 1 left and right (23008-12, 6.5.12).
    """
    if not angle and axis is None:
        return None
    a, b, c, d = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[angle]
    if axis == 0:
        b, d = -b, -d
    elif axis == 1:
        a, c = -a, -c
    one = 1 << 16
    return (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)


def _places(file: BinaryIO, inner: Mapping[str, _Box]) -> Iterator[tuple[int, _Box]]:
    """Where the first piece of each image lies: 14496-12, 8.11.3."""
    data = _content(file, inner["iloc"])
    version, at = data[0], 6
    sizes = (data[4] >> 4, data[4] & 15, data[5] >> 4, data[5] & 15 if version else 0)

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(data):
            raise ValueError("cut off")
        return int.from_bytes(data[at - size : at], "big")

    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        name = number(wide)
        method = number(2) & 15 if version else 0
        number(2)  # which file: this one
        base, pieces = number(sizes[2]), number(2)
        first = None
        for _ in range(pieces):
            number(sizes[3])
            offset, length = number(sizes[0]), number(sizes[1])
            first = first or (base + offset, length)
        if first is None or (method and (method != 1 or "idat" not in inner)):
            continue
        start = first[0] + (inner["idat"].start if method else 0)
        yield name, _Box("", start, start + first[1])


def _grid(file: BinaryIO, place: _Box, tiles: tuple[int, ...]) -> Sheet | None:
    """What an image of kind `grid` says of its tiles: 23008-12, 6.6.2.3."""
    data = _content(file, place)
    rows, columns = data[2] + 1, data[3] + 1
    width, height = struct.unpack_from(">2I" if data[1] & 1 else ">2H", data, 4)
    if len(tiles) != rows * columns or not width or not height:
        return None
    return Sheet(tiles, columns, width, height)


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
    premultiplied = set[int]()
    for each in _boxes(file, box.start + 4, box.end):
        data = _content(file, each)
        origin, count = struct.unpack_from(f">{number_kind}H", data)
        targets = struct.unpack_from(f">{count}{number_kind}", data, size + 2)
        if each.kind == "auxl" and origin in images:
            kinds = [p for p in images[origin].properties if p.kind == "auxC"]
            name = _content(file, kinds[0], 4) if kinds else b""
            images[origin].role = _auxiliary(name)
            if images[origin].role == OPACITY and targets:
                images[origin].of = targets[0]
        elif each.kind == "thmb" and origin in images:
            images[origin].role = "thumbnail"
        elif each.kind == "dimg" and origin in images and images[origin].kind in _JOINED:
            images[origin].tiles = targets
            for target in targets:
                if target in images:
                    images[target].role = TILE
        elif each.kind == "prem":
            premultiplied.update(targets)
    for number, image in images.items():
        if number in premultiplied:  # the colours are darkened by it, and look right without
            image.role, image.of = "opacity of darkened colours", 0
        for tile in image.tiles if image.role else ():
            if tile in images:
                images[tile].role = image.role


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
