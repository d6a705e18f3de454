"""Sound that a container cannot hold, decoded and encoded again: without loss where it can be."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from unblur.video.probe import open_container
from unblur.video.trial import lasting

_LAYOUTS = {
    **{"1 channels": "mono", "2 channels": "stereo", "3 channels": "3.0", "4 channels": "quad"},
    **{"5 channels": "5.0", "6 channels": "5.1", "7 channels": "6.1"},
    "8 channels": "7.1",
    **{
        name: name
        for name in ("mono", "stereo", "2.1", "3.0", "4.0", "quad", "5.0", "5.1", "6.1", "7.1")
    },
    **{"quad(side)": "quad", "5.0(side)": "5.0", "5.1(side)": "5.1"},
}
"""Of decoded sound, and what it is written as; PyAV ends the process with unusual ones."""
_HOLE = Fraction(1, 20)
"""Seconds without sound that are more than a clock of milliseconds or a block's length explains."""
_TRIED = 200
"""Packets that are decoded until one gives sound."""
_FAILURES = (av.FFmpegError, OSError, ValueError)


class Coding(NamedTuple):
    """How sound is encoded."""

    codec: str
    sample_format: str
    layout: str
    rate: int
    """Samples a second."""

    @property
    def said(self) -> str:
        """For messages."""
        lossy = self.codec in ("aac", "libopus")
        name = {"libopus": "Opus", "pcm_s16le": "PCM", "pcm_s24le": "PCM"}.get(self.codec)
        return f"{name or self.codec.upper()}{'' if lossy else ' without loss'}"


def coding_for(muxer: str, source: Path, stream: Stream) -> Coding | None:
    """How a container can hold the sound of a stream of `source`; None where it cannot.

    In the codec of the least loss that it takes: FLAC, ALAC or PCM in the depth that the decoder
    gives (of floats, as of WMA, 24 bits), else AAC or Opus.
    """
    if stream.type != "audio" or (first := _first_sound(source, stream.index)) is None:
        return None
    layout = _LAYOUTS.get(first.layout.name)
    if layout is None:
        return None
    deep = not first.format.name.startswith(("s16", "u8"))
    depth = "s32" if deep else "s16"
    plain = Coding("pcm_s24le" if deep else "pcm_s16le", depth, layout, first.sample_rate)
    flac = Coding("flac", depth, layout, first.sample_rate)
    alac = Coding("alac", f"{depth}p", layout, first.sample_rate)
    aac = Coding("aac", "fltp", layout, first.sample_rate)
    opus = Coding("libopus", "flt", layout, 48000)
    order = (plain, alac) if muxer == "mov" else (flac, alac)
    return next((each for each in (*order, aac, opus) if _is_taken(muxer, each)), None)


class Recoded:
    """A stream of sound on its way from a decoder to an encoder.

    Args:
        output: whose header is not written yet.
        stream: of the source.
        coding: how it is encoded.
    """

    def __init__(self, output: OutputContainer, stream: Stream, coding: Coding) -> None:
        self._source, self._coding = stream, coding
        self.target: Any = _add(output, coding)
        self.target.metadata.update(lasting(stream.metadata, output.format.name))
        self.target.disposition = stream.disposition
        self._resampler = av.AudioResampler(
            format=coding.sample_format, layout=coding.layout, rate=coding.rate
        )
        self._fifo = AudioFifo()
        self._next: int | None = None
        """Number of the sample that comes, counted from the time 0."""
        self._encoded: int | None = None
        """Number of the sample that is encoded next."""
        self.damaged = 0
        """Packets that do not decode."""

    def packets(
        self, packet: Packet[Any], begin: Fraction | None, end: Fraction | None
    ) -> Iterator[Packet[Any]]:
        """What becomes of a packet, as far as it lies between two times in seconds."""
        try:
            frames: list[Any] = packet.decode()
        except _FAILURES:
            self.damaged += 1
            return
        yield from self._of_frames(frames, begin, end)

    def _of_frames(
        self, frames: list[Any], begin: Fraction | None, end: Fraction | None
    ) -> Iterator[Packet[Any]]:
        for frame in frames:
            at = None if frame.pts is None else frame.pts * frame.time_base
            frame.pts = None
            for part in self._resampler.resample(frame):
                yield from self._put(part, at, begin, end)
                at = None

    def rest(self, begin: Fraction | None, end: Fraction | None) -> Iterator[Packet[Any]]:
        """What is still on its way after the last packet."""
        decoder: Any = self._source.codec_context
        with suppress(*_FAILURES):
            yield from self._of_frames(decoder.decode(None), begin, end)
        if self._next is None:
            return
        for part in self._resampler.resample(None):
            yield from self._put(part, None, begin, end)
        yield from self._encode(last=True)

    def _put(
        self, part: Any, at: Fraction | None, begin: Fraction | None, end: Fraction | None
    ) -> Iterator[Packet[Any]]:
        rate = self._coding.rate
        if self._next is None:
            self._next = 0 if at is None else round(at * rate)
        hole = 0 if at is None else round(at * rate) - self._next
        values = part.to_ndarray()
        while hole > _HOLE * rate:
            quiet = min(hole, rate)
            wide = values.shape[1] // part.samples
            yield from self._cut(np.zeros((len(values), quiet * wide), values.dtype), begin, end)
            hole -= quiet
            if hole <= 0:
                break
        yield from self._cut(values, begin, end)

    def _cut(
        self, values: np.ndarray[Any, Any], begin: Fraction | None, end: Fraction | None
    ) -> Iterator[Packet[Any]]:
        """Encodes samples, without those before and after the range."""
        coding = self._coding
        wide = (
            1 if coding.sample_format.endswith("p") else av.AudioLayout(coding.layout).nb_channels
        )
        start = self._next or 0
        self._next = stop = start + values.shape[1] // wide
        first = start if begin is None else max(start, math.ceil(begin * coding.rate))
        last = stop if end is None else min(stop, math.ceil(end * coding.rate))
        if first >= last:
            return
        kept = np.ascontiguousarray(values[:, (first - start) * wide : (last - start) * wide])
        frame = av.AudioFrame.from_ndarray(kept, coding.sample_format, coding.layout)
        frame.sample_rate, frame.time_base = coding.rate, Fraction(1, coding.rate)
        self._fifo.write(frame)
        self._encoded = first if self._encoded is None else self._encoded
        yield from self._encode(last=False)

    def _encode(self, last: bool) -> Iterator[Packet[Any]]:
        context = self.target.codec_context
        size = context.frame_size or 4096
        while self._fifo.samples >= size or (last and self._fifo.samples):
            frame: Any = self._fifo.read(size, partial=last)
            frame.pts, frame.time_base = self._encoded, Fraction(1, self._coding.rate)
            self._encoded = (self._encoded or 0) + frame.samples
            yield from map(self._dated, context.encode(frame))
        if last:
            yield from map(self._dated, context.encode(None))

    def _dated(self, packet: Packet[Any]) -> Packet[Any]:
        packet.time_base = Fraction(1, self._coding.rate)
        packet.stream = self._source
        return packet


def _first_sound(source: Path, index: int) -> Any | None:
    with suppress(*_FAILURES), open_container(source) as container:
        for count, packet in enumerate(container.demux(container.streams[index])):
            with suppress(*_FAILURES):
                for frame in packet.decode():
                    return frame
            if count == _TRIED:
                break
    return None


def _add(output: OutputContainer, coding: Coding) -> Any:
    stream: Any = output.add_stream(coding.codec, rate=coding.rate)
    context = stream.codec_context
    context.layout, context.format = coding.layout, coding.sample_format
    context.time_base = Fraction(1, coding.rate)
    return stream


def _is_taken(muxer: str, coding: Coding) -> bool:
    """Whether a container takes it: a second of silence is written into nothing."""
    trial = None
    try:
        trial = av.open(io.BytesIO(), "w", format=muxer)
        stream = _add(trial, coding)
        frame = av.AudioFrame(
            coding.sample_format, coding.layout, stream.codec_context.frame_size or 1024
        )
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts, frame.time_base = coding.rate, 0, Fraction(1, coding.rate)
        trial.mux([*stream.encode(frame), *stream.encode(None)])
        trial.close()
    except _FAILURES:
        if trial is not None:
            with suppress(*_FAILURES):
                trial.close()
        return False
    return True
