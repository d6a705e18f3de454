"""What is known of a video before its first frame is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

# Code points of ITU-T H.273 under the names FFmpeg gives them. 2 means "unspecified".
MATRICES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
Siting = Literal["left", "center", "topleft", "top", "bottomleft", "bottom"]
"""Where chroma samples lie: across on the first luma sample (`left`, ...) or between (`center`,
`top`, ...), down between lines, on the first (`top...`) or on the second (`bottom...`)."""
RANGES = {1: "tv", 2: "pc"}


@dataclass(frozen=True)
class ColorTags:
    """How the numbers of an image map to light; None where the file does not say."""

    matrix: str | None = None
    """`bt709`, `smpte170m`, `bt2020nc`, `gbr`, ...: see `MATRICES`."""
    primaries: str | None = None
    transfer: str | None = None
    """`bt709`, `iec61966-2-1` (sRGB), `smpte2084` (PQ), `arib-std-b67` (HLG), ..."""
    range: str | None = None
    """`tv` (limited) or `pc` (full)."""

    @classmethod
    def from_codes(cls, matrix: int, primaries: int, transfer: int, range_: int) -> ColorTags:
        """Tags from the numbers of H.273 that PyAV's frames and codec contexts hold."""
        return cls(
            MATRICES.get(int(matrix)),
            PRIMARIES.get(int(primaries)),
            TRANSFERS.get(int(transfer)),
            RANGES.get(int(range_)),
        )

    def or_else(self, other: ColorTags) -> ColorTags:
        """These tags; those of `other` where there are none."""
        return ColorTags(
            self.matrix or other.matrix,
            self.primaries or other.primaries,
            self.transfer or other.transfer,
            self.range or other.range,
        )

    def codes(self) -> tuple[int, int, int, int]:
        """Numbers for matrix, primaries, transfer (2: unspecified) and range (0: unspecified)."""
        return (
            _code(MATRICES, self.matrix, 2),
            _code(PRIMARIES, self.primaries, 2),
            _code(TRANSFERS, self.transfer, 2),
            _code(RANGES, self.range, 0),
        )


@dataclass(frozen=True)
class MasteringDisplay:
    """The screen that an HDR video was graded on (SMPTE ST 2086); None where not said."""

    primaries: tuple[Fraction, ...] | None = None
    """CIE 1931 x and y of red, green, blue and white: eight numbers."""
    luminance: tuple[Fraction, Fraction] | None = None
    """Darkest and brightest, cd/m2."""


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a file."""

    index: int
    kind: Literal["video", "audio", "subtitle", "data", "attachment", "unknown"]
    codec: str | None
    language: str | None = None
    title: str | None = None
    cover: bool = False
    """True for an attached image (cover art)."""
    auxiliary: bool = False
    """True for what serves another stream, as the opacity of AVIF."""
    role: str = ""
    """What it is to that stream, where the file says: `opacity`, `depth`, `thumbnail`, ..."""

    def __str__(self) -> str:
        said = [f"{self.kind} stream {self.index}", f"({self.codec or 'unknown codec'}"]
        said[1] += "".join(f", {more}" for more in (self.language, self.role) if more) + ")"
        return " ".join(said)


@dataclass(frozen=True)
class VideoInfo:
    """A file, folder or pattern of images, and the video stream that is restored."""

    path: Path
    width: int
    """Width as stored, before any rotation flag."""
    height: int
    pixel_format: str
    """FFmpeg's name: `yuv420p`, `yuv444p10le`, `gbrp`, `gray16le`, ..."""
    bit_depth: int
    """Bits of the deepest component: 8, 10, 12, 16 or 32."""
    has_alpha: bool
    frame_rate: Fraction | None
    """Average; the frames' own timestamps are what counts."""
    time_base: Fraction
    """Seconds per tick of the frames' timestamps."""
    frames: int | None
    """Number of frames where the container says or counting was requested."""
    duration: float | None
    """Seconds."""
    rotation: int = 0
    """Degrees clockwise, 0 to 359, by which a player turns the image to show it upright."""
    display_matrix: tuple[int, ...] | None = None
    """The nine numbers behind `rotation` (and a mirror, if any), as the file holds them."""
    sample_aspect_ratio: Fraction = Fraction(1)
    color: ColorTags = ColorTags()
    siting: Siting | None = None
    """Where subsampled chroma lies; None where the file does not say (then MPEG's `left`)."""
    interlaced: bool = False
    hdr: Literal["pq", "hlg"] | None = None
    mastering_display: MasteringDisplay | None = None
    content_light: tuple[int, int] | None = None
    """Brightest pixel and brightest frame average of an HDR video (MaxCLL, MaxFALL), cd/m2."""
    dynamic_metadata: tuple[str, ...] = ()
    """Names of metadata that change with every frame (Dolby Vision, HDR10+): never carried over."""
    crop: tuple[int, ...] | None = None
    """Lines and columns that players hide: top, bottom, left, right. They are restored, too."""
    beside: frozenset[str] = frozenset()
    """Names of what lies beside the samples of the first frame: `closed captions`, ..."""
    streams: tuple[StreamInfo, ...] = ()
    """All streams of the file, the restored one included."""
    codec: str = ""
    """FFmpeg's name of the video codec."""
    constant_rate: bool = False
    """Whether frames come at an even rate, as far as the container's beginning tells."""
    container: str = ""
    """FFmpeg's name of the container; `sequence` for images."""
    stream_index: int = 0
    """Index of the restored stream in `streams`."""
    start_time: float = 0.0
    """Seconds of the first frame's timestamp, as far as the container says."""


def _code(names: dict[int, str], name: str | None, unspecified: int) -> int:
    return next((code for code, known in names.items() if known == name), unspecified)
