"""Colour profiles (ICC) of image files: taken out of PNG, JPEG and TIFF, put into PNG and TIFF.

FFmpeg's encoders of images write none, and PyAV cannot give them one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from unblur.video.png import LARGEST_PROFILE, SIGNATURE, chunks

_JPEG = b"ICC_PROFILE\0"
_TIFF_TAG = 34675
_UNDEFINED = 7
"""Type of a TIFF tag that is bytes."""
_SPACES = {"rgb": b"RGB ", "gray": b"GRAY"}
"""Colours that a profile speaks of, by the kind of the samples (ICC.1, 7.2.8)."""


def profile_of(codec: str, data: bytes) -> bytes | None:
    """The colour profile of an image file whose codec FFmpeg calls so; None where it has none."""
    readers = {"png": _from_png, "mjpeg": _from_jpeg, "tiff": _from_tiff}
    try:
        found = readers[codec](data) if codec in readers else None
    except (struct.error, zlib.error, ValueError, IndexError):
        return None  # damaged: the decoder says so
    return found if found and len(found) >= 128 and found[36:40] == b"acsp" else None


def fits(profile: bytes, family: str) -> bool:
    """Whether a profile speaks of samples of that kind, `rgb` or `gray`."""
    return profile[16:20] == _SPACES.get(family)


def with_profile(codec: str, data: bytes, profile: bytes) -> bytes:
    """An encoded image, `png` or `tiff` (little-endian, as FFmpeg writes it), with a profile."""
    return _into_png(data, profile) if codec == "png" else _into_tiff(data, profile)


def _from_png(data: bytes) -> bytes | None:
    body = next((bytes(body) for kind, body in chunks(data) if kind == b"iCCP"), None)
    if body is None:
        return None
    start = body.index(b"\0") + 2  # behind its name, and how it is compressed
    return zlib.decompressobj().decompress(body[start:], LARGEST_PROFILE)


def _into_png(data: bytes, profile: bytes) -> bytes:
    body = b"ICC profile\0\0" + zlib.compress(profile)
    made = [SIGNATURE]
    for kind, content in chunks(data):
        if kind not in (b"sRGB", b"iCCP", b"gAMA", b"cHRM", b"cICP"):  # they would say otherwise
            made.append(_chunk(kind, bytes(content)))
        if kind == b"IHDR":
            made.append(_chunk(b"iCCP", body))
    return b"".join(made)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _from_jpeg(data: bytes) -> bytes | None:
    parts = {}
    at = 2
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        (size,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + size]
        if data[at + 1] == 0xE2 and body.startswith(_JPEG):
            parts[body[len(_JPEG)]] = body[len(_JPEG) + 2 :]
        at += 2 + size
    return b"".join(parts[number] for number in sorted(parts)) or None


def _from_tiff(data: bytes) -> bytes | None:
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    for tag, _, count, entry in _entries(data, start, order):
        if tag == _TIFF_TAG and count <= LARGEST_PROFILE:
            (at,) = struct.unpack_from(f"{order}I", entry, 8)
            return data[at : at + count]
    return None


def _entries(data: bytes, start: int, order: str) -> Iterator[tuple[int, int, int, bytes]]:
    """Tag, type, count and bytes of each entry of a directory."""
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for number in range(count):
        at = start + 2 + 12 * number
        yield (*struct.unpack_from(f"{order}HHI", data, at), data[at : at + 12])


def _into_tiff(data: bytes, profile: bytes) -> bytes:
    """The directory is written again at the end, with one more entry."""
    (start,) = struct.unpack_from("<I", data, 4)
    data += b"\0" * (len(data) % 2)
    entries = [entry for tag, *_, entry in _entries(data, start, "<") if tag != _TIFF_TAG]
    entries.append(struct.pack("<HHII", _TIFF_TAG, _UNDEFINED, len(profile), len(data)))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    behind = data + profile + b"\0" * (len(profile) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0" * 4
    return data[:4] + struct.pack("<I", len(behind)) + behind[8:] + directory
