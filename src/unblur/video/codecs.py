"""What can be written: containers, codecs, and the pixel format nearest to the source's.

Containers are chosen by the extension of the output, codecs by name or by container. Whether an
encoder takes a size and a pixel format is found by opening it, not by a table, but for
what it would take and spoil (`smallest`, `whole_chroma`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
from av.video.codeccontext import VideoCodecContext

from unblur.errors import MediaError, ResourceError, UsageError
from unblur.ops.priority import kept_priority
from unblur.video.info import VideoInfo
from unblur.video.pixels.layout import Layout, layout_of, native_format


@dataclass(frozen=True)
class Container:
    """A file type that can be written."""

    muxer: str
    """FFmpeg's name of the muxer."""
    codecs: tuple[str, ...]
    """Keys of `CODECS`."""
    time_base: Fraction | None = None
    """The only time base that it stores; None: any."""
    stores_aspect: bool = True
    """False where only the video stream itself can carry a pixel aspect ratio."""
    stores_mirror: bool = True
    """False where a display matrix may turn the image but not mirror it."""

    lacking: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pixel formats that a codec has and this container does not, though FFmpeg writes a file."""

    @property
    def common(self) -> bool:
        """Whether RGB becomes 4:2:0 unless asked otherwise, for players of all kinds take files."""
        return self.muxer in ("mp4", "mov")


@dataclass(frozen=True)
class Codec:
    """A video codec that can be written."""

    encoder: str
    """FFmpeg's name of the encoder."""
    crf: float | None = None
    """Default quality, chosen to be visually lossless; None: has no such setting."""
    crf_range: tuple[float, float] = (0, 51)
    options: tuple[tuple[str, str], ...] = ()
    small: tuple[tuple[str, str], ...] = ()
    """Options to add or replace where a side has fewer than 32 pixels."""
    params: str | None = None
    """Name of the option that holds the encoder's own parameters, if it has one."""
    quiet: str = ""
    """Parameters of the encoder that stop it from writing to stderr."""
    carries_aspect: bool = True
    """True where the video stream itself carries the pixel aspect ratio."""
    limited: bool = False
    """True where players take the numbers for limited range, and the codec cannot say otherwise."""
    unknown_primaries: tuple[str, ...] = ()
    """Primaries that the encoder refuses to name."""
    captions: bool = False
    """True where the encoder writes the closed captions that come with a frame."""
    smallest: tuple[int, int] = (1, 1)
    """Width and height below which the encoder must not be opened: it ends the process."""
    whole_chroma: bool = False
    """True where the encoder passes over chroma of the last column, if it stands for that alone."""
    tag: str | None = None
    """Codec tag in MP4 and MOV, where the usual one is not FFmpeg's default."""
    delay: int = 0
    """Frames by which decoding runs ahead of showing, at most."""
    ahead: int = 1
    """Frames after which its encoder holds as much as it ever will."""
    holds: int = 0
    """Bytes that it holds then for each pixel, of 8 bits and 4:2:0."""
    share: float = 0.09
    """Of the bytes of the samples that a clip with noise was measured to take by default."""

    def encoder_bytes(self, frame: int, frames: int | None) -> int:
        """Bytes that its encoder takes at its peak, about.

        Args:
            frame: bytes of the samples of a frame.
            frames: how many will come; None where that is not known.
        """
        count = self.ahead if frames is None else min(frames, self.ahead)
        return self.holds * frame * 2 // 3 * count // self.ahead


_MATROSKA = Fraction(1, 1000)
CONTAINERS = {
    # VP9 has its alpha in packets beside its own, and 4:4:0 has no number in the header of MP4.
    ".mp4": Container(
        "mp4",
        ("h264", "h265", "av1", "vp9", "ffv1"),
        lacking=(("vp9", ("yuva420p", "yuv440p")),),
    ),
    ".m4v": Container("mp4", ("h264", "h265")),
    ".mov": Container("mov", ("prores", "h264", "h265")),
    ".mkv": Container(
        "matroska",
        ("h264", "h265", "av1", "vp9", "ffv1", "prores"),
        _MATROSKA,
        stores_aspect=False,
        stores_mirror=False,
    ),
    ".webm": Container("webm", ("vp9", "av1"), _MATROSKA, stores_aspect=False, stores_mirror=False),
}
CODECS = {
    "h264": Codec("libx264", 16, params="x264-params", captions=True, delay=2, ahead=50, holds=200),
    "h265": Codec(
        "libx265",
        17,
        params="x265-params",
        quiet="log-level=none",
        unknown_primaries=("ebu3213",),
        smallest=(64, 16),
        tag="hvc1",
        delay=2,
        ahead=40,
        holds=250,
    ),
    "av1": Codec(
        "libsvtav1",
        20,
        (0, 63),
        (("preset", "6"),),
        params="svtav1-params",
        carries_aspect=False,
        holds=550,
    ),
    "vp9": Codec(
        "libvpx-vp9",
        18,
        (0, 63),
        (("row-mt", "1"), ("cpu-used", "3"), ("b", "0")),
        carries_aspect=False,
        holds=180,
    ),
    "prores": Codec(
        "prores_ks",
        options=(("vendor", "apl0"),),
        carries_aspect=False,
        limited=True,
        whole_chroma=True,
        share=0.5,
    ),
    "ffv1": Codec(
        "ffv1",
        options=(("level", "3"), ("slicecrc", "1"), ("g", "1")),
        # Level 3 cuts a frame into slices, which goes wrong where one has hardly any chroma.
        small=(("level", "1"), ("slicecrc", "0")),
        carries_aspect=False,
        holds=40,
        share=0.45,
    ),
}
_SHOWN_IN_420 = ("h264", "h265", "av1", "vp9")
"""Codecs that phones, browsers and televisions decode, but hardly with other colour resolution."""
_READ_ONLY = (".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".avif", ".heic", ".dpx")
"""Extensions of images that are not written."""
_ONE_BLOCK = 64
"""Width that a block of x265 has unless told otherwise."""
_UP_TO_AVX2 = "MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
"""Instructions that x264 is to use where it would use AVX-512: there it reads memory that was never
wrote as it weighs macroblocks, and encodes the same frames otherwise from time to time."""
_AVX2_AND_512 = (11, 13)
"""OpenCV's numbers for them."""
_ALIASES = {
    "x264": "h264",
    "libx264": "h264",
    "avc": "h264",
    "hevc": "h265",
    "x265": "h265",
    "libx265": "h265",
    "libsvtav1": "av1",
    "svtav1": "av1",
    "libvpx-vp9": "vp9",
    "prores_ks": "prores",
}


def container_for(suffix: str) -> Container:
    """The container of an extension such as `.mp4`; UsageError for an unknown one."""
    found = CONTAINERS.get(suffix.lower())
    if found is None:
        known = " ".join(CONTAINERS)
        named = f"extension {suffix!r}" if suffix else "a name without an extension"
        images = ", and images to .png, .tif or .exr" if suffix.lower() in _READ_ONLY else ""
        raise UsageError(f"cannot write a video to {named}: choose one of {known}{images}")
    return found


def codec_for(name: str, container: Container, suffix: str) -> str:
    """Key of `CODECS` for a name that a user gave; UsageError where it is not possible."""
    key = _ALIASES.get(name.lower(), name.lower())
    if key not in CODECS:
        raise UsageError(f"unknown codec {name!r}: choose one of {', '.join(CODECS)}")
    if key not in container.codecs:
        homes = " ".join(end for end, other in CONTAINERS.items() if key in other.codecs)
        raise UsageError(f"{suffix} cannot hold {key}: write one of {homes}")
    return key


def default_codecs(container: Container, info: VideoInfo) -> list[str]:
    """Codecs to try where the user named none, the preferred one first."""
    return by_preference(container, info.bit_depth)[:2]


def by_preference(container: Container, bits: int) -> list[str]:
    """Codecs of a container for samples of so many bits, the preferred one first.

    H.264 with more than 8 bits plays almost nowhere, so deeper video becomes H.265; and VP9's
    encoder takes 8 bits only, so that in WebM it becomes AV1.
    """
    keys = list(container.codecs)
    if bits > 8 and keys[:2] in (["h264", "h265"], ["vp9", "av1"]):
        keys[:2] = reversed(keys[:2])
    return keys


@dataclass(frozen=True)
class Choice:
    """An encoder and the pixel format it gets, known to open at this size."""

    key: str
    codec: Codec
    pixel_format: str
    options: tuple[tuple[str, str], ...] = ()


def choose(
    keys: Iterable[str],
    pixel_format: str,
    width: int,
    height: int,
    *,
    wanted: str | None = None,
    container: Container | None = None,
) -> Choice:
    """The first codec of `keys` that takes the size, in the pixel format nearest to the source's.

    Args:
        keys: of `CODECS`.
        pixel_format: of the source.
        width: of the frames to be written.
        height: of the frames to be written.
        wanted: the only pixel format to take; None: the nearest.
        container: to be written, or any. In `common` ones RGB becomes 4:2:0 where the size allows,
            which all players show.

    Raises:
        ResourceError: FFmpeg was built without any of the encoders.
        UsageError: the encoders refuse the size.
    """
    missing, refused = [], []
    for key in keys:
        codec = CODECS[key]
        try:
            offered = av.codec.Codec(codec.encoder, "w").video_formats or ()
        except ValueError:  # unknown codec
            missing.append(codec.encoder)
            continue
        if width < codec.smallest[0] or height < codec.smallest[1]:
            refused.append(key)
            continue
        options = {**dict(codec.options), **dict(codec.small if min(width, height) < 32 else ())}
        names = [offer.name for offer in offered]
        if container is not None:
            names = [name for name in names if name not in dict(container.lacking).get(key, ())]
        if wanted is not None and wanted not in names:
            raise UsageError(
                f"{key} cannot be written as {wanted!r}: choose one of {' '.join(names)}"
            )
        fitting = nearest(pixel_format, names) if wanted is None else [wanted]
        common = container is not None and container.common
        if common and key in _SHOWN_IN_420 and layout_of(pixel_format).family == "rgb":
            fitting.sort(key=lambda name: layout_of(name).subsampling != (2, 2))
        for candidate in fitting:
            if codec.whole_chroma and width % layout_of(candidate).subsampling[1]:
                continue
            if _opens(codec, options, candidate, width, height):
                return Choice(key, codec, candidate, tuple(options.items()))
        refused.append(key)
    if refused:
        what = f"frames of {width}x{height} pixels" + (f" as {wanted}" if wanted else "")
        raise UsageError(
            f"{' and '.join(refused)} cannot hold {what}: choose --codec ffv1 with .mkv or .mp4"
        )
    raise ResourceError(
        f"this build of FFmpeg lacks the encoder {' and '.join(missing)}: install PyAV's own"
        " wheel (pip install --only-binary=av av) or choose another --codec"
    )


def nearest(pixel_format: str, offered: Sequence[str]) -> list[str]:
    """Formats of `offered` that can stand for `pixel_format`, the nearest first.

    A format that keeps everything comes before one that loses something; among the former the
    smallest wins, among the latter alpha is given up last, then colour resolution, then bits.
    """
    source = layout_of(native_format(pixel_format))

    def cost(name: str) -> tuple[float, ...]:
        target = layout_of(name)
        down, across = (after / before for after, before in _chroma(source, target))
        return (
            *lost(pixel_format, name)[:4],
            (source.family == "rgb") != (target.family == "rgb"),
            name != pixel_format,
            target.alpha is not None,
            abs(target.bits - source.bits),
            1 / (down * across),
            source.family != target.family,
            offered.index(name),
        )

    kept = [n for n in offered if not n.startswith(("yuvj", "nv")) or n == pixel_format]
    kept = [n for n in kept if _known(n)]
    return sorted(kept, key=cost)


def _known(name: str) -> bool:
    try:
        layout_of(name)
    except MediaError:  # on a device, say
        return False
    return True


def lost(pixel_format: str, written: str) -> tuple[float, ...]:
    """How much of five things is lost, the gravest first; the least of each is none.

    Alpha, colour, colour resolution, bits, and RGB that becomes YUV.
    """
    source, target = layout_of(native_format(pixel_format)), layout_of(written)
    down, across = (after / before for after, before in _chroma(source, target))
    return (
        source.alpha is not None and target.alpha is None,
        source.family != "gray" and target.family == "gray",
        max(down, 1) * max(across, 1),
        max(source.bits - target.bits, 0) + (source.is_float and not target.is_float),
        source.family == "rgb" and target.family == "yuv",
    )


def losses(pixel_format: str, written: str) -> list[str]:
    """In words, what frames of `pixel_format` lose when they are written as `written`."""
    source, target = layout_of(native_format(pixel_format)), layout_of(written)
    said = []
    if source.alpha is not None and target.alpha is None:
        said.append("alpha")
    if source.family != "gray" and target.family == "gray":
        said.append("colour")
    if any(after > before for after, before in _chroma(source, target)):
        said.append("colour resolution")
    if source.bits > target.bits:
        said.append(f"bit depth ({source.bits} to {target.bits})")
    elif source.is_float and not target.is_float:
        said.append(f"floating point (to {target.bits} bit)")
    if source.family == "rgb" and target.family == "yuv":
        said.append("RGB (stored as YUV)")
    return said


def encoder_options(
    choice: Choice, crf: float | None, info: VideoInfo, width: int
) -> dict[str, str]:
    """Options of the encoder: quality, quiet logs, and HDR metadata where it takes them.

    Args:
        choice: what was chosen.
        crf: the quality asked for; None: the codec's own.
        info: the source's.
        width: of the frames that are written.
    """
    codec = choice.codec
    options = dict(choice.options)
    if crf is not None and codec.crf is None:
        raise UsageError(f"codec {choice.key} has no --crf: leave it out")
    if codec.crf is not None:
        quality = codec.crf if crf is None else crf
        low, high = codec.crf_range
        if not low <= quality <= high:
            raise UsageError(f"--crf {quality:g} is outside {low:g} to {high:g} of {choice.key}")
        options["crf"] = f"{quality:g}"
    params = [codec.quiet] if codec.quiet else []
    if choice.key == "h264" and _has_avx512():
        params.append(f"asm={_UP_TO_AVX2}")
    if choice.key == "h265":
        params.append("weightp=0")  # with it x265, too, reads memory that it never wrote
        if width <= _ONE_BLOCK:
            params.append("ctu=32")  # with a single column of blocks x265 encodes other frames
        params.append("hash=1")  # checksums, by which whoever decodes notices altered bytes
    if choice.key == "h264" and info.constant_rate:
        params.append("force-cfr=1")  # else the stream tells the container's clock as its rate
    if codec.params:
        params += _hdr_params(choice.key, info)
    if params and codec.params:
        options[codec.params] = ":".join(params)
    return options


def _has_avx512() -> bool:
    import cv2

    return all(cv2.checkHardwareSupport(code) for code in _AVX2_AND_512)


def _chroma(source: Layout, target: Layout) -> list[tuple[int, int]]:
    """(target, source) luma samples per chroma sample, down and across; a gray source has none."""
    if source.family == "gray":
        return [(1, 1), (1, 1)] if target.family == "gray" else [(n, n) for n in target.subsampling]
    return list(zip(target.subsampling, source.subsampling, strict=True))


def _hdr_params(key: str, info: VideoInfo) -> list[str]:
    params = []
    display, light = info.mastering_display, info.content_light
    if display is not None and display.primaries and display.luminance:
        rx, ry, gx, gy, bx, by, wx, wy = display.primaries
        points = {"G": (gx, gy), "B": (bx, by), "R": (rx, ry), "WP": (wx, wy)}
        luminance = (display.luminance[1], display.luminance[0])
        if key == "av1":
            text = "".join(f"{n}({float(x):.5f},{float(y):.5f})" for n, (x, y) in points.items())
            text += f"L({float(luminance[0]):.4f},{float(luminance[1]):.4f})"
        else:  # H.264 and H.265 count chromaticity in 0.00002 and luminance in 0.0001 cd/m2
            text = "".join(
                f"{n}({round(x * 50000)},{round(y * 50000)})" for n, (x, y) in points.items()
            )
            text += f"L({round(luminance[0] * 10000)},{round(luminance[1] * 10000)})"
        params.append(f"{'master-display' if key == 'h265' else 'mastering-display'}={text}")
    if light is not None:
        name = {"h264": "cll", "h265": "max-cll", "av1": "content-light"}[key]
        params.append(f"{name}={light[0]},{light[1]}")
    return params


def _opens(
    codec: Codec, options: dict[str, str], pixel_format: str, width: int, height: int
) -> bool:
    """Whether the encoder accepts this format at this size."""
    os.environ.setdefault("SVT_LOG", "-1")  # SVT-AV1 writes to stderr by itself
    trial = cast(VideoCodecContext, av.CodecContext.create(codec.encoder, "w"))
    trial.width, trial.height, trial.pix_fmt = width, height, pixel_format
    trial.time_base, trial.framerate = Fraction(1, 25), Fraction(25)
    trial.options = options
    if codec.quiet and codec.params:
        trial.options[codec.params] = codec.quiet
    try:
        with kept_priority():
            trial.open()
    except (av.FFmpegError, ValueError):
        return False
    return True
