"""What an output cannot hold, said before and after it is written."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path

from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError
from unblur.video import codecs
from unblur.video.info import ColorTags, VideoInfo
from unblur.video.pixels.layout import layout_of, native_format
from unblur.video.probe import probe_file

_SAME_MATRIX = {"bt470bg": "smpte170m"}
_SAME_CURVE = {"smpte170m": "bt709", "bt2020-10": "bt709", "bt2020-12": "bt709"}


def check_mirror(info: VideoInfo, container: codecs.Container, extension: str) -> None:
    """UsageError where the image is mirrored by a flag that the container does not have."""
    matrix = info.display_matrix
    if matrix is None or container.stores_mirror:
        return
    if matrix[0] * matrix[4] - matrix[1] * matrix[3] < 0:
        raise UsageError(
            f"{extension} cannot hold the mirror flag of {info.path}: write .mp4 or .mov"
        )


def warn_before(
    info: VideoInfo,
    choice: codecs.Choice,
    container: codecs.Container,
    extension: str,
    size: tuple[int, int],
) -> None:
    """Names what the codec cannot hold, and a codec that could."""
    lost = codecs.losses(info.pixel_format, choice.pixel_format)
    if lost:
        hint = remedy(info, choice, container, extension, size)
        _warn(
            f"{choice.key} cannot hold {info.pixel_format}: written as {choice.pixel_format},"
            f" without its {' and '.join(lost)}{hint}"
        )
    source, written = (
        layout_of(native_format(name)) for name in (info.pixel_format, choice.pixel_format)
    )
    odd = size[0] % 2 or size[1] % 2
    finer = source.subsampling > written.subsampling
    if odd and source.family == "yuv" and finer and choice.key in ("h264", "h265"):
        _warn(
            f"{choice.key} takes no {info.pixel_format} of odd size {size[0]}x{size[1]}: written as"
            f" {choice.pixel_format}, which fewer players show"
        )
    if info.dynamic_metadata:
        _warn(
            f"{info.path}: its {' and '.join(info.dynamic_metadata)} metadata is left out, it"
            " cannot be encoded here"
        )


def remedy(
    info: VideoInfo,
    choice: codecs.Choice,
    container: codecs.Container,
    extension: str,
    size: tuple[int, int],
) -> str:
    """What would lose less and nothing more: another pixel format, codec or container."""
    source = native_format(info.pixel_format)
    now = codecs.lost(source, choice.pixel_format)
    best: tuple[tuple[float, ...], bool, float, int] | None = None
    words = ""
    plain = replace(container, muxer="")  # in which nothing has to be common
    others = codecs.by_preference(container, layout_of(source).bits)
    for place, key in enumerate([choice.key, *others]):
        try:
            usual = codecs.choose([key], source, *size, container=container)
            finest = codecs.choose([key], source, *size, container=plain)
        except (ResourceError, UsageError):  # not built in, or not of this size
            continue
        after = codecs.lost(source, finest.pixel_format)
        if after == now or any(a > b for a, b in zip(after, now, strict=True)):
            continue
        rank = after[:4], key != choice.key, after[4], place
        if best is None or rank < best:
            best = rank
            told = [] if key == choice.key else [f"--codec {key}"]
            if key == choice.key or finest.pixel_format != usual.pixel_format:
                told.append(f"--pixel-format {finest.pixel_format}")
            whole = not codecs.losses(source, finest.pixel_format)
            words = f"; {' '.join(told)} keeps {'everything' if whole else 'more'}"
            words += ", which fewer players show" if key == choice.key else ""
    if best is None and extension != ".mkv":
        finest = codecs.choose(["ffv1"], source, *size)
        after = codecs.lost(source, finest.pixel_format)
        if after != now and all(a <= b for a, b in zip(after, now, strict=True)):
            whole = not codecs.losses(source, finest.pixel_format)
            words = f"; .mkv with --codec ffv1 keeps {'everything' if whole else 'more'}"
    return words


def warn_after(
    written: Path, name: Path, info: VideoInfo, tags: ColorTags, told_siting: str | None, what: str
) -> frozenset[str]:
    """Reads the finished header, and names what it was given and does not say.

    Args:
        written: the finished file.
        name: what it will be called.
        info: the source's.
        tags: colour tags that the encoder was given.
        told_siting: where the encoder was given that chroma lies.
        what: codec and extension, for messages.

    Returns:
        What lies beside the samples of its first frame.
    """
    try:
        result = probe_file(written, max_pixels=sys.maxsize)
    except MediaError as error:  # or a build of FFmpeg that encodes what it cannot decode
        _warn(f"{name} was written and cannot be read here: keep {info.path} ({error})")
        return frozenset()
    color = result.color
    carried: dict[str, tuple[object, object]] = {
        "rotation": (info.display_matrix, result.display_matrix),
        "mastering display": (bool(info.mastering_display), bool(result.mastering_display)),
        "content light level": (bool(info.content_light), bool(result.content_light)),
        "crop": (bool(info.crop), bool(result.crop)),
        "colour primaries": (tags.primaries, color.primaries),
        "transfer function": _if_equivalent(_SAME_CURVE, tags.transfer, color.transfer),
        "colour matrix": _if_equivalent(_SAME_MATRIX, tags.matrix, color.matrix),
        "colour range": (tags.range, color.range or _usual_range(result)),
    }
    lost = [name for name, (ours, theirs) in carried.items() if ours and ours != theirs]
    subsampled = layout_of(native_format(result.pixel_format)).subsampling == (2, 2)
    if subsampled and (told_siting or "left") != (result.siting or "left"):
        lost.append("place of chroma")
    if result.sample_aspect_ratio != info.sample_aspect_ratio:
        lost.append("pixel aspect ratio")
    if lost:
        _warn(f"{name}: {what} does not hold the {' and '.join(lost)} of {info.path}")
    return result.beside


def _if_equivalent(
    same: dict[str, str], ours: str | None, theirs: str | None
) -> tuple[str | None, str | None]:
    """Two names, equal where their numbers are."""
    return same.get(ours or "", ours), same.get(theirs or "", theirs)


def _usual_range(info: VideoInfo) -> str:
    """The range that players assume where none is given."""
    return "tv" if layout_of(native_format(info.pixel_format)).family == "yuv" else "pc"


def _warn(text: str) -> None:
    warnings.warn(text, UnblurWarning, stacklevel=5)
