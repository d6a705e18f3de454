"""Packets to images with timestamps; damage is counted, never fatal unless requested."""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.filter import Graph
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from unblur.errors import MediaError, ResourceError, UnblurWarning
from unblur.video.checksums import Checksums
from unblur.video.clock import Ticking, clock_of
from unblur.video.ends import cut_short
from unblur.video.holes import NOT_ITS_SUM, Holes, has_illegal_zeros, noted_words
from unblur.video.packets import is_encrypted, is_header, is_repeat, new_size, shows_image
from unblur.video.png import check_png
from unblur.video.probe import Opened, encrypted, safe
from unblur.video.ticks import possible
from unblur.video.times import with_times

_TAIL = 600
"""Packets that are kept from a key frame on."""
_ON_THEIR_WAY = 20
"""So many packets FFmpeg's threads may hold."""
_TIMED = ("flv", "mxf")
"""Containers whose header says how long they are."""
_READ_ERRORS = 8
"""So many failed reads in a row end a file."""


@dataclass
class Damage:
    """What a file did not give."""

    path: Path
    strict: bool = False
    lost: int = 0
    """Frames that do not decode: they are left out."""
    damaged: int = 0
    """Frames that decode with faults, and other faults: an early end, a failed read."""
    missing: int = 0
    """Frames that the file does not even hold in part, where a hole is in it."""
    last: str = ""

    @property
    def faults(self) -> int:
        """All of it."""
        return self.lost + self.damaged + self.missing

    def note(self, what: str, *, lost: bool) -> None:
        """Counts a fault; MediaError if nothing may be wrong with the file."""
        self._refuse(what)
        self.lost += lost
        self.damaged += not lost
        self.last = what

    def miss(self, frames: int, what: str) -> None:
        """Counts frames that fell into a hole; MediaError if nothing may be wrong."""
        self._refuse(what)
        self.missing += frames
        self.last = what

    def clear(self) -> None:
        """Forgets what was counted."""
        self.lost = self.damaged = self.missing = 0

    def warn(self) -> None:
        """Says once what was counted, if anything was."""
        if self.faults:
            frames = "frame" if self.lost == 1 else "frames"
            faults = "fault" if self.damaged == 1 else "faults"
            holes = f", about {self.missing} missing from it" if self.missing else ""
            warnings.warn(
                f"{self.path} is damaged: {self.lost} {frames} left out{holes} and {self.damaged}"
                f" other {faults}, the last one: {self.last}; all other frames keep their times",
                UnblurWarning,
                stacklevel=3,
            )

    def _refuse(self, what: str) -> None:
        if self.strict:
            raise MediaError(
                f"{self.path} is damaged: {what}; without --strict what decodes is restored"
            )


def images(opened: Opened, damage: Damage, *, whole: bool = True) -> Iterator[av.VideoFrame]:
    """Everything that decodes, in presentation order, each with a timestamp.

    Args:
        opened: the file, at its beginning or at a place that was sought.
        damage: counts what is lost, and what is missing at the end if the file is read `whole`.
        whole: False after a seek.
    """
    holes = Holes(opened)
    dated = with_times(opened, _decoded(opened, damage, holes, whole))
    for image in _in_order(dated, damage):
        if hole := holes.shown(image.pts):
            damage.miss(*hole)
        yield image


def _in_order(source: Iterator[av.VideoFrame], damage: Damage) -> Iterator[av.VideoFrame]:
    """Leaves out frames whose damaged time lies before or beyond those of both neighbours."""
    before: int | None = None
    held: av.VideoFrame | None = None
    for image in source:
        now = image.pts or 0
        if held is not None:
            ahead = held.pts or 0
            if now >= ahead:
                before = ahead
                yield held
            else:
                damage.note("a frame has a time that cannot be right", lost=True)
                if before is None or now <= before:
                    continue
        held = image
    if held is not None:
        yield held


def deinterlaced(opened: Opened, source: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """One progressive image for each image of two fields, at the same time."""
    graph: Graph | None = None
    times: deque[tuple[int | None, int]] = deque()
    for image in source:
        if graph is None:
            graph = _deinterlacer(opened, image)
        times.append((image.pts, image.duration))
        graph.vpush(image)
        yield from _pulled(graph, times, opened)
    if graph is not None:
        graph.vpush(None)
        yield from _pulled(graph, times, opened)


@dataclass
class _Read:
    """How far a file was read."""

    packets: int = 0
    end: int = 0
    longest: int = 0
    """Ticks between two packets."""
    last: int | None = None
    every: Fraction = Fraction(0)
    """Seconds where the last packet of all streams ends."""

    def note(self, packet: Packet) -> None:
        if possible(packet.pts, packet.time_base):
            end = ((packet.pts or 0) + (packet.duration or 0)) * packet.time_base
            self.every = max(self.every, end)

    def count(self, packet: Packet) -> None:
        self.packets += packet.size > 0
        pts = packet.pts
        if pts is None:
            return
        self.end = max(self.end, pts + (packet.duration or 0))
        if self.last is not None:
            self.longest = max(self.longest, abs(pts - self.last))
        self.last = pts


class _Tail:
    """The last packets read, from a key frame on: all that may still be in the decoder."""

    def __init__(self) -> None:
        self._groups: deque[list[Packet]] = deque()

    def add(self, packet: Packet) -> None:
        if packet.is_keyframe:
            self._groups.append([])
        if self._groups:
            self._groups[-1].append(packet)
        while self._groups and sum(map(len, self._groups)) - len(self._groups[0]) > _ON_THEIR_WAY:
            self._groups.popleft()
        if self._groups and len(self._groups[-1]) > _TAIL:  # hardly any key frames: keep nothing
            self._groups.clear()

    def packets(self) -> list[Packet]:
        return [packet for group in self._groups for packet in group]


def _decoded(opened: Opened, damage: Damage, holes: Holes, whole: bool) -> Iterator[av.VideoFrame]:
    codec = opened.stream.codec.canonical_name
    read = _Read()
    sent = shown = 0
    spoiled = False
    first: int | None = None
    waiting: Counter[int | None] = Counter()
    """Times of packets that gave no image yet."""
    tail, failed = _Tail(), list[int | None]()
    newest: int | None = None
    size: tuple[int, int] | bytes | None = None
    for packet in _packets(opened, damage, holes, read):
        if is_encrypted(packet):
            raise encrypted(opened.path)
        read.count(packet)
        if is_repeat(packet) or is_header(packet, codec):
            continue
        shows = shows_image(packet, codec)
        sent += shows is True
        if shows is not False:
            waiting[packet.pts] += 1
        tail.add(packet)
        if codec in ("png", "apng"):
            check_png(opened.path, bytes(packet))
        if has_illegal_zeros(packet, opened.stream):
            damage.note("a part of a frame was overwritten with zeros", lost=False)
        before, size = size, new_size(packet, codec) or size
        try:
            held = _held(opened) if before is not None and before != size else []
            with noted_words(opened.stream) as words:
                found = [*held, *safe(opened, opened.decoder.decode(packet))]
        except av.error.EOFError:
            continue
        except MemoryError:
            raise ResourceError(
                f"{opened.path}: no memory left to decode a frame: close other programs"
            ) from None
        except (av.FFmpegError, ValueError) as error:
            damage.note(f"a packet does not decode ({reason(error)})", lost=True)
            continue
        if codec == "ffv1":
            # What FFmpeg shows in place of a damaged part depends on what was in memory before.
            spoiled = bool(words) or (spoiled and not packet.is_keyframe)
            if spoiled and found:
                damage.note("a part of a frame is damaged", lost=True)
                continue
        elif any(word[2].startswith(NOT_ITS_SUM) for word in words):
            damage.note("a frame is not what its checksum says", lost=False)
        elif words and shown:
            damage.note("a frame leans on one that is missing", lost=False)
        for image in found:
            first = image.pts if first is None else first
            waiting.pop(image.pts, None)
            if image.pts is not None:
                newest = max(image.pts, image.pts if newest is None else newest)
        shown += len(found)
        yield from found
    if waiting:
        # An error takes along all frames that are on their way in the decoder's threads.
        for image in _again(opened, tail.packets(), failed):
            pts = image.pts
            if pts is not None and pts in waiting and (newest is None or pts > newest):
                del waiting[pts]
                shown += 1
                yield image
    if not whole:
        return
    if codec == "mpeg4":  # whose packets need not have an image
        silent = sum(pts in waiting for pts in failed) - damage.lost
    else:
        # FFmpeg may drop a packet without a word. Fields may come in packets of their own, so
        # that more packets than images alone prove nothing where there are twice as many; and
        # frames before the first that is shown lean on ones that were cut off.
        unseen = sum(n for pts, n in waiting.items() if pts is None or pts >= (first or 0))
        silent = min(sent - shown - damage.lost, unseen) if sent < 2 * shown else 0
    for _ in range(silent):
        damage.note("a packet gave no image", lost=True)
    early = _early_end(opened, read) or cut_short(opened.path, opened.container)
    if early:
        damage.note(early, lost=False)


def _held(opened: Opened) -> list[av.VideoFrame]:
    """What the decoder still holds: those of MPEG lose it where the size changes.

    That of Dirac would not even take the new size.
    """
    found = safe(opened, opened.decoder.decode(None))
    opened.decoder.flush_buffers()
    return found


def _again(
    opened: Opened, packets: list[Packet], failed: list[int | None]
) -> Iterator[av.VideoFrame]:
    """What decodes of packets that begin at a key frame, one after the other in one thread."""
    own = opened.decoder
    decoder = cast(VideoCodecContext, av.CodecContext.create(own.name, "r"))
    decoder.extradata, decoder.options = own.extradata, own.options
    decoder.width, decoder.height = own.width, own.height
    decoder.bits_per_coded_sample = own.bits_per_coded_sample
    decoder.thread_count = 1
    for packet in (*packets, None):
        try:
            yield from decoder.decode(packet)
        except (av.FFmpegError, ValueError):
            failed.append(None if packet is None else packet.pts)


def _packets(opened: Opened, damage: Damage, holes: Holes, read: _Read) -> Iterator[Packet]:
    """Packets of the stream, then the empty one that flushes the decoder."""
    failures = 0
    clock = clock_of(opened.path, opened.container, opened.stream.index)
    ticking = Ticking(clock)
    sums = _Sums(opened, damage)
    if clock.breaks and opened.container.format.name.startswith("matroska"):
        warnings.warn(
            f"{opened.path}: {clock.breaks + 1} files lie in it, one behind the other, and are read"
            " with the header of the first: where they are said to be damaged, store them apart",
            UnblurWarning,
            stacklevel=2,
        )
    elif clock.breaks:
        warnings.warn(
            f"{opened.path}: its clock restarts or leaps ({clock.breaks} times); the parts are put"
            " one behind the other",
            UnblurWarning,
            stacklevel=2,
        )
    while True:
        try:
            for packet in opened.container.demux():  # all: what lies between packets counts
                holes.read(packet)
                sums.check(packet)
                read.note(packet)
                if packet.stream_index != opened.stream.index:
                    continue
                if packet.size:
                    failures = 0
                joint = ticking.set(packet)
                if packet.is_corrupt and not joint:  # where two streams meet, counters do not
                    damage.note("a part of a frame did not arrive", lost=False)
                yield packet
            return
        except (av.FFmpegError, OSError) as error:
            failures += 1
            if failures == 1:
                damage.note(f"a part cannot be read ({reason(error)})", lost=False)
            if failures == _READ_ERRORS:
                flush: Packet = Packet()
                flush.stream = opened.stream
                yield flush
                return


class _Sums:
    """Notes parts of a Matroska file that are not as they were written."""

    def __init__(self, opened: Opened, damage: Damage) -> None:
        self._damage, self._base = damage, opened.time_base
        self._stream, self._time = opened.stream.index, 0
        name = opened.container.format.name
        self._sums = Checksums(opened.path) if name.startswith("matroska") else None
        self._first: int | None = None

    def check(self, packet: Packet) -> None:
        """Looks at all that lies before a packet, and behind the first one of all."""
        if self._sums is None:
            return
        place = packet.pos if packet.size else sys.maxsize
        if place is None or place < 0:
            return
        self._first = place if self._first is None else self._first
        for _ in self._sums.wrong(self._first, place):
            where = float(self._time * self._base)
            self._damage.note(f"what lies around {where:.2f} s was altered", lost=False)
        if packet.stream_index == self._stream and packet.pts is not None:
            self._time = packet.pts


def _early_end(opened: Opened, read: _Read) -> str | None:
    """Says what the header promises and the file does not hold."""
    stream, name = opened.stream, opened.container.format.name
    if name.startswith("mov,mp4") and 0 < read.packets < len(stream.index_entries):
        return f"it ends after {read.packets} of {len(stream.index_entries)} frames"
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    seconds, promised = float(read.end * opened.time_base), 0.0
    if tag:
        promised = int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    elif name == "avi":
        promised = float(stream.frames * opened.time_base)
    elif name in _TIMED and possible(opened.container.duration, Fraction(1, av.time_base)):
        # Of all streams together.
        seconds, promised = float(read.every), (opened.container.duration or 0) / av.time_base
    # Matroska need not say how long the last frame is.
    if promised - seconds > max(0.5, 1.5 * float(read.longest * opened.time_base)):
        return f"it ends after {seconds:.2f} of {promised:.2f} s"
    return None


def _deinterlacer(opened: Opened, image: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=image.width,
        height=image.height,
        format=image.format,
        time_base=opened.time_base,
    )
    try:
        bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=all")
        # bwdif works on planar formats: whatever it gets is turned back into the file's own.
        back = graph.add("format", image.format.name)
    except ValueError as error:
        raise ResourceError(
            "this build of FFmpeg lacks the filter bwdif: deinterlace the video beforehand"
        ) from error
    graph.link_nodes(source, bwdif, back, graph.add("buffersink")).configure()
    return graph


def _pulled(
    graph: Graph, times: deque[tuple[int | None, int]], opened: Opened
) -> Iterator[av.VideoFrame]:
    while times:
        try:
            image = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        image.time_base = opened.time_base
        image.pts, image.duration = times.popleft()
        yield image


def reason(error: Exception) -> str:
    """FFmpeg's words for what went wrong."""
    return getattr(error, "strerror", None) or str(error)
