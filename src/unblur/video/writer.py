"""Frames to a video file, with everything else of the source carried over.

Rules:
- The file appears under its name only when it is complete.
- Timestamps are the frames' own. Where the beginning is cut off (`start`), the first frame comes at
  0 and all streams are shifted by the same time. Matroska and WebM count in milliseconds: there
  each time is rounded to the nearest one.
- The rotation flag is carried over, pixels are never turned. So are the pixel aspect ratio, colour
  tags and HDR metadata; what a container or codec cannot hold is named in a warning.
- Bit depth, colour resolution and alpha are kept wherever the codec has a format for them; a
  warning says what is lost otherwise. Encoders that refuse odd sizes in 4:2:0 get 4:4:4.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from unblur.contexts import Closing
from unblur.disk import check_inputs
from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError
from unblur.ops.priority import kept_priority
from unblur.video import codecs, matroska
from unblur.video.decode import reason
from unblur.video.fitting import converted_tags, fitting, is_gray, stamped
from unblur.video.frame import Frame
from unblur.video.info import ColorTags, Siting, VideoInfo
from unblur.video.kept import Kept, bare, frame_bytes, frames_per_segment
from unblur.video.losses import check_mirror, warn_after, warn_before
from unblur.video.output import DISK_ERRORS, Pending, check_target, full
from unblur.video.pixels.layout import layout_of, native_format
from unblur.video.probe import MAX_PIXELS
from unblur.video.rehearsal import Outcome, Parts, rehearse
from unblur.video.remux import StreamCopy, has_own_tags
from unblur.video.segments import Segments
from unblur.video.side_data import beside
from unblur.video.span import longest_frame, resolve
from unblur.video.timecode import Time, parse_time

_BITEXACT = "+bitexact"  # no version numbers, dates or random numbers in the file
_FINEST = 2_000_000  # ticks a second of MP4: of finer ones 32 bits hold less than 18 minutes


class FileWriter(Closing):
    """Writes a video file; a context manager. Leaving it by an exception leaves no file.

    See `unblur.video.create_video` for the arguments.

    Attributes:
        frames: how many it holds; at first those that `kept` had.
        share: of the bytes of the samples that the file is expected to take.
    """

    frames: int
    share: float

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: VideoInfo,
        *,
        source: str | os.PathLike[str] | None = None,
        inputs: Sequence[str | os.PathLike[str] | None] = (),
        codec: str | None = None,
        crf: float | None = None,
        overwrite: bool = False,
        scale: int = 1,
        start: Time | str | None = None,
        end: Time | str | None = None,
        pixel_format: str | None = None,
        kept: Kept | None = None,
    ) -> None:
        self._info = info
        self._range = (start, end)
        self._cut_start = start is not None and parse_time(start) not in (Time(frame=0), _ZERO)
        self._size = (info.width * scale, info.height * scale)
        for read in (source, info.path):
            self._target = check_target(path, source=read, overwrite=overwrite)
        check_inputs(Path(path), inputs)
        self._extension = Path(path).suffix.lower()
        self._container = codecs.container_for(self._extension)
        if codec is not None:
            keys = [codecs.codec_for(codec, self._container, self._extension)]
        else:
            keys = codecs.default_codecs(self._container, info)
        self._choice = codecs.choose(
            keys,
            native_format(info.pixel_format),
            *self._size,
            wanted=pixel_format,
            container=self._container,
        )
        self.share = self._choice.codec.share
        self._options = codecs.encoder_options(self._choice, crf, info, self._size[0])
        self._time_base = self._container.time_base or self._tick(source)
        self._siting = self._place_of_chroma()
        scaled = scale if info.crop is not None else 1
        self._crop = None if info.crop is None else tuple(scaled * n for n in info.crop)
        check_mirror(info, self._container, self._extension)
        warn_before(info, self._choice, self._container, self._extension, self._size)

        self._copy: StreamCopy | None = None
        self._stream: VideoStream | None = None
        self._durations: dict[int, int] = {}
        self._last: int | None = None
        self._decoded: int | None = None
        self._shown: list[int] = []
        self._moved = 0
        self._beside: frozenset[str] = info.beside
        self._captions: frozenset[str] = frozenset()
        self._done = False
        self._closing = ExitStack()
        self._kept = kept
        self.frames = 0
        self._headed = False
        folder = None if kept is None else kept.folder
        self._pending = Pending(self._target, overwrite=overwrite, folder=folder)
        try:
            with self._errors():
                self._open(Path(source) if source is not None else None)
                length = frames_per_segment(info.pixel_format, *self._size)
                self._encoder = Segments(self._video, length)
                if kept is not None:
                    kept.length = length
                self._take_up()
        except BaseException:
            self.abort()
            raise

    def encoder_bytes(self, frames: int | None) -> int:
        """Bytes that the encoder takes at its peak, about, where so many frames will come."""
        samples = frame_bytes(self._choice.pixel_format, *self._size)
        return self._choice.codec.encoder_bytes(samples, frames)

    def write(self, frame: Frame) -> None:
        """Encodes one frame. Frames come in presentation order.

        Raises:
            ResourceError: the disk is full.
            ValueError: the frame has not the announced size.
        """
        if (frame.width, frame.height) != self._size:
            raise ValueError(
                f"frame {frame.index} is {frame.width}x{frame.height}, not"
                f" {self._size[0]}x{self._size[1]}"
            )
        image = fitting(
            frame,
            self._choice.pixel_format,
            limited=self._choice.codec.limited,
            siting=self._siting,
        )
        if self._last is None:
            self._begin(frame, image)
        pts = round((frame.time - self._shift) / self._time_base)
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
            self._moved += 1
        self._last = pts
        duration = round(frame.duration * frame.time_base / self._time_base)
        duration = duration if 0 <= duration < 2**31 else 0
        self._beside |= frame.beside
        if self._choice.codec.captions:
            self._captions |= beside(image) & {"closed captions"}
        self._durations[pts] = duration
        self._shown.append(pts)
        self.frames += 1
        with self._errors(), stamped(image, pts, self._time_base, duration):
            if self._kept is not None:
                self._kept.add_frame(self._encoder.number, frame)
            self._mux(self._encoder.encode(image))
            if self._encoder.full:
                self._end_segment()

    def close(self) -> None:
        """Writes what is left, and gives the file its name.

        Raises:
            MediaError: no frame was written.
            ResourceError: the disk is full.
        """
        if self._done:
            return
        try:
            if self._last is None:
                raise MediaError(f"{self._target} would have no frames: nothing was written")
            with self._errors():
                self._end_segment(keep=False)
                if self._copy is not None:
                    self._copy.advance(None)
                self._output.close()
                self._closing.close()
                self._amend()
            self._check_result()
            if self._kept is not None:
                self._kept.note_result(self._pending.path)
            self._pending.publish()
        except BaseException:
            self.abort()
            raise
        self._done = True
        if self._moved:
            warnings.warn(
                f"{self._target}: {self._moved} frames had the time of the frame before them or an"
                f" earlier one, or one closer than {self._time_base} s, and were moved behind it",
                UnblurWarning,
                stacklevel=2,
            )

    def _open(self, source: Path | None) -> None:
        """Opens the container with all its streams; the header is written with the first frame."""
        parts, error = rehearse(partial(self._attempt, source))
        if error is not None:
            raise UsageError(
                f"{self._extension} cannot hold {self._choice.key} as {self._info.path} would need"
                f" it ({reason(error)}): choose another --codec, or write .mkv"
            )
        target = str(self._pending.path)
        self._output, self._stream, self._copy = self._assemble(target, source, parts)

    def _assemble(
        self, target: str | io.BytesIO, source: Path | None, parts: Parts
    ) -> tuple[OutputContainer, VideoStream, StreamCopy | None]:
        """A container with all its streams, of which nothing is written yet."""
        options = {"fflags": _BITEXACT, "avoid_negative_ts": "disabled"}
        if self._container.muxer in ("mp4", "mov"):
            # Edit lists in ticks of the video, so that a late start is kept to the tick.
            options["movie_timescale"] = str(min(self._time_base.denominator, 2**31 - 1))
            if source is not None and source.is_file() and self._info.container != "sequence":
                options |= {"movflags": "use_metadata_tags"} if has_own_tags(source) else {}
        output = av.open(target, "w", format=self._container.muxer, container_options=options)
        self._closing.callback(output.close)
        # Encoders refuse frames shorter than a tick, as files may claim them.
        rate = min(self._info.frame_rate or Fraction(25), 1 / self._time_base)
        stream = output.add_stream(self._choice.codec.encoder, rate=rate)
        assert isinstance(stream, VideoStream)  # noqa: S101
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = self._choice.pixel_format
        context.time_base = stream.time_base = self._time_base
        context.sample_aspect_ratio = self._info.sample_aspect_ratio
        context.options = {**self._options, "field_order": "progressive"}
        if self._siting is not None:
            context.options["chroma_sample_location"] = self._siting
        if self._choice.codec.tag and self._container.muxer in ("mp4", "mov"):
            context.codec_tag = self._choice.codec.tag
        if self._info.display_matrix is not None:
            _set_display_matrix(stream, self._info.display_matrix)
        copy = None
        if source is not None and source.is_file() and self._info.container != "sequence":
            copy = StreamCopy(
                source,
                output,
                skip=self._info.stream_index,
                end=self._end_of_range(source),
                extension=self._extension,
                left_out=parts.left_out,
                cut=self._cut_start,
            )
            self._closing.callback(copy.close)
            stream.disposition = copy.disposition
            file_tags, video_tags = copy.tags(self._info.stream_index)
            why = "" if parts.timecode else f"{self._extension} cannot hold it"
            why = "it would be wrong after --start" if self._cut_start else why
            if why and "timecode" in {**file_tags, **video_tags}:
                file_tags.pop("timecode", None)
                video_tags.pop("timecode", None)
                text = f"{source}: the timecode is left out, {why}"
                warnings.warn(text, UnblurWarning, stacklevel=5)
            output.metadata.update(file_tags)
            stream.metadata.update(video_tags)
        if self._choice.key == "vp9" and layout_of(self._choice.pixel_format).alpha is not None:
            stream.metadata["alpha_mode"] = "1"
        if self._amends:
            stream.metadata["title"] = matroska.reserve(stream.metadata.get("title", ""))
        return output, stream, copy

    def _attempt(self, source: Path | None, parts: Parts) -> Outcome:
        """Writes a frame and a packet of each stream into memory."""
        streams: tuple[int, ...] = ()
        try:
            output, video, copy = self._assemble(io.BytesIO(), source, parts)
            image = av.VideoFrame(*self._size, self._choice.pixel_format)
            image.pts, image.time_base = 0, self._time_base
            with kept_priority():
                packets = [*video.encode(image), *video.encode(None)]
            for packet in packets:
                packet.pts = packet.dts = 0
            if copy is not None:
                streams = copy.indices
                copy.start(Fraction(0), None)
            output.mux(packets)
            if copy is not None:
                copy.put_first()
            output.close()
        except (av.FFmpegError, OSError, ValueError) as error:
            return Outcome(streams, error)
        finally:
            with suppress(Exception):
                self._closing.close()
        return Outcome(streams, None)

    def _end_of_range(self, source: Path) -> Fraction | None:
        """Seconds in the source of the first frame after the range; None: the range is open."""
        start, end = (None if t is None else parse_time(t) for t in self._range)
        if end is None:
            return None
        allowed = max(MAX_PIXELS, self._info.width * self._info.height)
        last = resolve(source, start, end, allowed, self._info.stream_index).end
        return None if last is None else last * self._info.time_base

    def _take_up(self) -> None:
        """Writes what an interrupted job had encoded."""
        for segment in () if self._kept is None else self._kept.segments():
            state = segment.state
            if self._last is None:
                self._tags = ColorTags(**state["tags"])
                self._set_up(Fraction(state["shift"]), Fraction(state["begin"]))
            for packet in segment.packets:
                packet.stream = self._video
                self._put(packet)
            self._last, self._decoded = state["last"], state["decoded"]
            self._shown = state["shown"]
            self._moved, self.frames = state["moved"], state["frames"]
            self._beside, self._captions = map(frozenset, (state["beside"], state["captions"]))
            self._encoder.number += 1

    def _end_segment(self, *, keep: bool = True) -> None:
        """Encodes what is left of a segment, and keeps it."""
        self._mux(self._encoder.end())
        number = self._encoder.number
        self._encoder.number += 1
        if self._kept is None or not keep:
            return
        state = {
            "tags": asdict(self._tags),
            "shift": str(self._shift),
            "begin": str(self._start),
            "last": self._last,
            "decoded": self._decoded,
            "shown": self._shown,
            "moved": self._moved,
            "frames": self.frames,
            "beside": sorted(self._beside),
            "captions": sorted(self._captions),
        }
        self._kept.end_segment(number, state)

    def _begin(self, frame: Frame, image: av.VideoFrame) -> None:
        """Settles what depends on the first frame: its time and its colour tags."""
        shift = frame.time if self._cut_start else Fraction(0)
        if not self._cut_start and frame.time < 0:
            shift = frame.time
            warnings.warn(
                f"{self._info.path} starts {-float(frame.time):.3f} s before zero, which players"
                " cut off: all streams are moved to start at zero",
                UnblurWarning,
                stacklevel=3,
            )
        tags = self._info.color
        if image is not frame.image:
            tags = converted_tags(image, tags)
        if tags.range is None and self._choice.key != "ffv1" and is_gray(image):
            tags = replace(tags, range="pc")  # what gray is, and decoders would take it for limited
        self._tags = tags
        self._set_up(shift, frame.time)

    def _set_up(self, shift: Fraction, begin: Fraction) -> None:
        """Begins to copy the other streams, and tells the encoder the colour tags.

        Args:
            shift: seconds taken off every time.
            begin: time of the first frame.
        """
        self._shift, self._start, tags = shift, begin, self._tags
        if self._copy is not None:
            self._copy.start(shift, begin if self._cut_start else None)
        context = self._video.codec_context
        matrix, primaries, transfer, range_ = tags.codes()
        if tags.primaries in self._choice.codec.unknown_primaries:
            primaries = 2
        context.colorspace, context.color_range = matrix, range_
        context.color_primaries, context.color_trc = primaries, transfer

    def _mux(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            duration = self._durations.pop(packet.pts or 0, 0)
            if duration:
                packet.duration = duration
            if packet.pts is not None:
                packet.dts = self._decoded = self._decoding_time(packet.pts)
            packet = bare(packet)
            packet.stream = self._video
            if self._kept is not None:
                self._kept.add_packet(self._encoder.number, packet)
            self._put(packet)

    def _put(self, packet: Packet[Any]) -> None:
        """Writes a packet, and all of the other streams that come before it."""
        reached = (packet.dts or 0) * packet.time_base
        with nullcontext() if self._headed else kept_priority():
            self._output.mux(packet)  # the first opens the encoder of the stream for its header
        self._headed = True
        if self._copy is not None:
            self._copy.advance(reached)

    def _decoding_time(self, pts: int) -> int:
        """When the next packet, which is shown at `pts`, is decoded.

        The times of frames in the order they are shown in, by `delay` of them later. That is what
        encoders say, too, but of one or two frames x265 says whatever its memory held.
        """
        last, delay = self._decoded, self._choice.codec.delay
        if last is None and len(self._shown) > delay:
            first = self._shown[0]
            earlier = self._shown[delay] - first
            self._shown[:0] = [time - earlier for time in self._shown[:delay]]
        dts = min(pts, self._shown.pop(0)) if self._shown else pts
        return dts if last is None or dts > last else min(pts, last + 1)

    def _tick(self, source: str | os.PathLike[str] | None) -> Fraction:
        """Seconds per tick: the source's, as far as MP4 can count a frame's length in it."""
        tick, seconds = self._info.time_base, self._info.duration or 0
        if tick.denominator > _FINEST:
            tick = Fraction(1, _FINEST // 2)
        if source is not None and seconds / tick >= 2**31:
            allowed = max(MAX_PIXELS, self._size[0] * self._size[1])
            longest = longest_frame(Path(source), allowed, self._info.stream_index)
            coarser = (tick, Fraction(1, 90_000), Fraction(1, 1000))
            tick = next((each for each in coarser if longest / each < 2**31), coarser[-1])
        return tick

    def _place_of_chroma(self) -> Siting | None:
        """Where chroma is to lie in the output; None: the codec's format has no place to say."""
        written = layout_of(self._choice.pixel_format)
        source = layout_of(native_format(self._info.pixel_format))
        if written.subsampling == source.subsampling and not self._choice.codec.limited:
            return self._info.siting
        return None if written.subsampling == (1, 1) else "left"

    @property
    def _video(self) -> VideoStream:
        assert self._stream is not None  # noqa: S101
        return self._stream

    @property
    def _amends(self) -> bool:
        """Whether the Matroska header gets elements that its muxer does not write."""
        info = self._info
        light = info.mastering_display is not None or info.content_light is not None
        aspect = info.sample_aspect_ratio != 1
        return self._container.time_base is not None and (aspect or light or self._crop is not None)

    def _amend(self) -> None:
        if self._copy is not None:
            self._copy.amend(self._pending.path)
        if not self._amends:
            return
        info = self._info
        with suppress(ValueError):  # no room in the header: `_check_result` says what is missing
            matroska.amend(
                self._pending.path,
                *self._size,
                info.sample_aspect_ratio,
                info.mastering_display,
                info.content_light,
                self._crop,
            )

    def _check_result(self) -> None:
        """Names what the finished file does not hold, of what it was given and what there was."""
        what = f"{self._choice.key} in {self._extension}"
        kept = warn_after(
            self._pending.path, self._target, self._info, self._tags, self._siting, what
        )
        if self._copy is not None:
            self._copy.check(self._pending.path, self._extension)
        lost = sorted(self._beside - kept - self._captions)
        if lost:
            warnings.warn(
                f"{self._info.path}: not carried over, {what} does not hold it here:"
                f" {', '.join(lost)}",
                UnblurWarning,
                stacklevel=4,
            )

    def abort(self) -> None:
        """Removes what was written, unless it is kept for another run."""
        self._done = True
        with suppress(Exception):
            self._closing.close()
        self._pending.discard()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What FFmpeg says when writing fails, in the project's words."""
        try:
            yield
        except MemoryError:
            raise ResourceError(
                f"no memory left to encode {self._target}: close other programs"
            ) from None
        except OSError as error:
            if isinstance(error, av.FFmpegError) and error.errno not in DISK_ERRORS:
                raise ResourceError(
                    f"{self._target}: {self._extension} refuses what it is given"
                    f" ({error.strerror}): choose another --codec, or write .mkv"
                ) from error
            raise full(self._target, error) from error
        except av.FFmpegError as error:
            raise ResourceError(
                f"encoding {self._target} with {self._choice.codec.encoder} failed"
                f" ({error.strerror}): choose another --codec"
            ) from error


_ZERO = Time(seconds=Fraction(0))


def _set_display_matrix(stream: VideoStream, matrix: tuple[int, ...]) -> None:
    if not hasattr(stream, "set_display_matrix"):
        raise ResourceError(
            f"PyAV {av.__version__} cannot write a rotation flag: upgrade it (pip install -U av)"
        )
    stream.set_display_matrix(matrix)
