"""Video through standard input and output: YUV4MPEG2 (y4m) and NUT, as FFmpeg pipes them.

A pipe is read once and from front to back. Frames keep their times (of y4m, its even rate). Beside
the video, NUT carries sound and other streams: their packets are handed from the reader to the
writer, and written as soon as the frames are that far.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from unblur.contexts import Closing
from unblur.errors import MediaError, UnblurWarning, UsageError
from unblur.video.decode import Damage, deinterlaced, images
from unblur.video.fitting import fitting
from unblur.video.frame import Frame
from unblur.video.info import Siting, VideoInfo
from unblur.video.pixels.layout import layout_of
from unblur.video.pixels.planes import channels_of
from unblur.video.probe import MAX_PIXELS, Opened, check_size, describe, no_frames
from unblur.video.side_data import beside
from unblur.video.timecode import Time, parse_time
from unblur.video.trial import add_copy

PIPE = "-"
"""What standard input and output are called."""
Format = Literal["y4m", "nut"]
FORMATS: tuple[Format, ...] = get_args(Format)
_DEMUXERS: dict[Format, str] = {"y4m": "yuv4mpegpipe", "nut": "nut"}
_MAGIC: dict[Format, bytes] = {"y4m": b"YUV4MPEG2 ", "nut": b"nut/multimedia container\0"}
_Y4M = {
    **{"gray": "mono", "gray10le": "mono10", "gray12le": "mono12", "gray16le": "mono16"},
    **{"yuv420p": "420", "yuv422p": "422", "yuv444p": "444", "yuv411p": "411"},
    **{f"yuv{c}p{b}le": f"{c}p{b}" for c in (420, 422, 444) for b in (9, 10, 12, 14, 16)},
}
"""Pixel formats that y4m can hold, and what it calls them."""
_SITINGS: dict[Siting, str] = {"center": "420jpeg", "left": "420mpeg2", "topleft": "420paldv"}
"""Where chroma is in 4:2:0 of 8 bits, and what y4m calls it."""
_LONGEST = 4096
"""Bytes that the first line of y4m has at most."""
_BUSY = (
    "standard {} is a terminal: pipe a video through, as "
    "`ffmpeg -i in.mp4 -f nut -c:v rawvideo -c:a copy - | unblur - - | ffmpeg -i - out.mp4`"
)


def is_pipe(path: object) -> bool:
    """Whether a name is that of standard input or output; a file `-` is `./-`."""
    return path == PIPE or (isinstance(path, Path) and str(path) == PIPE)


@dataclass
class Others:
    """Streams beside the video, on their way from a pipe to another."""

    streams: list[Stream] = field(default_factory=list)
    packets: deque[Packet[Any]] = field(default_factory=deque)


class _Coming:
    """Standard input for PyAV: what was read to know the format comes first."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self._file, self._head = file, head
        self.head, self.count = head, 0

    def read(self, size: int) -> bytes:
        head, self._head = self._head[:size], self._head[size:]
        got = head or self._file.read(size) or b""
        self.count += len(got)
        return got


class _Going:
    """Standard output for PyAV, which takes whatever else a file can for more than it can."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        self._file.write(data)
        return len(data)


class _Sorted:
    """A container whose packets come out, and whose others than the video's are put aside, too."""

    def __init__(self, container: InputContainer, others: Others) -> None:
        self._container, self._others = container, others

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self) -> Iterator[Packet[Any]]:
        of_others = {stream.index for stream in self._others.streams}
        for packet in self._container.demux():
            if packet.stream_index in of_others and packet.size:
                self._others.packets.append(packet)
            yield packet


class PipeReader(Closing):
    """Reads standard input; see `VideoReader`.

    Attributes:
        info: what comes.
        frames: never known.
        format: `y4m` or `nut`.
        others: streams beside the video, for a `PipeWriter`.
    """

    info: VideoInfo
    frames: int | None = None

    def __init__(
        self,
        *,
        start: Time | str | None = None,
        end: Time | str | None = None,
        strict: bool = False,
        deinterlace: bool = False,
        max_pixels: int = MAX_PIXELS,
        stream: int | None = None,
        file: BinaryIO | None = None,
    ) -> None:
        """Waits for the first frame.

        Args:
            start: first frame to give, as in `open_video`.
            end: first frame not to.
            strict: see `open_video`.
            deinterlace: see `open_video`.
            max_pixels: see `open_video`.
            stream: must be None: a pipe has one video.
            file: read instead of standard input.

        Raises:
            UsageError: nothing is piped in.
            MediaError: it is neither y4m nor NUT, or has no frames.
            ResourceError: its frames are larger than `max_pixels`.
        """
        if stream is not None:
            raise UsageError("standard input has one video: leave --stream out")
        self._range = tuple(None if t is None else parse_time(t) for t in (start, end))
        self._damage = Damage(Path("standard input"), strict)
        self._closing = ExitStack()
        source = _standard("input") if file is None else file
        try:
            self.format, coming = _recognized(source)
        except OSError as error:
            raise MediaError(
                f"standard input cannot be read ({error.strerror or error}): name a file"
            ) from error
        self._coming = coming
        self.others = Others()
        try:
            options = {"max_pixels": str(min(max_pixels, 2**31 - 1))}
            container = av.open(coming, "r", format=_DEMUXERS[self.format], options=options)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(
                f"standard input is no {self.format} that can be read ({error}): look at what the "
                "program before the pipe says"
            ) from error
        self._closing.callback(container.close)
        try:
            self._open(container, max_pixels, deinterlace)
        except BaseException:
            self.close()
            raise

    def _open(self, container: InputContainer, max_pixels: int, deinterlace: bool) -> None:
        if not container.streams.video:
            raise MediaError("standard input holds no video")
        stream = container.streams.video[0]
        self.others.streams = [s for s in container.streams if s.index != stream.index]
        check_size(self._damage.path, stream.width, stream.height, max_pixels)
        sorted_ = cast(InputContainer, _Sorted(container, self.others))
        opened = Opened(self._damage.path, sorted_, stream, stream.codec_context)
        decoded = images(opened, self._damage)
        first = next(decoded, None)
        if first is None:
            raise no_frames(self._damage.path)
        self.info = replace(describe(opened, first), frames=None, duration=None)
        said = self._coming.head.split() if self.format == "y4m" else []
        for siting, name in _SITINGS.items():
            if f"C{name}".encode() in said:
                self.info = replace(self.info, siting=siting)
        self._frame_bytes = 0
        if self.format == "y4m":
            self._frame_bytes = sum(channel.nbytes for channel in channels_of(first))
        decoded = chain([first], decoded)
        if self.info.interlaced:
            if not deinterlace:
                raise MediaError("standard input is interlaced: run again with --deinterlace")
            self.info = replace(self.info, interlaced=False)
            decoded = deinterlaced(opened, decoded)
        self._decoded = decoded

    @property
    def decode_failures(self) -> int:
        """Frames lost, frames damaged and other faults, so far."""
        return self._damage.lost + self._damage.damaged

    def __iter__(self) -> Iterator[Frame]:
        info = self.info
        siting: Siting = info.siting or "left"
        start, end = self._range
        began: Fraction | None = None
        given = 0
        for index, image in enumerate(self._decoded):
            pts = image.pts or 0
            now = pts * info.time_base
            began = now if began is None else began
            if end is not None and end.reached(index, now - began):
                break
            if start is not None and not start.reached(index, now - began):
                continue
            if (image.width, image.height) != (info.width, info.height):
                raise MediaError(
                    f"standard input changes from {info.width}x{info.height} to "
                    f"{image.width}x{image.height} at frame {index}: pipe one size"
                )
            given += 1
            yield Frame(image, index, pts, info.time_base, image.duration, siting, beside(image))
        else:
            self._check_end()
        if not given:
            raise MediaError("standard input holds no frames in the chosen range")
        self._damage.warn()

    def _check_end(self) -> None:
        """FFmpeg does not say that y4m ends inside of a frame."""
        if self._frame_bytes:
            rest = (self._coming.count - len(self._coming.head)) % (
                self._frame_bytes + len(b"FRAME\n")
            )
            if rest:
                self._damage.note("it ends inside of a frame", lost=True)

    def close(self) -> None:
        """Stops reading."""
        self._closing.close()


class PipeWriter(Closing):
    """Writes standard output as frames come; see `VideoWriter`."""

    def __init__(
        self,
        info: VideoInfo,
        *,
        format: Format = "nut",
        others: Others | None = None,
        shifted: bool = False,
        file: BinaryIO | None = None,
    ) -> None:
        """Writes nothing yet.

        Args:
            info: of the source.
            format: what to write: `nut`, or `y4m`.
            others: streams to carry along; NUT only.
            shifted: whether the first frame is to come at 0.
            file: written instead of standard output.

        Raises:
            UsageError: there is no such format, or nothing takes it.
        """
        if format not in FORMATS:
            raise UsageError(f"format '{format}': use {' or '.join(FORMATS)}")
        self._file = _standard("output") if file is None else file
        self._info, self._format, self._shifted = info, format, shifted
        self.frames = 0
        self._others = others or Others()
        self._shift: Fraction | None = None
        self._last: int | None = None
        self._output: OutputContainer | None = None
        self._targets: dict[int, Stream] = {}
        if format == "y4m":
            if self._others.streams:
                warnings.warn(
                    "y4m holds video only: take --format nut to keep sound and other streams",
                    UnblurWarning,
                    stacklevel=3,
                )
            layout = layout_of(info.pixel_format)
            if layout.family == "rgb" or layout.alpha is not None:
                raise UsageError(
                    f"y4m cannot hold {info.pixel_format}: take --format nut, or pipe YUV in"
                )

    def write(self, frame: Frame) -> None:
        """Writes one frame; they come in presentation order."""
        self.frames += 1
        if self._shift is None:
            self._shift = frame.time if self._shifted else Fraction(0)
            if self._format == "y4m":
                self._file.write(self._y4m_header(frame))
            else:
                self._open_nut(frame)
        if self._format == "y4m":
            image = fitting(frame, self._y4m_format(), limited=False, siting=None)
            parts = [b"FRAME\n", *(np.ascontiguousarray(c).tobytes() for c in channels_of(image))]
            self._file.write(b"".join(parts))
        else:
            self._write_nut(frame)
        self._file.flush()

    def _y4m_format(self) -> str:
        """The pixel format to write: the source's or the one of as many samples and bits."""
        name = self._info.pixel_format
        if name in _Y4M:
            return name
        from unblur.video.codecs import nearest

        return nearest(name, list(_Y4M))[0]

    def _y4m_header(self, frame: Frame) -> bytes:
        info, name = self._info, self._y4m_format()
        rate = info.frame_rate or Fraction(25)
        aspect = info.sample_aspect_ratio
        kind = _Y4M[name]
        if kind == "420":
            kind = _SITINGS.get(frame.siting, "420jpeg")
        words = [
            "YUV4MPEG2",
            f"W{frame.width}",
            f"H{frame.height}",
            f"F{rate.numerator}:{rate.denominator}",
            "Ip",
            f"A{aspect.numerator}:{aspect.denominator}",
            f"C{kind}",
        ]
        if info.color.range is not None or info.pixel_format.startswith("yuvj"):
            full = info.color.range == "pc" or info.pixel_format.startswith("yuvj")
            words.append(f"XCOLORRANGE={'FULL' if full else 'LIMITED'}")
        return " ".join(words).encode() + b"\n"

    def _open_nut(self, frame: Frame) -> None:
        output = av.open(
            _Going(self._file), "w", format="nut", container_options={"fflags": "+bitexact"}
        )
        self._output = output
        stream = output.add_stream("rawvideo", rate=self._info.frame_rate or Fraction(25))
        assert isinstance(stream, VideoStream)  # noqa: S101
        context = stream.codec_context
        context.width, context.height = frame.width, frame.height
        context.pix_fmt = frame.image.format.name
        context.time_base = stream.time_base = self._info.time_base
        context.sample_aspect_ratio = self._info.sample_aspect_ratio
        self._stream = stream
        for other in self._others.streams:
            try:
                self._targets[other.index] = add_copy(output, other)
            except (av.FFmpegError, ValueError, TypeError):
                warnings.warn(
                    f"not carried over: {other.type} stream {other.index}",
                    UnblurWarning,
                    stacklevel=3,
                )

    def _write_nut(self, frame: Frame) -> None:
        assert self._output is not None and self._shift is not None  # noqa: S101, PT018
        self._put_others(frame.time)
        pts = round((frame.time - self._shift) / self._info.time_base)
        self._last = pts if self._last is None else max(pts, self._last + 1)
        image = frame.image
        before = image.pts, image.time_base
        image.pts, image.time_base = self._last, self._info.time_base
        for packet in self._stream.encode(image):
            self._output.mux(packet)
        image.pts, image.time_base = before

    def _put_others(self, until: Fraction | None) -> None:
        """Writes waiting packets up to a time of the source; all if None."""
        assert self._output is not None and self._shift is not None  # noqa: S101, PT018
        packets = self._others.packets
        while packets:
            packet = packets[0]
            stamp = packet.dts if packet.dts is not None else packet.pts
            if until is not None and (stamp or 0) * packet.time_base > until:
                return
            packets.popleft()
            target = self._targets.get(packet.stream_index)
            if target is None:
                continue
            ticks = round(self._shift / packet.time_base)
            if (stamp or 0) < ticks:
                continue  # before the first frame that is wanted
            if packet.pts is not None:
                packet.pts -= ticks
            if packet.dts is not None:
                packet.dts -= ticks
            packet.stream = target
            self._output.mux(packet)

    def close(self) -> None:
        """Writes what waits.

        Raises:
            MediaError: no frame was written.
        """
        if self._shift is None:
            raise MediaError("standard output would have no frames: nothing was written")
        if self._output is not None:
            self._put_others(None)
            for packet in self._stream.encode(None):
                self._output.mux(packet)
            self._output.close()
        self._file.flush()

    def abort(self) -> None:
        """Closes what was begun."""
        if self._output is not None:
            with suppress(Exception):
                self._output.close()


def _standard(name: Literal["input", "output"]) -> BinaryIO:
    """The bytes of standard input or output; nothing that a person reads goes there."""
    stream = sys.stdin if name == "input" else sys.stdout
    if stream is None:
        raise UsageError(f"there is no standard {name}: name a file")
    if stream.isatty():
        raise UsageError(_BUSY.format(name))
    if name == "output":
        try:
            os.write(stream.fileno(), b"")
        except (AttributeError, io.UnsupportedOperation):  # no file of the system stands behind it
            pass
        except OSError as error:
            raise UsageError(
                f"standard output takes nothing ({error.strerror}): name a file"
            ) from (error)
    return stream.buffer


def check_not_read(inputs: Iterable[str | os.PathLike[str] | None]) -> None:
    """UsageError where standard output is a file that the run reads."""
    try:
        out = os.fstat(sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):  # there is none, or no file stands behind it
        return
    for path in inputs:
        if path is None or is_pipe(path):
            continue
        if os.path.isfile(path) and os.path.samestat(out, os.stat(path)):
            raise UsageError(f"standard output is {path}, which is read: write to another file")


def _recognized(file: BinaryIO) -> tuple[Format, _Coming]:
    """What a stream is, by how it begins."""
    longest = max(map(len, _MAGIC.values()))
    head = b""
    while len(head) < longest:
        got = file.read(longest - len(head))
        if not got:
            break
        head += got
    while head.startswith(_MAGIC["y4m"]) and not head.endswith(b"\n") and len(head) < _LONGEST:
        head += file.read(1) or b"\n"
    if not head:
        raise MediaError("nothing came on standard input: does the program before the pipe run?")
    for name, magic in _MAGIC.items():
        if head.startswith(magic):
            return name, _Coming(file, head)
    raise MediaError(
        "standard input is neither y4m nor NUT: write `ffmpeg -i in.mp4 -f nut -c:v rawvideo "
        "-c:a copy - |` before it"
    )
