"""A file appears under its name when it is complete, and what was there before stays until then."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.video.media import make_clip, pass_through, read_all
from unblur.errors import MediaError, ResourceError, UsageError
from unblur.video import create_video, open_video, probe
from unblur.video.codecs import CODECS, Codec, choose


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return make_clip(tmp_path / "in" / "clip.mp4", audio="aac")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def create(path: Path, clip: Path, **options: Any) -> Any:
    return create_video(path, probe(clip), source=clip, **options)


def test_an_existing_file_is_kept_without_overwrite(clip: Path, folder: Path) -> None:
    (folder / "a.mp4").write_text("precious")
    with pytest.raises(UsageError, match="--overwrite"):
        create(folder / "a.mp4", clip)
    assert (folder / "a.mp4").read_text() == "precious"
    assert os.listdir(folder) == ["a.mp4"]


def test_an_existing_file_is_replaced_only_when_the_new_one_is_complete(
    clip: Path, folder: Path
) -> None:
    target = folder / "a.mp4"
    target.write_text("precious")
    _, frames = read_all(clip)
    with create(target, clip, overwrite=True) as writer:
        for frame in frames:
            writer.write(frame)
        assert target.read_text() == "precious"
    assert probe(target).frames == len(frames)
    assert os.listdir(folder) == ["a.mp4"]


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink", "dots"])
def test_the_input_is_never_the_output(clip: Path, folder: Path, link: str) -> None:
    before = clip.read_bytes()
    target = {"same": clip, "dots": folder / ".." / "in" / clip.name}.get(link, folder / "a.mp4")
    if link == "symlink":
        target.symlink_to(clip)
    elif link == "hardlink":
        os.link(clip, target)
    with pytest.raises(UsageError, match="input itself"):
        create(target, clip, overwrite=True)
    assert clip.read_bytes() == before


def test_a_link_as_output_stays_a_link(clip: Path, folder: Path) -> None:
    (folder / "real.mp4").write_text("old")
    (folder / "link.mp4").symlink_to("real.mp4")
    pass_through(clip, folder / "link.mp4", overwrite=True)
    assert (folder / "link.mp4").is_symlink()
    assert probe(folder / "real.mp4").frames == 12


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("missing/a.mp4", {}, "does not exist"),
        ("a.xyz", {}, "'.xyz'"),
        ("a", {"codec": "h264"}, "without an extension"),
        ("a.mp4", {"codec": "h266"}, "unknown codec 'h266'"),
        ("a.mov", {"codec": "ffv1"}, ".mov cannot hold ffv1: write one of .mp4 .mkv"),
        ("a.webm", {"codec": "h264"}, ".webm cannot hold h264"),
        ("a.mp4", {"crf": 99}, "--crf 99 is outside"),
        ("a.mkv", {"codec": "ffv1", "crf": 10}, "no --crf"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(
    clip: Path, folder: Path, name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        create(folder / name, clip, **options)
    assert os.listdir(folder) == []


def test_a_folder_that_cannot_be_written_to_is_refused(clip: Path, folder: Path) -> None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        readonly = Path("/proc/self")
    else:
        readonly = folder
        readonly.chmod(0o500)
    if not readonly.is_dir():
        pytest.skip("no folder that refuses root")
    with pytest.raises(UsageError, match="cannot write in"):
        create(readonly / "a.mp4", clip)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize("written", [0, 1, 5])
def test_leaving_by_an_exception_leaves_nothing(
    clip: Path, folder: Path, error: type[BaseException], written: int
) -> None:
    (folder / "a.mp4").write_text("precious")
    _, frames = read_all(clip)

    def run() -> None:
        with create(folder / "a.mp4", clip, overwrite=True) as writer:
            for frame in frames[:written]:
                writer.write(frame)
            raise error

    with pytest.raises(error):
        run()
    assert os.listdir(folder) == ["a.mp4"]
    assert (folder / "a.mp4").read_text() == "precious"


def test_a_video_without_frames_is_not_written(clip: Path, folder: Path) -> None:
    with pytest.raises(MediaError, match="no frames"), create(folder / "a.mp4", clip):
        pass
    assert os.listdir(folder) == []


@pytest.mark.parametrize("when", ["write", "close"])
def test_a_full_disk_leaves_nothing(
    clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    _, frames = read_all(clip)

    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def run() -> None:
        with create(folder / "a.mkv", clip, codec="ffv1") as writer:
            writer.write(frames[0])
            if when == "write":
                monkeypatch.setattr(writer, "_mux", no_space)
            else:
                monkeypatch.setattr(os, "fsync", no_space)
            writer.write(frames[1])

    with pytest.raises(ResourceError, match=r"No space left.*free some space"):
        run()
    assert os.listdir(folder) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
@pytest.mark.parametrize("codec", ["ffv1", "h264"])
@pytest.mark.parametrize("limit", [600, 60_000, 210_000])
def test_a_file_that_may_not_grow_leaves_nothing(
    tmp_path: Path, folder: Path, codec: str, limit: int
) -> None:
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", size=(128, 96), pts=30)
    script = (
        "import resource, signal, sys\n"
        "from unblur.video import create_video, open_video\n"
        "from unblur.errors import ResourceError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n"
        "    with open_video(sys.argv[1]) as r:\n"
        f"        with create_video(sys.argv[2], r.info, codec={codec!r}, crf={{}}) as w:\n"
        "            for f in r: w.write(f)\n"
        "except ResourceError as error:\n"
        "    print(error)\n"
        "    sys.exit(4)\n"
    ).format(None if codec == "ffv1" else 1)
    result = subprocess.run(
        [sys.executable, "-c", script, str(clip), str(folder / "a.mkv")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, "File too large" in result.stdout) == (4, True), result
    assert os.listdir(folder) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")
def test_ctrl_c_leaves_nothing(tmp_path: Path, clip: Path, folder: Path) -> None:
    script = (
        "import sys, time\n"
        "from unblur.video import create_video, open_video\n"
        "with open_video(sys.argv[1]) as r, create_video(sys.argv[2], r.info) as w:\n"
        "    for f in r:\n"
        "        w.write(f)\n"
        "        print('.', flush=True)\n"
        "        time.sleep(0.2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(clip), str(folder / "a.mp4")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    assert len(os.listdir(folder)) == 1
    assert os.listdir(folder)[0].startswith(".a.")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    process.stdout.close()
    assert os.listdir(folder) == []


def test_an_encoder_that_is_not_built_in_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "h264", Codec("libnothere"))
    with pytest.raises(ResourceError, match=r"lacks the encoder libnothere: install PyAV"):
        choose(["h264"], "yuv420p", 64, 48)
    assert choose(["h264", "h265"], "yuv420p", 64, 48).key == "h265"


def test_sizes_that_an_encoder_refuses_are_named() -> None:
    with pytest.raises(UsageError, match="h265 cannot hold frames of 3x3 pixels"):
        choose(["h265"], "yuv420p", 3, 3)


def test_a_file_that_came_to_exist_meanwhile_is_kept(clip: Path, folder: Path) -> None:
    _, frames = read_all(clip)
    writer = create(folder / "a.mp4", clip)
    writer.write(frames[0])
    (folder / "a.mp4").write_text("precious")
    with pytest.raises(UsageError, match="came to exist"):
        writer.close()
    assert (folder / "a.mp4").read_text() == "precious"
    assert os.listdir(folder) == ["a.mp4"]


def test_nothing_is_left_open(clip: Path, folder: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(3):
        pass_through(clip, folder / f"{number}.mkv")
        with pytest.raises(UsageError):
            create(folder / f"{number}.mkv", clip)
        with pytest.raises(UsageError):
            open_video(clip, start="f99")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """Half as many frames more, with sound beside them, in the same memory.

    From the second segment on there are two encoders: that of the header stays.
    """
    if sys.platform != "linux":
        pytest.skip("measures with Linux's counters")
    script = (
        "import sys\n"
        "from unblur.video import create_video, open_video\n"
        "with open_video(sys.argv[1]) as r:\n"
        "    with create_video(sys.argv[2], r.info, source=sys.argv[1], codec='ffv1') as w:\n"
        "        for f in r:\n"
        "            w.write(f)\n"
        "            if f.index in (599, 899):\n"
        "                print(int(open('/proc/self/statm').read().split()[1]) * 4096)\n"
    )
    clip = make_clip(tmp_path / "in.mp4", pts=900, size=(160, 120), audio="aac")
    out = subprocess.run(
        [sys.executable, "-c", script, str(clip), str(tmp_path / "out.mkv")],
        capture_output=True,
        text=True,
        check=True,
    )
    early, late = (int(line) for line in out.stdout.split())
    assert late < early + 2**22  # 300 more frames are 9 MB


def test_a_link_to_itself_is_refused_before_anything_is_done(clip: Path, folder: Path) -> None:
    (folder / "loop.mkv").symlink_to("loop.mkv")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="a link to itself"):
            create_video(folder / "loop.mkv", probe(clip), overwrite=overwrite)


@pytest.mark.parametrize("target", ["out.webm", "out.mkv", "out.mp4"])
def test_a_rate_beyond_the_clock_is_not_believed(tmp_path: Path, target: str) -> None:
    """As Matroska may claim it; libvpx would refuse the first frame."""
    clip = make_clip(tmp_path / "in.mkv", pts=10)
    data = clip.read_bytes()
    claimed = b"\x23\xe3\x83\x84" + (40_000_000).to_bytes(4, "big")  # nanoseconds of a frame
    assert data.count(claimed) == 1
    clip.write_bytes(data.replace(claimed, claimed[:4] + (33_333).to_bytes(4, "big")))
    assert probe(clip).frame_rate == 25
    _, frames = pass_through(clip, tmp_path / target, codec="vp9")
    _, results = read_all(tmp_path / target)
    assert (
        [f.time for f in frames]
        == [f.time for f in results]
        == [Fraction(n, 25) for n in range(10)]
    )
