"""A decoded image with its place in time, and its conversion to RGB and back.

The image keeps the file's own planes, so that a frame that is not touched is written back bit for
bit. RGB is made on request, in float32 straight from the planes (no 8-bit step in between), and
`with_rgb` is its inverse: it gives back the same codes for unchanged RGB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

from unblur.errors import NumericsError
from unblur.video.info import TRANSFERS, Siting
from unblur.video.pixels.layout import STAND_INS, Layout, layout_of
from unblur.video.pixels.planes import (
    Array,
    channels_of,
    codes_of,
    empty_image,
    image_like,
    put_codes,
    readable,
    readable_name,
    tags_of,
    words_of,
)
from unblur.video.pixels.rgb import decode_rgb, encode_rgb, matrix_code, recodable, recode
from unblur.video.quantizer import quantizers
from unblur.video.side_data import copy_of

if TYPE_CHECKING:  # torch takes a second to import; reading what a file holds needs none of it
    from torch import Tensor

Words = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a video."""

    image: av.VideoFrame
    """The decoded image: its own pixel format, planes and colour tags."""
    index: int
    """Place in presentation order, from 0 at the first frame of the file."""
    pts: int
    """Presentation time in ticks of `time_base`."""
    time_base: Fraction
    """Seconds per tick."""
    duration: int = 0
    """Ticks until the next frame; 0 where the file does not say."""
    siting: Siting = "left"
    """Where chroma samples lie: MPEG's `left`, JPEG's `center`, `topleft` of UHD HDR, ..."""
    beside: frozenset[str] = frozenset()
    """Names of what the file holds beside the samples: see `side_data.lost_side_data`."""
    profile: bytes | None = None
    """Colour profile (ICC) of an image file."""
    has_quantizers: bool = False
    """The decoder noted beside the image how coarsely it was encoded."""
    coarse: Tensor | None = None
    """The same where it is known from elsewhere, as `video.quantizer.quantizers` gives it."""

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.image.width

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.image.height

    @property
    def time(self) -> Fraction:
        """Presentation time in seconds."""
        return self.pts * self.time_base

    def rgb(self) -> Tensor:
        """The image as RGB, `(3, H, W)`, float32, contiguous, on the CPU.

        Values are the encoded signal (no transfer function is undone), 0 black to 1 white.
        YUV may hold colours outside RGB's cube: those leave [0, 1] and are kept, so that
        `with_rgb` finds its way back. In images of floats NaN becomes 0 and infinities the
        largest finite value (see `finite`).

        YUV without a matrix tag is BT.709 from 1280x720 up (either side) and BT.601 below;
        without a range tag YUV is limited and gray is full range. RGB is full range.

        Raises:
            MediaError: the pixel format or its matrix is not supported.
        """
        import torch

        rgb = torch.from_numpy(decode_rgb(readable(self.image), self.siting))
        return finite(rgb)[0] if layout_of(readable_name(self.image)).is_float else rgb

    def quantizers(self) -> Tensor | None:
        """How coarsely each macroblock was encoded: see `video.quantizer`."""
        # PyAV does not survive a look at what lies beside images of files, see `without_profile`.
        return quantizers(self.image) if self.has_quantizers else self.coarse

    def alpha(self) -> Tensor | None:
        """Opacity `(1, H, W)`, float32, 0 transparent to 1 opaque; None where there is none.

        What is not finite is replaced as in `rgb`.
        """
        import torch

        image = readable(self.image)
        layout = layout_of(image.format.name)
        if layout.alpha is None:
            return None
        alpha = codes_of(image, layout, layout.alpha, layout.bits)
        if layout.is_float:
            return finite(torch.from_numpy(alpha[None]))[0]
        alpha /= np.float32(2**layout.bits - 1)
        return torch.from_numpy(alpha[None])

    def packed(self) -> tuple[list[Words], Callable[[Sequence[Words]], Frame]]:
        """The image's samples, and what makes this frame of them again.

        For frames that wait elsewhere: the second holds no samples. What comes back has the same
        colours, alpha, tags, time and quantizers; its pixel format is one of plain samples.
        """
        import torch

        source = readable(self.image)
        tags = tags_of(source)
        name, width, height = source.format.name, source.width, source.height
        time = self.index, self.pts, self.time_base, self.duration
        notes = self.siting, self.beside, self.profile
        coarse = self.quantizers()
        channels = [channel.copy() for channel in channels_of(source)]
        count = len(channels)

        def unpacked(words: Sequence[Words]) -> Frame:
            image = empty_image(name, width, height, tags)
            for channel, kept in zip(channels_of(image), words[:count], strict=True):
                channel[...] = kept
            frame = Frame(image, *time, *notes, False, *map(torch.from_numpy, words[count:]))
            _timed(image, frame)
            return frame

        return channels if coarse is None else [*channels, coarse.numpy()], unpacked

    def bare(self) -> Frame:
        """The same samples and tags without what the decoder noted beside them.

        Encoders look at such notes, and a frame that was kept on disk has none.
        """
        if "closed captions" in self.beside:
            return self
        words, unpacked = self.packed()
        return unpacked(words)

    def with_image(self, image: av.VideoFrame) -> Frame:
        """Another image at the time of this frame."""
        return replace(self, image=_timed(image, self))

    def non_finite(self) -> int:
        """How many of the image's values, colour and alpha, are NaN or infinite."""
        layout = layout_of(readable_name(self.image))
        if not layout.is_float:
            return 0
        values = decode_rgb(self.image, self.siting)
        channels = [*(values[:1] if layout.family == "gray" else values)]
        if layout.alpha is not None:
            channels.append(codes_of(self.image, layout, layout.alpha, layout.bits))
        return sum(int(each.size - np.isfinite(each).sum()) for each in channels)

    def with_rgb(self, rgb: Tensor, alpha: Tensor | None = None) -> Frame:
        """This frame with other colours: same pixel format, tags, time and alpha.

        Values are rounded to the nearest code, and clipped to what the format holds (floats keep
        negative values and those above 1). A format that cannot hold any colour (`pal8`) becomes
        the one that `layout.native_format` names.

        Args:
            rgb: `(3, H, W)`, the encoded signal, of any size.
            alpha: `(1, H, W)`; None keeps the frame's own, where it is finite. Stretched to the
                size of `rgb` where it has another, and ignored where the format has no alpha.

        Raises:
            NumericsError: `rgb` holds NaN or infinity.
        """
        source = readable(self.image)
        values = _as_array(rgb, 3, "rgb")
        height, width = values.shape[1:]
        same_size = (height, width) == (source.height, source.width)
        layout = layout_of(source.format.name)
        if same_size and "closed captions" in self.beside and source is self.image:
            image = copy_of(source)
        else:
            image = image_like(source, source.format.name, width, height)
        if layout.family == "yuv" and same_size and layout.subsampling != (1, 1):
            encode_rgb(image, values, self.siting, reference=source)
        else:
            encode_rgb(image, values, self.siting)
        if layout.alpha is not None:
            if alpha is None and same_size and not layout.is_float:
                words_of(image, layout, layout.alpha)[...] = words_of(source, layout, layout.alpha)
            else:
                _put_alpha(image, layout, self.alpha() if alpha is None else alpha)
        return replace(self, image=_timed(image, self), coarse=None)  # no encoder made it

    def converted(
        self,
        pixel_format: str,
        transfer: str | None = None,
        *,
        limited: bool = False,
        siting: Siting | None = None,
    ) -> Frame:
        """This frame in another pixel format, and with another transfer function where given.

        RGB of any kind becomes YUV of the matrix that `rgb` would assume for its size, in limited
        range (full for `yuvj` formats), and is tagged so. YUV keeps its range, and where only depth
        and range change or chroma becomes finer, chroma is not filtered.

        Args:
            pixel_format: FFmpeg's name.
            transfer: name of the wanted curve, for example `linear` for EXR; None keeps it.
            limited: write YUV in limited range.
            siting: where chroma is to lie; None: where it lies.
        """
        own = transfer_of(self.image)
        recurved = transfer not in (None, own)
        place = siting or self.siting
        if pixel_format == self.image.format.name and pixel_format in STAND_INS and not recurved:
            return self
        source = readable(self.image)
        layout, before = layout_of(pixel_format), layout_of(source.format.name)
        full = source.color_range == 2 or before.full_range
        narrowed = limited and layout.family == before.family == "yuv" and full
        moved = place != self.siting and before.subsampling != (1, 1)
        if pixel_format == self.image.format.name and not (recurved or narrowed or moved):
            return self
        image = image_like(self.image, pixel_format, self.width, self.height)
        if before.full_range:
            image.color_range = 2
        if layout.family != before.family:
            code = {"rgb": 0, "gray": 2, "yuv": matrix_code(2, self.height, self.width)}
            image.colorspace = code[layout.family]
            image.color_range = 1 if layout.family == "yuv" and not layout.full_range else 2
        elif narrowed:
            image.color_range = 1
        if transfer is not None and recurved:
            tag_transfer(image, transfer)
        plain = not any(each.is_float or each.channel_bits for each in (layout, before))
        if recodable(before, layout) and plain and not (recurved or moved):
            recode(source, image, self.siting)
        else:
            rgb = self.rgb()
            if transfer is not None and recurved:
                from unblur.ops.color import from_linear, to_linear

                rgb = from_linear(to_linear(rgb, own), transfer)
            encode_rgb(image, rgb.numpy(), place)
        if layout.alpha is not None:
            alpha = self.alpha()
            if alpha is None:
                import torch

                alpha = torch.ones(1, self.height, self.width)
            _put_alpha(image, layout, alpha)
        return replace(self, image=_timed(image, self), siting=place)


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


def transfer_of(image: av.VideoFrame) -> str | None:
    """Name of the image's transfer function; None where it is not tagged."""
    return TRANSFERS.get(int(getattr(image, "color_trc", 2)))


def tag_transfer(image: av.VideoFrame, transfer: str) -> None:
    """Writes the tag of a transfer function; the samples stay."""
    code = next(code for code, name in TRANSFERS.items() if name == transfer)
    with suppress(AttributeError):  # PyAV before 16 cannot
        image.color_trc = code


def _put_alpha(image: av.VideoFrame, layout: Layout, alpha: Tensor | None) -> None:
    if alpha is None or layout.alpha is None:
        return
    size = (image.height, image.width)
    if tuple(alpha.shape[-2:]) != size:
        import torch

        alpha = torch.nn.functional.interpolate(alpha[None], size=size, mode="bilinear")[0]
    codes = _as_array(alpha, 1, "alpha")[0].copy()
    if not layout.is_float:
        codes *= np.float32(2**layout.bits - 1)
    put_codes(image, layout, layout.alpha, layout.bits, codes)


def _as_array(x: Tensor, channels: int, name: str) -> Array:
    if x.ndim != 3 or x.shape[0] != channels:
        raise ValueError(f"{name} is {tuple(x.shape)}, not ({channels}, H, W)")
    values: Array = x.detach().float().cpu().numpy()
    if not math.isfinite(float(values.sum())) and not np.isfinite(values).all():
        raise NumericsError(
            f"{name} of a frame holds NaN or infinity; run again with `--precision fp32`"
        )
    return values


def _timed(image: av.VideoFrame, frame: Frame) -> av.VideoFrame:
    image.pts = frame.pts
    image.time_base = frame.time_base
    with suppress(AttributeError):
        image.duration = frame.duration
    return image
