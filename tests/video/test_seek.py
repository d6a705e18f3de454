"""Every start gives the bits that decoding from the beginning gives."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import unblur.video.reader as reader_module
from tests.video.media import samples
from unblur.video import open_video

KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "open GOP": ("libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0"}),
    "no IDR": ("libx264", {"x264-params": "open-gop=1:keyint=9:min-keyint=9:bframes=2:ref=4"}),
    "intra refresh": ("libx264", {"x264-params": "intra-refresh=1:keyint=14:bframes=0"}),
    "intra refresh with B": ("libx264", {"x264-params": "intra-refresh=1:keyint=14:bframes=2"}),
    "B-pyramid": ("libx264", {"x264-params": "keyint=13:bframes=6:b-pyramid=normal:ref=5"}),
    "no messages": ("libx264", {"x264-params": "open-gop=1:keyint=9:min-keyint=9:bframes=2:ref=4"}),
    "refresh, no messages": ("libx264", {"x264-params": "intra-refresh=1:keyint=14:bframes=0"}),
    "wrong flags": ("libx264", {"x264-params": "keyint=40:bframes=2:ref=3"}),
    "H.265 wrong flags": ("libx265", {"x265-params": "keyint=40:bframes=2:log-level=none"}),
    "4:4:4 of an old encoder": ("libx264", {"x264-params": "keyint=10:bframes=2"}),
    "edit list": ("libx264", {"x264-params": "keyint=40:bframes=3"}),
    "H.265 open GOP": (
        "libx265",
        {"x265-params": "keyint=12:min-keyint=12:open-gop=1:bframes=4:log-level=none"},
    ),
    "H.265 intra refresh": (
        "libx265",
        {"x265-params": "intra-refresh=1:keyint=14:bframes=0:log-level=none"},
    ),
    "MPEG-2": ("mpeg2video", {"g": "9", "bf": "2"}),
    "MPEG-4": ("mpeg4", {"g": "9", "bf": "2"}),
    "VP9": ("libvpx-vp9", {"g": "12", "cpu-used": "8", "lag-in-frames": "8"}),
    "AV1": ("libsvtav1", {"g": "12", "preset": "12", "svtav1-params": "lookahead=8"}),
    "Motion JPEG": ("mjpeg", {}),
    "FFV1": ("ffv1", {"g": "1"}),
}
FRAMES = 40


def make(path: Path, kind: str) -> Path:
    codec, options = KINDS[kind]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, options={"preset": "veryfast"} | options)
        context = stream.codec_context
        context.width, context.height = 96, 64
        context.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if "4:4:4" in kind:
            context.pix_fmt = "yuv444p"
        context.time_base = stream.time_base = Fraction(1, 25)
        if not codec.startswith("lib"):
            context.options = options
            context.bit_rate = 400_000
        noise = np.random.default_rng(3).integers(0, 255, (128, 200, 3), np.uint8)
        noise = noise.repeat(2, 0)[: 64 + 2 * FRAMES].repeat(2, 1)
        for n in range(FRAMES):
            rgb = noise[n : 64 + n, 2 * n : 96 + 2 * n].copy()
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame = frame.reformat(format=context.pix_fmt)
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def spoilt(source: Path, target: Path, kind: str) -> Path:
    """Without the messages (SEI) that say where decoding may begin; wrong frames called key frames.

    Cameras and broadcasters leave them out; muxers flag what they like.
    """
    with av.open(str(source)) as read, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        for count, packet in enumerate(p for p in read.demux(video=0) if p.size):
            data, kept, at = bytes(packet), b"", 0
            while at < len(data):
                end = at + 4 + int.from_bytes(data[at : at + 4], "big")
                if "messages" not in kind or data[at + 4] & 31 != 6:
                    kept += data[at:end]
                    if "old" in kind:  # builds before 151 coded 4:4:4 in another way
                        kept = re.sub(rb"x264 - core \d+", b"x264 - core 148", kept)
                at = end
            fresh = av.Packet(kept)
            fresh.pts, fresh.dts, fresh.duration = packet.pts, packet.dts, packet.duration
            fresh.time_base, fresh.stream = packet.time_base, stream
            lies = "flags" in kind or "refresh" in kind
            fresh.is_keyframe = packet.is_keyframe or (lies and count % 7 == 5)
            out.mux(fresh)
    return target


def trimmed(source: Path, target: Path, first: int) -> Path:
    """Cut without encoding: packets from the beginning, an edit list that hides the first ones."""
    with av.open(str(source)) as read, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.size:
                ticks = round(first / (25 * packet.time_base))
                packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
                packet.stream = stream
                out.mux(packet)
    return target


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[tuple[str, str], Path] = {}
    folder = tmp_path_factory.mktemp("clips")

    def clip(kind: str, extension: str) -> Path:
        if (kind, extension) not in made:
            path = make(folder / f"{len(made)}{extension}", kind)
            if kind == "edit list":
                path = trimmed(path, folder / f"{len(made)}t{extension}", 17)
            if "messages" in kind or "flags" in kind or "old" in kind:
                path = spoilt(path, folder / f"{len(made)}s{extension}", kind)
            made[kind, extension] = path
        return made[kind, extension]

    return clip


def threaded(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = reader_module.open_media

    class Threaded:
        def __init__(self, *args: Any, **options: Any) -> None:
            self.inner = opening(*args, **options)

        def __enter__(self) -> Any:
            opened = self.inner.__enter__()
            opened.decoder.thread_count = threads
            return opened

        def __exit__(self, *args: Any) -> Any:
            return self.inner.__exit__(*args)

    monkeypatch.setattr(reader_module, "open_media", Threaded)


def cases() -> list[Any]:
    slow = pytest.mark.slow
    quick = (
        "open GOP",
        "no IDR",
        "intra refresh",
        "B-pyramid",
        "edit list",
        "no messages",
        "4:4:4 of an old encoder",
    )
    return [
        pytest.param(kind, extension, marks=() if kind in quick and extension == ".mp4" else slow)
        for kind in KINDS
        for extension in (".mp4", ".mkv")
        if (kind, extension) != ("edit list", ".mkv")  # Matroska has none
        and "old" not in kind
    ]


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize(("kind", "extension"), cases())
def test_every_start_decodes_as_from_the_beginning(
    clips: Any, kind: str, extension: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    threaded(threads, monkeypatch)
    compare(clips(kind, extension), FRAMES - 17 if kind == "edit list" else FRAMES)


@pytest.mark.filterwarnings("ignore::unblur.errors.UnblurWarning")
@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_a_start_knows_the_encoder_that_the_beginning_names(clips: Any, extension: str) -> None:
    """What the named build did not write decodes with faults, the same ones from any start."""
    compare(clips("4:4:4 of an old encoder", extension), FRAMES)


def compare(clip: Path, count: int) -> None:
    """Frames from every start with those of the whole clip."""
    with open_video(clip) as reader:
        whole = [(frame.pts, samples(frame.image)) for frame in reader]
    assert len(whole) == count
    for start in range(1, len(whole)):
        stop = min(start + 3, len(whole))
        with open_video(clip, start=f"f{start}", end=f"f{stop}") as reader:
            found = [(frame.pts, samples(frame.image)) for frame in reader]
        assert [pts for pts, _ in found] == [pts for pts, _ in whole[start:stop]]
        for (_, planes), (_, wanted) in zip(found, whole[start:stop], strict=True):
            assert all(map(np.array_equal, planes, wanted)), f"start {start}"
