"""A file that stops in the middle of something is damaged, and one that was stopped is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest

from tests.video.boxes import boxes
from tests.video.media import make_clip, packets, pass_through, read_all
from unblur.errors import MediaError, UnblurWarning
from unblur.video import open_video
from unblur.video.ends import cut_short

FRAMES = 12
SMALL = {"g": "4", "qp": "30"}
FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"
EVEN = Fraction(1, 25)
KINDS: dict[str, dict[str, Any]] = {
    "fragments.mp4": {"options": SMALL, "muxer_options": {"movflags": FRAGMENTS}, "audio": "aac"},
    "sound.ts": {"options": SMALL, "audio": "aac"},
    "blu-ray.m2ts": {"options": SMALL},
    "moving.gif": {"codec": "gif", "pixel_format": "rgb8", "time_base": Fraction(1, 100)},
    "raw.y4m": {"codec": "rawvideo"},
    "odd.y4m": {"codec": "rawvideo", "pixel_format": "yuv422p", "size": (65, 49)},
    "disc.vob": {"codec": "mpeg2video", "time_base": EVEN, "audio": "mp2"},
    "old.mpg": {"codec": "mpeg1video", "time_base": EVEN},
    "pages.ogv": {"codec": "libvpx", "time_base": EVEN, "options": {"g": "4"}},
    "whole.mkv": {"options": SMALL},
    "live.mkv": {"options": SMALL, "muxer_options": {"live": "1"}, "audio": "aac"},
    "studio.mxf": {"codec": "mpeg2video", "time_base": EVEN},
    "stream.flv": {"options": SMALL, "time_base": Fraction(1, 1000)},
    "camera.mjpeg": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
}
CLUSTER = b"\x1f\x43\xb6\x75"
Clips = Callable[[str], Path]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Clips by name, each made once."""
    folder = tmp_path_factory.mktemp("clips")

    @cache
    def made(name: str) -> Path:
        return make_clip(folder / name, pts=FRAMES, **KINDS[name])

    return made


def damaged(path: Path) -> bool:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnblurWarning)
        read_all(path)
    return any("is damaged" in str(each.message) for each in said)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_cut_short_is_damaged(clips: Clips, tmp_path: Path, name: str) -> None:
    whole = clips(name)
    data = whole.read_bytes()
    assert len(read_all(whole, strict=True)[1]) == FRAMES
    assert not damaged(whole)
    short = tmp_path / name
    # Behind the last frame of fragments lies what FFmpeg writes to find them, of FLV an end mark.
    last = {"fragments.mp4": len(data) - data.rfind(b"mfra") + 5, "stream.flv": 60}.get(name, 1)
    for missing in (last, len(data) // 10 + 7, len(data) // 3 + 11):
        short.write_bytes(data[:-missing])
        assert damaged(short)
        with pytest.raises(MediaError, match="is damaged"), open_video(short, strict=True) as r:
            list(r)


@pytest.mark.parametrize(
    "pixel_format",
    ["yuv420p", "yuv411p", "yuv444p", "gray", "yuva444p", "yuv420p9", "yuv444p16", "gray10"],
)
def test_frames_of_y4m_are_counted(tmp_path: Path, pixel_format: str) -> None:
    clip = tmp_path / "in.y4m"
    with av.open(str(clip), "w", options={"strict": "-1"}) as out:
        stream: Any = out.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 65, 49, pixel_format
        for n in range(2):
            frame = av.VideoFrame(65, 49, pixel_format)
            frame.pts, frame.time_base = n, EVEN
            out.mux(stream.encode(frame))
    with av.open(str(clip)) as container:
        assert cut_short(clip, container) is None
        clip.write_bytes(clip.read_bytes()[:-1])
        assert "its last frame has" in (cut_short(clip, container) or "")


def test_an_index_of_fragments_tells_of_those_that_are_missing(tmp_path: Path) -> None:
    options = {"movflags": f"{FRAGMENTS}+global_sidx"}
    clip = make_clip(tmp_path / "in.mp4", pts=FRAMES, options=SMALL, muxer_options=options)
    data, at, ends = clip.read_bytes(), 0, []
    assert len(read_all(clip, strict=True)[1]) == FRAMES
    for kind, content in boxes(data):
        at += 8 + len(content)
        ends += [at] if kind == "mdat" else []
    clip.write_bytes(data[: ends[1]])
    with pytest.raises(MediaError, match="bytes that its index counts"):
        read_all(clip, strict=True)


def test_a_recording_that_was_stopped_is_whole(clips: Clips, tmp_path: Path) -> None:
    """Between two fragments, blocks or packets nothing says that more was to come."""
    stopped = tmp_path / "stopped.mp4"
    data, at, ends = clips("fragments.mp4").read_bytes(), 0, []
    for kind, content in boxes(data):
        at += 8 + len(content)
        ends += [at] if kind == "mdat" else []
    stopped.write_bytes(data[: ends[-2]])
    assert len(read_all(stopped, strict=True)[1]) < FRAMES
    for name, before in (("sound.ts", 0), ("live.mkv", 3)):
        data = endless(clips(name).read_bytes())
        with av.open(str(clips(name))) as container:
            places = [packet.pos - before for packet in container.demux(video=0) if packet.size]
        stopped = tmp_path / name
        stopped.write_bytes(data[: places[-2]])
        assert data[places[-2]] == (0xA3 if before else 0x47)  # where a block or packet begins
        assert not damaged(stopped)


def endless(data: bytes) -> bytes:
    """With clusters of Matroska that do not say how long they are, as browsers record them."""
    at = data.find(CLUSTER)
    while at >= 0:
        width = 9 - data[at + 4].bit_length()
        unknown = ((1 << 7 * width + 1) - 1).to_bytes(width, "big")
        data = data[: at + 4] + unknown + data[at + 4 + width :]
        at = data.find(CLUSTER, at + 4)
    return data


@pytest.mark.parametrize("name", ["sound.ts", "moving.gif", "whole.mkv", "old.mpg"])
def test_what_lies_behind_the_end_is_no_damage(clips: Clips, tmp_path: Path, name: str) -> None:
    padded = tmp_path / name
    padded.write_bytes(clips(name).read_bytes() + bytes(300))
    assert not damaged(padded)


@pytest.mark.parametrize("name", ["whole.mkv", "live.mkv"])
def test_files_of_matroska_behind_each_other_are_read_on(
    clips: Clips, tmp_path: Path, name: str
) -> None:
    joined, out = tmp_path / name, tmp_path / "out.mkv"
    joined.write_bytes(2 * clips(name).read_bytes())
    with pytest.warns(UnblurWarning, match="2 files lie in it, one behind the other"):
        times = [frame.time for frame in read_all(joined, strict=True)[1]]
    assert times == [n * EVEN for n in range(2 * FRAMES)]
    with pytest.warns(UnblurWarning, match="one behind the other"):
        pass_through(joined, out)
    assert len(read_all(out)[1]) == 2 * FRAMES
    if name == "live.mkv":  # sound and frames keep together
        before, both = packets(clips(name), "audio"), packets(out, "audio")
        times = [time for time, _ in both if time is not None]
        assert [data for _, data in both] == 2 * [data for _, data in before]
        assert abs(times[len(before)] - times[0] - FRAMES * EVEN) < Fraction(1024, 48000)


@pytest.mark.parametrize("name", ["whole.mp4", "stream.flv"])
def test_a_file_behind_another_that_is_not_read_is_named(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / name, pts=FRAMES, time_base=Fraction(1, 1000), options=SMALL)
    joined = tmp_path / f"joined-{name}"
    joined.write_bytes(2 * clip.read_bytes())
    with pytest.warns(UnblurWarning, match="another file lies behind it"):
        read_all(joined)
