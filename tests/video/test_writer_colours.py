"""Every tag of the source and every codec of the output: carried, converted, or named."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import av
import pytest

from tests.video.media import make_clip, pass_through, read_all
from unblur.errors import UnblurWarning
from unblur.video import probe
from unblur.video.info import MATRICES, PRIMARIES, TRANSFERS

OUTPUTS = [
    ("h264", ".mp4"),
    ("h265", ".mp4"),
    ("av1", ".mp4"),
    ("vp9", ".webm"),
    ("prores", ".mov"),
    ("ffv1", ".mkv"),
]
SITINGS = ("left", "center", "topleft", "top")


def passed(source: Path, target: Path, codec: str) -> tuple[Any, list[Any], list[str]]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnblurWarning)
        _, frames = pass_through(source, target, codec=codec)
    return probe(target), frames, [str(each.message) for each in said]


def assert_same_colours(frames: list[Any], target: Path) -> None:
    _, results = read_all(target)
    for frame, result in zip(frames, results, strict=True):
        difference = (frame.rgb() - result.rgb()).abs()
        assert float(difference.mean()) < 0.012


def smooth_clip(path: Path, pixel_format: str, **options: Any) -> Path:
    """Noise would hide what a wrong range or place does."""
    return make_clip(
        path, codec="ffv1", pixel_format=pixel_format, pts=2, size=(96, 64), noise=0, **options
    )


@pytest.mark.parametrize(("codec", "extension"), OUTPUTS)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_full_range_stays_the_same_colours(
    tmp_path: Path, codec: str, extension: str, pixel_format: str
) -> None:
    clip = smooth_clip(tmp_path / "in.mkv", pixel_format, tags=(1, 1, 1, 2))
    target = tmp_path / f"out{extension}"
    info, frames, said = passed(clip, target, codec)
    assert_same_colours(frames, target)
    assert (info.color.range or "tv") == ("tv" if codec == "prores" else "pc")
    assert not [text for text in said if "range" in text]


@pytest.mark.parametrize(("codec", "extension"), OUTPUTS)
@pytest.mark.parametrize("pixel_format", ["gray", "gray12le"])
@pytest.mark.parametrize("tags", [None, (2, 2, 2, 1), (2, 2, 2, 2)], ids=["untold", "tv", "pc"])
def test_gray_stays_as_bright(
    tmp_path: Path, codec: str, extension: str, pixel_format: str, tags: Any
) -> None:
    """Gray that says nothing is full range, and as YUV it would be taken for limited."""
    clip = smooth_clip(tmp_path / "in.mkv", pixel_format, tags=tags)
    target = tmp_path / f"out{extension}"
    _, frames, _ = passed(clip, target, codec)
    assert_same_colours(frames, target)


@pytest.mark.parametrize(("codec", "extension"), OUTPUTS)
@pytest.mark.parametrize("siting", SITINGS)
def test_chroma_stays_where_it_lies(
    tmp_path: Path, codec: str, extension: str, siting: str
) -> None:
    clip = smooth_clip(tmp_path / "in.mkv", "yuv420p", options={"chroma_sample_location": siting})
    assert probe(clip).siting == siting
    target = tmp_path / f"out{extension}"
    info, frames, said = passed(clip, target, codec)
    named = any("place of chroma" in text for text in said)
    if codec == "prores":  # 4:2:2 lies on the left: moved
        assert info.siting in (None, "left")
        assert_same_colours(frames, target)
    elif named:
        assert info.siting != siting
    else:
        assert (info.siting or "left") == siting
        assert_same_colours(frames, target)
    if codec in ("h264", "h265", "ffv1"):
        assert not named


def equivalent(name: str | None) -> str | None:
    same = {"bt470bg": "smpte170m"}
    return same.get(name or "", name)


@pytest.mark.parametrize(("codec", "extension"), OUTPUTS)
@pytest.mark.parametrize("code", [code for code in MATRICES if code in (1, 4, 5, 6, 7, 8, 9)])
def test_matrices_are_carried_or_named(
    tmp_path: Path, codec: str, extension: str, code: int
) -> None:
    clip = smooth_clip(tmp_path / "in.mkv", "yuv420p", tags=(code, 2, 2, 1))
    target = tmp_path / f"out{extension}"
    info, frames, said = passed(clip, target, codec)
    if any("colour matrix" in text for text in said):
        assert equivalent(info.color.matrix) != equivalent(MATRICES[code])
    else:
        assert equivalent(info.color.matrix) == equivalent(MATRICES[code])
        assert_same_colours(frames, target)


@pytest.mark.parametrize("code", [8, 10, 14])
def test_full_range_of_a_matrix_ffmpeg_does_not_know_is_kept(tmp_path: Path, code: int) -> None:
    clip = make_clip(tmp_path / "in.mp4", pixel_format="yuvj444p", pts=2, tags=(code, 2, 2, 2))
    target = tmp_path / "out.mkv"
    info, frames, _ = passed(clip, target, "ffv1")
    assert (info.color.range, info.color.matrix) == ("pc", MATRICES[code])
    _, results = read_all(target)
    for frame, result in zip(frames, results, strict=True):
        source, written = frame.image.to_ndarray(), result.image.to_ndarray()
        assert (source == written).all()


@pytest.mark.parametrize(("codec", "extension"), OUTPUTS)
@pytest.mark.parametrize("kind", ["primaries", "transfer"])
def test_primaries_and_curves_are_carried_or_named(
    tmp_path: Path, codec: str, extension: str, kind: str
) -> None:
    names = PRIMARIES if kind == "primaries" else TRANSFERS
    for code, name in names.items():
        tags = (1, code, 2, 1) if kind == "primaries" else (1, 2, code, 1)
        clip = smooth_clip(tmp_path / f"in{code}.mkv", "yuv420p", tags=tags)
        target = tmp_path / f"out{code}{extension}"
        info, _, said = passed(clip, target, codec)
        words = {"primaries": "colour primaries", "transfer": "transfer function"}[kind]
        if not any(words in text for text in said):
            found = getattr(info.color, kind)
            curves = {name, "bt709"} if name in ("smpte170m", "bt2020-10", "bt2020-12") else {name}
            assert found in curves, f"{codec}: {kind} {name} became {found}, and nothing was said"


def test_what_the_header_says_of_colours_counts_where_frames_do_not(tmp_path: Path) -> None:
    """ProRes leaves them open here, and its decoder forgets what MOV says."""
    plain = make_clip(
        tmp_path / "plain.mov",
        codec="prores_ks",
        pixel_format="yuv422p10le",
        pts=2,
        tags=(9, 9, 18, 1),
    )
    with av.open(str(plain)) as container:
        assert next(container.decode(video=0)).color_primaries == 2
    for target, codec in (("out.mkv", "ffv1"), ("out.mp4", "h265"), ("out.mov", "prores")):
        info, _, _ = passed(plain, tmp_path / target, codec)
        color = probe(plain).color
        assert (color.matrix, color.primaries, color.transfer) == (
            "bt2020nc",
            "bt2020",
            "arib-std-b67",
        )
        assert (info.color.matrix, info.color.primaries) == (color.matrix, color.primaries)
        assert (info.color.transfer, info.hdr) == (color.transfer, "hlg")
