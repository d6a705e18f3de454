"""Where each sample of FFmpeg's pixel formats lies, so that planes are read without conversion.

A layout follows from the format's name. `STAND_INS` lists the formats that hold no plain samples
(palettes, Bayer patterns, single bits): they are read through a format that does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from unblur.errors import MediaError

STAND_INS = {
    "pal8": "rgba",
    "monow": "gray",
    "monob": "gray",
    **dict.fromkeys(("rgb8", "bgr8", "rgb4_byte", "bgr4_byte"), "rgb24"),
    **{f"bayer_{p}8": "rgb24" for p in ("bggr", "rggb", "gbrg", "grbg")},
    **{
        f"bayer_{p}16{e}": "rgb48le" for p in ("bggr", "rggb", "gbrg", "grbg") for e in ("le", "be")
    },
    "xyz12le": "rgb48le",
    "xyz12be": "rgb48le",
    "uyyvyy411": "yuv411p",
}
"""Formats without plain samples, and the format in which their images are read and given back."""


@dataclass(frozen=True)
class Samples:
    """Where the samples of one colour channel lie."""

    plane: int
    offset: int
    """Bytes from the start of a line to the first sample's word."""
    step: int
    """Bytes from one sample's word to the next."""
    shift: int = 0
    """Bits below the sample in its word."""


@dataclass(frozen=True)
class Layout:
    """How a pixel format stores an image."""

    name: str
    family: Literal["rgb", "yuv", "gray"]
    dtype: str
    """NumPy's name of a word, with byte order: `|u1`, `<u2`, `>u2`, `<f4`, ..."""
    bits: int
    """Bits of a sample (the smallest where channels differ: see `channel_bits`)."""
    color: tuple[Samples, ...]
    """R, G, B or Y, Cb, Cr or Y."""
    alpha: Samples | None = None
    subsampling: tuple[int, int] = (1, 1)
    """Luma samples per chroma sample: (down, across)."""
    channel_bits: tuple[int, ...] = ()
    full_range: bool = False
    """True for the `yuvj` formats, whose name says the range."""

    @property
    def is_float(self) -> bool:
        """True where samples are floating point numbers."""
        return self.dtype[1] == "f"

    @property
    def shares_words(self) -> bool:
        """True where several channels lie in the bits of one word (`rgb565le`, `xv30le`)."""
        return len({(s.plane, s.offset) for s in self.color}) < len(self.color)

    def bits_of(self, channel: int) -> int:
        """Bits of a sample of colour channel 0, 1 or 2."""
        return self.channel_bits[channel] if self.channel_bits else self.bits


def native_format(name: str) -> str:
    """The pixel format that `Frame.with_rgb` gives back for images in format `name`.

    It is the same format wherever that can hold any colour, else its stand-in (`rgba` for `pal8`).
    """
    return STAND_INS.get(name, name)


@lru_cache(maxsize=64)
def layout_of(name: str) -> Layout:
    """The layout of FFmpeg's pixel format `name`.

    Raises:
        MediaError: frames of this format lie on a device, or its samples are not known.
    """
    for parse in (
        _planar_yuv,
        _planar_rgb,
        _gray,
        _semiplanar,
        _packed_rgb,
        _bit_fields,
        _packed_yuv,
    ):
        layout = parse(name)
        if layout is not None:
            return layout
    raise MediaError(
        f"pixel format {name!r} is not supported; convert the video first, "
        "for example with `ffmpeg -i IN -pix_fmt yuv444p16le -c:v ffv1 OUT.mkv`"
    )


_SUBSAMPLING = {
    "444": (1, 1),
    "422": (1, 2),
    "420": (2, 2),
    "440": (2, 1),
    "411": (1, 4),
    "410": (4, 4),
}


def _word(bits: int, big: bool, floating: bool = False) -> tuple[str, int]:
    """NumPy's name and the bytes of the smallest word that holds `bits`."""
    size = 1 if bits <= 8 else 2 if bits <= 16 else 4
    order = "|" if size == 1 else ">" if big else "<"
    return f"{order}{'f' if floating else 'u'}{size}", size


def _planar_yuv(name: str) -> Layout | None:
    match = re.fullmatch(r"yuv(a|j)?(4\d\d)p(\d+)?(msb)?(le|be)?", name)
    if match is None:
        return None
    kind, sampling, depth, msb, order = match.groups()
    bits = int(depth or 8)
    dtype, size = _word(bits, order == "be")
    planes = [Samples(plane, 0, size, 8 * size - bits if msb else 0) for plane in range(4)]
    return Layout(
        name,
        "yuv",
        dtype,
        bits,
        tuple(planes[:3]),
        planes[3] if kind == "a" else None,
        _SUBSAMPLING[sampling],
        full_range=kind == "j",
    )


def _planar_rgb(name: str) -> Layout | None:
    match = re.fullmatch(r"gbr(a)?p(f)?(\d+)?(msb)?(le|be)?", name)
    if match is None:
        return None
    alpha, floating, depth, msb, order = match.groups()
    bits = int(depth or 8)
    dtype, size = _word(bits, order == "be", bool(floating))
    green, blue, red, last = (
        Samples(plane, 0, size, 8 * size - bits if msb else 0) for plane in range(4)
    )
    return Layout(name, "rgb", dtype, bits, (red, green, blue), last if alpha else None)


def _gray(name: str) -> Layout | None:
    match = re.fullmatch(r"(gray|ya)(f)?(\d+)?(le|be)?", name)
    if match is None:
        return None
    kind, floating, depth, order = match.groups()
    bits = int(depth or 8)
    dtype, size = _word(bits, order == "be", bool(floating))
    if kind == "gray":
        return Layout(name, "gray", dtype, bits, (Samples(0, 0, size),))
    return Layout(name, "gray", dtype, bits, (Samples(0, 0, 2 * size),), Samples(0, size, 2 * size))


def _semiplanar(name: str) -> Layout | None:
    plain = {"nv12": "420", "nv21": "420", "nv16": "422", "nv24": "444", "nv42": "444"}
    match = re.fullmatch(r"p(0|2|4)(10|12|16)(le|be)", name)
    if name in plain:
        sampling, bits, shift, dtype, size = plain[name], 8, 0, "|u1", 1
    elif name in ("nv20le", "nv20be"):
        sampling, bits, shift, (dtype, size) = "422", 10, 0, _word(10, name == "nv20be")
    elif match is not None:
        sampling = {"0": "420", "2": "422", "4": "444"}[match[1]]
        bits, shift = int(match[2]), 16 - int(match[2])
        dtype, size = _word(16, match[3] == "be")
    else:
        return None
    first, second = Samples(1, 0, 2 * size, shift), Samples(1, size, 2 * size, shift)
    chroma = (second, first) if name in ("nv21", "nv42") else (first, second)
    color = (Samples(0, 0, size, shift), *chroma)
    return Layout(name, "yuv", dtype, bits, color, None, _SUBSAMPLING[sampling])


def _packed_rgb(name: str) -> Layout | None:
    match = re.fullmatch(r"([a0]?)(rgb|bgr)([a0]?)(f)?(16|24|32|48|64|96|128)?(le|be)?", name)
    if match is None:
        return None
    before, rgb, after, floating, total, order = match.groups()
    letters = before + rgb + after
    channels = 1 if floating else len(letters)
    bits = int(total) // channels if total else 8
    dtype, size = _word(bits, order == "be", bool(floating))
    at = {letter: Samples(0, i * size, len(letters) * size) for i, letter in enumerate(letters)}
    return Layout(name, "rgb", dtype, bits, (at["r"], at["g"], at["b"]), at.get("a"))


def _bit_fields(name: str) -> Layout | None:
    match = re.fullmatch(r"(x2)?(rgb|bgr)(10|444|555|565)(le|be)", name)
    if match is None:
        return None
    padding, rgb, widths, order = match.groups()
    if (padding is None) == (widths == "10"):
        return None
    bits = (10, 10, 10) if padding else tuple(int(digit) for digit in widths)
    dtype, size = _word(32 if padding else 16, order == "be")
    shifts = (bits[1] + bits[2], bits[2], 0)
    color = [Samples(0, 0, size, shift) for shift in shifts]
    if rgb == "bgr":
        color.reverse()
    return Layout(name, "rgb", dtype, min(bits), tuple(color), channel_bits=bits)


def _packed_yuv(name: str) -> Layout | None:
    stem, order = (name[:-2], name[-2:]) if name[-2:] in ("le", "be") else (name, "")
    if stem in _PAIRS:
        letters, bits, size = _PAIRS[stem]
        shift = 8 * size - bits
        luma = Samples(0, letters.index("y") * size, 2 * size, shift)
        chroma = [Samples(0, letters.index(c) * size, 4 * size, shift) for c in "uv"]
        dtype, _ = _word(8 * size, order == "be")
        return Layout(name, "yuv", dtype, bits, (luma, *chroma), None, _SUBSAMPLING["422"])
    if stem in _QUADS:
        letters, bits, size = _QUADS[stem]
        at = {
            letter: Samples(0, i * size, len(letters) * size, 8 * size - bits)
            for i, letter in enumerate(letters)
        }
        dtype, _ = _word(8 * size, order == "be")
        return Layout(name, "yuv", dtype, bits, (at["y"], at["u"], at["v"]), at.get("a"))
    if stem in ("xv30", "v30x"):
        low = 2 if stem == "v30x" else 0
        dtype, size = _word(32, order == "be")
        u, y, v = (Samples(0, 0, size, low + 10 * i) for i in range(3))
        return Layout(name, "yuv", dtype, 10, (y, u, v))
    return None


# Order of the words in memory, bits of a sample, bytes of a word; samples fill the upper bits.
_PAIRS = {
    "yuyv422": ("yuyv", 8, 1),
    "yvyu422": ("yvyu", 8, 1),
    "uyvy422": ("uyvy", 8, 1),
    "y210": ("yuyv", 10, 2),
    "y212": ("yuyv", 12, 2),
    "y216": ("yuyv", 16, 2),
}
_QUADS = {
    "ayuv": ("ayuv", 8, 1),
    "ayuv64": ("ayuv", 16, 2),
    "uyva": ("uyva", 8, 1),
    "vuya": ("vuya", 8, 1),
    "vuyx": ("vuyx", 8, 1),
    "vyu444": ("vyu", 8, 1),
    "xv36": ("uyvx", 12, 2),
    "xv48": ("uyvx", 16, 2),
}
