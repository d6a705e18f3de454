"""Copies of clips that every browser plays, frame by frame as the clip itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from unblur.video import Frame, open_video

CLOCK = 90_000
"""Ticks of a second."""
CRF, PRESET = "14", "veryfast"
NEAR = "12"
"""Frames from one that decodes by itself to the next: the page steps through them."""


def write_view(
    source: Path,
    target: Path,
    *,
    start: str | None = None,
    end: str | None = None,
    deinterlace: bool = False,
    tick: Callable[[int], None] | None = None,
) -> tuple[int, float | None]:
    """Writes frames of a clip as H.264 of 8 bits in MP4, upright, beginning at 0.

    Sides of odd length lose a line. High dynamic range is shown as it is stored.

    Args:
        source: the clip.
        target: a file ending in `.mp4`.
        start: first frame, as `unblur.restore` takes it.
        end: first frame not to take.
        deinterlace: as `unblur.restore` takes it.
        tick: called with the number of frames done.

    Returns:
        Frames written, and frames a second where known.
    """
    with open_video(source, start=start, end=end, deinterlace=deinterlace) as reader:
        rate = reader.info.frame_rate
        turns = reader.info.rotation // 90
        count = encode(upright(iter(reader), turns), target, rate, tick)
    return count, None if rate is None else float(rate)


def upright(frames: Iterator[Frame], turns: int) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
    """Time and image (H, W, 3) of each frame, turned clockwise by quarters."""
    for frame in frames:
        yield frame.time, np.ascontiguousarray(np.rot90(codes(frame), -turns))


def codes(frame: Frame) -> NDArray[np.uint8]:
    """A frame's image (H, W, 3), RGB of 8 bits."""
    rgb = (frame.rgb() * 255).round().clamp(0, 255)
    return rgb.permute(1, 2, 0).numpy().astype(np.uint8)


def encode(
    images: Iterable[tuple[Fraction, NDArray[np.uint8]]],
    target: Path,
    rate: Fraction | None,
    tick: Callable[[int], None] | None = None,
) -> int:
    """Writes images (H, W, 3) at their times, of which the first becomes 0."""
    part = target.with_name(f".{target.name}.part.mp4")
    count, first = 0, Fraction(0)
    try:
        with closing(av.open(str(part), "w", options={"movflags": "+faststart"})) as file:
            stream = None
            for time, image in images:
                height, width = (max(2, side // 2 * 2) for side in image.shape[:2])
                if stream is None:
                    first = time
                    stream = file.add_stream("libx264", rate=rate or 25)
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                    stream.codec_context.time_base = Fraction(1, CLOCK)
                    stream.options = {"crf": CRF, "preset": PRESET, "g": NEAR, "bf": "0"}
                    tags = stream.codec_context
                    tags.colorspace, tags.color_range = 1, 1  # BT.709, limited
                    tags.color_primaries, tags.color_trc = 1, 1
                whole = np.resize(image, (height, width, 3)) if 1 in image.shape[:2] else None
                cut = np.ascontiguousarray(image[:height, :width]) if whole is None else whole
                frame = av.VideoFrame.from_ndarray(cut, format="rgb24").reformat(
                    format="yuv420p", dst_colorspace="itu709", dst_color_range=1
                )
                frame.pts = round((time - first) * CLOCK)
                frame.time_base = Fraction(1, CLOCK)
                file.mux(stream.encode(frame))
                count += 1
                if tick is not None:
                    tick(count)
            if stream is not None:
                file.mux(stream.encode(None))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return count
