"""When frames are shown, where a file says it badly or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction

import av

from unblur.errors import UnblurWarning
from unblur.video.probe import Opened, frame_rate
from unblur.video.ticks import possible

_UNTIMED = {
    *("av1", "avs2", "avs3", "cavsvideo", "dirac", "dnxhd", "evc", "h261", "h263", "h264", "hevc"),
    *("m4v", "mjpeg", "mpegvideo", "obu", "rawvideo", "vc1", "vvc"),
}
"""Containers that are none: coded frames one after the other. Where they have times at all, those
come from the rate."""
_DECODING_ONLY = ("avi",)
"""Containers that know when a frame is decoded and not when it is shown."""
_UNDATED = 32
"""First frames without a time that are held until one has one: more than any reordering."""
_SPARSE = ("mpeg", "mpegts", *_DECODING_ONLY)
"""Containers that need not date every frame."""


def with_times(opened: Opened, source: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The images, each with a time to be shown at.

    - Of AVI it is the time at which the decoder gives the image away: that the frames were
      put in another order for coding is not to be seen in it.
    - Frames without a container come at an even rate.
    - Single times that are missing follow from the ones around them; those before the first that
      is known are counted back from it.
    """
    name, time_base = opened.container.format.name, opened.time_base
    rate = frame_rate(opened.container, opened.stream)
    step = max(1 / (rate * time_base), Fraction(1)) if rate else Fraction(1)
    end: int | None = None
    counted = rebuilt = False
    if name not in (*_UNTIMED, *_DECODING_ONLY):
        source = _counted_back(opened, source, step)
    for count, image in enumerate(source):
        image.duration = _possible(image.duration)
        if name in _DECODING_ONLY:
            image.pts = image.dts
        if count == 0 and name in _UNTIMED and image.pts is None:
            counted = True
            warnings.warn(
                f"{opened.path} lacks timestamps: its frames are taken to come at an even"
                f" {float(rate or 25):.6g} frames/s",
                UnblurWarning,
                stacklevel=2,
            )
        if counted:
            image.pts = round(count * step)
            image.duration = round((count + 1) * step) - image.pts
        elif not possible(image.pts, time_base):
            dts = image.dts
            if dts is not None and possible(dts, time_base) and (end is None or dts >= end):
                image.pts = dts
            else:
                image.pts = end or 0
            if not rebuilt and name not in _SPARSE:
                rebuilt = True
                warnings.warn(
                    f"{opened.path} lacks timestamps: they are rebuilt from the ones around them",
                    UnblurWarning,
                    stacklevel=2,
                )
        end = (image.pts or 0) + (image.duration or round(step))
        image.time_base = time_base
        yield image


def _counted_back(
    opened: Opened, source: Iterator[av.VideoFrame], step: Fraction
) -> Iterator[av.VideoFrame]:
    """Dates the first frames by the first one with a time, as where a clock begins below zero."""
    base, undated = opened.time_base, list[av.VideoFrame]()
    first: av.VideoFrame | None = None
    for image in source:
        if possible(image.pts, base) or possible(image.dts, base):
            first = image
            break
        undated.append(image)
        if len(undated) == _UNDATED:
            break
    if first is not None and undated:
        known = first.pts if possible(first.pts, base) else first.dts
        for back, image in enumerate(reversed(undated), 1):
            image.pts = round((known or 0) - back * step)
        if opened.container.format.name not in _SPARSE:
            warnings.warn(
                f"{opened.path} lacks the first {len(undated)} timestamps: they are counted back"
                " from the ones behind",
                UnblurWarning,
                stacklevel=2,
            )
    yield from undated
    if first is not None:
        yield first
    yield from source


def _possible(duration: int) -> int:
    return duration if 0 <= duration < 2**31 else 0
