"""What a coded frame is for: some packets show no image of their own, and nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from av.packet import Packet


def is_encrypted(packet: Packet[Any]) -> bool:
    """Whether a packet comes with the key's name and not in the clear (CENC of MP4, WebM)."""
    return (
        packet.has_sidedata("encryption_info")
        or packet.has_sidedata("encryption_init_info")
        or "enc_key_id" in packet.stream.metadata
    )


def is_repeat(packet: Packet[Any]) -> bool:
    """Whether the packet says no more than that the image before it stays (Theora, AVI).

    FFmpeg's decoders take no packets without bytes; only the one that ends a stream has no time.
    """
    return not packet.size and (packet.pts is not None or packet.dts is not None)


def is_header(packet: Packet[Any], codec: str) -> bool:
    """Whether a packet of Theora is a header again, as where streams were joined (A.1)."""
    return codec == "theora" and packet.size > 0 and memoryview(packet)[0] >= 0x80


def shows_image(packet: Packet[Any], codec: str) -> bool | None:
    """Whether a packet has an image of its own to show; None where that cannot be known.

    VP8, VP9 and AV1 may send frames that others lean on and that are not shown themselves, Dirac
    units that are none, and MPEG-4 may pack a frame into the packet before its own.
    """
    if not packet.size or packet.is_discard or is_header(packet, codec):
        return False
    if codec == "mpeg4":
        return None
    look = {"vp8": _vp8, "vp9": _vp9, "av1": _av1, "dirac": _dirac}.get(codec)
    try:
        return True if look is None else look(bytes(packet))
    except IndexError:
        return True


def _vp8(data: bytes) -> bool:
    return bool(data[0] & 0x10)  # RFC 6386, 9.1


def _vp9(data: bytes) -> bool:
    if data[-1] & 0xE0 == 0xC0:  # several frames in one packet (annex B): the last one is shown
        return True
    bits = f"{data[0]:08b}{data[1] if len(data) > 1 else 0:08b}"
    if bits[:2] != "10":  # no frame of VP9: what should have been shown is damaged
        return True
    bits = bits[5:] if bits[2:4] == "11" else bits[4:]  # profile 3 has a bit more
    return bits[0] == "1" or bits[2] == "1"  # a frame shown again, or one shown itself


def _av1(data: bytes) -> bool:
    return any(
        data[at] & 0x80 or data[at] & 0x10  # a frame shown again, or one shown itself
        for kind, at in av1_units(data)
        if kind in (3, 6)
    )


def av1_units(data: bytes) -> Iterator[tuple[int, int]]:
    """Kind of each unit (AV1, 5.3), and where its content begins."""
    at = 0
    while at < len(data):
        head, at = data[at], at + 1
        at += head >> 2 & 1
        size = len(data) - at
        if head & 2:
            size = shift = 0
            while True:
                byte, at = data[at], at + 1
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
        yield head >> 3 & 15, at
        at += size


def _dirac(data: bytes) -> bool:
    return any(unit[:1] and unit[0] & 8 for unit in data.split(b"BBCD")[1:])
