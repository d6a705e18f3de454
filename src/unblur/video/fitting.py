"""Frames in the pixel format, range and chroma placement that an encoder takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

import av

from unblur.video.frame import Frame, transfer_of
from unblur.video.info import ColorTags, Siting
from unblur.video.pixels.layout import layout_of, native_format


def fitting(
    frame: Frame, pixel_format: str, *, limited: bool = False, siting: Siting | None = None
) -> av.VideoFrame:
    """The frame's image in the encoder's format, without rounding wherever there is no need.

    Args:
        frame: what is to be encoded.
        pixel_format: of the encoder.
        limited: the codec knows no full range.
        siting: the only place of chroma that the codec knows.
    """
    image = frame.image
    name = image.format.name
    source, target = layout_of(native_format(name)), layout_of(pixel_format)
    full = source.family == "yuv" and (source.full_range or image.color_range == 2)
    moved = source.subsampling != (1, 1) and siting not in (None, frame.siting)
    if not (limited and full) and not moved:
        if name == pixel_format:
            return image
        same_planes = source.family == target.family and source.subsampling == target.subsampling
        if same_planes and source.bits == target.bits and not source.is_float:
            # The same samples in another order. `yuvj` formats are full range by name alone.
            range_ = 2 if source.full_range or target.full_range else image.color_range
            # No matrix takes part; one that FFmpeg cannot convert, such as YCgCo, would be refused.
            matrix = "itu601" if source.family == "yuv" else None
            again = image.reformat(
                format=pixel_format,
                src_colorspace=matrix,
                dst_colorspace=matrix,
                src_color_range=range_,
                dst_color_range=range_,
                threads=1,
            )
            again.colorspace = image.colorspace
            return again
    # Floats of linear light would lose their shadows in few bits.
    is_light = source.is_float and not target.is_float and transfer_of(image) == "linear"
    return frame.converted(
        pixel_format, "bt709" if is_light else None, limited=limited, siting=siting
    ).image


def converted_tags(image: av.VideoFrame, tags: ColorTags) -> ColorTags:
    """The source's tags, with those of an image that was converted where it has them."""
    matrix, primaries, transfer, range_ = tags.codes()
    found = ColorTags.from_codes(
        image.colorspace if image.colorspace != 2 else matrix,
        primaries,
        getattr(image, "color_trc", 2) if transfer_of(image) else transfer,
        image.color_range or range_,
    )
    return replace(found, range="pc") if image.format.name.startswith("yuvj") else found


def is_gray(image: av.VideoFrame) -> bool:
    """Whether an image has no colours."""
    return layout_of(native_format(image.format.name)).family == "gray"


@contextmanager
def stamped(image: av.VideoFrame, pts: int, time_base: Fraction, duration: int) -> Iterator[None]:
    """The image with other times, and free of the frame type of the file it came from."""
    before = image.pts, image.time_base, image.duration, image.pict_type
    image.pts, image.time_base, image.duration = pts, time_base, duration
    image.pict_type = 0
    try:
        yield
    finally:
        image.pts, image.time_base, image.duration, image.pict_type = before
