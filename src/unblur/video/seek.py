"""Key frames that decoding may begin at: none of the frames to come leans on an earlier one.

A container's flag of key frames does not say that. H.264 flags frames from which the image only
builds up (intra refresh), and what a decoder says of the frames before it has recovered depends on
the timing of its threads. So the coded frame itself is looked at, and where it does not promise
enough the one before it is tried, at last the beginning of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av
from av.packet import Packet
from av.video.stream import VideoStream

from unblur.video.packets import av1_units
from unblur.video.probe import Opened

_INDEXED = ("mov,mp4", "matroska")
"""Containers whose index leads to a key frame; seeking in others may land anywhere."""


def seek(opened: Opened, start: int) -> int | None:
    """Goes to a frame from which all frames at `start` and after it decode as from the beginning.

    Args:
        opened: the file; nothing of it has been decoded yet.
        start: presentation time, in ticks of the stream.

    Returns:
        The presentation time of the key frame: frames before it that come out of the decoder are
        not to be used. None where there is no such frame; then the file is at no certain place.
    """
    container, stream = opened.container, opened.stream
    if not container.format.name.startswith(_INDEXED):
        return None
    target, before = start, None
    try:
        _introduce(opened)
        while True:
            container.seek(target, stream=stream)
            packet = next((p for p in container.demux(stream) if p.size), None)
            if packet is None or packet.pts is None:
                return None
            place = packet.pts if packet.dts is None else min(packet.pts, packet.dts)
            if before is not None and place >= before:  # there is no earlier one
                return None
            if packet.pts <= start and _starts_anew(packet, stream):
                container.seek(target, stream=stream)
                return packet.pts
            target, before = place - 1, place
    except (av.FFmpegError, OSError):
        return None


def _introduce(opened: Opened) -> None:
    """Shows the decoder of H.264 the first packet, which names the encoder.

    Builds of x264 before 151 code 4:4:4 in a way of their own. They say so at the beginning of a
    file alone, and FFmpeg decodes to something else where it did not read that.
    """
    if opened.stream.codec.canonical_name != "h264":
        return
    packet = next((p for p in opened.container.demux(opened.stream) if p.size), None)
    if packet is not None:
        opened.decoder.decode(packet)
        opened.decoder.flush_buffers()


def _starts_anew(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """Whether frames shown after this one need nothing of what was coded before it."""
    if not packet.is_keyframe:
        return False
    name = stream.codec.canonical_name
    if stream.codec.intra_only or name == "ffv1":
        return True
    look = _LOOKS.get(name)
    try:
        return look is not None and look(bytes(packet), stream.codec_context.extradata or b"")
    except IndexError:
        return False


def _h264(data: bytes, extradata: bytes) -> bool:
    """IDR, or an I frame that says that all is right at once (as in open groups of images)."""
    length = (extradata[4] & 3) + 1 if extradata[:1] == b"\x01" else 0
    for unit in _units(data, length):
        kind = unit[0] & 31
        if kind == 5:
            return True
        if kind == 6 and _recovers_at_once(unit[1:]):
            return True
    return False


def _recovers_at_once(data: bytes) -> bool:
    """Reads messages of H.264 (7.3.2.3): a recovery point (D.1.8) after 0 frames."""
    data = data.replace(b"\0\0\3", b"\0\0")
    at = 0
    while at + 2 < len(data):
        numbers = []
        for _ in range(2):
            value = 0
            while data[at] == 255:
                value, at = value + 255, at + 1
            numbers.append(value + data[at])
            at += 1
        kind, size = numbers
        if kind == 6 and at < len(data):
            return data[at] >= 128  # a count of 0 is coded as a single 1
        at += size
    return False


def _hevc(data: bytes, extradata: bytes) -> bool:
    """A random access image of any kind (7.4.2.2); what leans further back is shown before it."""
    length = (extradata[21] & 3) + 1 if extradata[:1] == b"\x01" else 0
    return any(16 <= unit[0] >> 1 & 63 <= 21 for unit in _units(data, length))


def _units(data: bytes, length: int) -> Iterator[bytes]:
    """NAL units: behind start codes, or behind their size in `length` bytes."""
    if not length:
        yield from (unit for unit in data.split(b"\0\0\1")[1:] if unit)
        return
    at = 0
    while at + length < len(data):
        size = int.from_bytes(data[at : at + length], "big")
        if size:
            yield data[at + length : at + length + size]
        at += length + size


def _mpeg(data: bytes, _: bytes) -> bool:
    at = data.find(b"\0\0\1\0")
    return at >= 0 and data[at + 5] >> 3 & 7 == 1


def _mpeg4(data: bytes, _: bytes) -> bool:
    at = data.find(b"\0\0\1\xb6")
    return at >= 0 and data[at + 4] >> 6 == 0


def _vp8(data: bytes, _: bytes) -> bool:
    return not data[0] & 1


def _vp9(data: bytes, _: bytes) -> bool:
    bits = f"{data[0]:08b}{data[1]:08b}"
    bits = bits[5:] if bits[2:4] == "11" else bits[4:]  # profile 3 has a bit more
    return bits[:2] == "00"  # not a frame shown again, and a key frame


def _av1(data: bytes, _: bytes) -> bool:
    """A sequence header, then a key frame (kind 0 of 4) that is shown as it is."""
    described = False
    for kind, at in av1_units(data):
        described |= kind == 1
        if kind in (3, 6):
            return described and data[at] >> 4 == 0b0001
    return False


_LOOKS: dict[str, Callable[[bytes, bytes], bool]] = {
    "h264": _h264,
    "hevc": _hevc,
    "mpeg1video": _mpeg,
    "mpeg2video": _mpeg,
    "mpeg4": _mpeg4,
    "vp8": _vp8,
    "vp9": _vp9,
    "av1": _av1,
}
