"""What a coded frame is for: some packets show no image of their own, and nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def new_size(packet: Packet[Any], codec: str) -> tuple[int, int] | bytes | None:
    """What tells the size of all frames that follow, in MPEG-1, 2 and 4 and Dirac.

    Only to be compared: width and height, or parts of a header that hold them. None where the
    packet says nothing of it.
    """
    look = _SIZES.get(codec)
    if look is None or not packet.size or not packet.is_keyframe:
        return None
    try:
        return look(bytes(packet))
    except IndexError:
        return None


def _dirac_head(data: bytes) -> bytes | None:
    """Of its units the one with parse code 0, without the lengths in front of it."""
    heads = (unit[9:] for unit in data.split(b"BBCD")[1:] if unit[:1] == b"\0")
    return next(heads, None)


def _mpeg_head(data: bytes) -> bytes | None:
    """Of a sequence header (ISO 13818-2, 6.2.2.1) the size, and of its extension whether it is
    progressive, chroma and more of the size: all that makes FFmpeg begin anew.
    """
    at = data.find(b"\0\0\1\xb3") + 4
    if at < 4:
        return None
    head = data[at : at + 3]
    more = data.find(b"\0\0\1\xb5", at) + 4
    if more >= 4 and data[more] >> 4 == 1:
        head += bytes([data[more + 1] & 0x0F, data[more + 2] & 0xE0])
    return head


def _mpeg4_size(data: bytes) -> tuple[int, int] | None:
    """Of the header of a video object layer (ISO 14496-2, 6.2.3)."""
    at = data.find(b"\0\0\1")
    while at >= 0 and not 0x20 <= data[at + 3] <= 0x2F:
        at = data.find(b"\0\0\1", at + 3)
    if at < 0:
        return None
    bits = _Bits(data[at + 4 : at + 64])
    bits.read(9)
    version = 1
    if bits.read(1):
        version = bits.read(7) >> 3
    if bits.read(4) == 15:
        bits.read(16)
    if bits.read(1) and bits.read(4) & 1:
        bits.read(79)
    shape = bits.read(2)
    if shape == 3 and version != 1:
        bits.read(4)
    bits.read(1)
    steps = bits.read(16)
    bits.read(1)
    if bits.read(1):
        bits.read(max((steps - 1).bit_length(), 1))
    if shape:
        return None
    bits.read(1)
    width = bits.read(14) >> 1
    return width, bits.read(13)


class _Bits:
    """Numbers of a stream of bits."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        """The next bits; IndexError where there are no more."""
        self._left -= count
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << count) - 1


_SIZES: dict[str, Callable[[bytes], tuple[int, int] | bytes | None]] = {
    "mpeg1video": _mpeg_head,
    "mpeg2video": _mpeg_head,
    "mpeg4": _mpeg4_size,
    "dirac": _dirac_head,
}
