"""Samples of an image as arrays, and arrays as samples of an image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from unblur.video.pixels.layout import STAND_INS, Layout, Samples, layout_of

Array = NDArray[np.float32]


def readable_name(image: av.VideoFrame) -> str:
    """The pixel format in which `readable` gives the image."""
    return STAND_INS.get(image.format.name, image.format.name)


def readable(image: av.VideoFrame) -> av.VideoFrame:
    """The image in a format whose planes hold plain samples; the image itself if it is so."""
    name = image.format.name
    if any(plane.line_size < 0 for plane in image.planes):
        # Lines stored bottom up start where the buffer seems to end. RGB of 8 bits is all there is.
        return _reformat(_reformat(image, "gbrp"), readable_name(image))
    return _reformat(image, STAND_INS[name]) if name in STAND_INS else image


def _reformat(image: av.VideoFrame, name: str) -> av.VideoFrame:
    return image.reformat(format=name, interpolation="POINT", threads=1)


def words_of(image: av.VideoFrame, layout: Layout, samples: Samples) -> NDArray[Any]:
    """The words that hold one channel, as a view into the image's memory, `(H, W)`."""
    plane = image.planes[samples.plane]
    height, width = image.height, image.width
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


def channels_of(image: av.VideoFrame) -> list[NDArray[Any]]:
    """The words of each channel, colour first, as views."""
    layout = layout_of(image.format.name)
    alpha = () if layout.alpha is None else (layout.alpha,)
    return [words_of(image, layout, samples) for samples in (*layout.color, *alpha)]


def codes_of(image: av.VideoFrame, layout: Layout, samples: Samples, bits: int) -> Array:
    """The samples of one channel as they are stored, in float32, `(H, W)`."""
    words = words_of(image, layout, samples)
    if samples.shift:
        words = words >> samples.shift
    if layout.shares_words or bits not in (8, 16, 32):
        words = words & (2**bits - 1)
    return words.astype(np.float32)


def put_codes(
    image: av.VideoFrame, layout: Layout, samples: Samples, bits: int, codes: Array
) -> None:
    """Rounds and clips codes `(H, W)`, then stores them. `codes` is overwritten."""
    words = words_of(image, layout, samples)
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


def tags_of(image: av.VideoFrame) -> dict[str, int]:
    """The image's colour tags."""
    names = ("colorspace", "color_range", "color_primaries", "color_trc")
    # PyAV before 16 has not all of them.
    return {name: getattr(image, name) for name in names if hasattr(image, name)}


def image_like(source: av.VideoFrame, name: str, width: int, height: int) -> av.VideoFrame:
    """An empty image with the tags of `source`."""
    return empty_image(name, width, height, tags_of(source))


def empty_image(name: str, width: int, height: int, tags: Mapping[str, int]) -> av.VideoFrame:
    """An image without content, with the tags that `tags_of` gave."""
    image = av.VideoFrame(width, height, name)
    for tag, value in tags.items():
        with suppress(AttributeError):
            setattr(image, tag, value)
    layout = layout_of(name)
    channels = len(layout.color) + (layout.alpha is not None)
    fill = 0 if layout.shares_words else 255
    if layout.shares_words or layout.color[0].step > channels * np.dtype(layout.dtype).itemsize:
        for plane in image.planes:  # bits that belong to no channel
            np.frombuffer(plane, np.uint8)[:] = fill  # type: ignore[call-overload]
    return image
