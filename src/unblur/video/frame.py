"""A decoded picture with its place in time, and its conversion to RGB and back.

The picture keeps the file's own planes, so that a frame nobody touches is written back bit for
bit. RGB is made on request, in float32 straight from the planes (no 8-bit step in between), and
`with_rgb` is its inverse: it gives back the same codes for unchanged RGB.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from unblur.errors import MediaError, NumericsError
from unblur.video.info import MATRICES, TRANSFERS
from unblur.video.layout import STAND_INS, Layout, Samples, layout_of

if TYPE_CHECKING:  # torch takes a second to import; reading what a file holds needs none of it
    from torch import Tensor

Siting = Literal["left", "center"]
_Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video."""

    picture: av.VideoFrame
    """The decoded picture: its own pixel format, planes and colour tags."""
    index: int
    """Place in presentation order, from 0 at the first frame of the file."""
    pts: int
    """Presentation time in ticks of `time_base`."""
    time_base: Fraction
    """Seconds per tick."""
    duration: int = 0
    """Ticks until the next frame; 0 where the file does not say."""
    siting: Siting = "left"
    """Where chroma samples lie between luma samples across: MPEG's `left` or JPEG's `center`."""

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.picture.width

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.picture.height

    @property
    def time(self) -> Fraction:
        """Presentation time in seconds."""
        return self.pts * self.time_base

    def rgb(self) -> Tensor:
        """The picture as RGB, `(3, H, W)`, float32, contiguous, on the CPU.

        Values are the encoded signal (no transfer function is undone), 0 black to 1 white.
        YUV may hold colours outside RGB's cube: those leave [0, 1] and are kept, so that
        `with_rgb` finds its way back. In pictures of floats NaN becomes 0 and infinities the
        largest finite value (see `finite`).

        YUV without a matrix tag is BT.709 from 1280x720 up (either side) and BT.601 below;
        without a range tag YUV is limited and gray is full range. RGB is full range.

        Raises:
            MediaError: the pixel format or its matrix is not supported.
        """
        import torch

        rgb = torch.from_numpy(_decode(_readable(self.picture), self.siting))
        return finite(rgb)[0] if layout_of(_readable_name(self.picture)).is_float else rgb

    def alpha(self) -> Tensor | None:
        """Opacity `(1, H, W)`, float32, 0 transparent to 1 opaque; None where there is none."""
        import torch

        picture = _readable(self.picture)
        layout = layout_of(picture.format.name)
        if layout.alpha is None:
            return None
        alpha = _codes(picture, layout, layout.alpha, layout.bits)
        if not layout.is_float:
            alpha /= np.float32(2**layout.bits - 1)
        return torch.from_numpy(alpha[None])

    def non_finite(self) -> int:
        """How many of the picture's colour values are NaN or infinite."""
        layout = layout_of(_readable_name(self.picture))
        if not layout.is_float:
            return 0
        values = _decode(self.picture, self.siting)
        channels = values[:1] if layout.family == "gray" else values
        return int(channels.size - np.isfinite(channels).sum())

    def with_rgb(self, rgb: Tensor, alpha: Tensor | None = None) -> Frame:
        """This frame with other colours: same pixel format, tags, time and alpha.

        Values are rounded to the nearest code, and clipped to what the format holds (floats keep
        negative values and those above 1). A format that cannot hold any colour (`pal8`) becomes
        the one that `layout.native_format` names.

        Args:
            rgb: `(3, H, W)`, the encoded signal, of any size.
            alpha: `(1, H, W)`; None keeps the frame's own. Stretched to the size of `rgb` where
                it has another, and ignored where the format has no alpha.

        Raises:
            NumericsError: `rgb` holds NaN or infinity.
        """
        source = _readable(self.picture)
        values = _as_array(rgb, 3, "rgb")
        height, width = values.shape[1:]
        same_size = (height, width) == (source.height, source.width)
        picture = _like(source, source.format.name, width, height)
        layout = layout_of(source.format.name)
        if layout.family == "yuv" and same_size and layout.subsampling != (1, 1):
            _encode(picture, values, self.siting, reference=source)
        else:
            _encode(picture, values, self.siting)
        if layout.alpha is not None:
            if alpha is None and same_size:
                _words(picture, layout, layout.alpha)[...] = _words(source, layout, layout.alpha)
            else:
                _put_alpha(picture, layout, self.alpha() if alpha is None else alpha)
        return replace(self, picture=_timed(picture, self))

    def converted(self, pixel_format: str, transfer: str | None = None) -> Frame:
        """This frame in another pixel format, and with another transfer function where given.

        RGB of any kind becomes YUV of the matrix that `rgb` would assume for its size, in limited
        range (full for `yuvj` formats), and is tagged so.

        Args:
            pixel_format: FFmpeg's name.
            transfer: name of the wanted curve, for example `linear` for EXR; None keeps it.
        """
        own = transfer_of(self.picture)
        if pixel_format == self.picture.format.name and transfer in (None, own):
            return self
        rgb = self.rgb()
        if transfer is not None and transfer != own:
            from unblur.ops.color import from_linear, to_linear

            rgb = from_linear(to_linear(rgb, own), transfer)
        picture = _like(self.picture, pixel_format, self.width, self.height)
        layout = layout_of(pixel_format)
        if layout.family != layout_of(_readable_name(self.picture)).family:
            code = {"rgb": 0, "gray": 2, "yuv": _matrix_code(2, self.height, self.width)}
            picture.colorspace = code[layout.family]
            picture.color_range = 1 if layout.family == "yuv" and not layout.full_range else 2
        if transfer is not None:
            tag_transfer(picture, transfer)
        _encode(picture, rgb.numpy(), self.siting)
        if layout.alpha is not None:
            alpha = self.alpha()
            _put_alpha(picture, layout, rgb[:1] * 0 + 1 if alpha is None else alpha)
        return replace(self, picture=_timed(picture, self))


def finite(x: Tensor) -> tuple[Tensor, int]:
    """Replaces values that are not finite, and counts them.

    NaN becomes 0, infinity the largest finite value of `x` and -infinity the smallest (0 where
    there is none). A tensor of finite values is returned as it is.
    """
    import torch

    good = torch.isfinite(x)
    bad = x.numel() - int(good.sum())
    if not bad:
        return x, 0
    kept = x[good]
    low, high = (float(kept.min()), float(kept.max())) if kept.numel() else (0.0, 0.0)
    return torch.nan_to_num(x, nan=0.0, posinf=high, neginf=low), bad


def transfer_of(picture: av.VideoFrame) -> str | None:
    """Name of the picture's transfer function; None where it is not tagged."""
    return TRANSFERS.get(int(getattr(picture, "color_trc", 2)))


def tag_transfer(picture: av.VideoFrame, transfer: str) -> None:
    """Writes the tag of a transfer function; the samples stay."""
    code = next(code for code, name in TRANSFERS.items() if name == transfer)
    with suppress(AttributeError):  # PyAV before 16 cannot
        picture.color_trc = code


# Planes to arrays and back


def _readable_name(picture: av.VideoFrame) -> str:
    return STAND_INS.get(picture.format.name, picture.format.name)


def _readable(picture: av.VideoFrame) -> av.VideoFrame:
    """The picture in a format whose planes hold plain samples; the picture itself if it is so."""
    name = picture.format.name
    if any(plane.line_size < 0 for plane in picture.planes):
        # Lines stored bottom up start where the buffer seems to end. RGB of 8 bits is all there is.
        return _reformat(_reformat(picture, "gbrp"), _readable_name(picture))
    return _reformat(picture, STAND_INS[name]) if name in STAND_INS else picture


def _reformat(picture: av.VideoFrame, name: str) -> av.VideoFrame:
    return picture.reformat(format=name, interpolation="POINT", threads=1)


def _words(picture: av.VideoFrame, layout: Layout, samples: Samples) -> NDArray[Any]:
    """The words that hold one channel, as a view into the picture's memory, `(H, W)`."""
    plane = picture.planes[samples.plane]
    height, width = picture.height, picture.width
    if layout.family == "yuv" and samples in layout.color[1:]:
        down, across = layout.subsampling
        height, width = -(-height // down), -(-width // across)
    return np.ndarray(
        (height, width),
        layout.dtype,
        plane,  # type: ignore[arg-type]  # PyAV's planes are buffers
        samples.offset,
        (plane.line_size, samples.step),
    )


def _codes(picture: av.VideoFrame, layout: Layout, samples: Samples, bits: int) -> _Array:
    """The samples of one channel as they are stored, in float32, `(H, W)`."""
    words = _words(picture, layout, samples)
    if samples.shift:
        words = words >> samples.shift
    if layout.shares_words or bits not in (8, 16, 32):
        words = words & (2**bits - 1)
    return words.astype(np.float32)


def _put(
    picture: av.VideoFrame, layout: Layout, samples: Samples, bits: int, codes: _Array
) -> None:
    """Rounds and clips codes `(H, W)`, then stores them. `codes` is overwritten."""
    words = _words(picture, layout, samples)
    if layout.is_float:
        if layout.bits == 16:
            np.clip(codes, -65504, 65504, out=codes)
        words[...] = codes
        return
    np.rint(codes, out=codes)
    top = 2**bits - 1
    if bits > 24:  # float32 would round the largest code up, out of the word
        words[...] = np.clip(codes.astype(np.float64), 0, top)
        return
    np.clip(codes, 0, top, out=codes)
    if not samples.shift and not layout.shares_words:
        words[...] = codes
        return
    stored = codes.astype(words.dtype) << samples.shift
    if layout.shares_words:
        words |= stored.astype(words.dtype)
    else:
        words[...] = stored


def _put_alpha(picture: av.VideoFrame, layout: Layout, alpha: Tensor | None) -> None:
    if alpha is None or layout.alpha is None:
        return
    size = (picture.height, picture.width)
    if tuple(alpha.shape[-2:]) != size:
        import torch

        alpha = torch.nn.functional.interpolate(alpha[None], size=size, mode="bilinear")[0]
    codes = _as_array(alpha, 1, "alpha")[0].copy()
    if not layout.is_float:
        codes *= np.float32(2**layout.bits - 1)
    _put(picture, layout, layout.alpha, layout.bits, codes)


def _as_array(x: Tensor, channels: int, name: str) -> _Array:
    if x.ndim != 3 or x.shape[0] != channels:
        raise ValueError(f"{name} is {tuple(x.shape)}, not ({channels}, H, W)")
    values: _Array = x.detach().float().cpu().numpy()
    if not math.isfinite(float(values.sum())) and not np.isfinite(values).all():
        raise NumericsError(
            f"{name} of a frame holds NaN or infinity; run again with `--precision fp32`"
        )
    return values


def _like(source: av.VideoFrame, name: str, width: int, height: int) -> av.VideoFrame:
    """An empty picture with the tags of `source`."""
    picture = av.VideoFrame(width, height, name)
    for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):
        with suppress(AttributeError):  # PyAV before 16 has not all of them
            setattr(picture, tag, getattr(source, tag))
    layout = layout_of(name)
    channels = len(layout.color) + (layout.alpha is not None)
    fill = 0 if layout.shares_words else 255
    if layout.shares_words or layout.color[0].step > channels * np.dtype(layout.dtype).itemsize:
        for plane in picture.planes:  # bits that belong to no channel
            np.frombuffer(plane, np.uint8)[:] = fill  # type: ignore[call-overload]
    return picture


def _timed(picture: av.VideoFrame, frame: Frame) -> av.VideoFrame:
    picture.pts = frame.pts
    picture.time_base = frame.time_base
    with suppress(AttributeError):
        picture.duration = frame.duration
    return picture


# Codes to RGB and back


def _decode(picture: av.VideoFrame, siting: Siting) -> _Array:
    """RGB `(3, H, W)` of a picture with plain samples."""
    layout = layout_of(picture.format.name)
    out = np.empty((3, picture.height, picture.width), np.float32)
    if layout.family == "rgb":
        for channel, samples in enumerate(layout.color):
            codes = _codes(picture, layout, samples, layout.bits_of(channel))
            if layout.is_float:
                out[channel] = codes
            else:
                np.divide(codes, np.float32(2 ** layout.bits_of(channel) - 1), out=out[channel])
        return out

    luma = _codes(picture, layout, layout.color[0], layout.bits)
    black, white, _ = _code_range(picture, layout)
    luma -= np.float32(black)
    luma /= np.float32(white - black)
    if layout.family == "gray":
        out[:] = luma
        return out

    cb, cr = _chroma(picture, layout, siting)
    _, inverse = _matrices(_matrix_code(picture.colorspace, picture.height, picture.width))
    scratch = np.empty_like(luma)
    for channel in range(3):
        y, b, r = inverse[channel]
        row = out[channel]
        np.multiply(luma, y, out=row) if y != 1 else np.copyto(row, luma)
        for weight, chroma in ((b, cb), (r, cr)):
            if weight:
                np.multiply(chroma, weight, out=scratch)
                row += scratch
    return out


def _encode(
    picture: av.VideoFrame,
    rgb: _Array,  # (3, H, W)
    siting: Siting,
    reference: av.VideoFrame | None = None,
) -> None:
    """Stores RGB in the picture's colour channels.

    Subsampled chroma is low-passed, which would soften it a little each time. With the picture
    that `rgb` was made from as `reference`, only the difference to its chroma is low-passed and
    added to its samples: colours that did not change keep their codes.
    """
    layout = layout_of(picture.format.name)
    if layout.family == "rgb":
        for channel, samples in enumerate(layout.color):
            bits = layout.bits_of(channel)
            top = np.float32(1 if layout.is_float else 2**bits - 1)
            _put(picture, layout, samples, bits, rgb[channel] * top)
        return

    matrix, _ = _matrices(_matrix_code(picture.colorspace, picture.height, picture.width))
    black, white, span = _code_range(picture, layout)
    # Luma's weights add up to 1 and chroma's to 0. Written in differences to green, gray stays
    # exactly gray, also in floats.
    red, blue = rgb[0] - rgb[1], rgb[2] - rgb[1]
    luma = _weighted(red, blue, matrix[0])
    luma += rgb[1]
    luma *= np.float32(white - black)
    luma += np.float32(black)
    _put(picture, layout, layout.color[0], layout.bits, luma)
    if layout.family == "gray":
        return

    middle = np.float32(2 ** (layout.bits - 1))
    before = _chroma(reference, layout, siting) if reference is not None else (None, None)
    for samples, weights, old in zip(layout.color[1:], matrix[1:], before, strict=True):
        chroma = _weighted(red, blue, weights)
        if old is not None and reference is not None:
            chroma -= old
        codes = _downsample(chroma, layout.subsampling, siting)
        codes *= np.float32(span)
        if reference is not None:
            codes += _codes(reference, layout, samples, layout.bits)
        else:
            codes += middle
        _put(picture, layout, samples, layout.bits, codes)


def _chroma(picture: av.VideoFrame, layout: Layout, siting: Siting) -> tuple[_Array, _Array]:
    """Cb and Cr at luma's size, `(H, W)` each, in [-0.5, 0.5]."""
    _, _, span = _code_range(picture, layout)
    planes = []
    for samples in layout.color[1:]:
        codes = _codes(picture, layout, samples, layout.bits)
        codes -= np.float32(2 ** (layout.bits - 1))
        codes /= np.float32(span)
        planes.append(_upsample(codes, layout.subsampling, siting, picture.height, picture.width))
    return planes[0], planes[1]


def _weighted(red: _Array, blue: _Array, weights: NDArray[np.float32]) -> _Array:
    """A row of a matrix times RGB, without green's share: see `_encode`."""
    out = red * weights[0]
    out += blue * weights[2]
    return out


def _code_range(picture: av.VideoFrame, layout: Layout) -> tuple[float, float, float]:
    """Codes of black and white, and the codes that chroma spans from -0.5 to 0.5."""
    if layout.is_float:
        return 0.0, 1.0, 1.0
    tagged = int(picture.color_range)
    limited = tagged != 2 and not layout.full_range
    if layout.family == "gray":
        limited = tagged == 1
    if not limited:
        top = float(2**layout.bits - 1)
        return 0.0, top, top
    unit = 2.0 ** (layout.bits - 8)
    return 16 * unit, 235 * unit, 224 * unit


_LUMA_WEIGHTS = {  # of red and of blue, by the code of ITU-T H.273 table 4
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_YCGCO = 8
_UNTAGGED = (0, 2, 3)  # 0 says RGB, which contradicts a picture of Y, Cb and Cr


def _matrix_code(tag: int, height: int, width: int) -> int:
    """The matrix in force: the tagged one, else by the size of the picture."""
    code = int(tag)
    if code in _UNTAGGED:
        return 1 if height >= 720 or width >= 1280 else 6
    if code != _YCGCO and code not in _LUMA_WEIGHTS:
        known = MATRICES.get(code, f"number {code}")
        raise MediaError(
            f"colour matrix {known} is not supported; convert the video to bt2020nc or bt709 "
            "first, for example with FFmpeg's filter `zscale=matrix=2020_ncl`"
        )
    return code


@lru_cache(maxsize=16)
def _matrices(code: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """RGB to Y, Cb, Cr (chroma in [-0.5, 0.5]), and back."""
    if code == _YCGCO:
        forward = np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    else:
        red, blue = _LUMA_WEIGHTS[code]
        luma = np.array([red, 1 - red - blue, blue])
        cb = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - blue))
        cr = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - red))
        forward = np.stack([luma, cb, cr])
    inverse = np.linalg.inv(forward)
    inverse[np.abs(inverse) < 1e-12] = 0
    inverse[:, 0] = 1
    return forward.astype(np.float32), inverse.astype(np.float32)


# Chroma at luma's size and back. Down, chroma lies between lines; across, `siting` says.


def _upsample(
    plane: _Array, factors: tuple[int, int], siting: Siting, height: int, width: int
) -> _Array:
    down, across = factors
    plane = _interpolate(plane, down, centered=True)[:height]
    return _interpolate(plane.T, across, siting == "center").T[:, :width]


def _interpolate(plane: _Array, factor: int, centered: bool) -> _Array:
    """Linear interpolation to `factor` times as many rows; rows beyond the edge repeat it."""
    if factor == 1:
        return plane
    rows = len(plane)
    across = plane.T.flags.c_contiguous  # keep the memory order that the caller's view has
    shape = (rows * factor, plane.shape[1])
    out = np.empty(shape[::-1], np.float32).T if across else np.empty(shape, np.float32)
    origin = (factor - 1) / 2 if centered else 0.0
    for phase in range(factor):
        where = (phase - origin) / factor
        first = math.floor(where)  # -1 or 0: the sample before
        late = np.float32(where - first)
        target = out[phase::factor]
        if not late:
            target[:] = plane
            continue
        before, after = (plane[:-1], plane[1:])
        inner = target[1:] if first < 0 else target[:-1]
        np.multiply(before, 1 - late, out=inner)
        inner += after * late
        edge = 0 if first < 0 else -1
        target[edge] = plane[edge]
    return out


def _downsample(plane: _Array, factors: tuple[int, int], siting: Siting) -> _Array:
    down, across = factors
    # Across first would read each line once, down first halves the work: down first.
    plane = _low_pass(plane, down, centered=True)
    return np.ascontiguousarray(_low_pass(plane.T, across, siting == "center").T)


def _low_pass(plane: _Array, factor: int, centered: bool) -> _Array:
    """One row of `factor`: their mean if centered, else a triangle around the first of them."""
    if factor == 1:
        return plane
    rows = -(-len(plane) // factor)
    reach = 0 if centered else factor - 1
    behind = rows * factor - len(plane)
    padded = np.pad(plane, ((reach, behind + reach), (0, 0)), mode="edge")
    total = np.zeros((rows, plane.shape[1]), np.float32)
    for offset in range(-reach, factor):
        weight = 1 / factor if centered else (factor - abs(offset)) / factor**2
        start = offset + reach
        total += padded[start : start + (rows - 1) * factor + 1 : factor] * np.float32(weight)
    return total
