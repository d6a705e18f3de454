"""Copies of clips that every browser plays, frame by frame as the clip itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.ops.color import PQ_PEAK, from_linear, to_linear
from unblur.video import ColorTags, Frame, open_video

CLOCK = 90_000
"""Ticks of a second."""
CRF, PRESET = "14", "veryfast"
NEAR = "12"
"""Frames from one that decodes by itself to the next: the page steps through them."""
WHITE = 203.0
"""Candela per square metre of diffuse white under PQ and HLG (ITU-R BT.2408, table 1)."""
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2
"""Of the screen that HLG is shown on, and what it makes of light there (ITU-R BT.2100, table 5)."""
KNEE = 0.7
"""Light up to which nothing is pressed together; 1 is diffuse white."""
BT709_OF_BT2020 = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008349),
    (-0.018151, -0.100579, 1.118730),
)
"""Linear light of BT.2020 to that of BT.709 (ITU-R BT.2087, inverse of the matrix in annex 2)."""
LUMA_BT2020 = (0.2627, 0.6780, 0.0593)


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

    Sides of odd length lose a line. Of high dynamic range it is what `shown` makes.

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
        turns, color = reader.info.rotation // 90, reader.info.color
        count = encode(upright(iter(reader), turns, color), target, rate, tick)
    return count, None if rate is None else float(rate)


def upright(
    frames: Iterator[Frame], turns: int, color: ColorTags
) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
    """Time and image (H, W, 3) of each frame, turned clockwise by quarters."""
    for frame in frames:
        yield frame.time, np.ascontiguousarray(np.rot90(codes(frame, color), -turns))


def codes(frame: Frame, color: ColorTags) -> NDArray[np.uint8]:
    """A frame's image (H, W, 3), RGB of 8 bits, as an ordinary screen shows it."""
    rgb = (shown(frame.rgb(), color) * 255).round().clamp(0, 255)
    return rgb.permute(1, 2, 0).numpy().astype(np.uint8)


def shown(rgb: Tensor, color: ColorTags) -> Tensor:
    """What an ordinary screen shows: PQ and HLG brought into its range, all else as it is.

    Diffuse white becomes light grey, so that there is room above for what is brighter: the
    brightest channel `m` of a pixel above `KNEE` becomes `k + (1 - k) x / (x + 1)`, where
    `x = (m - k) / (1 - k)`, and the others keep their share of it.

    Args:
        rgb: encoded values (3, H, W), 0 black.
        color: what they mean.

    Returns:
        The same shape, sRGB.
    """
    if color.transfer not in ("smpte2084", "arib-std-b67"):
        return rgb
    light = to_linear(rgb, color.transfer).clamp_min(0)
    if color.transfer == "smpte2084":
        light = light * (PQ_PEAK / WHITE)
    else:
        luma = torch.einsum("c,chw->hw", torch.tensor(LUMA_BT2020), light)
        light = light * luma.clamp_min(1e-6) ** (HLG_GAMMA - 1) * (HLG_PEAK / WHITE)
    if color.primaries == "bt2020":
        light = torch.einsum("dc,chw->dhw", torch.tensor(BT709_OF_BT2020), light).clamp_min(0)
    most = light.amax(0)  # (H, W)
    over = (most - KNEE).clamp_min(0) / (1 - KNEE)
    pressed = most.clamp_max(KNEE) + (1 - KNEE) * over / (over + 1)
    return from_linear(light * (pressed / most.clamp_min(1e-6)))


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
