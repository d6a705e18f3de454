"""Files to frames and back: the only part of unblur that knows containers and codecs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from unblur.disk import check_name
from unblur.errors import UsageError
from unblur.video.frame import Frame
from unblur.video.info import ColorTags, MasteringDisplay, StreamInfo, VideoInfo
from unblur.video.kept import Kept
from unblur.video.pipe import Format, Others, PipeReader, PipeWriter, check_not_read, is_pipe
from unblur.video.probe import MAX_PIXELS, probe_file
from unblur.video.reader import FileReader
from unblur.video.sequence import RATE, Gaps, SequenceReader, is_sequence, probe_sequence
from unblur.video.sequence_writer import SequenceWriter, folder_for, is_sequence_output
from unblur.video.timecode import Time, parse_time
from unblur.video.writer import FileWriter

__all__ = [
    "MAX_PIXELS",
    "ColorTags",
    "Format",
    "Frame",
    "Kept",
    "MasteringDisplay",
    "StreamInfo",
    "Time",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "create_video",
    "is_pipe",
    "open_video",
    "parse_time",
    "place_of",
    "probe",
]

_Self = TypeVar("_Self")


class _Block(Protocol):
    """Something for a `with` block."""

    def __enter__(self: _Self) -> _Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class VideoReader(_Block, Protocol):
    """What `open_video` gives: a context manager and an iterator over frames, to be used once."""

    @property
    def info(self) -> VideoInfo:
        """What the file holds."""
        ...

    @property
    def frames(self) -> int | None:
        """How many frames will come, where that is known."""
        ...

    @property
    def decode_failures(self) -> int:
        """Frames lost, frames damaged and other faults of the file, so far."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Closes the file."""
        ...


class VideoWriter(_Block, Protocol):
    """What `create_video` gives: a context manager; an exception leaves no file behind."""

    @property
    def frames(self) -> int:
        """How many it holds; at first those of an interrupted job that it goes on with."""
        ...

    def write(self, frame: Frame) -> None:
        """Writes one frame; they come in presentation order."""
        ...

    def close(self) -> None:
        """Completes the file and gives it its name."""
        ...


def probe(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Describes a video file, or a folder or pattern of images, from its first frame.

    Raises:
        UsageError: that is no name of a file.
        MediaError: there is no video in it that can be read.
        ResourceError: its frames are larger than `max_pixels`.
    """
    check_name(path)
    if is_sequence(path):
        return probe_sequence(path, max_pixels=max_pixels)
    return probe_file(path, max_pixels=max_pixels)


def open_video(
    path: str | os.PathLike[str],
    *,
    start: Time | str | None = None,
    end: Time | str | None = None,
    strict: bool = False,
    deinterlace: bool = False,
    rate: Fraction = RATE,
    gaps: Gaps = "error",
    max_pixels: int = MAX_PIXELS,
    stream: int | None = None,
) -> VideoReader:
    """Opens a video file, or a folder or pattern of images, for reading as a stream of frames.

    Args:
        path: a file, a folder of images, a pattern such as `frames/%05d.png` or `*.png`, or `-`:
            standard input, y4m or NUT.
        start: first frame: `2.5s` after the first frame of the file, `f10` (frame 10, counted from
            0), `hh:mm:ss.mmm`. With a time, the first frame at or after it.
        end: frame to stop before, in the same forms. Frames `start` to `end` are half open.
        strict: any damage is an error. Otherwise what decodes is returned, frames keep their
            times, and damage is counted and warned of.
        deinterlace: make one progressive frame of each interlaced one, which are refused otherwise.
        rate: frames per second of images.
        gaps: what a missing image means: see `find_images`.
        max_pixels: refuse larger frames before memory is taken for them.
        stream: index of the video stream to read; None: the best one, and a warning says which
            where there are several.

    Raises:
        MediaError: there is no video in it that can be read, or it is interlaced.
        UsageError: `start` and `end` reach past the end, or hold no frame between them;
            `stream` is no video stream; or `path` is no name of a file.
        ResourceError: its frames are larger than `max_pixels`.
    """
    check_name(path)
    if is_pipe(path):
        return PipeReader(
            start=start,
            end=end,
            strict=strict,
            deinterlace=deinterlace,
            max_pixels=max_pixels,
            stream=stream,
        )
    if is_sequence(path):
        if stream is not None:
            raise UsageError("images have no streams: leave out --stream")
        return SequenceReader(
            path, start=start, end=end, strict=strict, rate=rate, gaps=gaps, max_pixels=max_pixels
        )
    return FileReader(
        path,
        start=start,
        end=end,
        strict=strict,
        deinterlace=deinterlace,
        max_pixels=max_pixels,
        stream=stream,
    )


def place_of(path: str | os.PathLike[str], codec: str | None = None) -> Path | None:
    """The file or folder that an output becomes, links followed; None for a single image."""
    if is_sequence_output(path, codec):
        return folder_for(path, codec)
    return Path(os.path.realpath(path))


def create_video(
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
    format: Format | None = None,
    others: Others | None = None,
    kept: Kept | None = None,
) -> VideoWriter:
    """Creates a video file, or images, from frames.

    Frames that were not touched are stored as they are: with `ffv1` they decode to the same bits.
    All audio, subtitle, data and attachment streams, chapters and metadata of `source` are carried
    over, cut to the same range; a warning names what the container cannot hold.

    Args:
        path: `.mp4 .m4v .mov .mkv .webm`, images (`out/%05d.png`, a folder, `.png .exr`), or `-`:
            standard output.
        info: the reader's description of the source.
        source: file that the other streams are copied from; None: video only.
        inputs: what else the run reads, which must not be overwritten.
        codec: `h264 h265 av1 vp9 prores ffv1` or a kind of image; None: by extension.
        crf: quality of lossy codecs, lower is better; None: visually lossless.
        overwrite: replace an existing file, once the new one is complete.
        scale: size of the frames to come, as a multiple of the source's.
        start: what was given to `open_video`: the output then starts at 0.
        end: what was given to `open_video`.
        pixel_format: FFmpeg's name of the format to encode, as `yuv444p`; None: the nearest to the
            source's, for RGB in MP4 and MOV one that all players show.
        format: of standard output: `y4m`, or `nut` (None).
        others: of a `PipeReader`: streams beside the video, which NUT keeps.
        kept: where what is done is kept until all is; what is there already, is gone on with.

    Raises:
        UsageError: the output exists, is the input, its folder is missing or not writable, or
            extension, codec or quality do not fit.
        ResourceError: FFmpeg lacks the encoder, or the disk is full.
    """
    if is_pipe(path):
        for name, value in (("codec", codec), ("crf", crf), ("pixel-format", pixel_format)):
            if value is not None:
                raise UsageError(f"standard output is not encoded: leave --{name} out")
        check_not_read(inputs)
        return PipeWriter(info, format=format or "nut", others=others, shifted=start is not None)
    if format is not None:
        raise UsageError(f"format '{format}' is for standard output: an extension says it of files")
    if is_sequence_output(path, codec):
        if crf is not None:
            raise UsageError("images have no --crf: leave it out")
        if pixel_format is not None:
            raise UsageError("images have no --pixel-format: leave it out")
        return SequenceWriter(
            path,
            info,
            source=source,
            codec=codec,
            inputs=inputs,
            overwrite=overwrite,
            kept=kept,
        )
    return FileWriter(
        path,
        info,
        source=source,
        inputs=inputs,
        codec=codec,
        crf=crf,
        overwrite=overwrite,
        scale=scale,
        start=start,
        end=end,
        pixel_format=pixel_format,
        kept=kept,
    )
