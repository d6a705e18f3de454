"""Frames and sound keep their distances where a file says its times badly or not at all."""

from __future__ import annotations

import warnings
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video.media import pass_through, read_all
from unblur.errors import UnblurWarning
from unblur.video import open_video, probe

FLASH = 5
"""Every so many frames one is white, and a beep sounds."""


def flashing(
    path: Path,
    *,
    codec: str = "libx264",
    audio: str | None = "mp2",
    frames: int = 15,
    options: dict[str, str] | None = None,
    offset: Fraction = Fraction(0),
    rate: int = 25,
    form: str | None = None,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """A film with a white frame and a beep at the same moment, every fifth frame."""
    with av.open(str(path), "w", format=form) as out:
        video: Any = out.add_stream(codec, rate=rate, options=options or {})
        context = video.codec_context
        context.width, context.height = size
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, rate)
        sound: Any = out.add_stream(audio, rate=48000) if audio else None
        if sound is not None:
            sound.codec_context.layout = "stereo"
        packets = []
        for n in range(frames):
            gray = np.full((size[1], size[0]), 235 if n % FLASH == 0 else 16, np.uint8)
            frame = av.VideoFrame.from_ndarray(gray, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = n + round(offset * rate), Fraction(1, rate)
            packets += video.encode(frame)
        packets += video.encode(None)
        if sound is not None:
            t = np.arange(48000 * frames // rate)
            beep = np.sin(t / 8) * (t % (48000 * FLASH // rate) < 900)
            step = sound.codec_context.frame_size or 1200
            kind = sound.codec_context.format.name
            for at in range(0, len(t), step):
                piece = np.stack([beep[at : at + step]] * 2)
                if kind.startswith("s16"):
                    piece = (piece * 20000).astype(np.int16)
                if not kind.endswith("p"):
                    piece = piece.T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(
                    piece.astype(np.int16 if kind.startswith("s16") else np.float32), kind, "stereo"
                )
                frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
                frame.pts = at + round(offset * 48000)
                packets += sound.encode(frame)
            packets += sound.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    return path


def flashes(path: Path) -> list[float]:
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.reformat(format="gray").to_ndarray().mean() > 128:
                found.append(round(float(frame.pts * frame.time_base), 3))
    return found


def beeps(path: Path) -> list[float]:
    times = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray().astype(float))
            wave = wave[0] if frame.format.is_planar else wave.reshape(-1, 2)[:, 0]
            loud = np.flatnonzero(wave > (5000 if frame.format.name.startswith("s16") else 0.15))
            times += [float(frame.pts * frame.time_base) + at / 48000 for at in loud]
    return [round(b, 3) for a, b in pairwise([-1.0, *times]) if b - a > 0.04]


def assert_in_step(path: Path, count: int) -> None:
    """Frames 40 ms apart, beep and flash together from the first to the last."""
    with av.open(str(path)) as container:
        times = [float(f.pts * f.time_base) for f in container.decode(video=0)]
    assert len(times) == count
    assert [b - a for a, b in pairwise(times)] == pytest.approx([0.04] * (count - 1), abs=0.0011)
    late = np.subtract(beeps(path), flashes(path))
    assert len(late) == count // FLASH
    assert np.ptp(late) < 0.004, f"beeps come {late} s after the flashes"


@pytest.mark.parametrize("extension", [".mkv", ".mp4"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_with_b_frames_keeps_an_even_step(tmp_path: Path, codec: str, extension: str) -> None:
    clip = flashing(
        tmp_path / "a.avi", codec=codec, audio="pcm_s16le", options={"bf": "3"}, frames=30
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pass_through(clip, tmp_path / f"o{extension}")
    assert_in_step(tmp_path / f"o{extension}", 30)


def test_a_range_of_avi_counts_the_same_frames(tmp_path: Path) -> None:
    clip = flashing(tmp_path / "a.avi", audio=None, options={"bf": "3"}, frames=30)
    _, whole = read_all(clip)
    _, part = read_all(clip, start="f7", end="f12")
    assert [f.pts for f in part] == [f.pts for f in whole[7:12]]
    assert [f.index for f in part] == list(range(7, 12))


@pytest.mark.parametrize(
    ("kind", "rate"), [("h264", 25), ("h264", 50), ("hevc", 30), ("mpeg2video", 24)]
)
def test_frames_without_a_container_come_at_an_even_rate(
    tmp_path: Path, kind: str, rate: int
) -> None:
    codec = {"h264": "libx264", "hevc": "libx265"}.get(kind, kind)
    options = {"x265-params": "log-level=none"} if kind == "hevc" else {"bf": "2"}
    clip = flashing(
        tmp_path / f"a.{kind}",
        codec=codec,
        audio=None,
        options=options,
        rate=rate,
        frames=20,
        form=kind,
    )
    with (
        pytest.warns(UnblurWarning, match="lacks timestamps")
        if kind != "mpeg2video"
        else (warnings.catch_warnings())
    ):
        pass_through(clip, tmp_path / "o.mp4")
    assert probe(clip).frame_rate == rate
    with av.open(str(tmp_path / "o.mp4")) as container:
        times = [f.pts * f.time_base for f in container.decode(video=0)]
    assert [t - times[0] for t in times] == [Fraction(n, rate) for n in range(20)]
    assert probe(tmp_path / "o.mp4").duration == pytest.approx(20 / rate, abs=0.002)


def without_timing(data: bytes) -> bytes:
    """H.264 (baseline) whose parameter sets say nothing of time, as many cameras write it."""
    units = [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.strip(b"\0")]
    kept = b""
    for unit in units:
        if unit[0] & 31 in (6, 9):
            continue
        kept += b"\0\0\0\1" + (_without_vui(unit) if unit[0] & 31 == 7 else unit)
    return kept


def _without_vui(unit: bytes) -> bytes:
    """A sequence parameter set (7.3.2.1.1) that ends where the usability information begins."""
    bits = "".join(f"{byte:08b}" for byte in unit.replace(b"\0\0\3", b"\0\0"))
    at = 32

    def number() -> int:
        nonlocal at
        zeros = bits.index("1", at) - at
        value = int(bits[at + zeros : at + 2 * zeros + 1], 2) - 1
        at += 2 * zeros + 1
        return value

    number(), number()
    if number() == 0:
        number()
    number()
    at += 1
    number(), number()
    at += 2  # frames only, direct_8x8
    at += 1
    if bits[at - 1] == "1":
        for _ in range(4):
            number()
    bits = bits[:at] + "01"
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8))


def test_raw_h264_that_says_no_rate_takes_as_long_as_it_should(tmp_path: Path) -> None:
    clip = flashing(
        tmp_path / "a.h264",
        audio=None,
        frames=50,
        form="h264",
        options={"profile": "baseline", "preset": "ultrafast"},
    )
    clip.write_bytes(without_timing(clip.read_bytes()))
    with pytest.warns(UnblurWarning, match="even 25 frames/s"):
        pass_through(clip, tmp_path / "o.mp4")
    assert probe(tmp_path / "o.mp4").duration == pytest.approx(2)
    assert probe(tmp_path / "o.mp4").frame_rate == 25


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
def test_dv_has_the_rate_of_its_frames(tmp_path: Path, extension: str) -> None:
    clip = tmp_path / "a.dv"
    with av.open(str(clip), "w", format="dv") as out:
        video: Any = out.add_stream("dvvideo", rate=25)
        video.codec_context.width, video.codec_context.height = 720, 576
        video.codec_context.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        for n in range(6):
            frame = av.VideoFrame(720, 576, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([90 + n]) * plane.buffer_size)
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    assert probe(clip).frame_rate == 25
    with open_video(clip, deinterlace=True) as reader:
        from unblur.video import create_video

        with create_video(tmp_path / f"o{extension}", reader.info, source=clip) as writer:
            for frame in reader:
                writer.write(frame)
    assert probe(tmp_path / f"o{extension}").frame_rate == 25


@pytest.mark.parametrize("kind", ["ts", "vob", "ts ahead"])
@pytest.mark.parametrize("extension", [".mkv", ".mp4"])
def test_recordings_joined_end_to_end_play_on(tmp_path: Path, kind: str, extension: str) -> None:
    name, _, ahead = kind.partition(" ")
    form = {"ts": "mpegts", "vob": "vob"}[name]
    parts = [
        flashing(
            tmp_path / f"{part}.{name}", form=form, offset=offset, options={"bf": "2"}
        )
        for part, offset in enumerate([Fraction(0), Fraction(3600 if ahead else 0)])
    ]  # fmt: skip
    clip = tmp_path / f"joined.{name}"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.warns(UnblurWarning, match="clock restarts or leaps"):
        pass_through(clip, tmp_path / f"o{extension}")
    assert_in_step(tmp_path / f"o{extension}", 30)


def test_a_range_of_joined_recordings_counts_on(tmp_path: Path) -> None:
    part = flashing(tmp_path / "a.ts", options={"bf": "2"})
    clip = tmp_path / "joined.ts"
    clip.write_bytes(part.read_bytes() * 2)
    with pytest.warns(UnblurWarning, match="clock"):
        _, whole = read_all(clip, strict=True)
    with pytest.warns(UnblurWarning, match="clock"):
        _, frames = read_all(clip, start="0.5s", end="0.8s", strict=True)
    assert [f.index for f in frames] == list(range(13, 20))
    assert [f.pts for f in frames] == [f.pts for f in whole[13:20]]


THEORA = Path(__file__).with_name("theora.ogv")
"""Two seconds of red at 25 frames/s, of which five are coded; for the others the last one stays."""


def test_repeats_of_theora_are_no_damage(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, frames = pass_through(THEORA, tmp_path / "o.mkv", codec="ffv1")
        read_all(THEORA, strict=True)
    assert [frame.pts for frame in frames] == [0, 12, 24, 36, 48]


def test_joined_ogg_plays_on(tmp_path: Path) -> None:
    clip = tmp_path / "joined.ogv"
    clip.write_bytes(THEORA.read_bytes() * 2)
    with pytest.warns(UnblurWarning, match="clock restarts or leaps"):
        _, frames = read_all(clip, strict=True)
    assert [frame.pts for frame in frames] == [0, 12, 24, 36, 48, 49, 61, 73, 85, 97]


@pytest.mark.parametrize(
    ("source", "audio", "extension"),
    [
        ("a.mp4", "aac", ".mp4"),
        ("a.mp4", "aac", ".mov"),
        ("a.mov", "pcm_s16le", ".mov"),
        ("a.mkv", "pcm_s16le", ".mkv"),
        ("a.mkv", "pcm_s16le", ".mp4"),
        ("a.ts", "mp2", ".mp4"),
    ],
)
def test_sound_begins_with_the_first_frame_to_the_sample(
    tmp_path: Path, source: str, audio: str, extension: str
) -> None:
    clip = flashing(tmp_path / source, audio=audio, frames=30, options={"bf": "2"})
    out = tmp_path / f"o{extension}"
    pass_through(clip, out, start="f7")
    with av.open(str(out)) as container:
        first = next(container.decode(audio=0))
        # Matroska counts in milliseconds.
        assert float(first.pts * first.time_base) == pytest.approx(0, abs=1.01 / 48000)
    gaps = np.subtract(beeps(clip)[2:], beeps(out))  # f7 lies between the second and the third
    assert gaps == pytest.approx([beeps(clip)[2] - beeps(out)[0]] * 4, abs=0.0011)
    assert np.subtract(beeps(out), flashes(out)) == pytest.approx(
        np.subtract(beeps(clip), flashes(clip))[2:], abs=0.0011
    )


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
def test_clocks_that_start_late_stay_in_step(tmp_path: Path, extension: str) -> None:
    clip = flashing(tmp_path / "a.ts", offset=Fraction(25 * 3600), options={"bf": "2"})
    pass_through(clip, tmp_path / f"o{extension}")
    assert flashes(tmp_path / f"o{extension}") == pytest.approx(flashes(clip), abs=0.0006)
    assert_in_step(tmp_path / f"o{extension}", 15)
