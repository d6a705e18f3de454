"""Whether a container takes a stream: a header, a packet and a trailer are written into nothing."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from unblur.video.probe import open_container

_STALE_TAGS = (
    "alpha_mode",
    "duration",
    "encoder",
    "number_of_frames",
    "number_of_bytes",
    "bps",
    "rotate",
)
_STALE_PREFIXES = ("_statistics", "number_of_frames-", "number_of_bytes-", "bps-", "duration-")
_LAYOUTS_UNTOLD = ("avi", "matroska,webm")
_USUAL_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}
_SEARCHED = 4000
"""Packets that are looked through for the first one of each stream."""
_FAILURES = (av.FFmpegError, OSError, ValueError)
_IN_MOV = {
    **{"bod": "tib", "cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per"},
    **{"hye": "arm", "isl": "ice", "kat": "geo", "mkd": "mac", "msa": "may", "mya": "bur"},
    **{"nld": "dut", "sqi": "alb", "zho": "chi"},
    **{"cze": "ces", "fre": "fra", "rum": "ron", "slo": "slk", "swe": "sve"},
}
"""Languages under the other one of their two codes (ISO 639-2), the one by which FFmpeg finds the
number that MOV has for them."""


def first_packets(source: Path) -> dict[int, Packet[Any]]:
    """The first packet of each stream, of those that have one near the beginning."""
    found: dict[int, Packet[Any]] = {}
    container = open_container(source)
    try:
        for count, packet in enumerate(container.demux()):
            if packet.size and packet.stream_index not in found:
                found[packet.stream_index] = packet
            if count == _SEARCHED or len(found) == len(container.streams):
                break
    except (av.FFmpegError, OSError):
        pass  # the reader says what is wrong with the file
    finally:
        container.close()
    return found


def takes(muxer: str, stream: Stream, packet: Packet[Any] | None) -> bool:
    """Whether a container takes a stream, alone and with its first packet."""
    if stream.type == "attachment":  # WebM leaves it out without a word
        return muxer == "matroska"
    memory = io.BytesIO()
    trial = av.open(memory, "w", format=muxer)
    try:
        target = add_copy(trial, stream)
        trial.start_encoding()
        if packet is not None:
            put(trial, target, packet)
        trial.close()
    except _FAILURES:
        with suppress(*_FAILURES):
            trial.close()
        return False
    if stream.type == "data" and not getattr(stream, "name", None):
        return muxer not in ("mp4", "mov")  # they leave out what kind of data it is
    cover = bool(stream.disposition & Disposition.attached_pic)
    return _is_told(memory, stream) if cover or stream.type == "data" else True


def _is_told(memory: io.BytesIO, stream: Stream) -> bool:
    """Whether what was written says what the stream is: some muxers write what cannot be read."""
    memory.seek(0)
    try:
        with av.open(memory, metadata_errors="replace") as written:
            return any(_kind(each) == _kind(stream) for each in written.streams)
    except _FAILURES:
        return False


def _kind(stream: Stream) -> tuple[object, ...]:
    context = stream.codec_context
    name = context.codec.canonical_name if context else getattr(stream, "name", None)
    cover = bool(stream.disposition & Disposition.attached_pic)
    return stream.type, name, cover


def put(output: OutputContainer, target: Stream, packet: Packet[Any]) -> None:
    """Writes a copy of a packet, at the time 0."""
    copy: Packet[Any] = Packet(bytes(packet))
    copy.stream, copy.time_base = target, packet.time_base
    copy.pts = copy.dts = 0
    copy.duration, copy.is_keyframe = packet.duration or 0, True
    output.mux(copy)


def add_copy(output: OutputContainer, stream: Stream) -> Stream:
    """A stream of the output that packets of `stream` can be copied to."""
    target = output.add_stream_from_template(stream, opaque=True)
    target.metadata.update(lasting(stream.metadata, output.format.name))
    target.disposition = stream.disposition
    context: Any = target.codec_context
    # MP4 wants PCM's layout, which AVI and Matroska do not tell. Of other containers PyAV must
    # not be requested it: a layout that is none of the usual ones ends the process (PyAV 18).
    if is_plain(stream) and stream.container.format.name in _LAYOUTS_UNTOLD:
        usual = _USUAL_LAYOUTS.get(context.layout.name)
        if usual:
            context.layout = usual
    return target


def is_plain(stream: Stream) -> bool:
    """Whether a stream is sound whose bytes are its samples, one after the other."""
    name = stream.codec_context.codec.canonical_name if stream.codec_context else ""
    return name.startswith("pcm_") and name not in ("pcm_bluray", "pcm_dvd", "pcm_lxf")


def bytes_of_sample(stream: Stream) -> int:
    """Bytes that a sample of plain sound takes in all its channels."""
    name = stream.codec_context.codec.canonical_name
    bits = 32 if name in ("pcm_f16le", "pcm_f24le") else int((re.search(r"\d+", name) or "8")[0])
    channels = cast(AudioCodecContext, stream.codec_context).channels
    return max(1, bits // 8 * channels)


def silence(stream: Stream, samples: int, wide: int) -> bytes:
    """So many samples of silence of plain sound, each `wide` bytes in all its channels."""
    name = stream.codec_context.codec.canonical_name
    quiet = {"pcm_u8": b"\x80", "pcm_alaw": b"\xd5", "pcm_mulaw": b"\xff"}.get(name, b"\0")
    return quiet * (samples * wide)


def in_mov(language: str) -> str:
    """The code of a language that is found in MOV; the same for both of its codes."""
    return _IN_MOV.get(language, language)


def lasting(tags: dict[str, str], muxer: str = "") -> dict[str, str]:
    """Metadata of a stream that stay true when it is written again, as the muxer wants them."""
    return {
        key: in_mov(value) if key == "language" and muxer == "mov" else value
        for key, value in tags.items()
        if key.lower() not in _STALE_TAGS and not key.lower().startswith(_STALE_PREFIXES)
    }
