"""Opening a file safely, finding the stream to restore, and describing it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from unblur.disk import read_bytes
from unblur.errors import MediaError, ResourceError, UsageError
from unblur.video.heif import TILE, Part, match, parts_of
from unblur.video.info import ColorTags, StreamInfo, VideoInfo
from unblur.video.matroska import crop_of, siting_of
from unblur.video.packets import is_encrypted
from unblur.video.pixels.layout import layout_of, native_format
from unblur.video.png import SIGNATURE, check_png
from unblur.video.quantizer import NOTING, REQUEST
from unblur.video.side_data import (
    beside,
    content_light,
    display_matrix,
    dynamic_metadata,
    mastering_display,
    turn_of,
    without_profile,
)
from unblur.video.stills import Pieces, pieces_of
from unblur.video.ticks import possible

MAX_PIXELS = 8192 * 8192
"""Largest frame that is read unless the caller allows more."""

# Demuxers that open other files or devices than the one they are given, and one that takes any
# text for an image.
_REFUSED_DEMUXERS = {
    *("concat", "dash", "hls", "imf", "image2", "lavfi", "mpjpeg", "rtp", "rtsp", "sap", "sdp"),
    *("tty", "vapoursynth", "vobsub", "webm_dash_manifest"),
}
LARGEST_PNG = 1 << 30
_SURE_THREADS = ("hevc", "vp9", "av1", "ffv1")
"""Codecs of which one thread gives nothing else than several, also of damaged files."""
_PLAYLISTS = {
    b"#EXTM3U": "a playlist (m3u8)",
    b"ffconcat version": "a list of files (ffconcat)",
    b"v=0": "a stream description (SDP)",
}
_HDR: dict[str, Literal["pq", "hlg"]] = {"smpte2084": "pq", "arib-std-b67": "hlg"}
_INTERLACED_ORDERS = {2, 3, 4, 5}  # AVFieldOrder: TT, BB, TB, BT


@dataclass(frozen=True)
class Opened:
    """An open file with the stream to restore."""

    path: Path
    container: InputContainer
    stream: VideoStream
    decoder: VideoCodecContext
    parts: Mapping[int, Part] = field(default_factory=dict)
    """What MP4 and its like say of streams, by their index."""
    pieces: Pieces | None = None
    """What the image is put together of, where it is more than the image of `stream`."""
    colors: ColorTags | None = None
    """What the header says: decoders of ProRes and H.265 overwrite it by what frames leave open."""

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the stream's timestamps."""
        return Fraction(self.stream.time_base or Fraction(1, av.time_base))


def probe_file(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Describes a video file from its header and its first frame.

    Raises:
        MediaError: there is no video in it that can be read.
        ResourceError: its frames are larger than `max_pixels`.
    """
    with open_media(path, max_pixels=max_pixels) as opened:
        for frame in _first_frames(opened):
            return describe(opened, frame)
    raise no_frames(Path(path))


@contextmanager
def open_media(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, stream: int | None = None
) -> Iterator[Opened]:
    """Opens a file for reading; nothing but this one local file is ever opened.

    Frames that lean on others are decoded without frame threads, and those of H.264 and MPEG in one
    thread: else what FFmpeg makes of a damaged file depends on the timing of the threads, and for
    H.265 it waits forever for a frame that is missing.

    Raises:
        MediaError: see `probe_file`.
        ResourceError: its header claims frames larger than `max_pixels`.
    """
    path = Path(path)
    container = open_container(path, max_pixels=max_pixels)
    try:
        parts = parts_in(path, container)
        video = _video_stream(path, container, stream, parts)
        size = video.codec_context.width, video.codec_context.height
        check_size(path, *(size if all(size) else _claimed_size(path)), max_pixels)
        decoder = _decoder(video)
        options = {"max_pixels": _ffmpeg_int(max_pixels)}
        if video.codec.canonical_name == "hevc":
            options["err_detect"] = "crccheck"  # else it passes over checksums of frames
        if video.codec.canonical_name in NOTING:
            options |= REQUEST
        decoder.options = options
        alone = video.codec.intra_only
        decoder.thread_type = "AUTO" if alone else "SLICE"
        if not alone and video.codec.canonical_name not in _SURE_THREADS:
            decoder.thread_count = 1
        pieces = pieces_of(container, video, parts) if stream is None else None
        if pieces is not None:
            check_size(path, pieces.width, pieces.height, max_pixels)
            for index in pieces.streams:
                container.streams[index].codec_context.options = options
        yield Opened(path, container, video, decoder, parts, pieces, _header_tags(video))
    finally:
        container.close()


def open_container(path: Path, *, max_pixels: int = MAX_PIXELS) -> InputContainer:
    """The container of a local file, opened with FFmpeg's other protocols shut."""
    _check_file(path)
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _allowed_demuxers(),
        "max_pixels": _ffmpeg_int(max_pixels),
    }
    try:
        # An absolute path, so that no part of a name is taken for a protocol or an option.
        container = av.open(os.path.abspath(path), "r", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"{path} is not a video that can be read ({_reason(error)}): it is another kind of"
            " file, or was cut off before its header or index was written"
        ) from error
    return container


def describe(opened: Opened, frame: av.VideoFrame) -> VideoInfo:
    """What the header and the first decoded frame say."""
    container, stream, pieces = opened.container, opened.stream, opened.pieces
    context = stream.codec_context
    pixel_format = pieces.pixel_format if pieces else frame.format.name
    layout = layout_of(native_format(pixel_format))
    color = _color_tags(frame, opened.colors or _header_tags(stream))
    rate = frame_rate(container, stream)
    seconds = _duration(container, stream)
    matrix, notes = display_matrix(frame), beside(frame)
    if pieces is not None and len(pieces.colors) > 1:  # FFmpeg says of a tile what is its own
        matrix = pieces.still.matrix
        color = color.or_else(ColorTags.from_codes(*pieces.still.tags))
        notes |= {"ICC profile"} if pieces.still.profile else set()
    start = stream.start_time
    time_base = opened.time_base
    return VideoInfo(
        path=opened.path,
        width=pieces.width if pieces else frame.width,
        height=pieces.height if pieces else frame.height,
        pixel_format=pixel_format,
        bit_depth=layout.bits,
        has_alpha=layout.alpha is not None,
        frame_rate=rate,
        time_base=time_base,
        frames=stream.frames or None,
        duration=seconds,
        rotation=turn_of(matrix) if matrix else 0,
        display_matrix=matrix,
        sample_aspect_ratio=_aspect(opened),
        color=color,
        siting=siting_of(stream) if layout.subsampling != (1, 1) else None,
        interlaced=frame.interlaced_frame
        or getattr(context, "field_order", 0) in _INTERLACED_ORDERS,  # PyAV 17 has no such name
        hdr=_HDR.get(color.transfer or ""),
        mastering_display=mastering_display(frame),
        content_light=content_light(frame),
        dynamic_metadata=dynamic_metadata(frame),
        crop=_crop(opened),
        beside=notes,
        streams=tuple(stream_info(s, opened.parts.get(s.index)) for s in container.streams),
        codec=stream.codec.canonical_name,
        container=container.format.name,
        constant_rate=rate is not None and stream.base_rate == rate == stream.average_rate,
        stream_index=stream.index,
        start_time=float(start * time_base) if start is not None else 0.0,
    )


def safe(opened: Opened, frames: list[av.VideoFrame]) -> list[av.VideoFrame]:
    """Frames whose side data PyAV can read: see `without_profile`."""
    if opened.stream.codec.canonical_name not in ("png", "apng"):
        return frames
    return [without_profile(frame) for frame in frames]


def frame_rate(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Average frames per second; None where nothing is known.

    FFmpeg's average is a made-up 25 for streams without a container, the rate of the clock
    instead of the frames' for DV, and whatever Matroska claims, also beyond that clock.
    """
    average, guess = stream.average_rate, stream.guessed_rate
    made_up = container.duration is None and stream.duration is None
    ticks = average is not None and stream.time_base and average * stream.time_base >= 1
    if guess and (not average or made_up or (ticks and guess < average)):
        average = guess
    return Fraction(average) if average else None


def parts_in(path: Path, container: InputContainer) -> dict[int, Part]:
    """What MP4, MOV, AVIF and HEIF say of their streams, by index; else nothing."""
    if not container.format.name.startswith("mov,"):
        return {}
    return match(parts_of(path), [stream.id for stream in container.streams])


def stream_info(stream: Stream, part: Part | None = None) -> StreamInfo:
    """A stream's kind, codec, language, and what it serves."""
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=_codec_name(stream),
        language=stream.metadata.get("language"),
        title=stream.metadata.get("title") or stream.metadata.get("filename"),
        cover=bool(stream.disposition & Disposition.attached_pic),
        auxiliary=_is_auxiliary(stream, part),
        role=part.role if part else "",
    )


def check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    """ResourceError where a frame would be larger than allowed."""
    if width * height > max_pixels:
        raise ResourceError(
            f"{path} claims frames of {width}x{height} pixels, more than the {max_pixels} allowed:"
            " scale it down first"
        )


def no_frames(path: Path) -> MediaError:
    """The error for a video stream without a single frame that decodes."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(21)
        if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20] & 2:
            return MediaError(
                f"{path} is an animated WebP, which FFmpeg does not decode: convert it to an"
                " animated PNG (.apng) or a video first"
            )
    return MediaError(
        f"{path} has a video stream, but not one of the frames requested can be decoded:"
        " the file is empty, cut off or damaged"
    )


def encrypted(path: Path) -> MediaError:
    """The error for a file whose frames only a key opens."""
    return MediaError(f"{path} is encrypted: decrypt it first, no key can be given here")


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise MediaError(f"{path} does not exist: check the name") from None
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(f"{path} is a folder without numbered images: name a video file")
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"{path} is not a regular file: save the video to a file first")
    if status.st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes): copy or record it again")
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t")
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror or error}") from error
    if head.startswith(SIGNATURE):
        check_png(path, read_bytes(path, LARGEST_PNG))
    for magic, name in _PLAYLISTS.items():
        if head.startswith(magic):
            raise MediaError(
                f"{path} is {name} that refers to other files: give the video file itself"
            )


def only_demuxers(names: Collection[str]) -> None:
    """From now on this process opens none but these containers: for files of strangers."""
    _trusted.clear()
    _trusted.update(names)
    _allowed_demuxers.cache_clear()


_trusted: set[str] = set()
"""Demuxers that are opened; empty: all but those that are refused."""


@lru_cache(maxsize=1)
def _allowed_demuxers() -> str:
    names = set()
    for name in av.formats_available:
        if _trusted and not _trusted.intersection(name.split(",")):
            continue
        if not _REFUSED_DEMUXERS.intersection(name.split(",")):
            names.add(name)
    return ",".join(sorted(names))


def _ffmpeg_int(value: int) -> str:
    """FFmpeg's options are ints of C: a larger one would be an error."""
    return str(min(value, 2**31 - 1))


def _claimed_size(path: Path) -> tuple[int, int]:
    """Largest width and height in the header, which FFmpeg forgets where they are not allowed."""
    options = {"protocol_whitelist": "file", "format_whitelist": _allowed_demuxers()}
    options |= {"probesize": "32", "analyzeduration": "0"}  # the header and no more
    try:
        with av.open(os.path.abspath(path), options=options, metadata_errors="replace") as header:
            streams = [stream.codec_context for stream in header.streams.video]
            return max(((c.width, c.height) for c in streams if c is not None), default=(0, 0))
    except (av.FFmpegError, OSError, ValueError):
        return 0, 0


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    log = getattr(error, "log", None)
    return log[-1].strip() if log else text


def _video_stream(
    path: Path, container: InputContainer, wanted: int | None, parts: Mapping[int, Part]
) -> VideoStream:
    moving = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if wanted is not None:
        chosen = next((stream for stream in moving if stream.index == wanted), None)
        if chosen is None:
            found = ", ".join(str(stream.index) for stream in moving) or "none"
            raise UsageError(f"--stream {wanted}: {path} has the video streams {found}")
        moving = [chosen]
    if not moving:
        if container.streams.video:
            raise MediaError(f"{path} holds no video, only a cover image: name a video file")
        kinds = " and ".join(sorted({stream.type for stream in container.streams}))
        raise MediaError(f"{path} holds no video, only {kinds or 'a header'}: name a video file")
    own = [stream for stream in moving if not _is_auxiliary(stream, parts.get(stream.index))]
    wholes = [
        part.still.colors.tiles for part in parts.values() if part.role == TILE and part.still
    ]
    tiled = [
        s for s in moving if wholes and s.index in parts and parts[s.index].number == wholes[0][0]
    ]
    shown = tiled or own or moving
    best = container.streams.best("video")
    stream = next((each for each in shown if best is not None and each.index == best.index), None)
    stream = stream or shown[0]
    part = parts.get(stream.index)
    if part is not None and part.overlay and wanted is None:
        raise MediaError(
            f"{path} holds its image in pieces that are not put together here: convert it first,"
            " for example to PNG; --stream takes a single one"
        )
    if stream.codec_context is None:
        raise MediaError(
            f"{path}: FFmpeg has no decoder for its video; convert it first, for example to FFV1"
        )
    return stream


def _is_auxiliary(stream: Stream, part: Part | None) -> bool:
    """Whether a stream serves another one: opacity or depth of AVIF and HEIF, an enhancement."""
    return bool(stream.disposition & Disposition.dependent) or bool(part and part.role)


def _crop(opened: Opened) -> tuple[int, ...] | None:
    """What players hide at the four sides of the image; None: nothing."""
    index = opened.stream.index
    if "matroska" in opened.container.format.name:
        return crop_of(opened.path, index)
    part = opened.parts.get(index)
    return part.crop if part and (opened.pieces or part.role != TILE) else None


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """The stream's decoder; for VP8 and VP9 with alpha the one that reads alpha, if there."""
    own = stream.codec_context
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(own.codec.canonical_name)
    if name is None or tags.get("alpha_mode") != "1":
        return own
    try:
        decoder = av.CodecContext.create(name, "r")
    except ValueError:
        return own
    decoder.extradata = own.extradata
    return cast(VideoCodecContext, decoder)


def _first_frames(opened: Opened) -> Iterator[av.VideoFrame]:
    """Frames that decode, damaged packets passed over."""
    try:
        for packet in opened.container.demux(opened.stream):
            if is_encrypted(packet):
                raise encrypted(opened.path)
            if opened.stream.codec.canonical_name in ("png", "apng"):
                check_png(opened.path, bytes(packet))
            try:
                yield from safe(opened, opened.decoder.decode(packet))
            except av.FFmpegError:
                continue
    except (av.FFmpegError, OSError):
        return


def _aspect(opened: Opened) -> Fraction:
    """Width of a pixel by its height: FFmpeg's, and where frames alone say it, the last one's."""
    stream = opened.stream
    frames_say = opened.container.format.name in ("mpegts", "mpeg")
    own = opened.decoder.sample_aspect_ratio if frames_say else None
    return Fraction(own or stream.sample_aspect_ratio or 1)


def _codec_name(stream: Stream) -> str | None:
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    return getattr(stream, "name", None) if stream.type == "data" else None


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    own = stream.duration, Fraction(stream.time_base or 0)
    for ticks, base in (own, (container.duration, Fraction(1, av.time_base))):
        if possible(ticks, base) and ticks and ticks > 0 and base:
            return float(ticks * base)
    return None


def _header_tags(stream: VideoStream) -> ColorTags:
    context = stream.codec_context
    return ColorTags.from_codes(
        context.colorspace, context.color_primaries, context.color_trc, context.color_range
    )


def _color_tags(frame: av.VideoFrame, header: ColorTags) -> ColorTags:
    """The frame's own tags; where it has none, those of the stream's header."""
    own = ColorTags.from_codes(
        frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range
    ).or_else(header)
    return replace(own, range="pc") if frame.format.name.startswith("yuvj") else own
