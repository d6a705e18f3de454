"""Clips through real encoders and back, in memory.

PyAV is imported when it is first needed: what trains without codecs runs without it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import MediaError, ResourceError
from unblur.ops.priority import kept_priority
from unblur.synth.compression import to_rgb, to_ycbcr

if TYPE_CHECKING:
    import av

RATE = 25
CONTAINER = "matroska"
BLACK, WHITE, CHROMA_SPAN = 16.0, 235.0, 224.0
"""8-bit codes of black and white luma, and how many codes chroma spans (ITU-R BT.601)."""


@dataclass(frozen=True)
class Encoding:
    """An encoder of FFmpeg and its settings; frames are 8-bit 4:2:0."""

    codec: str
    options: Mapping[str, str] = field(default_factory=dict)


def through(frames: Tensor, encoding: Encoding) -> Tensor:
    """Frames as they come back from an encoder.

    Args:
        frames: (T, 3, H, W) RGB in [0, 1], any size.
        encoding: of what encoder.

    Returns:
        (T, 3, H, W) in [0, 1], on the CPU.

    Raises:
        ResourceError: this build of FFmpeg lacks the encoder, or it refuses the frames.
    """
    height, width = frames.shape[-2:]
    return decode(encode(frames, encoding))[..., :height, :width]


def encode(frames: Tensor, encoding: Encoding) -> bytes:
    """A Matroska file of the frames. Odd sides are filled up to even ones.

    Args:
        frames: (T, 3, H, W) RGB in [0, 1].
        encoding: of what encoder.

    Raises:
        ResourceError: this build of FFmpeg lacks the encoder, or it refuses the frames.
    """
    import av

    os.environ.setdefault("SVT_LOG", "1")  # or SVT-AV1 prints about every clip
    height, width = frames.shape[-2:]
    even = F.pad(frames.float().cpu(), (0, width % 2, 0, height % 2), mode="replicate")
    file = io.BytesIO()
    try:
        # The container would note its own version otherwise.
        exact = {"fflags": "+bitexact"}
        opened = av.open(file, "w", format=CONTAINER, container_options=exact)
        with kept_priority(), opened as container:
            added = container.add_stream(encoding.codec, rate=RATE, options=dict(encoding.options))
            stream = cast(av.VideoStream, added)
            stream.width, stream.height = even.shape[-1], even.shape[-2]
            full = encoding.codec == "mjpeg"
            stream.pix_fmt = "yuvj420p" if full else "yuv420p"
            # One thread: several may share out bits in another way each time.
            stream.codec_context.thread_count = 1
            for n, codes in enumerate(to_codes(even, full)):
                image = av.VideoFrame.from_ndarray(codes, format=stream.pix_fmt)
                image.pts, image.time_base = n, Fraction(1, RATE)
                container.mux(stream.encode(image))
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError) as error:
        raise ResourceError(f"{encoding.codec} cannot encode {width}x{height}: {error}") from error
    return file.getvalue()


def decode(data: bytes) -> Tensor:
    """Frames (T, 3, H, W), RGB in [0, 1], of a file that `encode` made.

    Raises:
        MediaError: it cannot be read.
    """
    return of_images(list(images(data)))


def of_images(decoded: Sequence[av.VideoFrame]) -> Tensor:
    """Frames (T, 3, H, W), RGB in [0, 1], of what `images` gave."""
    full = decoded[-1].format.name.startswith("yuvj")
    return from_codes(np.stack([image.to_ndarray() for image in decoded]), full)


def images(data: bytes, options: Mapping[str, str] | None = None) -> Iterator[av.VideoFrame]:
    """The same as FFmpeg decodes them, (3 H / 2, W) samples each.

    Args:
        data: the file.
        options: for the decoder.

    Raises:
        MediaError: it cannot be read.
    """
    import av

    try:
        with av.open(io.BytesIO(data), "r", format=CONTAINER) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.options = dict(options or {})
            count = 0
            for image in container.decode(stream):
                count += 1
                yield image
            if not count:
                raise ValueError("it holds no frames")
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise MediaError(f"an encoded clip cannot be read: {error}") from error


def to_codes(frames: Tensor, full: bool) -> np.ndarray:
    """(T, 3 H / 2, W) uint8, 4:2:0 as FFmpeg packs it, of RGB (T, 3, H, W) with even sides."""
    ycbcr = to_ycbcr(frames.clamp(0, 1))
    small = F.avg_pool2d(ycbcr[:, 1:], 2).flatten(1)  # (T, H W / 2): all of Cb, then all of Cr
    black, span, chroma = (0.0, 255.0, 255.0) if full else (BLACK, WHITE - BLACK, CHROMA_SPAN)
    luma = black + span * ycbcr[:, 0].flatten(1)
    codes = torch.cat((luma, 128 + chroma * (small - 0.5)), 1).round().clamp(0, 255).byte()
    return codes.view(len(frames), -1, frames.shape[-1]).numpy()


def from_codes(codes: np.ndarray, full: bool) -> Tensor:
    """The inverse of `to_codes`, chroma interpolated."""
    rows, width = codes.shape[1:]
    height = rows * 2 // 3
    flat = torch.from_numpy(codes).float()
    black, span, chroma = (0.0, 255.0, 255.0) if full else (BLACK, WHITE - BLACK, CHROMA_SPAN)
    luma = (flat[:, :height] - black) / span
    small = flat[:, height:].reshape(len(codes), 2, height // 2, width // 2)
    large = F.interpolate(0.5 + (small - 128) / chroma, scale_factor=2, mode="bilinear")
    return to_rgb(torch.cat((luma[:, None], large), 1)).clamp(0, 1)
