"""Everything of a file that is not restored: copied packet by packet, in step with the video."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from unblur.errors import UnblurWarning
from unblur.video import matroska
from unblur.video.chapters import in_a_row
from unblur.video.clock import Ticking, clock_of
from unblur.video.edits import Late, hide_before
from unblur.video.padding import (
    Counted,
    first_heard,
    is_steady,
    leading,
    mark_end,
    skipped,
    ticks_of,
)
from unblur.video.probe import open_container, parts_in, stream_info
from unblur.video.sound import Recoded, coding_for
from unblur.video.ticks import possible
from unblur.video.trial import (
    add_copy,
    bytes_of_sample,
    first_packets,
    in_mov,
    is_plain,
    lasting,
    put,
    silence,
    takes,
)

if TYPE_CHECKING:
    from av.container.core import Chapter

_CONTAINER_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder")
_USUAL_TAGS = {
    *("album", "album_artist", "artist", "comment", "composer", "copyright", "creation_time"),
    *(
        "date",
        "description",
        "genre",
        "grouping",
        "lyrics",
        "synopsis",
        "timecode",
        "title",
        "track",
    ),
}
_HOLE = Fraction(1, 200)
"""Seconds of a hole in sound that are more than the rounding of times."""
_UNDATED = 1000
"""First packets of a stream without a time that are held until one has one."""
_FLAGS = (
    *(Disposition.dub, Disposition.original, Disposition.comment, Disposition.lyrics),
    *(Disposition.karaoke, Disposition.forced, Disposition.hearing_impaired),
    *(Disposition.visual_impaired, Disposition.captions, Disposition.descriptions),
)
"""What tells a track from its like."""
_HOMES = {".mkv": "matroska", ".mov": "mov", ".mp4": "mp4"}
_PICTURES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}


@dataclass
class _Copied:
    """One stream on its way."""

    source: Stream
    target: Stream
    last: int | None = None
    """Decoding time of its last packet, in ticks of the source."""
    refused: bool = False
    """Whether the container refused one of its packets."""
    written: bool = False
    """Whether it took one."""
    end: Fraction | None = None
    """Seconds where uncompressed sound would go on without a hole."""
    leading: list[Packet[Any]] = field(default_factory=list)
    """The last of its packets that an edit list hides."""
    recoded: Recoded | None = None
    """Makes its packets anew, where the container cannot hold them."""
    heard: Fraction | None = None
    """Seconds in the source where its sound is heard first."""
    counted: Counted | None = None
    own: Fraction = Fraction(0)
    """Seconds before its first sound, of which the muxer of Matroska knows."""
    late: Late | None = None
    """When sound with something in front is heard that begins late in MP4 or MOV."""
    spare: bool = False
    """Whether Matroska is to be told how much lies before its first sound."""
    hidden: Fraction | None = None
    """Seconds before its first sound."""
    latest: Fraction | None = None
    """Seconds at which its last packet is decoded."""
    gap: Fraction = Fraction(0)
    """Seconds between two of its packets, the longest ones."""


class StreamCopy:
    """Copies all streams but one from a file to an output container.

    Sound that the container does not take is encoded again, other streams are left out; a warning
    names each.
    """

    def __init__(
        self,
        source: Path,
        output: OutputContainer,
        *,
        skip: int,
        end: Fraction | None,
        extension: str,
        left_out: Collection[int] = (),
        cut: bool = False,
    ) -> None:
        """Adds the streams to the output.

        Args:
            source: the file.
            output: where the header is not yet written.
            skip: index of the stream that is restored.
            end: seconds in the source where everything ends; None: with the file.
            extension: of the output, for messages.
            left_out: indices of streams that are not to be copied.
            cut: whether the beginning is left out.
        """
        self._path, self._skip = source, skip
        self._end = end
        self._source = open_container(source)
        self._output = output
        self._shift = Fraction(0)
        self._begin: Fraction | None = None
        self._streams: dict[int, _Copied] = {}
        self._languages: dict[int, tuple[str, str]] = {}
        """Of streams of the output, and what they are of the source, for messages."""
        self._flags: dict[int, tuple[Disposition, str]] = {}
        self._tracks: list[int] = []
        """Indices of streams of the output but for attachments."""
        video = self._source.streams[skip]
        firsts = first_packets(source)
        served = {n for n, part in parts_in(source, self._source).items() if part.role}

        def first(stream: Stream) -> Packet[Any] | None:
            return firsts.get(stream.index)

        for stream in self._source.streams:
            if stream.index == skip or _made_anew(stream, video, output):
                continue
            if stream.index in served:  # a player would take it for a video, the reader names it
                continue
            if stream.disposition & Disposition.attached_pic and _attach(source, stream, output):
                continue
            if stream.index not in left_out and takes(output.format.name, stream, first(stream)):
                copied = self._streams[stream.index] = _Copied(stream, add_copy(output, stream))
                if stream.type == "audio" and not is_plain(stream):
                    self._look_before(copied, first(stream), cut)
                continue
            coding = coding_for(output.format.name, source, stream)
            if coding is not None:
                recoded = Recoded(output, stream, coding)
                self._streams[stream.index] = _Copied(stream, recoded.target, recoded=recoded)
                warnings.warn(
                    f"{source}: {stream_info(stream)} becomes {coding.said}, {extension} cannot"
                    " hold it",
                    UnblurWarning,
                    stacklevel=4,
                )
                continue
            homes = [end for end, muxer in _HOMES.items() if takes(muxer, stream, first(stream))]
            remedy = f"; {' and '.join(homes)} can" if homes else ""
            warnings.warn(
                f"{source}: {stream_info(stream)} is left out, {extension} cannot hold it{remedy}",
                UnblurWarning,
                stacklevel=4,
            )
        for stream in self._source.streams:
            if stream.index not in self._streams:
                stream.discard = Discard.all
        self._packets = self._read()
        self._next: Packet[Any] | None = None

    def _look_before(self, copied: _Copied, first: Packet[Any] | None, cut: bool) -> None:
        """Prepares for what is not to be heard of compressed sound."""
        copied.heard = None if first is None else first_heard(first)
        if self._tells_delay:
            copied.own = matroska.delay_of(copied.source)
            begins_late = first is not None and skipped(first)[0] > 0 and not copied.own
            copied.spare = begins_late or (cut and is_steady(copied.source))
            if copied.spare:
                title = copied.target.metadata.get("title", "")
                copied.target.metadata["title"] = matroska.reserve(title)
        if copied.spare or not self._tells_delay:
            copied.counted = Counted(copied.heard)

    @property
    def _tells_delay(self) -> bool:
        """Whether the container hides the beginning of sound by a delay, not by an edit list."""
        return self._output.format.name in ("matroska", "webm")

    def amend(self, written: Path) -> None:
        """Writes into the finished file how much lies before the first sound of each stream."""
        delays = [c.hidden or Fraction(0) for c in self._streams.values() if c.spare]
        places = {index: place for place, index in enumerate(self._places())}
        late = {
            places[c.target.index]: c.late
            for c in self._streams.values()
            if c.late is not None and c.target.index in places
        }
        try:
            if delays:
                matroska.set_delays(written, delays)
            if late:
                hide_before(written, late)
        except ValueError as error:
            most = max([*delays, *(each.hidden for each in late.values())])
            warnings.warn(
                f"{self._path}: compressed sound has up to {float(most):.3f} s in front that are"
                f" not to be heard, the header of the output does not say so ({error})",
                UnblurWarning,
                stacklevel=5,
            )

    def close(self) -> None:
        """Closes the source."""
        self._source.close()

    def tags(self, skip: int) -> tuple[dict[str, str], dict[str, str]]:
        """Metadata of the file, and of the stream `skip`, as far as they stay true."""
        own = lasting(self._source.streams[skip].metadata, self._output.format.name)
        return _file_tags(self._source), own

    def check(self, written: Path, extension: str) -> None:
        """Names languages and flags that the finished file does not hold; also when closed."""
        result = open_container(written)
        try:
            streams = dict(zip(self._places(), result.streams, strict=False))
            lost = [
                f"language {language!r} of {stream}"
                for index, (language, stream) in self._languages.items()
                if index in streams
                and language != in_mov(streams[index].metadata.get("language", "und"))
            ]
            lost += [
                f"flag {str(flag.name).replace('_', ' ')!r} of {stream}"
                for index, (flags, stream) in self._flags.items()
                for flag in _FLAGS
                if index in streams and flag & flags & ~streams[index].disposition
            ]
        finally:
            result.close()
        if lost:
            warnings.warn(
                f"{self._path}: {extension} does not hold the {' and the '.join(lost)}",
                UnblurWarning,
                stacklevel=5,
            )

    def _places(self) -> list[int]:
        """Indices of streams of the output, in the order in which they are read again.

        MP4 and MOV drop those without a packet, and attachments of Matroska come last.
        """
        drops = self._output.format.name in ("mp4", "mov")
        empty = {c.target.index for c in self._streams.values() if drops and not c.written}
        return [n for n in self._tracks if n not in empty]

    def start(self, shift: Fraction, begin: Fraction | None) -> None:
        """Sets the times before the first packet, and writes the chapters.

        Args:
            shift: seconds taken off every time.
            begin: seconds in the source before which nothing is copied; None: from the beginning.
        """
        end = self._end
        self._shift, self._begin = shift, begin
        self._tracks = [s.index for s in self._output.streams if s.type != "attachment"]
        pairs = [(copied.target, copied.source) for copied in self._streams.values()]
        pairs.append((self._output.streams.video[0], self._source.streams[self._skip]))
        for target, stream in pairs:
            language = stream.metadata.get("language", "und")
            if language not in ("", "und"):
                self._languages[target.index] = in_mov(language), str(stream_info(stream))
            self._flags[target.index] = stream.disposition, str(stream_info(stream))
        chapters: list[Chapter] = []
        for chapter in self._source.chapters():
            base = chapter["time_base"] or Fraction(1, av.time_base)
            first, last = (int(chapter[key] - shift / base) for key in ("start", "end"))
            first = max(first, 0) if begin is not None else first
            if end is not None:
                last = min(last, int((end - shift) / base))
            if last > first:
                kept = chapter.copy()
                kept["start"], kept["end"] = first, last
                chapters.append(kept)
        if self._output.format.name in ("mp4", "mov"):
            chapters, changes = in_a_row(chapters)
            if changes:
                warnings.warn(
                    f"{self._path}: of its chapters {'; '.join(changes)}: MP4 and MOV have no gaps"
                    " between chapters, .mkv has",
                    UnblurWarning,
                    stacklevel=5,
                )
        if chapters:
            self._output.set_chapters(chapters)

    def put_first(self) -> None:
        """Writes the first packet of each stream, at the time 0."""
        firsts = first_packets(self._path)
        for index, copied in self._streams.items():
            if index in firsts and copied.recoded is None:
                put(self._output, copied.target, firsts[index])

    @property
    def indices(self) -> tuple[int, ...]:
        """Streams of the source that are copied."""
        return tuple(self._streams)

    @property
    def disposition(self) -> Disposition:
        """Flags of the restored stream."""
        return self._source.streams[self._skip].disposition

    def advance(self, until: Fraction | None) -> None:
        """Writes all packets before `until` seconds of output time; None: all that are left."""
        while True:
            if self._next is None:
                self._next = next(self._packets, None)
            packet = self._next
            if packet is None:
                return
            if until is not None and _when(packet) - self._shift >= until:
                return
            self._next = None
            self._write(packet)

    def _read(self) -> Iterator[Packet[Any]]:
        """Packets that lie in the range, each with timestamps."""
        wanted = [copied.source for copied in self._streams.values()]
        if not wanted:
            return
        ticking = Ticking(clock_of(self._path, self._source, self._skip))
        empty = {stream.index for stream in wanted}
        try:
            for packet in _counted_back(self._source.demux(wanted)):
                ticking.set(packet)
                if packet.size:
                    empty.discard(packet.stream.index)
                recoded = self._streams[packet.stream.index].recoded
                if recoded is not None:
                    if packet.size:
                        yield from recoded.packets(packet, self._begin, self._end)
                    continue
                if not packet.size:
                    continue
                self._count(packet)
                for each in self._shown(packet):
                    if self._keep(each) and (
                        self._end is None or (each.pts or 0) * each.time_base < self._end
                    ):
                        yield from self._whole(self._trimmed(each))
        except (av.FFmpegError, OSError) as error:
            warnings.warn(
                f"the other streams of {self._source.name} cannot be read to their end ({error})",
                UnblurWarning,
                stacklevel=4,
            )
        if empty and self._output.format.name in ("mp4", "mov"):  # others keep the header
            names = " and ".join(str(stream_info(self._source.streams[n])) for n in sorted(empty))
            warnings.warn(
                f"{self._source.name}: {names} is left out, nothing is in it",
                UnblurWarning,
                stacklevel=4,
            )
        for copied in self._streams.values():
            if copied.recoded is None:
                continue
            yield from copied.recoded.rest(self._begin, self._end)
            if copied.recoded.damaged:
                warnings.warn(
                    f"{self._source.name}: {copied.recoded.damaged} packets of"
                    f" {stream_info(copied.source)} do not decode and became silence",
                    UnblurWarning,
                    stacklevel=4,
                )

    def _count(self, packet: Packet[Any]) -> None:
        """Says of compressed sound when it begins and ends, where the output knows better."""
        copied = self._streams[packet.stream.index]
        if self._tells_delay and packet.stream.type == "audio":
            mark_end(packet)
        if copied.counted is not None:
            copied.counted.set(packet)
        if self._tells_delay or packet.stream.type != "audio":
            return
        # MP4 and MOV show nothing of a last packet that is said to last no time.
        if packet.dts is not None and copied.latest is not None:
            copied.gap = max(copied.gap, packet.dts * packet.time_base - copied.latest)
        if packet.dts is not None:
            copied.latest = packet.dts * packet.time_base
        packet.duration = (
            packet.duration or ticks_of(packet) or round(copied.gap / packet.time_base)
        )

    def _shown(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """Without what an edit list hides, but for what leads into the first sound of all.

        Its times are of no use: they are those of what is shown in its place. Frames stay, since
        others lean on them.
        """
        copied = self._streams[packet.stream.index]
        if packet.is_discard and packet.stream.type != "video":
            copied.leading = [*copied.leading, packet][-leading(packet.stream) :]
            return []
        kept: list[Packet[Any]] = []
        if copied.leading and copied.last is None and not is_plain(packet.stream):
            # An edit list can hide what comes before 0, a delay what comes before any sound.
            leads = [e for e in copied.leading if self._tells_delay or (e.pts or 0) < 0]
            ends = [(each.pts or 0) + (each.duration or 0) for each in leads]
            starts = [each.pts for each in [*leads[1:], packet]]
            kept = leads if ends == starts else []
        copied.leading = []
        return [*kept, packet]

    def _keep(self, packet: Packet[Any]) -> bool:
        copied = self._streams[packet.stream.index]
        base = packet.time_base
        times = [t for t in (packet.pts, packet.dts) if t is not None and possible(t, base)]
        pts = times[0] if times else 0 if copied.last is None else copied.last + 1
        packet.pts = pts
        packet.dts = times[-1] if times else pts
        if self._begin is None:
            return True
        begin = self._begin / packet.time_base
        if packet.stream.type == "subtitle" and pts < begin:
            # A line that is already on screen where the cut is stays there for its rest.
            rest = pts + (packet.duration or 0) - begin
            packet.pts = packet.dts = math.ceil(begin)
            packet.duration = int(rest)
            return rest > 0
        if packet.stream.type == "audio":
            return pts + self._lead(packet) > begin
        return pts >= begin

    def _lead(self, packet: Packet[Any]) -> int:
        """Ticks by which a packet of sound may begin before the cut.

        Uncompressed sound is cut to the sample. Of compressed sound what comes before the cut can
        be hidden; the packets that lead into the first one to be heard are copied, too.
        """
        duration = packet.duration or 0
        if is_plain(packet.stream):
            return duration
        hides = not self._tells_delay or self._streams[packet.stream.index].spare
        return leading(packet.stream) * duration if hides else 1

    def _trimmed(self, packet: Packet[Any]) -> Packet[Any]:
        """Uncompressed sound without the samples before the cut."""
        if self._begin is None or not is_plain(packet.stream):
            return packet
        base, rate = packet.time_base, packet.stream.codec_context.sample_rate
        # Not by the duration: Matroska rounds it to 1 ms.
        wide = bytes_of_sample(packet.stream)
        spare = math.ceil((self._begin - (packet.pts or 0) * base) * rate)
        if not 0 < spare < packet.size // wide or packet.size % wide:
            return packet
        fresh: Packet[Any] = Packet(bytes(packet)[spare * wide :])
        ticks = round(Fraction(spare, rate) / base)
        fresh.stream, fresh.time_base = packet.stream, base
        fresh.pts = fresh.dts = (packet.pts or 0) + ticks
        fresh.duration = (packet.duration or 0) - ticks
        return fresh

    def _whole(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """Uncompressed sound with silence in its holes, which MP4 and MOV would close."""
        copied = self._streams[packet.stream.index]
        plain = is_plain(packet.stream) and self._output.format.name in ("mp4", "mov")
        if not plain or not packet.duration:
            yield packet
            return
        rate, base = packet.stream.codec_context.sample_rate, packet.time_base
        now = (packet.pts or 0) * base
        wide = bytes_of_sample(packet.stream)
        hole = 0 if copied.end is None else int((now - copied.end) * rate)
        if hole > _HOLE * rate:
            while hole > 0:
                part = min(hole, rate)
                quiet: Packet[Any] = Packet(silence(packet.stream, part, wide))
                quiet.stream, quiet.time_base = packet.stream, base
                quiet.pts = quiet.dts = round((now - Fraction(hole, rate)) / base)
                quiet.duration = round(Fraction(part, rate) / base)
                yield quiet
                hole -= part
            copied.end = now
        length = Fraction(packet.size // wide, rate)
        copied.end = (now if copied.end is None else copied.end) + length
        yield packet

    def _write(self, packet: Packet[Any]) -> None:
        copied = self._streams[packet.stream.index]
        dts, pts, first = packet.dts or 0, packet.pts or 0, copied.last is None
        if copied.last is not None and dts <= copied.last:
            dts = copied.last + 1
        copied.last = dts
        ticks = round(self._shift / packet.time_base)
        packet.dts, packet.pts = dts - ticks, max(pts, dts) - ticks
        if copied.spare:
            self._delay(packet, copied)
        elif first and copied.heard is not None and not self._tells_delay:
            heard = copied.heard if self._begin is None else max(copied.heard, self._begin)
            heard, now = heard - self._shift, packet.pts * packet.time_base
            if heard > now and heard > 0:
                copied.late = Late(heard, heard - now)
        packet.stream = copied.target
        try:
            self._output.mux(packet)
            copied.written = True
        except OSError:
            raise
        except av.FFmpegError as error:
            if not copied.refused:
                copied.refused = True
                warnings.warn(
                    f"{self._source.name}: a part of {stream_info(copied.source)} is left out, it"
                    f" is damaged or not allowed in this container ({error.strerror})",
                    UnblurWarning,
                    stacklevel=4,
                )

    def _delay(self, packet: Packet[Any], copied: _Copied) -> None:
        """Moves a packet by what Matroska takes off its time again."""
        base = packet.time_base
        if copied.hidden is None:
            heard = copied.heard if self._begin is None else max(copied.heard or 0, self._begin)
            now = (packet.pts or 0) * base + self._shift
            copied.hidden = max((now if heard is None else heard) - now, Fraction(0))
        late = round(copied.hidden * 1000) - round(copied.own * 1000)
        packet.pts, packet.dts = (
            round((tick or 0) * base * 1000) + late for tick in (packet.pts, packet.dts)
        )
        packet.duration = round((packet.duration or 0) * base * 1000)
        packet.time_base = Fraction(1, 1000)


def _counted_back(packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Dates each stream's first packets by the first with a time, where a clock begins below 0."""
    undated: dict[int, list[Packet[Any]]] = {}
    begun: set[int] = set()
    for packet in packets:
        index = packet.stream_index
        own = undated.setdefault(index, [])
        first = packet.pts if packet.pts is not None else packet.dts
        if index not in begun and packet.size and first is None and len(own) < _UNDATED:
            own.append(packet)
            continue
        begun.add(index)
        for each in reversed(own):
            if first is not None and each.duration:
                first -= each.duration
                each.pts = each.dts = first
        yield from own
        own.clear()
        yield packet
    for own in undated.values():
        yield from own


def has_own_tags(source: Path) -> bool:
    """Whether the metadata have keys for which MP4 and MOV have no place of their own."""
    container = open_container(source)
    try:
        return not {key.lower() for key in _file_tags(container)} <= _USUAL_TAGS
    finally:
        container.close()


def _file_tags(container: InputContainer) -> dict[str, str]:
    return {k: v for k, v in container.metadata.items() if k.lower() not in _CONTAINER_TAGS}


def _when(packet: Packet[Any]) -> Fraction:
    return (packet.dts or 0) * packet.time_base


def _made_anew(stream: Stream, video: Stream, output: OutputContainer) -> bool:
    """Whether the muxer writes this stream by itself from other facts that it is given."""
    if stream.discard == Discard.all:  # the text track behind the chapters of MP4
        return True
    timecode = stream.type == "data" and "timecode" in stream.metadata
    return timecode and output.format.name in ("mp4", "mov") and "timecode" in video.metadata


def _attach(source: Path, stream: Stream, output: OutputContainer) -> bool:
    """Carries a cover image over as an attachment, which is what Matroska wants."""
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else None
    if output.format.name != "matroska" or codec not in _PICTURES:
        return False
    name, mimetype = _PICTURES[codec]
    with open_container(source) as again:
        image = next((p for p in again.demux(again.streams[stream.index]) if p.size), None)
        if image is None:
            return False
        output.add_attachment(
            stream.metadata.get("filename", name),
            stream.metadata.get("mimetype", mimetype),
            bytes(image),
        )
    return True
