"""Encoding in segments that lean on nothing before them, so that each can be made by itself."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from unblur.ops.priority import kept_priority


class Segments:
    """Encodes images for a stream, each so many of them by an encoder of their own.

    An encoder remembers what it wrote: only one that begins anew gives the same bits whenever it
    begins. Where segments end depends on the job alone.

    Args:
        stream: of the output; its own encoder, which must not be open yet, encodes nothing.
        length: frames of a segment.

    Attributes:
        number: of the segment in work, counted by who writes.
    """

    def __init__(self, stream: VideoStream, length: int) -> None:
        self.number, self.length = 0, length
        self._stream = stream
        self._options = dict(stream.codec_context.options)
        self._encoder: VideoCodecContext | None = None
        self._frames = 0

    def encode(self, image: av.VideoFrame) -> list[Packet[Any]]:
        """Packets that are ready after one more image."""
        if self._encoder is None:
            # That of the stream only writes the header: what it took it would keep to the end.
            self._encoder = another(self._stream.codec_context, self._options)
        opening = nullcontext() if self._frames else kept_priority()
        self._frames += 1
        with opening:
            return self._of_stream(self._encoder.encode(image))

    @property
    def full(self) -> bool:
        """Whether the segment has all its frames."""
        return self._frames == self.length

    def end(self) -> list[Packet[Any]]:
        """The rest of the segment; the next image begins another, once it has a number."""
        encoder, self._encoder, self._frames = self._encoder, None, 0
        return [] if encoder is None else self._of_stream(encoder.encode(None))

    def _of_stream(self, packets: list[Packet[Any]]) -> list[Packet[Any]]:
        for packet in packets:
            packet.stream = self._stream
        return packets


def another(encoder: VideoCodecContext, options: dict[str, str]) -> VideoCodecContext:
    """An encoder with the same settings, which gives the same bits."""
    other = cast(VideoCodecContext, av.CodecContext.create(encoder.codec.name, "w"))
    other.width, other.height, other.pix_fmt = encoder.width, encoder.height, encoder.pix_fmt
    other.time_base, other.framerate = encoder.time_base, encoder.framerate
    other.bit_rate = 0  # as `add_stream` sets it
    other.sample_aspect_ratio = encoder.sample_aspect_ratio
    other.colorspace, other.color_range = encoder.colorspace, encoder.color_range
    other.color_primaries, other.color_trc = encoder.color_primaries, encoder.color_trc
    other.flags, other.codec_tag = encoder.flags, encoder.codec_tag
    other.options = dict(options)
    return other
