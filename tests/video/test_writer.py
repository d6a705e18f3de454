"""Frames that were not touched come out of a written file as they went in."""

from __future__ import annotations

import itertools
import re
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from tests.video.media import MIRRORED, ROTATED, VFR, make_clip, pass_through, read_all, same
from unblur.errors import UnblurWarning, UsageError
from unblur.video import ColorTags, create_video, probe
from unblur.video.codecs import CONTAINERS, choose, losses, lost
from unblur.video.losses import remedy
from unblur.video.segments import Segments

FORMATS = [
    *("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    *("yuv420p12le", "yuv444p12le", "yuv444p16le", "yuva420p", "yuva444p10le"),
    *("gray", "gray10le", "gray16le", "bgr0", "bgra", "gbrp10le", "gbrp12le", "gbrp16le"),
    *("gbrap10le", "rgb48le", "rgba64le", "yuv411p", "yuv440p", "ya8"),
]


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("extension", [".mkv", ".mp4"])
def test_ffv1_keeps_every_bit(tmp_path: Path, pixel_format: str, extension: str) -> None:
    clip = make_clip(
        tmp_path / "in.mkv", codec="ffv1", pixel_format=pixel_format, size=(50, 38), pts=3
    )
    out = tmp_path / f"out{extension}"
    _, frames = pass_through(clip, out, codec="ffv1")
    info, results = read_all(out)
    assert info.pixel_format == frames[0].image.format.name
    assert len(results) == 3
    for before, after in zip(frames, results, strict=True):
        assert before.time == after.time
        assert same(before.image, after.image)


@pytest.mark.parametrize(
    ("codec", "pixel_format", "extension"),
    [
        ("qtrle", "rgb24", ".mov"),
        ("png", "rgb24", ".mov"),
        ("png", "rgba", ".mov"),
        ("png", "rgb48be", ".mov"),
        ("utvideo", "gbrp", ".avi"),
        ("mjpeg", "yuvj420p", ".mov"),
        ("mjpeg", "yuvj444p", ".mkv"),
        ("libx264", "yuv420p", ".mp4"),
        ("libx264", "yuv444p10le", ".mkv"),
        ("libx265", "yuv420p12le", ".mp4"),
        ("libx265", "gbrp", ".mp4"),
        ("prores_ks", "yuva444p10le", ".mov"),
        ("libvpx-vp9", "yuva420p", ".webm"),
        ("rawvideo", "nv12", ".mkv"),
        ("v210", "yuv422p10le", ".mov"),
    ],
)
def test_any_source_keeps_every_bit_through_ffv1(
    tmp_path: Path, codec: str, pixel_format: str, extension: str
) -> None:
    clip = make_clip(
        tmp_path / f"in{extension}", codec=codec, pixel_format=pixel_format, pts=3, size=(64, 48)
    )
    info, frames = pass_through(clip, tmp_path / "out.mkv", codec="ffv1")
    result, results = read_all(tmp_path / "out.mkv")
    assert result.bit_depth == info.bit_depth
    assert result.has_alpha == info.has_alpha == ("a" in pixel_format)
    for before, after in zip(frames, results, strict=True):
        image = after.image
        if before.image.format.name.startswith("yuvj"):
            assert result.color.range == "pc"
            name = before.image.format.name
            image = image.reformat(format=name, src_color_range=2, dst_color_range=2)
        assert same(before.image, image)


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 16), (16, 8), (17, 3), (641, 359), (3, 300), (33, 31)]
)
@pytest.mark.parametrize("extension", [".mkv", ".mp4"])
def test_ffv1_takes_any_size(tmp_path: Path, size: tuple[int, int], extension: str) -> None:
    clip = make_clip(
        tmp_path / "in.mkv", codec="rawvideo", pixel_format="yuv420p", size=size, pts=2
    )
    _, frames = pass_through(clip, tmp_path / f"out{extension}", codec="ffv1")
    info, results = read_all(tmp_path / f"out{extension}")
    assert (info.width, info.height) == size
    assert all(same(a.image, b.image) for a, b in zip(frames, results, strict=True))


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("times", [VFR, [t + 123480 for t in VFR]], ids=["from 0", "late"])
def test_timestamps_are_kept(tmp_path: Path, extension: str, times: list[int]) -> None:
    clip = make_clip(tmp_path / "in.mp4", pts=times)
    out = tmp_path / f"out{extension}"
    _, frames = pass_through(clip, out)
    assert [frame.pts for frame in frames] == list(times)
    _, results = read_all(out)
    # Matroska and WebM count in milliseconds; these times are whole ones.
    assert [frame.time for frame in results] == [Fraction(t, 90000) for t in times]


def test_matroska_rounds_to_the_nearest_millisecond(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", pts=[0, 3003, 6006, 9009])
    pass_through(clip, tmp_path / "out.mkv")
    _, results = read_all(tmp_path / "out.mkv")
    assert [frame.pts for frame in results] == [0, 33, 67, 100]


def test_times_too_close_for_the_container_are_moved_and_said(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", pts=[0, 3600, 3610, 3620, 7200])
    with pytest.warns(UnblurWarning, match="2 frames"):
        pass_through(clip, tmp_path / "out.mkv", codec="ffv1")
    _, results = read_all(tmp_path / "out.mkv")
    assert [frame.pts for frame in results] == [0, 40, 41, 42, 80]


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_negative_times_move_to_zero_with_the_sound(tmp_path: Path, extension: str) -> None:
    clip = make_clip(
        tmp_path / "in.mkv",
        codec="ffv1",
        pts=[-80, -40, 0, 40],
        time_base=Fraction(1, 1000),
        muxer_options={"avoid_negative_ts": "disabled"},
    )
    with pytest.warns(UnblurWarning, match="before zero"):
        _, frames = pass_through(clip, tmp_path / f"out{extension}", codec="ffv1")
    assert [frame.pts for frame in frames] == [-80, -40, 0, 40]
    _, results = read_all(tmp_path / f"out{extension}")
    assert [float(frame.time) for frame in results] == pytest.approx([0, 0.04, 0.08, 0.12])


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("codec", ["ffv1", "h264"])
def test_rotation_flag_is_kept_and_pixels_stay(tmp_path: Path, extension: str, codec: str) -> None:
    if (codec, extension) == ("ffv1", ".mov"):
        pytest.skip("MOV takes no FFV1")
    clip = make_clip(tmp_path / "in.mp4", matrix=ROTATED)
    info, frames = pass_through(clip, tmp_path / f"out{extension}", codec=codec)
    result, results = read_all(tmp_path / f"out{extension}")
    assert (info.rotation, info.width, info.height) == (90, 64, 48)
    assert (result.rotation, result.width, result.height) == (90, 64, 48)
    if codec == "ffv1":
        assert all(same(a.image, b.image) for a, b in zip(frames, results, strict=True))


def test_mirror_flag_is_kept_or_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", matrix=MIRRORED)
    pass_through(clip, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").display_matrix == MIRRORED
    with pytest.raises(UsageError, match="mirror"):
        pass_through(clip, tmp_path / "out.mkv")


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(399, 400), Fraction(16, 15)])
@pytest.mark.parametrize(
    ("extension", "codec"),
    [(".mp4", "ffv1"), (".mp4", "h264"), (".mkv", "ffv1"), (".mkv", "h264"), (".webm", "vp9")],
)
def test_pixel_aspect_ratio_is_kept(
    tmp_path: Path, aspect: Fraction, extension: str, codec: str
) -> None:
    clip = make_clip(
        tmp_path / "in.mp4", aspect=aspect, size=(50, 34), pts=3, metadata={"title": "A"}
    )
    assert probe(clip).sample_aspect_ratio == aspect
    pass_through(clip, tmp_path / f"out{extension}", codec=codec)
    assert probe(tmp_path / f"out{extension}").sample_aspect_ratio == aspect
    with av.open(str(tmp_path / f"out{extension}")) as container:
        assert not container.streams.video[0].metadata.get("title")
        assert sum(1 for _ in container.decode(video=0)) == 3


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "ffv1", "prores"])
@pytest.mark.parametrize(
    "tags", [(1, 1, 1, 1), (9, 9, 16, 1), (9, 9, 18, 1), (5, 5, 6, 1)], ids=str
)
def test_colour_tags_are_kept(tmp_path: Path, codec: str, tags: tuple[int, int, int, int]) -> None:
    clip = make_clip(
        tmp_path / "in.mp4", codec="libx265", pixel_format="yuv422p10le", tags=tags, pts=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)
        pass_through(clip, tmp_path / "out.mkv", codec=codec)
    info = probe(tmp_path / "out.mkv")
    assert info.color == ColorTags.from_codes(*tags)
    assert info.color.codes() == tags
    assert info.hdr == {16: "pq", 18: "hlg"}.get(tags[2])


@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "ffv1"])
def test_hdr_metadata_is_kept_or_named(tmp_path: Path, codec: str, extension: str) -> None:
    if extension == ".webm" and codec not in ("av1", "vp9"):
        pytest.skip("WebM takes VP9 and AV1 only")
    hdr = (
        "lossless=1:log-level=none:max-cll=1000,400:master-display="
        "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    )
    clip = make_clip(
        tmp_path / "in.mkv",
        codec="libx265",
        pixel_format="yuv420p10le",
        tags=(9, 9, 16, 1),
        options={"x265-params": hdr},
        pts=3,
    )
    info = probe(clip)
    assert info.mastering_display is not None
    assert info.content_light == (1000, 400)
    out = tmp_path / f"out{extension}"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pass_through(clip, out, codec=codec)
    result = probe(out)
    if extension == ".mp4" and codec in ("vp9", "ffv1"):
        assert any("mastering display and content light" in str(w.message) for w in said)
        return
    assert result.content_light == (1000, 400)
    ours, theirs = info.mastering_display, result.mastering_display
    assert theirs is not None
    for name in ("primaries", "luminance"):
        wanted = [float(x) for x in getattr(ours, name)]
        assert [float(x) for x in getattr(theirs, name)] == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize(
    ("extension", "deep", "codec"),
    [
        (".mp4", False, "h264"),
        (".mp4", True, "hevc"),
        (".mkv", False, "h264"),
        (".mkv", True, "hevc"),
        (".mov", False, "prores"),
        (".webm", False, "vp9"),
    ],
)
def test_extension_chooses_the_codec(
    tmp_path: Path, extension: str, deep: bool, codec: str
) -> None:
    clip = make_clip(tmp_path / "in.mp4", pixel_format="yuv420p10le" if deep else "yuv420p")
    pass_through(clip, tmp_path / f"out{extension}")
    assert probe(tmp_path / f"out{extension}").codec == codec


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9"])
def test_default_quality_is_close_to_the_source(tmp_path: Path, codec: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", size=(128, 96), pts=5)
    _, frames = pass_through(clip, tmp_path / "good.mkv", codec=codec)
    pass_through(clip, tmp_path / "bad.mkv", codec=codec, crf=45)

    def error(path: Path) -> float:
        _, results = read_all(path)
        pairs = zip(frames, results, strict=True)
        return float(sum((a.rgb() - b.rgb()).square().mean() for a, b in pairs)) / len(frames)

    assert error(tmp_path / "good.mkv") < 6e-4  # 32 dB, of images that are mostly noise
    assert error(tmp_path / "good.mkv") < error(tmp_path / "bad.mkv") / 4


@pytest.mark.parametrize(
    ("pixel_format", "codec", "written", "lost"),
    [
        ("yuv444p10le", "av1", "yuv420p10le", "colour resolution"),
        ("yuv420p12le", "h264", "yuv420p10le", "bit depth"),
        ("yuva444p10le", "h265", "yuv444p10le", "alpha"),
        ("gbrp10le", "h264", "yuv444p10le", "RGB"),
        ("gray16le", "h265", "gray12le", "bit depth"),
    ],
)
def test_what_a_codec_cannot_hold_is_said(
    tmp_path: Path, pixel_format: str, codec: str, written: str, lost: str
) -> None:
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", pixel_format=pixel_format, pts=2)
    with pytest.warns(UnblurWarning, match=lost):
        pass_through(clip, tmp_path / "out.mkv", codec=codec)
    assert probe(tmp_path / "out.mkv").pixel_format == written


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_odd_sizes_become_444_where_420_is_refused(tmp_path: Path, codec: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", size=(65, 47), pts=2)
    with pytest.warns(UnblurWarning, match="odd size"):
        pass_through(clip, tmp_path / "out.mp4", codec=codec)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.pixel_format) == (65, 47, "yuv444p")


@pytest.mark.parametrize("width", [17, 33, 35])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le"])
def test_prores_keeps_chroma_of_the_last_odd_column(
    tmp_path: Path, width: int, pixel_format: str
) -> None:
    """FFmpeg's encoder does not read it in 4:2:2; at 16n + 1 columns it wrote anything there."""
    size = (width, 32)
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", size=size, pixel_format=pixel_format, pts=2)
    _, frames = pass_through(clip, tmp_path / "out.mov")
    written = read_all(tmp_path / "out.mov")[1]
    for before, after in zip(frames, written, strict=True):
        assert (before.rgb() - after.rgb())[..., -1].abs().max() < 0.1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_clips_shorter_than_x265_looks_ahead_are_written(tmp_path: Path, count: int) -> None:
    # What x265 says of their decoding times is whatever memory held: so more than once.
    for again in range(4):
        clip = make_clip(tmp_path / f"in{again}.mkv", codec="ffv1", pts=count)
        _, frames = pass_through(clip, tmp_path / f"out{again}.mp4", codec="h265")
        assert len(read_all(tmp_path / f"out{again}.mp4")[1]) == len(frames) == count


@pytest.mark.parametrize(("codec", "pts"), [("h265", 1), ("h265", 12), ("h264", VFR), ("vp9", 12)])
def test_decoding_times_come_from_the_frames_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, pts: int | tuple[int, ...]
) -> None:
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", pts=pts)
    pass_through(clip, tmp_path / "out.mp4", codec=codec)
    of_stream = Segments._of_stream

    def as_memory_held(self, packets):
        for packet in packets:  # possible, and not so
            packet.dts = packet.pts - 40
        return of_stream(self, packets)

    monkeypatch.setattr(Segments, "_of_stream", as_memory_held)
    pass_through(clip, tmp_path / "again.mp4", codec=codec)
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "out.mp4").read_bytes()
    with av.open(str(tmp_path / "out.mp4")) as file:
        packets = [packet for packet in file.demux() if packet.size]
    times = [packet.dts for packet in packets]
    assert times == sorted(set(times))
    assert all(packet.dts <= packet.pts for packet in packets)


def test_rgb_becomes_tagged_yuv_of_the_same_colours(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", pixel_format="bgr0", pts=2)
    with pytest.warns(UnblurWarning, match="RGB"):
        _, frames = pass_through(
            clip, tmp_path / "out.mp4", codec="h264", crf=0, pixel_format="yuv444p"
        )
    info, results = read_all(tmp_path / "out.mp4")
    assert info.pixel_format == "yuv444p"
    assert info.color.matrix is not None
    assert info.color.range == "tv"
    assert float((frames[0].rgb() - results[0].rgb()).abs().max()) < 0.02


def test_larger_frames_are_announced_by_scale(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", pts=2)
    _, frames = read_all(clip)
    with create_video(tmp_path / "out.mp4", probe(clip), scale=2) as writer:
        for frame in frames:
            rgb = frame.rgb().repeat_interleave(2, 1).repeat_interleave(2, 2)
            with pytest.raises(ValueError, match="not 128x96"):
                writer.write(frame)
            writer.write(frame.with_rgb(rgb))
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.frames) == (128, 96, 2)


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_the_same_frames_give_the_same_file(tmp_path: Path, extension: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", audio="aac")
    for name in ("a", "b"):
        pass_through(clip, tmp_path / f"{name}{extension}")
    first, second = ((tmp_path / f"{name}{extension}").read_bytes() for name in "ab")
    assert first == second


def test_writing_leaves_the_frames_as_they_were(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    _, frames = read_all(clip)
    before = [(f.pts, f.image.pts, f.image.time_base, f.image.pict_type) for f in frames]
    with create_video(tmp_path / "out.mkv", probe(clip)) as writer:
        for frame in frames:
            writer.write(frame)
    after = [(f.pts, f.image.pts, f.image.time_base, f.image.pict_type) for f in frames]
    assert before == after


SOURCES = (
    *("gray10le", "gray16le", "ya8", "yuv422p", "yuv444p", "yuv411p", "yuv440p", "bgr0"),
    *("yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv444p16le"),
    *("yuva420p", "yuva444p10le", "gbrp", "gbrp10le", "rgb48le", "rgba", "rgba64le", "gbrpf32le"),
)


@pytest.mark.parametrize("extension", list(CONTAINERS))
def test_hints_name_the_best_codec_that_the_container_takes(extension: str) -> None:
    """For each codec and source: what the hint says is taken, loses less, and no other loses less.

    The order of losses: alpha, colour, colour resolution, bits, RGB.
    """
    container = CONTAINERS[extension]
    for key, source in itertools.product(container.codecs, SOURCES):
        choice = choose([key], source, 96, 64, container=container)
        now = lost(source, choice.pixel_format)
        info: Any = SimpleNamespace(pixel_format=source)
        hint = remedy(info, choice, container, extension, (96, 64))
        offers = []
        for other in container.codecs:
            finest = choose([other], source, 96, 64, container=replace(container, muxer=""))
            offers.append(lost(source, finest.pixel_format))
        better = [
            offer
            for offer in offers
            if offer != now and all(a <= b for a, b in zip(offer, now, strict=True))
        ]
        case = f"{source} as {key} in {extension}: {hint}"
        if not better:
            assert hint.startswith("; .mkv with --codec ffv1") or hint == "", case
            continue
        codec = re.search(r"--codec (\w+)", hint)
        name = re.search(r"--pixel-format (\w+)", hint)
        advised = choose(
            [codec[1] if codec else key], source, 96, 64, container=container,
            wanted=name[1] if name else None,
        )  # fmt: skip
        assert not hint.startswith("; .mkv"), case
        assert lost(source, advised.pixel_format)[:4] == min(better)[:4], case
        assert ("everything" in hint) == (not losses(source, advised.pixel_format)), case


@pytest.mark.parametrize(
    ("source", "codec", "extension", "hint"),
    [
        ("yuv420p10le", "vp9", ".mp4", "--codec h265 keeps everything"),
        ("yuv420p10le", "vp9", ".mkv", "--codec h265 keeps everything"),
        ("yuv420p10le", "vp9", ".webm", "--codec av1 keeps everything"),
        ("yuv444p10le", "vp9", ".webm", ".mkv with --codec ffv1 keeps everything"),
        ("yuv444p12le", "prores", ".mov", "--codec h265 keeps everything"),
        ("yuva420p", "h264", ".mp4", "--codec ffv1 keeps everything"),
        ("yuva420p", "h264", ".mkv", "--codec vp9 keeps everything"),
        ("yuva420p", "vp9", ".mp4", "--codec ffv1 keeps everything"),
        ("bgr0", "av1", ".mp4", "--codec h265 --pixel-format gbrp keeps everything"),
        ("bgr0", "h264", ".mp4", "--pixel-format yuv444p keeps more"),
    ],
)
def test_hints(source: str, codec: str, extension: str, hint: str) -> None:
    container = CONTAINERS[extension]
    choice = choose([codec], source, 96, 64, container=container)
    info: Any = SimpleNamespace(pixel_format=source)
    assert hint in remedy(info, choice, container, extension, (96, 64))


@pytest.mark.parametrize("pixel_format", ["yuva420p", "yuv440p"])
def test_vp9_in_mp4_takes_what_can_be_read(tmp_path: Path, pixel_format: str) -> None:
    """Alpha would be left out without a word, and a file with 4:4:0 could not be opened."""
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", pixel_format=pixel_format, pts=2)
    out = tmp_path / "out.mp4"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnblurWarning)
        pass_through(clip, out, codec="vp9")
    assert len(read_all(out)[1]) == 2
    assert ["alpha" in str(each.message) for each in said] == [True] * (pixel_format == "yuva420p")
    with pytest.raises(UsageError, match="cannot be written as"):
        pass_through(clip, tmp_path / "no.mp4", codec="vp9", pixel_format=pixel_format)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (66, 64)])
def test_narrow_video_in_h265_is_what_its_checksums_say(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """With a single column of its usual blocks x265 encodes other frames than it believes."""
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", size=size)
    pass_through(clip, tmp_path / "out.mkv", codec="h265")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnblurWarning)
        assert len(read_all(tmp_path / "out.mkv", strict=True)[1]) == 12
