"""What a decoded frame carries beside its samples, as far as it can be requested."""

from __future__ import annotations

import math
import re
import struct
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph
from av.sidedata.sidedata import Type

from unblur.video.info import MasteringDisplay

_DYNAMIC = {
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DOVI_METADATA": "Dolby Vision",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
}
_LOST = {
    "A53_CC": "closed captions",
    "AFD": "active format description",
    "PANSCAN": "pan and scan",
    "GOP_TIMECODE": "timecode of the frames",
    "S12M_TIMECODE": "timecode of the frames",
    "SPHERICAL": "spherical (360 degrees) mapping",
    "STEREO3D": "stereo 3D arrangement",
    "ICC_PROFILE": "ICC profile",
    "FILM_GRAIN_PARAMS": "film grain",
    "AMBIENT_VIEWING_ENVIRONMENT": "ambient viewing environment",
}
_UNKNOWN_KINDS = 40
"""So many kinds that PyAV has no name for are passed over in one frame."""


def side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """Content of a frame's side data, by FFmpeg's name of the kind."""
    for _ in range(_UNKNOWN_KINDS):
        try:
            sides: Any = frame.side_data  # its stubs are wrong
            return {side.type.name: bytes(side) for side in (sides[n] for n in range(len(sides)))}
        except ValueError as error:
            # PyAV gives none of it where it has no name for one: that one is taken out.
            number = re.match(r"(\d+) is not a valid Type", str(error))
            if number is None:
                break
            frame = _filtered(frame, ("sidedata", f"mode=delete:type={number[1]}"))
    return {}


def without_profile(frame: av.VideoFrame) -> av.VideoFrame:
    """The same frame of PNG without its colour profile.

    PyAV (18) frees the name of a profile that FFmpeg frees, too, which ends the process.
    """
    clean = _filtered(frame, ("sidedata", f"mode=delete:type={Type.ICC_PROFILE.value}"))
    clean.pts, clean.duration = frame.pts, frame.duration
    if frame.time_base is not None:  # a single image has none
        clean.time_base = frame.time_base
    return clean


def dynamic_metadata(frame: av.VideoFrame) -> tuple[str, ...]:
    """Names of HDR metadata that change with every frame."""
    return tuple(sorted({_DYNAMIC[kind] for kind in side_data(frame) if kind in _DYNAMIC}))


def beside(frame: av.VideoFrame) -> frozenset[str]:
    """Names of what lies beside a frame's samples and is hard to carry over."""
    return frozenset(_LOST[kind] for kind in side_data(frame) if kind in _LOST)


def display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """The nine numbers by which players turn and mirror the image; None: not at all."""
    data = side_data(frame).get(Type.DISPLAYMATRIX.name)
    if data is None or len(data) < 36:
        return None
    matrix = struct.unpack("=9i", data[:36])
    upright = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    return matrix if matrix != upright else None


def turn_of(matrix: tuple[int, ...]) -> int:
    """Degrees clockwise, 0 to 359, by which such a matrix turns an image."""
    across, down = math.hypot(matrix[0], matrix[3]), math.hypot(matrix[1], matrix[4])
    if not across or not down:
        return 0
    return round(math.degrees(math.atan2(matrix[1] / down, matrix[0] / across))) % 360


def mastering_display(frame: av.VideoFrame) -> MasteringDisplay | None:
    """Reads FFmpeg's AVMasteringDisplayMetadata: ten rationals and two flags."""
    data = side_data(frame).get(Type.MASTERING_DISPLAY_METADATA.name)
    if data is None or len(data) < 88:
        return None
    numbers = struct.unpack("=22i", data[:88])
    pairs = zip(numbers[0:20:2], numbers[1:20:2], strict=True)
    values = [Fraction(num, den) if den else Fraction(0) for num, den in pairs]
    has_primaries, has_luminance = numbers[20:22]
    return MasteringDisplay(
        tuple(values[:8]) if has_primaries else None,
        (values[8], values[9]) if has_luminance else None,
    )


def content_light(frame: av.VideoFrame) -> tuple[int, int] | None:
    """Brightest pixel and brightest frame average, cd/m2."""
    data = side_data(frame).get(Type.CONTENT_LIGHT_LEVEL.name)
    if data is None or len(data) < 8:
        return None
    brightest, average = struct.unpack("=2I", data[:8])
    return (brightest, average) if brightest or average else None


def copy_of(frame: av.VideoFrame) -> av.VideoFrame:
    """The same image with samples of its own, and with all that lies beside them.

    PyAV can give side data to no frame that it made.
    """
    copy = _filtered(frame, ("null", ""))
    copy.make_writable()
    return copy


def _filtered(frame: av.VideoFrame, *filters: tuple[str, str]) -> av.VideoFrame:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    chain = [graph.add(name, options) for name, options in filters]
    graph.link_nodes(source, *chain, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()
