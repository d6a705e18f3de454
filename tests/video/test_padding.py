"""What codecs of sound add at either end is not heard in any container."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video.boxes import rewritten, with_edits
from tests.video.media import RATE, make_clip, pass_through
from unblur.errors import UnblurWarning

HEARD = 48_000
"""Samples of sound, not a multiple of what a packet of any codec here holds."""
CUT = 5 * 48_000 // RATE


Clips = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Clips with sound, by extension and codec, each made once."""
    folder = tmp_path_factory.mktemp("clips")

    @cache
    def made(extension: str, codec: str) -> Path:
        return with_sound(folder / f"{codec}{extension}", codec)

    return made


def with_sound(path: Path, codec: str, *, samples: int = HEARD) -> Path:
    """A clip with a rising tone, of which no two parts are alike."""
    clip = make_clip(path.with_name(f"frames_{path.name}.mkv"), pts=30)
    with av.open(str(clip)) as given, av.open(str(path), "w") as out:
        target = out.add_stream_from_template(given.streams.video[0])
        sound: Any = out.add_stream(codec, rate=48000)
        sound.codec_context.layout = "mono"
        out.start_encoding()
        wave = (np.sin(np.arange(samples) ** 1.5 * 0.002) * 0.4).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave[None], "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        fifo = av.AudioFifo()
        for part in av.AudioResampler(sound.codec_context.format, "mono", 48000).resample(frame):
            fifo.write(part)
        while (piece := fifo.read(sound.codec_context.frame_size or 1024)) is not None:
            out.mux(sound.encode(piece))
        if (rest := fifo.read(0, partial=True)) is not None:
            out.mux(sound.encode(rest))
        out.mux(sound.encode(None))
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = target
                out.mux(packet)
    return path


def heard(path: Path) -> tuple[Fraction, np.ndarray]:
    """When the sound begins, and its samples."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono", stream.rate)
        frames = list(container.decode(stream))
        begin = frames[0].pts * frames[0].time_base
        parts = [p.to_ndarray()[0] for f in frames for p in resampler.resample(f)]
    return begin, np.concatenate(parts)


def length_in_mp4(path: Path) -> int:
    """Samples that the packets of the only track of sound are said to last, together."""
    found: dict[str, list[bytes]] = {}
    rewritten(path.read_bytes(), lambda p, c: (found.setdefault(p, []).append(c), c)[1])
    kinds = [kind[8:12] for kind in found["/moov/trak/mdia/hdlr"]]
    table = found["/moov/trak/mdia/minf/stbl/stts"][kinds.index(b"soun")]
    rows = np.frombuffer(table[8:], ">u4").reshape(-1, 2)
    return int((rows[:, 0] * rows[:, 1]).sum())


SOURCES = [
    (".mp4", "aac"),
    (".mov", "aac"),
    (".mkv", "aac"),
    (".mp4", "libmp3lame"),
    (".mkv", "libmp3lame"),
    (".mp4", "ac3"),
    (".mp4", "libopus"),
    (".mkv", "libopus"),
    (".mkv", "flac"),
    (".mkv", "alac"),
    (".mkv", "ac3"),
    (".mkv", "eac3"),
]


@pytest.mark.parametrize(("source", "codec"), SOURCES)
@pytest.mark.parametrize("target", ["out.mkv", "out.mp4"])
def test_sound_begins_where_it_did(
    clips: Clips, tmp_path: Path, source: str, codec: str, target: str
) -> None:
    clip, out = clips(source, codec), tmp_path / target
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnblurWarning)
        pass_through(clip, out)
    (begin, before), (start, after) = heard(clip), heard(out)
    assert abs(start - begin) <= Fraction(1, 1000)
    # MP4 says by the length of its last packet what FFmpeg decodes none the less.
    alike = min(len(before), len(after))
    assert abs(len(before) - len(after)) < 1152
    assert alike >= HEARD
    np.testing.assert_array_equal(before[:alike], after[:alike])


@pytest.mark.parametrize(("source", "codec"), SOURCES)
@pytest.mark.parametrize("target", ["out.mkv", "out.mp4"])
def test_a_cut_begins_to_the_sample(
    clips: Clips, tmp_path: Path, source: str, codec: str, target: str
) -> None:
    clip, out = clips(source, codec), tmp_path / target
    pass_through(clip, out, start="f5")
    (_, before), (start, after) = heard(clip), heard(out)
    assert 0 <= start <= Fraction(1, 1000)
    alike = min(len(before) - CUT, len(after))
    assert alike >= HEARD - CUT
    # What decoders remember from further back fades, and there is noise that they make up. Sound
    # that is a sample too late is off by 0.3.
    far = {"libopus": 0.01, "ac3": 0.02, "eac3": 0.02, "aac": 0.02}.get(codec, 0)
    assert np.abs(before[CUT : CUT + alike] - after[:alike]).max() <= far


@pytest.mark.parametrize("delay", [Fraction(1, 100), Fraction(1, 2)])
@pytest.mark.parametrize(
    ("codec", "target"),
    [
        ("aac", ".mp4"),
        ("aac", ".mov"),
        ("aac", ".mkv"),
        ("libmp3lame", ".mp4"),
        ("libopus", ".mp4"),
    ],
)
def test_nothing_is_heard_before_sound_that_begins_late(
    clips: Clips, tmp_path: Path, codec: str, target: str, delay: Fraction
) -> None:
    clip, out = tmp_path / "in.mkv", tmp_path / f"out{target}"
    with av.open(str(clips(".mkv", codec))) as given, av.open(str(clip), "w") as written:
        targets = [written.add_stream_from_template(each) for each in given.streams]
        for packet in given.demux():
            if packet.size:
                late = round(delay / packet.time_base) if packet.stream.type == "audio" else 0
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
                packet.stream = targets[packet.stream_index]
                written.mux(packet)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnblurWarning)
        pass_through(clip, out, codec="h264")
    (begin, before), (start, after) = heard(clip), heard(out)
    assert begin == delay
    assert abs(start - begin) <= Fraction(1, 1000)
    alike = min(len(before), len(after))
    assert alike >= HEARD
    np.testing.assert_array_equal(before[:alike], after[:alike])


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.webm"])
@pytest.mark.parametrize("source", [".mp4", ".mkv"])
def test_opus_ends_where_it_did(clips: Clips, tmp_path: Path, source: str, target: str) -> None:
    clip, out = clips(source, "libopus"), tmp_path / target
    pass_through(clip, out)
    if out.suffix == ".mp4":
        assert abs(length_in_mp4(out) - 312 - HEARD) <= 8  # MP4 of FFmpeg counts in 1 ms here
    else:
        assert abs(len(heard(out)[1]) - HEARD) <= 8


def test_mp3_ends_where_it_did(clips: Clips, tmp_path: Path) -> None:
    clip, out = clips(".mkv", "libmp3lame"), tmp_path / "out.mp4"
    pass_through(clip, out)
    assert length_in_mp4(out) == HEARD + 1105


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param([(2112 / 48000, 0.9)], id="two packets in front, as Apple's encoder has them"),
        pytest.param([(0.5, 0.4)], id="trimmed without encoding"),
        pytest.param([(None, 0.2), (1024 / 48000, 0.9)], id="begins later"),
    ],
)
@pytest.mark.parametrize("target", ["out.mkv", "out.mp4", "out.mov"])
def test_what_an_edit_list_hides_is_not_heard(
    clips: Clips, tmp_path: Path, edits: list[tuple[float | None, float]], target: str
) -> None:
    whole = clips(".mp4", "aac")
    clip, out = tmp_path / "in.mp4", tmp_path / target
    clip.write_bytes(with_edits(whole.read_bytes(), edits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)
        pass_through(clip, out)
    (begin, before), (start, after) = heard(clip), heard(out)
    assert abs(start - begin) <= Fraction(1, 1000)
    assert len(before) == len(after)
    # A packet or two before it are copied, which is more than FFmpeg feeds its decoder at most.
    np.testing.assert_allclose(before[1024:], after[1024:], atol=1e-4)


def test_names_of_tracks_stay_as_they_were(clips: Clips, tmp_path: Path) -> None:
    clip = clips(".mp4", "aac")
    named, out = tmp_path / "in.mov", tmp_path / "out.mkv"
    with av.open(str(clip)) as given, av.open(str(named), "w") as written:
        targets = [written.add_stream_from_template(each) for each in given.streams]
        targets[1].metadata.update(handler_name="Kommentar", language="ger")
        for packet in given.demux():
            if packet.size:
                packet.stream = targets[packet.stream_index]
                written.mux(packet)
    pass_through(named, out)
    with av.open(str(out)) as result, av.open(str(named)) as source:
        (sound,), (before,) = result.streams.audio, source.streams.audio
        assert sound.metadata.get("title") == before.metadata.get("title")
        assert sound.metadata["HANDLER_NAME"] == "Kommentar"
        assert sound.language == "ger"
    assert b"\xc2\xa0\xc2\xa0" not in out.read_bytes()
