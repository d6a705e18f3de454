"""Single images in memory: PNG, JPEG, TIFF and OpenEXR files to frames, and back.

FFmpeg's decoders get the bytes themselves, without a container around them: no name is taken for
a pattern or a protocol, and only the four formats are ever tried.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
from av.video.codeccontext import VideoCodecContext

from unblur.disk import read_bytes
from unblur.errors import MediaError, ResourceError
from unblur.video.decode import reason
from unblur.video.frame import tag_transfer
from unblur.video.pixels.layout import layout_of, native_format
from unblur.video.png import check_png, chunks, size_of
from unblur.video.probe import check_size
from unblur.video.profiles import profile_of
from unblur.video.side_data import display_matrix, without_profile

READABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr")
"""Suffixes of images that are read."""
WRITABLE = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".exr": "exr"}
"""Suffixes of images that are written, and their codecs."""

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "mjpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"v/1\x01": "exr",
}
_PNG = {  # (gray, alpha, deeper than 8 bits)
    (False, False, False): "rgb24",
    (False, True, False): "rgba",
    (True, False, False): "gray",
    (True, True, False): "ya8",
    (False, False, True): "rgb48be",
    (False, True, True): "rgba64be",
    (True, False, True): "gray16be",
    (True, True, True): "ya16be",
}


class Decoded(NamedTuple):
    """An image file's content."""

    image: av.VideoFrame
    codec: str
    damage: str | None
    """What is wrong with the file, where it gave an image all the same."""
    profile: bytes | None = None
    """Its colour profile (ICC)."""
    matrix: tuple[int, ...] | None = None
    """How it is turned and mirrored to be shown (EXIF orientation); see `display_matrix`."""


def read_image(path: Path, max_pixels: int) -> Decoded:
    """Decodes an image file; its content says its kind, not its name.

    Raises:
        MediaError: it is not one of the known kinds, or gives no image.
        ResourceError: it claims more than `max_pixels`, or memory does not suffice.
    """
    data = _bytes_of(path, max_pixels)
    codec = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    if codec is None:
        what = "is empty" if not data else "is not a PNG, JPEG, TIFF or EXR image"
        raise MediaError(f"{path} {what}: replace the file, or leave it out")
    if codec == "png":
        check_png(path, data)
        check_size(path, *(size_of(data) or (0, 0)), max_pixels)
    damage = _exr_damage(data) if codec == "exr" else None
    try:
        # FFmpeg's strict mode refuses any TIFF with a tag it does not know.
        image = _decode(codec, data, max_pixels, strict=codec != "tiff")
    except av.FFmpegError as error:
        damage = reason(error)
        try:  # what decodes is shown
            image = _decode(codec, data, max_pixels, strict=False)
        except av.FFmpegError as again:
            raise MediaError(
                f"{path} cannot be decoded ({reason(again)}): it is damaged, cut off, or larger"
                f" than {max_pixels} pixels"
            ) from again
    except MemoryError:
        raise ResourceError(f"{path}: no memory left to decode it") from None
    check_size(path, image.width, image.height, max_pixels)
    if codec == "exr":
        tag_transfer(image, "linear")
    if image.colorspace == 0 and layout_of(native_format(image.format.name)).family != "rgb":
        image.colorspace = 2  # FFmpeg says RGB of gray PNG, which a video would repeat
    return Decoded(image, codec, damage, profile_of(codec, data), _matrix(codec, data, image))


def is_animated(path: Path) -> bool:
    """Whether a PNG file holds several images: the chunk acTL before the first image's data."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return False
    return head.startswith(b"\x89PNG") and b"acTL" in head.partition(b"IDAT")[0]


def storage_format(codec: str, pixel_format: str) -> str:
    """The pixel format in which `codec` stores images of `pixel_format` without loss.

    The source's own wherever the codec has it, so that its images pass through exactly.
    """
    if codec in ("png", "tiff") and pixel_format in ("pal8", "monob"):
        return pixel_format
    layout = layout_of(native_format(pixel_format))
    gray, alpha = layout.family == "gray", layout.alpha is not None
    if codec == "exr":
        return "gbrapf32le" if alpha else "grayf32le" if gray else "gbrpf32le"
    name = _PNG[gray, alpha, layout.bits > 8]
    return name if codec == "png" else name.replace("be", "le")


def write_image(
    image: av.VideoFrame, codec: str, *, half: bool = False, aspect: Fraction = Fraction(1)
) -> bytes:
    """Encodes an image whose pixel format is one of `storage_format`.

    Args:
        image: what to encode.
        codec: `png`, `tiff` or `exr`.
        half: 16-bit floats in EXR instead of 32-bit.
        aspect: width of a pixel by its height.

    Raises:
        ResourceError: this build of FFmpeg lacks the encoder.
    """
    options = {
        "png": {"pred": "mixed"},
        "tiff": {"compression_algo": "deflate"},
        "exr": {"compression": "zip16", "format": "half" if half else "float"},
    }
    try:
        context = cast(VideoCodecContext, av.CodecContext.create(codec, "w"))
    except ValueError as error:
        raise ResourceError(
            f"this build of FFmpeg has no encoder for {codec}: use another image format"
        ) from error
    context.width, context.height = image.width, image.height
    context.pix_fmt = image.format.name
    context.time_base = Fraction(1, 1000)
    context.options = options[codec]
    for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):
        with suppress(AttributeError):
            setattr(context, tag, int(getattr(image, tag)))
    if aspect != 1:
        context.sample_aspect_ratio = aspect
    packets = [*context.encode(image), *context.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def _bytes_of(path: Path, max_pixels: int) -> bytes:
    return read_bytes(path, 32 * max_pixels + 2**24)


def _decode(codec: str, data: bytes, max_pixels: int, strict: bool) -> av.VideoFrame:
    context = cast(VideoCodecContext, av.CodecContext.create(codec, "r"))
    options = {"max_pixels": str(max_pixels)}
    if strict:
        options["err_detect"] = "explode"
    context.options = options
    found = [*context.decode(av.Packet(data)), *context.decode(None)]
    if not found:
        raise av.error.InvalidDataError(0, "no image in it")
    image: av.VideoFrame = found[0]
    return image


def _matrix(codec: str, data: bytes, image: av.VideoFrame) -> tuple[int, ...] | None:
    """The display matrix that FFmpeg makes of the orientation in EXIF."""
    if codec != "png":
        return display_matrix(image)
    has_exif = any(kind == b"eXIf" for kind, _ in chunks(data))
    return display_matrix(without_profile(image)) if has_exif else None


_EXR_LINES = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
"""Lines in a block, by the number of the compression."""


def _exr_damage(data: bytes) -> str | None:
    """Says if blocks of lines are missing: FFmpeg fills them with black and says nothing.

    Checks the table of offsets of images in lines (not tiles, not several parts):
    https://openexr.com/en/latest/OpenEXRFileLayout.html
    """
    try:
        (flags,) = struct.unpack_from("<I", data, 4)
        if flags & 0x1A00:  # tiles, deep data, several parts
            return None
        at, attributes = 8, {}
        while data[at]:
            name_end = data.index(0, at)
            type_end = data.index(0, name_end + 1)
            (size,) = struct.unpack_from("<I", data, type_end + 1)
            attributes[data[at:name_end]] = data[type_end + 5 : type_end + 5 + size]
            at = type_end + 5 + size
        _, top, _, bottom = struct.unpack("<4i", attributes[b"dataWindow"])
        lines = _EXR_LINES[attributes[b"compression"][0]]
        blocks = -(-(bottom - top + 1) // lines)
        offsets = struct.unpack_from(f"<{blocks}Q", data, at + 1)
        (size,) = struct.unpack_from("<I", data, max(offsets) + 4)
        whole = min(offsets) > at and max(offsets) + 8 + size <= len(data)
    except (struct.error, KeyError, ValueError, IndexError):
        whole = False
    return None if whole else "lines are missing at its end"
