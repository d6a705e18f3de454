"""What a file does not hold any more is noticed, also where FFmpeg steps over it without a word."""

from __future__ import annotations

import hashlib
import random
import warnings
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from tests.video.media import VFR, make_clip, pass_through, read_all
from unblur.errors import MediaError, UnblurWarning
from unblur.video import open_video
from unblur.video.holes import ogg_holes

FRAMES = 60
KINDS = {
    "h264.mkv": ("libx264", {"g": "15", "qp": "30"}),
    "h265.mkv": ("libx265", {"x265-params": "keyint=15:log-level=none"}),
    "vp9.webm": ("libvpx-vp9", {"g": "15", "cpu-used": "8"}),
    "ffv1.mkv": ("ffv1", {}),
    "vp8.ogv": ("libvpx", {"g": "15", "cpu-used": "8", "auto-alt-ref": "0"}),
    "h264.nut": ("libx264", {"g": "15", "qp": "30"}),
    "h264.flv": ("libx264", {"g": "15", "qp": "30"}),
    "wmv.wmv": ("wmv2", {"b": "3000000"}),
}


def clip_of(folder: Path, kind: str, pts: int | list[int] = FRAMES) -> Path:
    codec, options = KINDS[kind]
    base = Fraction(1, 25) if kind in ("vp8.ogv", "wmv.wmv") else Fraction(1, 1000)
    path = folder / kind
    if not isinstance(pts, int):
        base = Fraction(1, 1000)
    return make_clip(path, codec=codec, options=options, pts=pts, time_base=base)


def with_hole(path: Path, zeros: bool) -> Path:
    """The file with a part of it overwritten that lies in its middle."""
    data = bytearray(path.read_bytes())
    size = min(12_000, len(data) // 5)
    at = len(data) // 2
    data[at : at + size] = bytes(size) if zeros else random.Random(1).randbytes(size)
    damaged = path.with_name(f"hole-{zeros:d}-{path.name}")
    damaged.write_bytes(data)
    return damaged


@pytest.mark.parametrize("kind", KINDS)
def test_frames_that_fell_into_a_hole_are_counted(tmp_path: Path, kind: str) -> None:
    clip = clip_of(tmp_path, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnblurWarning)
        assert len(read_all(clip)[1]) == FRAMES  # a whole file is none the wiser
    for zeros in (False, True):
        damaged = with_hole(clip, zeros)
        with open_video(damaged) as reader, pytest.warns(UnblurWarning, match="missing from it"):
            times = [frame.time for frame in reader]
        assert times == sorted(times)
        assert len(times) < FRAMES <= len(times) + reader.decode_failures + 1
        with pytest.raises(MediaError, match="is damaged"), open_video(damaged, strict=True) as r:
            list(r)


@pytest.mark.parametrize("kind", ["h264.mkv", "vp9.webm", "h264.nut"])
def test_steps_that_a_camera_made_are_no_holes(tmp_path: Path, kind: str) -> None:
    clip = clip_of(tmp_path, kind, [tick // 90 for tick in VFR])
    with open_video(clip, strict=True) as reader:
        assert len(list(reader)) == len(VFR)


def test_zeros_in_a_frame_of_h265_are_noticed(tmp_path: Path) -> None:
    codec, options = KINDS["h265.mkv"]
    clip = make_clip(tmp_path / "h265.mp4", codec=codec, options=options, pts=FRAMES)
    with av.open(str(clip)) as container:
        frame = [bytes(packet) for packet in container.demux(video=0)][FRAMES // 2]
    data = bytearray(clip.read_bytes())
    at = data.index(frame) + len(frame) // 2
    data[at : at + 20] = bytes(20)
    clip.write_bytes(data)
    with open_video(clip) as reader, pytest.warns(UnblurWarning, match="overwritten with zeros"):
        list(reader)


def with_noise(path: Path, number: int, size: int) -> Path:
    """The file with random bytes in mid-frame: no demuxer is the wiser."""
    with av.open(str(path)) as container:
        frame = [bytes(packet) for packet in container.demux(video=0)][number]
    data = bytearray(path.read_bytes())
    at = data.index(frame) + len(frame) // 2
    data[at : at + size] = random.Random(2).randbytes(size)
    damaged = path.with_name(f"noise-{path.name}")
    damaged.write_bytes(data)
    return damaged


@pytest.mark.parametrize("kind", ["h265.mkv", "h264.mkv"])
def test_matroska_that_was_altered_is_damaged(tmp_path: Path, kind: str) -> None:
    damaged = with_noise(clip_of(tmp_path, kind), FRAMES // 2, 8)
    with open_video(damaged) as reader, pytest.warns(UnblurWarning, match="was altered"):
        list(reader)
    with pytest.raises(MediaError, match="was altered"), open_video(damaged, strict=True) as r:
        list(r)


@pytest.mark.parametrize("between", ["1", "5"])
@pytest.mark.parametrize("number", [0, 8])
def test_damaged_frames_of_ffv1_are_left_out(tmp_path: Path, between: str, number: int) -> None:
    """FFmpeg shows what was in memory in place of damaged parts; MP4 has no checksums itself."""
    options = {"level": "3", "slicecrc": "1", "g": between}
    clip = make_clip(tmp_path / "a.mp4", codec="ffv1", options=options, pts=20)
    damaged = with_noise(clip, number, 4)
    with open_video(damaged) as reader, pytest.warns(UnblurWarning, match="left out"):
        times = [frame.time for frame in reader]
    whole = read_all(clip)[1]
    until = number + 1 if between == "1" else 5 * (number // 5 + 1)  # to the next key frame
    assert times == [frame.time for n, frame in enumerate(whole) if not number <= n < until]


def test_h265_without_container_names_missing_references(tmp_path: Path) -> None:
    codec, options = KINDS["h265.mkv"]
    whole = make_clip(tmp_path / "whole.hevc", codec=codec, options=options, pts=FRAMES)
    with av.open(str(whole)) as source:
        packets = [bytes(packet) for packet in source.demux(video=0)]
    raw = tmp_path / "raw.hevc"
    raw.write_bytes(b"".join(packets[:16] + packets[20:]))
    with open_video(raw) as reader, pytest.warns(UnblurWarning) as said:
        list(reader)
    assert any("leans on one that is missing" in str(each.message) for each in said)


def test_pages_of_ogg_are_checked(tmp_path: Path) -> None:
    clip = Path(__file__).with_name("theora.ogv")
    assert ogg_holes(clip) == 0
    data = bytearray(clip.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = tmp_path / "damaged.ogv"
    damaged.write_bytes(data)
    assert ogg_holes(damaged) > 0
    damaged.write_bytes(b"")
    assert ogg_holes(damaged) == 0


@pytest.mark.parametrize("audio", [None, "aac"])
def test_a_clock_that_begins_below_zero_is_counted_back(tmp_path: Path, audio: str | None) -> None:
    """Matroska's demuxer gives no times below zero."""
    clip = make_clip(
        tmp_path / "late.mkv",
        pts=[40 * n - 500 for n in range(30)],
        time_base=Fraction(1, 1000),
        options={"bf": "3"},
        audio=audio,
        muxer_options={"avoid_negative_ts": "disabled"},
    )
    with pytest.warns(UnblurWarning, match="counted back"), open_video(clip) as reader:
        times = [frame.time for frame in reader]
    assert len(times) == 30
    assert {b - a for a, b in pairwise(times)} == {Fraction(1, 25)}


@pytest.mark.parametrize("kind", ["h264.mkv", "h265.mkv", "ffv1.mkv"])
def test_a_damaged_file_gives_the_same_frames_at_every_run(tmp_path: Path, kind: str) -> None:
    damaged = with_hole(clip_of(tmp_path, kind), zeros=False)

    def digest() -> str:
        found = hashlib.sha256()
        with warnings.catch_warnings(), open_video(damaged) as reader:
            warnings.simplefilter("ignore", UnblurWarning)
            for frame in reader:
                found.update(frame.image.to_ndarray().tobytes())
        return found.hexdigest()

    assert len({digest() for _ in range(4)}) == 1


@pytest.mark.parametrize("container", ["mp4", "ts", "hevc"])
def test_any_other_byte_in_h265_with_checksums_is_noticed(tmp_path: Path, container: str) -> None:
    """In each container; what unblur writes has checksums."""
    source = make_clip(tmp_path / "in.mkv", pts=FRAMES)
    pass_through(source, tmp_path / "out.mp4", codec="h265")
    options = {"x265-params": "keyint=15:log-level=none:hash=1"}
    made = {"mp4": tmp_path / "out.mp4"}
    for kind in ("ts", "hevc"):
        path = tmp_path / f"clip.{kind}"
        made[kind] = make_clip(path, codec="libx265", options=options, pts=FRAMES)
    whole = made[container]
    with warnings.catch_warnings(), open_video(whole) as reader:
        warnings.simplefilter("error")
        count = len(list(reader))
    with av.open(str(whole)) as opened:
        packets = [p for p in opened.demux(video=0) if p.size]
    data = whole.read_bytes()
    draw = random.Random(0)
    for packet in packets[1:12:3]:
        middle = bytes(packet)[packet.size // 2 : packet.size // 2 + 12]
        at = data.find(middle)
        assert at > 0
        bad = tmp_path / f"bad{whole.suffix}"
        bad.write_bytes(data[: at + 3] + draw.randbytes(5) + data[at + 8 :])
        with open_video(bad) as reader, pytest.warns(UnblurWarning, match="damaged"):
            assert len(list(reader)) >= count - 12
        with pytest.raises(MediaError), open_video(bad, strict=True) as reader:
            list(reader)
