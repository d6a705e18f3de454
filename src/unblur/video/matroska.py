"""What PyAV cannot ask the Matroska muxer to write, put into the finished header.

PyAV gives no access to a stream's pixel aspect ratio and HDR side data outside the encoder. So the
video track is written with a name that is longer than needed (`reserve`), and `amend` turns the
spare bytes into the missing elements: the header keeps its size and nothing else moves.
Element numbers: RFC 9559 (Matroska), RFC 8794 (EBML).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import gcd
from pathlib import Path

import av
from av.stream import Stream
from av.video.stream import VideoStream

from unblur.video.info import MasteringDisplay, Siting

_SPARE = "\u00a0" * 200  # two bytes each
_SEGMENT, _TRACKS, _TRACK, _NUMBER, _NAME = 0x18538067, 0x1654AE6B, 0xAE, 0xD7, 0x536E
_VIDEO, _COLOUR, _MASTERING = 0xE0, 0x55B0, 0x55D0
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_MAX_CLL, _MAX_FALL, _FIRST_PRIMARY, _VOID, _CRC = 0x55BC, 0x55BD, 0x55D1, 0xEC, 0xBF
_SITING_ACROSS, _SITING_DOWN = 0x55B7, 0x55B8
_DELAY, _NANO = 0x56AA, 10**9
_SITINGS: dict[tuple[int, int], Siting] = {
    (1, 2): "left",
    (2, 2): "center",
    (1, 1): "topleft",
    (2, 1): "top",
    (1, 3): "bottomleft",
    (2, 3): "bottom",
}
_UNTOLD: dict[str, Siting] = {"dvvideo": "topleft", "mjpeg": "center", "mpeg1video": "center"}
"""Where chroma lies by the definition of codecs, for those that Matroska does not take."""
_CROPS = (0x54BB, 0x54AA, 0x54CC, 0x54DD)
"""Lines and columns that players hide: at the top, the bottom, on the left, on the right."""
_HEADER_BYTES = 1 << 20


def reserve(title: str) -> str:
    """A track's name with spare bytes behind it."""
    return title + _SPARE


def siting_of(stream: VideoStream) -> Siting | None:
    """Where FFmpeg found that chroma lies in a stream; None where the file does not say.

    PyAV has no name for it, so a header of Matroska, which has, is written into memory and read.
    """
    try:
        track = _track_of(stream)
        colour = dict(_parse(dict(_parse(track[_VIDEO])).get(_COLOUR, b"")))
        across, down = colour[_SITING_ACROSS], colour[_SITING_DOWN]
    except (av.FFmpegError, OSError, ValueError, LookupError):
        return _UNTOLD.get(stream.codec.canonical_name)
    return _SITINGS.get((int.from_bytes(across, "big"), int.from_bytes(down, "big")))


def delay_of(stream: Stream) -> Fraction:
    """Seconds that the muxer of Matroska takes for samples before the first sound of a stream."""
    try:
        delay = _track_of(stream).get(_DELAY, b"")
    except (av.FFmpegError, OSError, ValueError, LookupError):
        return Fraction(0)
    return Fraction(int.from_bytes(delay, "big"), _NANO)


def _track_of(stream: Stream) -> dict[int, bytes]:
    """The elements of a stream's track in a header that is written into memory."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="matroska") as header:
        header.add_stream_from_template(stream, opaque=True)
        header.start_encoding()
    data = bytearray(memory.getvalue())
    start, stop = _find_tracks(data)
    return dict(_parse(dict(_parse(data[start:stop]))[_TRACK]))


def crop_of(path: Path, index: int) -> tuple[int, ...] | None:
    """What players hide at the four sides of the track `index`; None: nothing."""
    try:
        with path.open("rb") as file:
            data = bytearray(file.read(_HEADER_BYTES))
        start, stop = _find_tracks(data)
        tracks = [value for number, value in _parse(data[start:stop]) if number == _TRACK]
        video = dict(_parse(dict(_parse(tracks[index])).get(_VIDEO, b"")))
    except (OSError, ValueError, IndexError):
        return None
    sides = tuple(int.from_bytes(video.get(number, b""), "big") for number in _CROPS)
    return sides if any(sides) else None


def amend(
    path: Path,
    width: int,
    height: int,
    aspect: Fraction,
    display: MasteringDisplay | None,
    light: tuple[int, int] | None,
    crop: tuple[int, ...] | None = None,
) -> None:
    """Takes the spare bytes out of the first track's name and writes the elements instead.

    Args:
        path: a finished file whose first track is the video.
        width: of the frames, as stored.
        height: of the frames, as stored.
        aspect: width of a pixel over its height; 1 writes nothing.
        display: mastering display, or None.
        light: content light level, or None.
        crop: see `crop_of`.

    Raises:
        ValueError: the header has no room or is not as expected; the file is as it was.
    """

    def amended(tracks: list[bytes]) -> list[bytes]:
        first = _amended(tracks[0], width, height, aspect, display, light, crop)
        return [first, *tracks[1:]]

    _rewrite(path, amended)


def set_delays(path: Path, delays: Sequence[Fraction]) -> None:
    """Says how much of tracks lies before their first sound, in place of the spare bytes.

    Args:
        path: a finished file.
        delays: seconds, of each track other than the video that has spare bytes in its name.

    Raises:
        ValueError: as `amend`.
    """
    left = list(delays)

    def delayed(tracks: list[bytes]) -> list[bytes]:
        return [_delayed(track, left) for track in tracks]

    _rewrite(path, delayed)


def _delayed(track: bytes, delays: list[Fraction]) -> bytes:
    elements = _parse(track)
    name = dict(elements).get(_NAME, b"")
    if _VIDEO in dict(elements) or not name.endswith(_SPARE.encode()):
        return track
    delay, name = delays.pop(0), name.removesuffix(_SPARE.encode())
    kept = [(n, v) for n, v in elements if n not in (_NAME, _DELAY)]
    kept += [(_NAME, name)] if name else []
    return _join([*kept, (_DELAY, _uint(round(delay * _NANO)))] if delay else kept)


def _rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Changes the tracks of a finished file; what they need less is filled up."""
    with path.open("r+b") as file:
        data = bytearray(file.read(_HEADER_BYTES))
        start, stop = _find_tracks(data)
        if stop > len(data):
            raise ValueError("the header is too long")
        body = bytes(data[start:stop])
        crc = body[:2] == bytes([_CRC, 0x84])
        elements = _parse(body[6:] if crc else body)
        changed = iter(change([value for number, value in elements if number == _TRACK]))
        elements = [(n, next(changed) if n == _TRACK else value) for n, value in elements]
        fresh = b"".join(_element(number, value) for number, value in elements)
        fresh = _padded(fresh, len(body) - (6 if crc else 0))
        if crc:
            fresh = bytes([_CRC, 0x84]) + struct.pack("<I", zlib.crc32(fresh)) + fresh
        file.seek(start)
        file.write(fresh)


def _amended(
    track: bytes,
    width: int,
    height: int,
    aspect: Fraction,
    display: MasteringDisplay | None,
    light: tuple[int, int] | None,
    crop: tuple[int, ...] | None,
) -> bytes:
    out = []
    for number, value in _parse(track):
        if number == _NAME:
            value = value.decode().removesuffix(_SPARE).encode()
            if not value:
                continue
        if number == _VIDEO:
            video = _parse(value)
            if aspect != 1 and crop is None:
                video = [(n, v) for n, v in video if n != _DISPLAY_UNIT]
                video += _display_size(width, height, aspect)
            if crop is not None:
                video += [(n, _uint(size)) for n, size in zip(_CROPS, crop, strict=True) if size]
                video = [(n, v) for n, v in video if n not in (_DISPLAY_WIDTH, _DISPLAY_HEIGHT)]
                shown = width - crop[2] - crop[3], height - crop[0] - crop[1]
                video += _display_size(*shown, aspect)
            extra = _light_elements(display, light)
            if extra:
                colour = next((_parse(v) for n, v in video if n == _COLOUR), [])
                video = [(n, v) for n, v in video if n != _COLOUR]
                video.append((_COLOUR, _join(colour + extra)))
            value = _join(video)
        out.append((number, value))
    return _join(out)


def _display_size(width: int, height: int, aspect: Fraction) -> list[tuple[int, bytes]]:
    shown = width * aspect
    if shown.denominator == 1:
        return [(_DISPLAY_WIDTH, _uint(int(shown))), (_DISPLAY_HEIGHT, _uint(height))]
    across, down = width * aspect.numerator, height * aspect.denominator
    common = gcd(across, down)
    return [
        (_DISPLAY_WIDTH, _uint(across // common)),
        (_DISPLAY_HEIGHT, _uint(down // common)),
        (_DISPLAY_UNIT, _uint(3)),  # a ratio, not pixels
    ]


def _light_elements(
    display: MasteringDisplay | None, light: tuple[int, int] | None
) -> list[tuple[int, bytes]]:
    out = []
    if light is not None:
        out += [(_MAX_CLL, _uint(light[0])), (_MAX_FALL, _uint(light[1]))]
    numbers: list[Fraction | None] = [None] * 10
    if display is not None and display.primaries is not None:
        numbers[:8] = display.primaries
    if display is not None and display.luminance is not None:
        numbers[8:] = display.luminance[::-1]  # the brightest comes first
    floats = [
        (_FIRST_PRIMARY + place, struct.pack(">d", float(number)))
        for place, number in enumerate(numbers)
        if number is not None
    ]
    return [*out, (_MASTERING, _join(floats))] if floats else out


def _find_tracks(data: bytearray) -> tuple[int, int]:
    """Where the body of the element Tracks starts and ends."""
    place = 0
    while place < len(data):
        number, place = _number(data, place, keep_marker=True)
        size, place = _number(data, place, keep_marker=False)
        if number == _TRACKS:
            return place, place + size
        if number != _SEGMENT:
            place += size
    raise ValueError("no tracks in the header")


def _parse(data: bytes | bytearray) -> list[tuple[int, bytes]]:
    out, place = [], 0
    while place < len(data):
        number, place = _number(data, place, keep_marker=True)
        size, place = _number(data, place, keep_marker=False)
        if number != _VOID:
            out.append((number, bytes(data[place : place + size])))
        place += size
    return out


def _number(data: bytes | bytearray, place: int, *, keep_marker: bool) -> tuple[int, int]:
    """A number of variable length and the place behind it."""
    length = 9 - data[place].bit_length()
    value = int.from_bytes(data[place : place + length], "big")
    return (value if keep_marker else value & ~(1 << (7 * length))), place + length


def _element(number: int, value: bytes) -> bytes:
    name = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return name + (len(value) | 1 << 28).to_bytes(4, "big") + value


def _join(elements: list[tuple[int, bytes]]) -> bytes:
    return b"".join(_element(number, value) for number, value in elements)


def _uint(value: int) -> bytes:
    return value.to_bytes(max((value.bit_length() + 7) // 8, 1), "big")


def _padded(data: bytes, size: int) -> bytes:
    """`data` and an empty element, `size` bytes together."""
    spare = size - len(data)
    if spare == 0:
        return data
    if spare < 9:
        raise ValueError("the spare bytes do not suffice")
    return data + bytes([_VOID, 1]) + (spare - 9).to_bytes(7, "big") + bytes(spare - 9)
