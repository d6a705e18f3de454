"""Frames of a video file, in presentation order, one at a time.

What the caller gets is what the file holds: each frame's own planes and its own timestamp.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path

import av

from unblur.contexts import Closing
from unblur.errors import MediaError, UnblurWarning
from unblur.video.decode import Damage, deinterlaced, images
from unblur.video.frame import Frame
from unblur.video.info import ColorTags, Siting, VideoInfo
from unblur.video.png import has_profile
from unblur.video.probe import MAX_PIXELS, check_size, describe, no_frames, open_media
from unblur.video.quantizer import NOTING, stated
from unblur.video.seek import seek
from unblur.video.side_data import beside
from unblur.video.span import Span, resolve
from unblur.video.stills import put_together
from unblur.video.timecode import Time, parse_time


class FileReader(Closing):
    """Reads a video file; a context manager, and an iterator over `Frame` to be used once.

    Frames keep the timestamps of the file also when `start` cuts off its beginning.

    Attributes:
        info: what the file holds (`interlaced` is False once frames are deinterlaced).
        frames: how many frames will come, where that is known.
    """

    info: VideoInfo
    frames: int | None

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        start: Time | str | None = None,
        end: Time | str | None = None,
        strict: bool = False,
        deinterlace: bool = False,
        max_pixels: int = MAX_PIXELS,
        stream: int | None = None,
    ) -> None:
        self._path = Path(path)
        self._max_pixels = max_pixels
        self._stream = stream
        self._damage = Damage(self._path, strict)
        self._span: Span | None = None
        self._first: dict[str, object] = {}
        """How the first image is to be shown."""
        self._closing = ExitStack()
        try:
            self._open()
            if start is not None or end is not None:
                begin, stop = (None if t is None else parse_time(t) for t in (start, end))
                self._span = resolve(self._path, begin, stop, max_pixels, stream)
            decoded = self._from_start_of_span()
            first = next(decoded, None)
            if first is None:
                raise no_frames(self._path)
            check_size(self._path, first.width, first.height, max_pixels)
            self.info = describe(self._opened, first)
            decoded = chain([self._whole(first)], decoded)
            if self.info.interlaced:
                if not deinterlace:
                    raise self._interlaced(0)
                self.info = replace(self.info, interlaced=False)
                decoded = deinterlaced(self._opened, decoded)
        except BaseException:
            self.close()
            raise
        # Frames of PNG come without it, see `without_profile`.
        named = self.info.container == "apng" and has_profile(self._path)
        self._profile = frozenset({"ICC profile"} if named else ())
        self._say_which()
        self._deinterlace = deinterlace
        self._decoded = decoded
        self.frames = self.info.frames if self._span is None else self._span.count

    def close(self) -> None:
        """Closes the file."""
        self._closing.close()

    @property
    def decode_failures(self) -> int:
        """Frames lost, frames damaged and other faults of the file, so far."""
        return self._damage.faults

    def __iter__(self) -> Iterator[Frame]:
        span, info = self._span, self.info
        siting: Siting = info.siting or "left"
        codec = self._opened.stream.codec.canonical_name
        noting = codec in NOTING
        header = self._opened.stream.codec_context.extradata
        coarse = stated(codec, header, info.height, info.width)
        given = 0
        index = -1 if span is None else span.first - 1
        for image in self._decoded:
            pts = image.pts or 0
            index = index + 1 if span is None else span.index(pts, index)
            if span is not None and index >= span.last:
                break
            self._check(image, index)
            if image.is_corrupt:
                self._damage.note(f"frame {index} decodes with faults", lost=False)
            given += 1
            self._tag(image)
            self._look_for_changes(image, index)
            extra = info.beside if self._opened.pieces else beside(image)
            extra |= self._profile
            place = index, pts, info.time_base, image.duration
            yield Frame(image, *place, siting, extra, None, noting, coarse)
        for _ in range(0 if span is None else span.count - given - self._damage.lost):
            self._damage.note("a frame is missing", lost=True)
        if not given:
            raise no_frames(self._path)
        self._damage.warn()

    def _whole(self, image: av.VideoFrame) -> av.VideoFrame:
        """The image itself, or the still that it is a piece of."""
        pieces = self._opened.pieces
        if pieces is None:
            return image
        with open_media(self._path, max_pixels=self._max_pixels) as again:
            whole = put_together(self._path, again.container, pieces)
        whole.pts, whole.duration = image.pts, image.duration
        whole.time_base = self._opened.time_base
        return whole

    def _say_which(self) -> None:
        """Warns where others could have been meant."""
        streams = self.info.streams
        others = [s for s in streams if s.kind == "video" and not s.cover and not s.auxiliary]
        others = [s for s in others if s.index != self.info.stream_index]
        if others and self._stream is None:
            said = " and ".join(str(s) for s in others)
            warnings.warn(
                f"{self._path}: video stream {self.info.stream_index} is taken, not {said};"
                " --stream chooses",
                UnblurWarning,
                stacklevel=4,
            )
        pieces = self._opened.pieces
        taken = pieces.streams if pieces else {self.info.stream_index}
        served: dict[str, list[str]] = {}
        for stream in streams:
            if stream.role and stream.index not in taken:
                served.setdefault(stream.role, []).append(str(stream.index))
        for role, those in served.items():
            word = "stream" if len(those) == 1 else "streams"
            warnings.warn(
                f"{self._path}: its {role} (video {word} {' and '.join(those)}) is left out,"
                " it is stored as an image of its own",
                UnblurWarning,
                stacklevel=4,
            )

    def _open(self) -> None:
        self._closing.close()
        self._opened = self._closing.enter_context(
            open_media(self._path, max_pixels=self._max_pixels, stream=self._stream)
        )

    def _from_start_of_span(self) -> Iterator[av.VideoFrame]:
        """Images from the start of the span, or from some point before it."""
        opened, span = self._opened, self._span
        if span is None or span.first == 0 or self._damage.strict:
            decoded = images(opened, self._damage, whole=span is None or span.end is None)
            return decoded if span is None else _from(span, decoded)
        key = seek(opened, span.start)
        if key is not None:
            decoded = images(opened, self._damage, whole=False)
            landed = _landed(decoded, key, span)
            if landed is not None:
                self._damage.clear()  # frames that lean on ones before the key frame fail rightly
                return chain([landed], decoded)
        self._damage.clear()
        self._open()
        return _from(span, images(self._opened, self._damage, whole=False))

    def _tag(self, image: av.VideoFrame) -> None:
        """Gives an image that says less than the file's header the header's colour tags."""
        matrix, primaries, transfer, range_ = self.info.color.codes()
        if image.colorspace == 2 and matrix != 2:
            image.colorspace = matrix
        if image.color_range == 0 and range_ != 0:
            image.color_range = range_
        if image.color_primaries == 2 and primaries != 2:
            image.color_primaries = primaries
        if image.color_trc == 2 and transfer != 2:
            image.color_trc = transfer

    def _check(self, image: av.VideoFrame, index: int) -> None:
        info = self.info
        now = (image.width, image.height, image.format.name)
        if now != (info.width, info.height, info.pixel_format):
            raise MediaError(
                f"{self._path} changes from {info.width}x{info.height} {info.pixel_format} to"
                f" {now[0]}x{now[1]} {now[2]} at frame {index}: restore it in parts, with"
                f" --end f{index} and with --start f{index}"
            )
        if image.interlaced_frame and not self._deinterlace:
            raise self._interlaced(index)

    def _look_for_changes(self, image: av.VideoFrame, index: int) -> None:
        """Warns where images are to be shown otherwise: an output says for all of them how."""
        tags = (image.colorspace, image.color_primaries, image.color_trc, image.color_range)
        color = ColorTags.from_codes(*tags)
        now = {
            # The decoder's own is ahead of the image by a few.
            "pixel aspect ratio": self._opened.decoder.sample_aspect_ratio or None,
            "colour matrix": color.matrix,
            "colour primaries": color.primaries,
            "transfer function": color.transfer,
            "colour range": color.range,
        }
        changed = []
        for what, value in now.items():
            if value is None or self._first.setdefault(what, value) in (value, None):
                continue
            changed.append(f"{what} from {self._first[what]} to {value}")
            self._first[what] = None  # is said
        if changed:
            warnings.warn(
                f"{self._path} changes its {' and '.join(changed)} around frame {index}, which the"
                " output cannot say: restore it in parts, with --end and with --start there",
                UnblurWarning,
                stacklevel=3,
            )

    def _interlaced(self, index: int) -> MediaError:
        return MediaError(
            f"{self._path} is interlaced (frame {index} holds two fields of different moments):"
            " run again with --deinterlace"
        )


def _from(span: Span, decoded: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Images of the span and behind it; ones before may even have another size."""
    place = -1
    for image in decoded:
        place = span.index(image.pts or 0, place)
        if place >= span.first:
            yield image


def _landed(decoded: Iterator[av.VideoFrame], key: int, span: Span) -> av.VideoFrame | None:
    """The first image of the span; None where one is missing or faulty from the key frame to it.

    A decoder that finds out late how many frames it must reorder would leave some out.
    """
    place = span.index(key)
    if span.timeline[place : place + 2].count(key) != 1:  # which of them it is cannot be told
        return None
    for image in decoded:
        pts = image.pts or 0
        if pts < key:
            continue
        if place >= len(span.timeline) or pts != span.timeline[place] or image.is_corrupt:
            return None
        if place >= span.first:
            return image
        place += 1
    return None
