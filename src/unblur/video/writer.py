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

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.packet import Packet
from av.video.stream import VideoStream

from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError
from unblur.video import codecs, matroska
from unblur.video.frame import Frame, transfer_of
from unblur.video.info import ColorTags, VideoInfo
from unblur.video.layout import layout_of, native_format
from unblur.video.output import Pending, check_target, full
from unblur.video.probe import MAX_PIXELS, probe_file
from unblur.video.remux import StreamCopy
from unblur.video.span import resolve
from unblur.video.timecode import Time, parse_time

_BITEXACT = "+bitexact"  # no version numbers, dates or random numbers in the file
_LONGEST_DELAY = 3600  # seconds between decoding a frame and showing it that can be


class FileWriter:
    """Writes a video file; a context manager. Leaving it by an exception leaves no file.

    See `unblur.video.create_video` for the arguments.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: VideoInfo,
        *,
        source: str | os.PathLike[str] | None = None,
        codec: str | None = None,
        crf: float | None = None,
        overwrite: bool = False,
        scale: int = 1,
        start: Time | str | None = None,
        end: Time | str | None = None,
    ) -> None:
        self._info = info
        self._range = (start, end)
        self._cut_start = start is not None and parse_time(start) not in (Time(frame=0), _ZERO)
        self._size = (info.width * scale, info.height * scale)
        for read in (source, info.path):
            self._target = check_target(path, source=read, overwrite=overwrite)
        self._extension = Path(path).suffix.lower()
        self._container = codecs.container_for(self._extension)
        if codec is not None:
            keys = [codecs.codec_for(codec, self._container, self._extension)]
        else:
            keys = codecs.default_codecs(self._container, info)
        self._choice = codecs.choose(keys, native_format(info.pixel_format), *self._size)
        self._options = codecs.encoder_options(self._choice, crf, info)
        self._time_base = self._container.time_base or info.time_base
        self._check_display_matrix()
        self._warn_of_losses()

        self._copy: StreamCopy | None = None
        self._stream: VideoStream | None = None
        self._durations: dict[int, int] = {}
        self._last: int | None = None
        self._decoded: int | None = None
        self._moved = 0
        self._done = False
        self._closing = ExitStack()
        self._pending = Pending(self._target, overwrite=overwrite)
        try:
            with self._errors():
                self._open(Path(source) if source is not None else None)
        except BaseException:
            self._abort()
            raise

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abort()

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
        picture = _fitting(frame, self._choice.pixel_format)
        if self._last is None:
            self._begin(frame, picture)
        pts = round((frame.time - self._shift) / self._time_base)
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
            self._moved += 1
        self._last = pts
        duration = round(frame.duration * frame.time_base / self._time_base)
        self._durations[pts] = duration
        with self._errors(), _stamped(picture, pts, self._time_base, duration):
            self._mux(self._video.encode(picture))

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
                self._mux(self._video.encode(None))
                if self._copy is not None:
                    self._copy.advance(None)
                self._output.close()
                self._closing.close()
                self._amend()
            self._check_result()
            self._pending.publish()
        except BaseException:
            self._abort()
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
        options = {"fflags": _BITEXACT, "avoid_negative_ts": "disabled"}
        if self._container.muxer in ("mp4", "mov"):
            # Edit lists in ticks of the video, so that a late start is kept to the tick.
            options["movie_timescale"] = str(min(self._time_base.denominator, 2**31 - 1))
        self._output = av.open(
            str(self._pending.path), "w", format=self._container.muxer, container_options=options
        )
        self._closing.callback(self._output.close)
        rate = self._info.frame_rate or Fraction(25)
        stream = self._output.add_stream(self._choice.codec.encoder, rate=rate)
        assert isinstance(stream, VideoStream)  # noqa: S101
        self._stream = stream
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = self._choice.pixel_format
        context.time_base = stream.time_base = self._time_base
        context.sample_aspect_ratio = self._info.sample_aspect_ratio
        context.options = {**self._options, "field_order": "progressive"}
        if self._choice.codec.tag and self._container.muxer in ("mp4", "mov"):
            context.codec_tag = self._choice.codec.tag
        if self._info.display_matrix is not None:
            _set_display_matrix(stream, self._info.display_matrix)
        if source is not None and source.is_file() and self._info.container != "sequence":
            self._copy = StreamCopy(
                source,
                self._output,
                skip=self._info.stream_index,
                end=self._end_of_range(source),
                extension=self._extension,
            )
            self._closing.callback(self._copy.close)
            file_tags, video_tags = self._copy.tags(self._info.stream_index)
            if self._cut_start and video_tags.pop("timecode", ""):
                file_tags.pop("timecode", None)
                warnings.warn(
                    f"{source}: the timecode is left out, it would be wrong after --start",
                    UnblurWarning,
                    stacklevel=4,
                )
            self._output.metadata.update(file_tags)
            stream.metadata.update(video_tags)
        if self._choice.key == "vp9" and layout_of(self._choice.pixel_format).alpha is not None:
            stream.metadata["alpha_mode"] = "1"
        if self._amends:
            stream.metadata["title"] = matroska.reserve(stream.metadata.get("title", ""))

    def _end_of_range(self, source: Path) -> Fraction | None:
        """Seconds in the source of the first frame after the range; None: the range is open."""
        start, end = (None if t is None else parse_time(t) for t in self._range)
        if end is None:
            return None
        allowed = max(MAX_PIXELS, self._info.width * self._info.height)
        last = resolve(source, start, end, allowed).end
        return None if last is None else last * self._info.time_base

    def _begin(self, frame: Frame, picture: av.VideoFrame) -> None:
        """Settles what depends on the first frame: its time and its colour tags."""
        self._shift = frame.time if self._cut_start else Fraction(0)
        if not self._cut_start and frame.time < 0:
            self._shift = frame.time
            warnings.warn(
                f"{self._info.path} starts {-float(frame.time):.3f} s before zero, which players"
                " cut off: all streams are moved to start at zero",
                UnblurWarning,
                stacklevel=3,
            )
        if self._copy is not None:
            self._copy.start(self._shift, frame.time if self._cut_start else None)
        tags = self._info.color
        if picture is not frame.picture:
            tags = _converted_tags(picture, tags)
        self._tags = tags
        context = self._video.codec_context
        matrix, primaries, transfer, range_ = tags.codes()
        context.colorspace, context.color_range = matrix, range_
        context.color_primaries, context.color_trc = primaries, transfer

    def _mux(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            duration = self._durations.pop(packet.pts or 0, 0)
            if duration:
                packet.duration = duration
            if packet.pts is not None and packet.dts is not None:
                packet.dts = self._decoded = self._decoding_time(packet.pts, packet.dts)
            reached = (packet.dts or 0) * packet.time_base
            self._output.mux(packet)
            if self._copy is not None:
                self._copy.advance(reached)

    def _decoding_time(self, pts: int, dts: int) -> int:
        """The encoder's own, unless that cannot be.

        Of a clip shorter than x265 looks ahead it gives whatever its memory held.
        """
        last = self._decoded
        longest = min(int(_LONGEST_DELAY / self._time_base), 2**31 - 1)
        if dts <= pts <= dts + longest and (last is None or dts > last):
            return dts
        return pts if last is None else min(pts, last + 1)

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
        return self._container.time_base is not None and (aspect or light)

    def _amend(self) -> None:
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
            )

    def _check_result(self) -> None:
        """Reads the finished header, and names what it was told and does not say."""
        info = self._info
        try:
            result = probe_file(self._pending.path, max_pixels=sys.maxsize)
        except MediaError:  # a build of FFmpeg that encodes what it cannot decode
            return
        told: dict[str, tuple[object, object]] = {
            "rotation": (info.display_matrix, result.display_matrix),
            "mastering display": (info.mastering_display, result.mastering_display),
            "content light level": (info.content_light, result.content_light),
            "colour primaries": (self._tags.primaries, result.color.primaries),
            "transfer function": (self._tags.transfer, result.color.transfer),
            "colour matrix": (self._tags.matrix, result.color.matrix),
            "colour range": (self._tags.range, result.color.range),
        }
        lost = [name for name, (ours, theirs) in told.items() if ours and not theirs]
        if result.sample_aspect_ratio != info.sample_aspect_ratio:
            lost.append("pixel aspect ratio")
        if lost:
            warnings.warn(
                f"{self._target}: {self._choice.key} in {self._extension} does not hold the"
                f" {' and '.join(lost)} of {info.path}",
                UnblurWarning,
                stacklevel=4,
            )

    def _abort(self) -> None:
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
            raise full(self._target, error) from error
        except av.FFmpegError as error:
            raise ResourceError(
                f"encoding {self._target} with {self._choice.codec.encoder} failed"
                f" ({error.strerror}): choose another --codec"
            ) from error

    def _check_display_matrix(self) -> None:
        matrix = self._info.display_matrix
        if matrix is None or self._container.stores_mirror:
            return
        if matrix[0] * matrix[4] - matrix[1] * matrix[3] < 0:
            raise UsageError(
                f"{self._extension} cannot hold the mirror flag of {self._info.path}:"
                " write .mp4 or .mov"
            )

    def _warn_of_losses(self) -> None:
        info, choice = self._info, self._choice
        lost = codecs.losses(info.pixel_format, choice.pixel_format)
        if lost:
            warnings.warn(
                f"{choice.key} cannot hold {info.pixel_format}: written as {choice.pixel_format},"
                f" without its {' and '.join(lost)}; --codec ffv1 keeps everything",
                UnblurWarning,
                stacklevel=4,
            )
        source, written = (
            layout_of(native_format(name)) for name in (info.pixel_format, choice.pixel_format)
        )
        odd = self._size[0] % 2 or self._size[1] % 2
        if odd and source.subsampling != written.subsampling and choice.key in ("h264", "h265"):
            warnings.warn(
                f"{choice.key} takes no {info.pixel_format} of odd size"
                f" {self._size[0]}x{self._size[1]}: written as {choice.pixel_format}, which fewer"
                " players show",
                UnblurWarning,
                stacklevel=4,
            )
        if info.dynamic_metadata:
            warnings.warn(
                f"{info.path}: its {' and '.join(info.dynamic_metadata)} metadata is left out, it"
                " cannot be encoded here",
                UnblurWarning,
                stacklevel=4,
            )


_ZERO = Time(seconds=Fraction(0))


def _fitting(frame: Frame, pixel_format: str) -> av.VideoFrame:
    """The frame's picture in the encoder's format, without rounding wherever there is no need."""
    picture = frame.picture
    name = picture.format.name
    if name == pixel_format:
        return picture
    source, target = layout_of(native_format(name)), layout_of(pixel_format)
    alike = source.family == target.family and source.subsampling == target.subsampling
    if alike and source.bits == target.bits and not source.is_float:
        # The same samples in another order. `yuvj` formats are full range by name alone.
        range_ = 2 if source.full_range or target.full_range else picture.color_range
        return picture.reformat(
            format=pixel_format, src_color_range=range_, dst_color_range=range_, threads=1
        )
    # Floats of linear light would lose their shadows in few bits.
    is_light = source.is_float and not target.is_float and transfer_of(picture) == "linear"
    return frame.converted(pixel_format, "bt709" if is_light else None).picture


def _converted_tags(picture: av.VideoFrame, tags: ColorTags) -> ColorTags:
    """The source's tags, with those of a picture that was converted where it has them."""
    matrix, primaries, transfer, range_ = tags.codes()
    return ColorTags.from_codes(
        picture.colorspace if picture.colorspace != 2 else matrix,
        primaries,
        getattr(picture, "color_trc", 2) if transfer_of(picture) else transfer,
        picture.color_range or range_,
    )


@contextmanager
def _stamped(
    picture: av.VideoFrame, pts: int, time_base: Fraction, duration: int
) -> Iterator[None]:
    """The picture with other times, and free of the frame type of the file it came from."""
    before = picture.pts, picture.time_base, picture.duration, picture.pict_type
    picture.pts, picture.time_base, picture.duration = pts, time_base, duration
    picture.pict_type = 0
    try:
        yield
    finally:
        picture.pts, picture.time_base, picture.duration, picture.pict_type = before


def _set_display_matrix(stream: VideoStream, matrix: tuple[int, ...]) -> None:
    if not hasattr(stream, "set_display_matrix"):
        raise ResourceError(
            f"PyAV {av.__version__} cannot write a rotation flag: upgrade it (pip install -U av)"
        )
    stream.set_display_matrix(matrix)
