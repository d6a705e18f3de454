"""Sound that a container cannot hold is kept to the sample, in a codec that it can."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video.media import make_clip, pass_through
from unblur.errors import UnblurWarning

RATE = 22050


def with_sound(path: Path, codec: str, channels: int, seconds: float = 1.5) -> Path:
    """A clip with a chirp, of another pitch in each channel."""
    clip = make_clip(
        path.with_name("frames.mkv"), pts=round(25 * seconds), options={"qp": "0", "bf": "0"}
    )
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    with av.open(str(clip)) as given, av.open(str(path), "w") as out:
        video: Any = out.add_stream_from_template(given.streams.video[0])
        sound: Any = out.add_stream(codec, rate=RATE)
        context = sound.codec_context
        context.layout = layout
        if codec.startswith("wma"):
            context.bit_rate = 128000
        time = np.arange(round(seconds * RATE)) / RATE
        wave = [np.sin(2000 * (1 + n / 3) * time**2) * 0.4 for n in range(channels)]
        fifo = av.AudioFifo()
        values = np.stack(wave, 1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray((values * 32767).astype(np.int16), "s16", layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        out.start_encoding()
        resampler = av.AudioResampler(context.format, layout, RATE)
        for part in resampler.resample(frame):
            fifo.write(part)
        while (piece := fifo.read(context.frame_size or 1024)) is not None:
            out.mux(sound.encode(piece))
        out.mux(sound.encode(None))
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
    return path


def decoded(path: Path) -> tuple[Fraction, np.ndarray]:
    """When the sound of a file begins, and its samples (n, channels) in -1 to 1."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", stream.layout, stream.rate)
        frames = list(container.decode(stream))
        begin = frames[0].pts * frames[0].time_base
        channels = len(frames[0].layout.channels)
        parts = [p.to_ndarray() for f in frames for p in resampler.resample(f)]
    return begin, np.concatenate(parts, 1).reshape(-1, channels)


def said_by(source: Path, target: Path, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnblurWarning)
        pass_through(source, target, **options)
    return [str(each.message) for each in said if ": audio stream" in str(each.message)]


@pytest.mark.parametrize(
    ("source", "codec", "target", "becomes"),
    [
        ("in.avi", "adpcm_ms", "out.mp4", "FLAC"),
        ("in.avi", "adpcm_ima_wav", "out.mp4", "FLAC"),
        ("in.wmv", "wmav2", "out.mp4", "FLAC"),
        ("in.wmv", "wmav1", "out.mp4", "FLAC"),
        ("in.avi", "adpcm_ms", "out.m4v", "FLAC"),
        ("in.wmv", "wmav2", "out.mov", "PCM"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_kept_to_the_sample(
    tmp_path: Path, source: str, codec: str, target: str, becomes: str, channels: int
) -> None:
    clip, out = with_sound(tmp_path / source, codec, channels), tmp_path / target
    said = said_by(clip, out, **({"codec": "h264"} if target == "out.mov" else {}))
    text = f"becomes {becomes} without loss, {out.suffix} cannot hold it"
    assert [text in each for each in said] == [True]
    (begin, before), (start, after) = decoded(clip), decoded(out)
    assert abs(begin - start) <= Fraction(1, 1000)
    assert before.shape == after.shape
    # Floats, as WMA gives them, become 24 bits.
    assert float(np.abs(before - after).max()) <= (2**-23 if "wma" in codec else 0)


def test_a_cut_takes_what_lies_between_to_the_sample(tmp_path: Path) -> None:
    clip, out = with_sound(tmp_path / "in.avi", "adpcm_ms", 2), tmp_path / "out.mp4"
    said_by(clip, out, start="f10", end="f30")
    (_, before), (begin, after) = decoded(clip), decoded(out)
    first, last = (-(-n * RATE // 25) for n in (10, 30))
    np.testing.assert_array_equal(before[first:last], after)
    assert 0 <= begin < Fraction(1, 1000)


def test_webm_gets_opus_and_says_so(tmp_path: Path) -> None:
    clip = with_sound(tmp_path / "in.wmv", "wmav2", 2)
    said = said_by(clip, tmp_path / "out.webm")
    assert ["becomes Opus, .webm cannot hold it" in each for each in said] == [True]
    (_, before), (_, after) = decoded(clip), decoded(tmp_path / "out.webm")
    assert abs(len(before) / RATE - len(after) / 48000) < 0.01


def test_damaged_sound_keeps_its_place(tmp_path: Path) -> None:
    """Packets in mid-file that do not decode become silence, what follows stays where it was."""
    clip = with_sound(tmp_path / "in.wmv", "wmav2", 1)
    _, before = decoded(clip)
    with av.open(str(clip)) as given, av.open(str(tmp_path / "bad.wmv"), "w") as out:
        targets = [out.add_stream_from_template(each) for each in given.streams]
        sounds = 0
        for packet in given.demux():
            if not packet.size:
                continue
            audio = packet.stream.type == "audio"
            sounds += audio
            target = targets[packet.stream_index]
            if audio and 6 <= sounds < 9:
                continue
            packet.stream = target
            out.mux(packet)
    said_by(tmp_path / "bad.wmv", tmp_path / "out.mp4")
    _, after = decoded(tmp_path / "out.mp4")
    assert abs(len(after) - len(before)) <= RATE // 100
    assert (np.abs(before) < 1e-7).sum() < 100 < 2 * 1024 < (after == 0).sum()


@pytest.mark.parametrize("layout", ["quad", "5.1", "6.1", "7.1"])
def test_many_channels_stay_many(tmp_path: Path, layout: str) -> None:
    """PCM, which MP4 refuses with its last byte."""
    clip = make_clip(tmp_path / "frames.mkv", pts=10)
    with av.open(str(clip)) as given, av.open(str(tmp_path / "in.mkv"), "w") as out:
        video: Any = out.add_stream_from_template(given.streams.video[0])
        sound: Any = out.add_stream("pcm_s16le", rate=48000)
        sound.codec_context.layout = layout
        channels = {"quad": 4, "5.1": 6, "6.1": 7, "7.1": 8}[layout]
        values = np.random.default_rng(0).integers(-999, 999, (1, channels * 19200), np.int16)
        frame = av.AudioFrame.from_ndarray(values, "s16", layout)
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        out.mux([*sound.encode(frame), *sound.encode(None)])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
    said_by(tmp_path / "in.mkv", tmp_path / "out.mp4")
    (_, before), (_, after) = decoded(tmp_path / "in.mkv"), decoded(tmp_path / "out.mp4")
    np.testing.assert_array_equal(before, after)
