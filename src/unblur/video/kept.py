"""What is done of an output that is not complete yet, kept so that an interrupted job can go on.

A folder beside the output holds it. A file of packets is complete when it has its name. A log of
frames grows, and what was half-written at its end when the job died is found by its check sum and
left out. Check sums begin with the job and the place in it, so that a piece of another job, or one
that changed its place, is not taken for this one's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from av.packet import Packet

from unblur.video.frame import Frame
from unblur.video.packed import blank_for
from unblur.video.pixels.layout import layout_of, native_format
from unblur.video.pixels.planes import channels_of, readable, tags_of

MOST_FRAMES = 250
"""Frames of a segment: what H.264 and H.265 put between two key frames at most, so that segments
add hardly any."""
MOST_BYTES = 2_000_000_000
"""That the frames of a segment may take before it is encoded; large frames come in shorter ones."""
FLUSH = 5.0
"""Seconds of work that a power cut may cost; a killed process loses none."""
PICTURES = "images"
SUMS = "images.sums"
"""Names and check sums of the images that are complete, a line each."""
RESULT = "result"
"""Says which file the output is, from the moment before it gets its name."""
GROWING = ".growing"
"""Ending of a file that is not complete."""
_PIECE = 1 << 20
_SUM = 9
"""Characters of a check sum and the blank behind it."""
_HEAD = struct.Struct("<III")
_LEAST = 8


@dataclass(frozen=True)
class Segment:
    """Packets of some frames that lean on no others."""

    packets: Iterator[Packet[Any]]
    state: dict[str, Any]
    """Where the writer stood behind it."""


class Kept:
    """The folder of an output in work: segments that are complete, and frames of the next one.

    Args:
        folder: exists, and belongs to this job alone.
        keep_frames: whether frames are worth keeping, until their segment is complete.
        job: what tells its pieces from those of others.
    """

    def __init__(self, folder: Path, *, keep_frames: bool = True, job: str = "") -> None:
        self.folder = folder
        self.keep_frames = keep_frames
        self.job = job
        self.length = MOST_FRAMES
        """Frames of a segment."""
        self._log: IO[bytes] | None = None
        self._packets: IO[bytes] | None = None
        self._growing = -1
        self._facts: list[dict[str, Any]] = []
        self._check = 0
        self._number = -1
        self._again = 0
        self._flushed = time.monotonic()

    # -- segments ----------------------------------------------------------------------------------

    def segments(self) -> Iterator[Segment]:
        """Complete segments from the first on, up to one that is missing or damaged."""
        number = 0
        while (found := self._segment(number)) is not None:
            yield found
            number += 1

    def add_packet(self, number: int, packet: Packet[Any]) -> None:
        """Keeps the next packet of segment `number`, if the disk takes it.

        Packets that hold more than their bytes (opacity of VP9) cannot be kept. Of a segment that
        is not kept the frames stay, and are encoded again.
        """
        try:
            if number != self._growing:
                self._growing, self._facts, self._check = number, [], self._seed(number)
                self._packets = self._packets_file(number, GROWING).open("wb")
            if self._packets is None:
                return
            if packet.has_sidedata("matroska_block_additional"):
                self._give_up_packets()
                return
            data = bytes(packet)
            self._packets.write(data)
            self._check = zlib.crc32(data, self._check)
            self._facts.append(_facts(packet))
        except OSError:
            self._give_up_packets()

    def end_segment(self, number: int, state: dict[str, Any]) -> None:
        """A segment is complete: its packets are kept from now on, and its frames are not."""
        self.end_log()
        if self._packets is None:
            return
        header = {"state": state, "packets": self._facts, "crc": self._check}
        head = json.dumps(header).encode()
        try:
            self._packets.write(head)
            self._packets.write(_HEAD.pack(len(head), zlib.crc32(head), 0))
            self._packets.flush()
            os.fsync(self._packets.fileno())
            self._packets.close()
            os.replace(self._packets_file(number, GROWING), self._packets_file(number))
        except OSError:
            self._give_up_packets()
            return
        self._packets = None
        self._frames_file(number).unlink(missing_ok=True)

    def _give_up_packets(self) -> None:
        with contextlib.suppress(OSError):
            if self._packets is not None:
                self._packets.close()
            self._packets_file(self._growing, GROWING).unlink(missing_ok=True)
        self._packets = None

    def _segment(self, number: int) -> Segment | None:
        try:
            with self._packets_file(number).open("rb") as file:
                end = file.seek(-_HEAD.size, os.SEEK_END)
                size, check, _ = _HEAD.unpack(file.read())
                start = file.seek(end - size)
                head = file.read(size)
                if zlib.crc32(head) != check:
                    return None
                header = json.loads(head)
                check = self._seed(number)
                file.seek(0)
                while data := file.read(min(_PIECE, start - file.tell())):
                    check = zlib.crc32(data, check)
        except (OSError, ValueError, struct.error):
            return None
        if not isinstance(header, dict) or check != header.get("crc"):
            return None
        return Segment(self._read(number, header["packets"]), header["state"])

    def _seed(self, *place: object) -> int:
        """What the check sum of a piece begins with."""
        return zlib.crc32(" ".join(map(str, (self.job, *place))).encode(errors="surrogateescape"))

    def _read(self, number: int, packets: list[dict[str, Any]]) -> Iterator[Packet[Any]]:
        with self._packets_file(number).open("rb") as file:
            for facts in packets:
                yield _packet(file.read(facts["size"]), facts)

    def _packets_file(self, number: int, ending: str = "") -> Path:
        return self.folder / f"{number:05d}.packets{ending}"

    # -- frames ------------------------------------------------------------------------------------

    def add_frame(self, number: int, frame: Frame) -> None:
        """Keeps the next frame of segment `number`, if the disk takes it.

        A frame that cannot be kept costs its work again after an interruption, and no more.
        """
        if not self.keep_frames:
            return
        if self._again:  # it is in the log
            self._again -= 1
            return
        source = readable(frame.image)
        header = {
            "format": source.format.name,
            "size": (source.width, source.height),
            "tags": {name: int(value) for name, value in tags_of(source).items()},
            "index": frame.index,
        }
        head = json.dumps(header).encode()
        data = b"".join(np.ascontiguousarray(x).tobytes() for x in channels_of(source))
        try:
            if number != self._number:
                self.end_log()
                self._number = number
                self._log = self._frames_file(number).open("ab")
            if self._log is None:
                return
            check = zlib.crc32(data, zlib.crc32(head, self._seed(number, self._log.tell())))
            for part in (_HEAD.pack(len(head), len(data), check), head, data):
                self._log.write(part)
            self._log.flush()
            if time.monotonic() - self._flushed > FLUSH:
                os.fsync(self._log.fileno())
                self._flushed = time.monotonic()
        except OSError:
            self._give_up_log()

    def waiting(self, number: int) -> list[tuple[int, tuple[int, int]]]:
        """Frames that are kept from segment `number` on: of which segment, and where in its log.

        What comes after them is removed, since it will be done again.
        """
        found: list[tuple[int, tuple[int, int]]] = []
        for log in sorted(self.folder.glob("*.frames")):
            own = int(log.stem) if log.stem.isdecimal() else -1
            expected = number if not found else found[-1][0] + 1
            whole = not found or len(found) % self.length == 0
            if own != expected or not whole:
                log.unlink()
                continue
            found += [(own, place) for place in self._places(own)]
        self._again = len(found)
        return found

    def _places(self, number: int) -> list[tuple[int, int]]:
        """Places in the log of segment `number` where whole frames begin, and their sizes.

        What is half-written at its end is cut off.
        """
        found, at = [], 0
        try:
            with self._frames_file(number).open("rb+") as log:
                while len(head := log.read(_HEAD.size)) == _HEAD.size:
                    size, length, check = _HEAD.unpack(head)
                    content = log.read(size + length)
                    whole = size and len(content) == size + length
                    if not whole or zlib.crc32(content, self._seed(number, at)) != check:
                        break
                    found.append((at, _HEAD.size + size + length))
                    at += found[-1][1]
                log.truncate(at)
        except OSError:
            return []
        return found

    def frame(self, number: int, place: tuple[int, int], source: Frame) -> Frame:
        """A frame from the log of segment `number`, which was made of `source`."""
        with self._frames_file(number).open("rb") as log:
            log.seek(place[0])
            content = log.read(place[1])
        size, _, _ = _HEAD.unpack_from(content)
        header = json.loads(content[_HEAD.size : _HEAD.size + size])
        width, height = header["size"]
        image = blank_for(source, header["format"], width, height, header["tags"])
        at = _HEAD.size + size
        for channel in channels_of(image):
            samples = np.ndarray(channel.shape, channel.dtype, content, at)
            channel[...] = samples
            at += samples.nbytes
        return source.with_image(image)

    def end_log(self) -> None:
        """Closes the log of frames that grows."""
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.close()
        self._log = None

    def _give_up_log(self) -> None:
        """The output needs the space more than the log does."""
        self.end_log()  # first: what is buffered must not come to lie where the first frame was
        with contextlib.suppress(OSError):
            os.truncate(self._frames_file(self._number), 0)

    def _frames_file(self, number: int) -> Path:
        return self.folder / f"{number:05d}.frames"

    # -- images ------------------------------------------------------------------------------------

    def add_image(self, place: int, name: str, data: bytes) -> None:
        """Keeps a complete image, by its place among all; OSError where the disk is full."""
        write_whole(self.folder / PICTURES / name, data)
        with contextlib.suppress(OSError), (self.folder / SUMS).open("ab") as file:
            file.write(self._line(place, name, data))  # without it the image is made again

    def images(self) -> list[str]:
        """Names of the images that are as they were written, up to the first that is not."""
        found: list[str] = []
        lines: list[bytes] = []
        with contextlib.suppress(OSError, ValueError):
            for line in (self.folder / SUMS).read_bytes().splitlines(keepends=True):
                name = os.fsdecode(line[_SUM:-1])
                data = (self.folder / PICTURES / os.path.basename(name)).read_bytes()
                if line != self._line(len(found), name, data):
                    break
                found.append(name)
                lines.append(line)
        write_whole(self.folder / SUMS, *lines)
        return found

    def _line(self, place: int, name: str, data: bytes) -> bytes:
        return os.fsencode(f"{zlib.crc32(data, self._seed(place, name)):08x} {name}\n")

    # -- the end -----------------------------------------------------------------------------------

    def note_result(self, path: Path) -> None:
        """The output, or the first image of it, is complete, and gets its place next.

        A job that is killed right after that left all its work beside a complete output.
        """
        with contextlib.suppress(OSError):
            note = f"{_identity(path)} {path.name}"
            (self.folder / RESULT).unlink(missing_ok=True)
            (self.folder / RESULT).write_bytes(os.fsencode(note))  # a name need not be text

    def is_result(self, target: Path) -> bool:
        """Whether a file, or the images in a folder, are what this job made."""
        with contextlib.suppress(OSError, ValueError):
            note = os.fsdecode((self.folder / RESULT).read_bytes())
            identity, _, name = note.partition(" ")
            return identity == _identity(target / name if target.is_dir() else target)
        return False

    def close(self) -> None:
        """Closes the files that grow; what is complete stays."""
        self.end_log()
        self._give_up_packets()

    def remove(self) -> None:
        """Removes the folder and all that is in it."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _identity(path: Path) -> str:
    """By which a file is known again under another name on the same disk."""
    status = path.stat()
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def write_whole(path: Path, *contents: bytes) -> None:
    """Writes a file that has its name once it is complete and on disk."""
    growing = path.with_name(path.name + GROWING)
    with growing.open("wb") as file:
        for content in contents:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(growing, path)


def frames_per_segment(pixel_format: str, width: int, height: int) -> int:
    """How many frames of that kind are encoded on their own; the same for every job like it."""
    size = frame_bytes(pixel_format, width, height)
    return max(_LEAST, min(MOST_FRAMES, MOST_BYTES // max(1, size)))


def frame_bytes(pixel_format: str, width: int, height: int) -> int:
    """Bytes of the samples of a frame."""
    layout = layout_of(native_format(pixel_format))
    down, across = layout.subsampling
    planes = len(layout.color) + (layout.alpha is not None)
    pixels = width * height
    chroma = -(-height // down) * -(-width // across)
    count = pixels * (planes - 2) + 2 * chroma if layout.family == "yuv" else pixels * planes
    return int(count * np.dtype(layout.dtype).itemsize)


def bare(packet: Packet[Any]) -> Packet[Any]:
    """A packet with what can be kept of it, so that the first run writes what another would."""
    if packet.has_sidedata("matroska_block_additional"):
        return packet
    return _packet(bytes(packet), _facts(packet))


def _facts(packet: Packet[Any]) -> dict[str, Any]:
    return {
        "size": packet.size,
        "pts": packet.pts,
        "dts": packet.dts,
        "duration": packet.duration,
        "key": packet.is_keyframe,
        "base": str(packet.time_base),
    }


def _packet(data: bytes, facts: dict[str, Any]) -> Packet[Any]:
    packet: Packet[Any] = Packet(data)
    packet.time_base = Fraction(facts["base"])
    packet.pts, packet.dts = facts["pts"], facts["dts"]
    packet.duration = facts["duration"]
    packet.is_keyframe = facts["key"]
    return packet
