"""What codecs of sound add at either end: samples that decode and are not to be heard.

MP4 and MOV hide those in front by an edit list, and those behind by the length of the last packet.
Matroska says how many there are in front for the whole track (CodecDelay), by which its times lie
too late, and behind with the last packet (DiscardPadding). FFmpeg tells both as side data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal
from av.stream import Stream

_SKIPS = struct.Struct("<IIBB")
_STEADY = ("aac", "mp1", "mp2", "mp3")
"""Codecs whose packets all decode to the same number of samples, the first and the last, too."""
_LEADING = {"opus": 5, "mp3": 5, "flac": 1, "alac": 1}
"""Packets that a decoder is fed before it gives the right samples, with the one that is cut."""
_OPUS_RATE = 48000
_OPUS_FRAMES = ((480, 960, 1920, 2880), (480, 960), (120, 240, 480, 960))
"""Samples of a frame in the three modes of Opus (RFC 6716, 3.1)."""


def skipped(packet: Packet[Any]) -> tuple[int, int]:
    """Samples that are not to be heard, from the start of a packet on and before its end."""
    if not packet.has_sidedata("skip_samples"):
        return 0, 0
    data = bytes(packet.get_sidedata("skip_samples"))
    return struct.unpack_from("<II", data) if len(data) >= 8 else (0, 0)


def mark_end(packet: Packet[Any]) -> None:
    """Says of Opus in MP4 what is not to be heard at its end: there the packet's length says it."""
    stream = packet.stream
    if _codec_of(stream) != "opus" or not packet.duration:
        return
    start, end = skipped(packet)
    length = round(packet.duration * packet.time_base * _OPUS_RATE)
    missing = samples_of(packet) - length
    if end or missing <= 0 or not stream.container.format.name.startswith("mov,mp4"):
        return
    kind = packet_sidedata_type_from_literal("skip_samples")
    side = PacketSideData(kind, _SKIPS.size)  # type: ignore[call-arg]  # PyAV declares none
    side.update(_SKIPS.pack(start, missing, 0, 0))
    packet.set_sidedata(side)


def is_steady(stream: Stream) -> bool:
    """Whether how many samples each packet of a stream decodes to can be known."""
    return _codec_of(stream) in (*_STEADY, *_LOOKS)


def leading(stream: Stream) -> int:
    """Packets of sound that lead into a cut: of AAC 2112 samples."""
    return _LEADING.get(_codec_of(stream), 2)


def _codec_of(stream: Stream) -> str:
    context: Any = stream.codec_context
    return "" if context is None else str(context.codec.canonical_name)


def rate_of(stream: Stream) -> int:
    """Samples a second that packets count in; 0: unknown."""
    context: Any = stream.codec_context
    if context is None:
        return 0
    return _OPUS_RATE if _codec_of(stream) == "opus" else context.sample_rate or 0


def samples_of(packet: Packet[Any]) -> int:
    """How many a packet decodes to; 0: unknown."""
    codec, context = _codec_of(packet.stream), packet.stream.codec_context
    if codec in _STEADY:
        return context.frame_size or 0
    look = _LOOKS.get(codec)
    try:
        return 0 if look is None else look(bytes(packet), context.extradata or b"")
    except IndexError:
        return 0


def _opus(data: bytes, _: bytes) -> int:
    mode, code = data[0] >> 3, data[0] & 3
    sizes = _OPUS_FRAMES[0 if mode < 12 else 1 if mode < 16 else 2]
    frames = (1, 2, 2)[code] if code < 3 else data[1] & 63
    return frames * sizes[mode % len(sizes)]


def _flac(data: bytes, _: bytes) -> int:
    """Of the header of a frame (RFC 9639, 9.1)."""
    code = data[2] >> 4
    if code in (6, 7):  # behind a number that is coded as in UTF-8
        at = 4 + max(8 - (~data[4] & 255).bit_length(), 1)
        return int.from_bytes(data[at : at + code - 5], "big") + 1
    if code >= 8:
        return 256 << code - 8
    return 576 << code - 2 if code > 1 else 192 * code


def _alac(_: bytes, extradata: bytes) -> int:
    """The same for all packets but the last, which is shorter."""
    return int.from_bytes(extradata[12:16], "big")


def _eac3(data: bytes, _: bytes) -> int:
    """By the number of blocks (ATSC A/52, E.2.2)."""
    return 256 * (6 if data[4] >> 6 == 3 else (1, 2, 3, 6)[data[4] >> 4 & 3])


_LOOKS: dict[str, Callable[[bytes, bytes], int]] = {
    "opus": _opus,
    "flac": _flac,
    "alac": _alac,
    "ac3": lambda _, __: 1536,
    "eac3": _eac3,
}
"""How many samples a packet decodes to, by its bytes and those of the stream's header."""


def ticks_of(packet: Packet[Any]) -> int:
    """How long a packet of sound lasts, by what it decodes to; 0: unknown."""
    samples, rate = samples_of(packet), rate_of(packet.stream)
    return round(Fraction(samples, rate) / packet.time_base) if samples and rate else 0


def first_heard(packet: Packet[Any]) -> Fraction | None:
    """Seconds where sound is heard first, by the first packet of a stream; None: unknown."""
    tick, rate = packet.pts, rate_of(packet.stream)
    if tick is None or not rate:
        return None
    base = packet.time_base
    heard = tick * base + Fraction(skipped(packet)[0], rate)
    return heard if abs(heard) >= base else Fraction(0)  # it was rounded to a tick


class Counted:
    """Gives packets of sound times to the sample, where a container rounds them.

    Args:
        heard: seconds where sound is heard first; see `first_heard`.
    """

    def __init__(self, heard: Fraction | None) -> None:
        self._heard = heard
        self._next: Fraction | None = None

    def set(self, packet: Packet[Any]) -> None:
        """Corrects time and length of a packet; each of the stream must pass, in order."""
        samples, rate = samples_of(packet), rate_of(packet.stream)
        base = packet.time_base
        if packet.pts is None or not samples or not rate or base * rate <= 1:
            return
        now, length = packet.pts * base, (packet.duration or 0) * base
        start, end = skipped(packet)
        if length and not end and abs(length - Fraction(samples, rate)) > base:
            samples = round(length * rate)  # such as with a second half of the band (SBR)
        if self._next is None and start and self._heard is not None:
            self._next = self._heard - Fraction(start, rate)
        if self._next is not None and abs(self._next - now) <= base:
            now = self._next
        self._next = now + Fraction(samples, rate)
        packet.time_base = Fraction(1, rate)
        packet.pts = packet.dts = round(now * rate)
        packet.duration = max(samples - end, 1)
