"""Packets to pictures with timestamps; damage is counted, never fatal unless asked for."""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.filter import Graph
from av.packet import Packet

from unblur.errors import MediaError, ResourceError, UnblurWarning
from unblur.video.probe import Opened

_UNSHOWN_PACKETS = ("vp8", "mpeg4")
"""Codecs that have packets without a picture of their own."""
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
    last: str = ""

    def note(self, what: str, *, lost: bool) -> None:
        """Counts a fault; MediaError if nothing may be wrong with the file."""
        if self.strict:
            raise MediaError(
                f"{self.path} is damaged: {what}; without --strict what decodes is restored"
            )
        self.lost += lost
        self.damaged += not lost
        self.last = what

    def clear(self) -> None:
        """Forgets what was counted."""
        self.lost = self.damaged = 0

    def warn(self) -> None:
        """Says once what was counted, if anything was."""
        if self.lost or self.damaged:
            frames = "frame" if self.lost == 1 else "frames"
            faults = "fault" if self.damaged == 1 else "faults"
            warnings.warn(
                f"{self.path} is damaged: {self.lost} {frames} left out and {self.damaged} other"
                f" {faults}, the last one: {self.last}; all other frames keep their times",
                UnblurWarning,
                stacklevel=3,
            )


def pictures(opened: Opened, damage: Damage, *, whole: bool = True) -> Iterator[av.VideoFrame]:
    """Everything that decodes, in presentation order, each with a timestamp.

    Args:
        opened: the file, at its beginning or at a place that was sought.
        damage: counts what is lost, and what is missing at the end if the file is read `whole`.
        whole: False after a seek.
    """
    yield from _with_times(opened, _decoded(opened, damage, whole))


def deinterlaced(opened: Opened, source: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """One progressive picture for each picture of two fields, at the same time."""
    graph: Graph | None = None
    times: deque[tuple[int | None, int]] = deque()
    for picture in source:
        if graph is None:
            graph = _deinterlacer(opened, picture)
        times.append((picture.pts, picture.duration))
        graph.vpush(picture)
        yield from _pulled(graph, times, opened)
    if graph is not None:
        graph.vpush(None)
        yield from _pulled(graph, times, opened)


def _decoded(opened: Opened, damage: Damage, whole: bool) -> Iterator[av.VideoFrame]:
    sent = shown = end = 0
    for packet in _packets(opened, damage):
        sent += bool(packet.size) and not packet.is_discard
        end = max(end, (packet.pts or 0) + (packet.duration or 0))
        try:
            found = opened.decoder.decode(packet)
        except av.error.EOFError:
            continue
        except MemoryError:
            raise ResourceError(
                f"{opened.path}: no memory left to decode a frame: close other programs"
            ) from None
        except (av.FFmpegError, ValueError) as error:
            damage.note(f"a packet does not decode ({reason(error)})", lost=True)
            continue
        shown += len(found)
        yield from found
    if not whole:
        return
    if opened.stream.codec.canonical_name not in _UNSHOWN_PACKETS:
        # FFmpeg may drop a packet without a word. Fields may come in packets of their own, so
        # that more packets than pictures alone prove nothing where there are twice as many.
        silent = sent - shown - damage.lost
        for _ in range(silent if sent < 2 * shown else 0):
            damage.note("a packet gave no picture", lost=True)
    early = _early_end(opened, sent, float(end * opened.time_base))
    if early:
        damage.note(early, lost=False)


def _packets(opened: Opened, damage: Damage) -> Iterator[Packet]:
    """Packets of the stream, then the empty one that flushes the decoder."""
    failures = 0
    while True:
        try:
            for packet in opened.container.demux(opened.stream):
                if packet.size:
                    failures = 0
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


def _early_end(opened: Opened, packets: int, seconds: float) -> str | None:
    """Says what the header promises and the file does not hold."""
    stream, name = opened.stream, opened.container.format.name
    if name.startswith("mov,mp4") and 0 < packets < len(stream.index_entries):
        return f"it ends after {packets} of {len(stream.index_entries)} frames"
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:
        promised = int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        if promised - seconds > 0.5:
            return f"it ends after {seconds:.2f} of {promised:.2f} s"
    return None


def _with_times(opened: Opened, source: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Rebuilds timestamps that are missing from the ones around them."""
    stream = opened.stream
    rate, time_base = stream.average_rate or stream.guessed_rate, stream.time_base
    usual = max(round(1 / (rate * time_base)), 1) if rate and time_base else 1
    end: int | None = None
    rebuilt = False
    for picture in source:
        if picture.pts is None:
            dts = picture.dts
            if end is None:
                picture.pts = dts or 0
            else:
                picture.pts = dts if dts is not None and dts >= end else end
            if not rebuilt:
                rebuilt = True
                warnings.warn(
                    f"{opened.path} lacks timestamps: they are rebuilt from its frame rate",
                    UnblurWarning,
                    stacklevel=2,
                )
        end = (picture.pts or 0) + (picture.duration or usual)
        picture.time_base = opened.time_base
        yield picture


def _deinterlacer(opened: Opened, picture: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=opened.time_base,
    )
    try:
        bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=all")
        # bwdif works on planar formats: whatever it gets is turned back into the file's own.
        back = graph.add("format", picture.format.name)
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
            picture = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        picture.time_base = opened.time_base
        picture.pts, picture.duration = times.popleft()
        yield picture


def reason(error: Exception) -> str:
    """FFmpeg's words for what went wrong."""
    return getattr(error, "strerror", None) or str(error)
