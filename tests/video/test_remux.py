"""Sound, subtitles, attachments, chapters and metadata come along untouched."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video.boxes import with_edits
from tests.video.media import ROTATED, make_clip, packets, pass_through, read_all
from tests.video.test_times import beeps, flashes, flashing
from unblur.errors import UnblurWarning
from unblur.video import probe

SUBTITLES = [(0.0, 0.5, "one"), (0.6, 1.6, "two"), (1.8, 1.9, "three")]
CHAPTERS = [(0.0, 1.0, "first"), (1.0, 2.0, "second")]
FONT = bytes(range(256)) * 5


def full_clip(path: Path, **options: Any) -> Path:
    extra = {"subtitles": SUBTITLES, "attachment": FONT} if path.suffix == ".mkv" else {}
    return make_clip(
        path,
        pts=50,
        audio=options.pop("audio", "aac"),
        chapters=CHAPTERS,
        metadata={"title": "A clip", "artist": "Somebody"},
        **extra,
        **options,
    )


def chapters(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as container:
        return [
            (
                float(c["start"] * c["time_base"]),
                float(c["end"] * c["time_base"]),
                c["metadata"]["title"],
            )
            for c in container.chapters()
        ]


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("source", [".mp4", ".mkv"])
def test_sound_is_copied_bit_for_bit(tmp_path: Path, source: str, extension: str) -> None:
    clip = make_clip(tmp_path / f"in{source}", pts=50, audio="aac")
    pass_through(clip, tmp_path / f"out{extension}")
    before, after = packets(clip, "audio"), packets(tmp_path / f"out{extension}", "audio")
    assert [data for _, data in before] == [data for _, data in after]
    for (was, _), (now, _) in zip(before, after, strict=True):
        assert was is not None
        assert now is not None
        assert abs(was - now) <= Fraction(1, 1000)


def test_everything_of_matroska_is_copied(tmp_path: Path) -> None:
    clip = full_clip(tmp_path / "in.mkv")
    out = tmp_path / "out.mkv"
    pass_through(clip, out)
    assert packets(out, "audio") == packets(clip, "audio")
    assert packets(out, "subtitle") == packets(clip, "subtitle")
    assert chapters(out) == chapters(clip) == CHAPTERS
    with av.open(str(out)) as container:
        assert container.metadata["title"] == "A clip"
        assert container.metadata["ARTIST"] == "Somebody"
        attached = next(s for s in container.streams if s.type == "attachment")
        assert attached.metadata["filename"] == "font.ttf"
        assert attached.data == FONT
    kinds = {stream.kind: stream for stream in probe(out).streams}
    assert set(kinds) == {"video", "audio", "subtitle", "attachment"}
    assert kinds["subtitle"].language == "fra"


def test_what_a_container_cannot_hold_is_named(tmp_path: Path) -> None:
    clip = full_clip(tmp_path / "in.mkv")
    with pytest.warns(UnblurWarning) as said:
        pass_through(clip, tmp_path / "out.mp4")
    texts = [str(each.message) for each in said]
    assert any("subtitle stream 2 (subrip, fra) is left out" in text for text in texts)
    assert any("attachment stream 3" in text for text in texts)
    assert all(".mkv" in text for text in texts)
    assert packets(tmp_path / "out.mp4", "audio")
    assert chapters(tmp_path / "out.mp4") == CHAPTERS
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["title"] == "A clip"


def test_webm_takes_opus_and_makes_it_of_aac(tmp_path: Path) -> None:
    opus = make_clip(tmp_path / "opus.mkv", audio="libopus", pts=20)
    pass_through(opus, tmp_path / "opus.webm")
    before, after = packets(opus, "audio"), packets(tmp_path / "opus.webm", "audio")
    assert [data for _, data in before] == [data for _, data in after]
    aac = make_clip(tmp_path / "aac.mkv", audio="aac", pts=20)
    with pytest.warns(UnblurWarning, match=r"audio stream 1 \(aac\) becomes Opus"):
        pass_through(aac, tmp_path / "aac.webm")


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
@pytest.mark.parametrize("source", [".mp4", ".mkv"])
def test_a_cut_keeps_everything_in_step(tmp_path: Path, source: str, extension: str) -> None:
    clip = full_clip(tmp_path / f"in{source}")
    out = tmp_path / f"out{extension}"
    if (source, extension) == (".mkv", ".mp4"):
        with pytest.warns(UnblurWarning, match="left out"):
            _, frames = pass_through(clip, out, start="f20", end="1.6s")
    else:
        _, frames = pass_through(clip, out, start="f20", end="1.6s")
    start, end = Fraction(20, 25), Fraction(40, 25)
    assert [frame.time for frame in frames] == [Fraction(n, 25) for n in range(20, 40)]
    _, results = read_all(out)
    assert [frame.time for frame in results] == [Fraction(n, 25) for n in range(20)]

    tick = Fraction(1, 1000)
    kept = [(t, data) for t, data in packets(clip, "audio") if t and start <= t < end]
    got = packets(out, "audio")
    # And the packets that lead into the first one, hidden.
    before = [data for t, data in packets(clip, "audio") if t is not None and t < start][-2:]
    assert [data for _, data in got[:2]] == before
    got = got[2:]
    assert [data for _, data in got] == [data for _, data in kept]
    assert all(
        abs((was or 0) - start - (now or 0)) <= tick
        for (was, _), (now, _) in zip(kept, got, strict=True)
    )
    assert chapters(out) == [(0.0, 0.2, "first"), (0.2, 0.8, "second")]
    if source == extension == ".mkv":
        # The line on screen at the cut stays for its rest; the ones outside are gone.
        assert packets(out, "subtitle") == [(0, b"two")]


@pytest.mark.parametrize("extension", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("source", [".mkv", ".mov", ".avi"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le"])
def test_a_cut_takes_uncompressed_sound_to_the_sample(
    tmp_path: Path, source: str, extension: str, codec: str
) -> None:
    """Matroska rounds the duration of a packet, from which samples are not to be counted."""
    clip = make_clip(
        tmp_path / f"in{source}", pts=25, codec="mjpeg", pixel_format="yuvj420p", audio=codec
    )
    out = tmp_path / f"out{extension}"
    pass_through(clip, out, start="f7", codec="h264")
    (was, _), *_ = packets(clip, "audio")
    whole = b"".join(data for _, data in packets(clip, "audio"))
    (first, _), *_ = packets(out, "audio")
    kept = b"".join(data for _, data in packets(out, "audio"))
    assert first is not None
    assert was is not None
    assert 0 <= first <= Fraction(1, 1000)
    with av.open(str(clip)) as opened:
        rate, channels = opened.streams.audio[0].rate, opened.streams.audio[0].layout.nb_channels
    wide = channels * int(codec[5:7]) // 8
    assert whole.endswith(kept)
    begins = Fraction(len(whole) - len(kept), wide * rate)
    assert abs(was + begins - Fraction(7, 25) - first) <= Fraction(1, 1000)


def test_sound_that_is_longer_than_the_video_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "in.mkv"
    make_clip(path, pts=50, audio="aac")
    with av.open(str(path)) as source, av.open(str(tmp_path / "long.mkv"), "w") as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        for packet in source.demux():
            if packet.size and (packet.stream.type == "audio" or (packet.pts or 0) < 400):
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    pass_through(tmp_path / "long.mkv", tmp_path / "out.mkv")
    before = packets(tmp_path / "long.mkv", "audio")
    assert packets(tmp_path / "out.mkv", "audio") == before
    assert float(before[-1][0] or 0) > 1.9
    assert len(read_all(tmp_path / "out.mkv")[1]) < 20


def test_a_late_video_keeps_its_distance_to_the_sound(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", pts=[45000 + 3600 * n for n in range(20)], audio="aac")
    for extension in (".mp4", ".mkv"):
        out = tmp_path / f"out{extension}"
        pass_through(clip, out)
        _, results = read_all(out)
        assert results[0].time == Fraction(1, 2)
        was, now = packets(clip, "audio")[0][0], packets(out, "audio")[0][0]
        assert was is not None
        assert now is not None
        assert abs(was - now) <= Fraction(1, 1000)


def cover_clip(path: Path) -> Path:
    """A clip with a cover image."""
    base = make_clip(path.with_name("base.mp4"), audio="aac")
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 32, 32, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    image = av.VideoFrame(32, 32, "yuvj420p")
    image.pts = 0
    cover = (encoder.encode(image) + encoder.encode(None))[0]
    with av.open(str(base)) as source, av.open(str(path), "w") as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        art: Any = out.add_stream("mjpeg", rate=25)
        art.width, art.height, art.pix_fmt = 32, 32, "yuvj420p"
        art.disposition = av.stream.Disposition.attached_pic
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
        cover.stream = art
        out.mux(cover)
    return path


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_cover_images_are_kept(tmp_path: Path, extension: str) -> None:
    clip = cover_clip(tmp_path / "in.mp4")
    info = probe(clip)
    assert [stream.cover for stream in info.streams] == [False, False, True]
    out = tmp_path / f"out{extension}"
    pass_through(clip, out)
    assert sum(stream.cover for stream in probe(out).streams) == 1
    with av.open(str(clip)) as a, av.open(str(out)) as b:
        images = [next(bytes(p) for p in c.demux(c.streams.video[1]) if p.size) for c in (a, b)]
    assert images[0] == images[1]


def test_second_video_streams_are_copied(tmp_path: Path) -> None:
    clips = [make_clip(tmp_path / "1.mp4"), make_clip(tmp_path / "2.mp4", size=(32, 32))]
    with av.open(str(tmp_path / "in.mp4"), "w") as out:
        sources = [av.open(str(clip)) for clip in clips]
        targets = [out.add_stream_from_template(c.streams.video[0], opaque=True) for c in sources]
        for source, target in zip(sources, targets, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = target
                    out.mux(packet)
            source.close()
    info, _ = pass_through(tmp_path / "in.mp4", tmp_path / "out.mp4", codec="ffv1")
    assert [stream.kind for stream in info.streams] == ["video", "video"]
    sizes = {}
    for name in ("in.mp4", "out.mp4"):
        with av.open(str(tmp_path / name)) as container:
            other = next(s for s in container.streams.video if s.width == 32)
            sizes[name] = [bytes(p) for p in container.demux(other) if p.size]
    assert len(sizes["in.mp4"]) == 12
    assert sizes["in.mp4"] == sizes["out.mp4"]


def test_text_of_mp4_is_copied_to_mp4_and_named_elsewhere(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", pts=50, subtitles=SUBTITLES)
    pass_through(clip, tmp_path / "out.mp4")
    before, after = (
        [(time, data[2:]) for time, data in packets(path, "subtitle") if data[2:]]
        for path in (clip, tmp_path / "out.mp4")
    )
    assert [data for _, data in before] == [b"one", b"two", b"three"]
    assert after == before
    with pytest.warns(UnblurWarning, match="mov_text, fra. is left out, .mkv cannot hold it"):
        pass_through(clip, tmp_path / "out.mkv")


@pytest.mark.parametrize(
    ("source", "codec"), [(".mkv", "pcm_s16le"), (".avi", "pcm_s16le"), (".ts", "ac3")]
)
@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_other_sound_codecs_are_copied(
    tmp_path: Path, source: str, codec: str, extension: str
) -> None:
    base = Fraction(1, 25) if source == ".avi" else Fraction(1, 90000)
    video = "ffv1" if source == ".avi" else "libx264"
    clip = make_clip(tmp_path / f"in{source}", codec=video, time_base=base, audio=codec)
    pass_through(clip, tmp_path / f"out{extension}")
    before, after = packets(clip, "audio"), packets(tmp_path / f"out{extension}", "audio")
    assert b"".join(data for _, data in after) == b"".join(data for _, data in before)


def test_timecode_is_kept_unless_the_start_is_cut(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mov", metadata={"timecode": "01:02:03:04"}, pts=20)
    with av.open(str(clip)) as container:
        assert any(s.metadata.get("timecode") == "01:02:03:04" for s in container.streams)
    pass_through(clip, tmp_path / "out.mov", codec="h264")
    with av.open(str(tmp_path / "out.mov")) as container:
        assert [s.metadata.get("timecode") for s in container.streams] == ["01:02:03:04"] * 2
    with pytest.warns(UnblurWarning, match="timecode"):
        pass_through(clip, tmp_path / "cut.mov", codec="h264", start="f5")
    with av.open(str(tmp_path / "cut.mov")) as container:
        assert [s.metadata.get("timecode") for s in container.streams] == [None]


def test_rotated_clips_keep_their_sound(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", matrix=ROTATED, audio="aac", pts=20)
    pass_through(clip, tmp_path / "out.mp4", codec="ffv1")
    assert packets(tmp_path / "out.mp4", "audio") == packets(clip, "audio")
    assert probe(tmp_path / "out.mp4").rotation == 90


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("kind", ["mp4 aac", "mov pcm_s16le"])
@pytest.mark.parametrize(
    "edits",
    [
        [(0, 0.4), (0.8, 0.8)],
        [(None, 0.2), (0.4, 0.8)],
        [(0.8, 0.4), (0, 0.4)],
        [(0, 0.4), (0, 0.4)],
        [(0, 0.6)],
    ],
    ids=["a part left out", "late", "another order", "twice", "an end left out"],
)
def test_what_edit_lists_hide_stays_hidden(
    tmp_path: Path, kind: str, edits: list[tuple[float | None, float]], extension: str
) -> None:
    """Frames and sounds: as many flashes as beeps, at the same times as in the source."""
    suffix, codec = kind.split()
    whole = flashing(
        tmp_path / f"whole.{suffix}", audio=codec, frames=40, options={"bf": "0", "crf": "1"}
    )
    clip = tmp_path / f"in.{suffix}"
    clip.write_bytes(with_edits(whole.read_bytes(), edits))
    out = tmp_path / f"out{extension}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pass_through(clip, out, codec="h264")
    assert flashes(out) == flashes(clip)
    # Where parts of AAC meet, the first sound of the second lacks what it is built upon.
    assert beeps(out) == pytest.approx(beeps(clip), abs=0.03)
    assert beeps(out) == pytest.approx(flashes(out), abs=0.03)


@pytest.mark.parametrize("extension", [".mkv", ".mp4", ".mov"])
def test_languages_are_kept_or_named(tmp_path: Path, extension: str) -> None:
    """MOV has numbers for some languages only, and for one of two codes of each."""
    plain = make_clip(tmp_path / "plain.mkv", audio="aac")
    clip = tmp_path / "in.mkv"
    languages = ["deu", "fre", "swe", "gsw"]
    with av.open(str(plain)) as read, av.open(str(clip), "w") as out:
        video = out.add_stream_from_template(read.streams.video[0])
        video.metadata["language"] = "tlh"
        tracks = [out.add_stream_from_template(read.streams.audio[0]) for _ in languages]
        for track, language in zip(tracks, languages, strict=True):
            track.metadata["language"] = language
        for packet in [p for p in read.demux() if p.size]:
            times = packet.pts, packet.dts, packet.time_base, packet.duration
            for target in [video] if packet.stream.type == "video" else tracks:
                fresh: Any = av.Packet(bytes(packet))
                fresh.pts, fresh.dts, fresh.time_base, fresh.duration = times
                fresh.is_keyframe, fresh.stream = packet.is_keyframe, target
                out.mux(fresh)
    out_path = tmp_path / f"out{extension}"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnblurWarning)
        pass_through(clip, out_path, codec="h264")
    found = [s.language for s in probe(out_path).streams if s.kind == "audio"]
    wanted = {".mov": ["ger", "fra", "sve", None]}.get(extension, languages)
    assert found == wanted
    text = [
        "language 'gsw' of audio stream 4" in str(each.message)
        and "language 'tlh' of video stream 0" in str(each.message)
        for each in said
    ]
    assert text == [True] * (extension == ".mov")


@pytest.mark.parametrize("extension", [".mp4", ".mov"])
def test_a_track_without_packets_is_named_where_it_is_left_out(
    tmp_path: Path, extension: str
) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=48000)
        sound.layout = "mono"
        sound.codec_context.open()
        for n in range(5):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    assert [s.kind for s in probe(source).streams].count("audio") == 1
    with pytest.warns(UnblurWarning, match="audio.*is left out, nothing is in it"):
        pass_through(source, tmp_path / f"out{extension}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnblurWarning)
        pass_through(source, tmp_path / "out.mkv")


@pytest.mark.parametrize("extension", [".mkv", ".mp4", ".mov", ".webm"])
def test_flags_of_sound_are_kept_or_named(tmp_path: Path, extension: str) -> None:
    plain, clip = make_clip(tmp_path / "a.mkv", audio="libmp3lame", pts=20), tmp_path / "in.mkv"
    flag = av.stream.Disposition
    flags = [flag.dub, flag.original, flag.comment, flag.forced]
    flags += [flag.hearing_impaired, flag.visual_impaired, flag.default]
    with av.open(str(plain)) as given, av.open(str(clip), "w") as out:
        video = out.add_stream_from_template(given.streams.video[0])
        sounds = [out.add_stream_from_template(given.streams.audio[0]) for _ in flags]
        for sound, each in zip(sounds, flags, strict=True):
            sound.disposition = each
        for packet in given.demux():
            for target in sounds if packet.stream.type == "audio" else [video]:
                if packet.size:
                    copy: Any = av.Packet(bytes(packet))
                    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                    copy.is_keyframe, copy.stream = packet.is_keyframe, target
                    out.mux(copy)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnblurWarning)
        pass_through(clip, tmp_path / f"out{extension}")
    named = " ".join(str(each.message) for each in said)
    with av.open(str(tmp_path / f"out{extension}")) as result:
        kept = [sound.disposition for sound in result.streams.audio]
    for number, (each, found) in enumerate(zip(flags, kept, strict=True), 1):
        name = str(each.name).replace("_", " ")
        is_named = f"flag '{name}' of audio stream {number}" in named
        assert is_named != bool(each & found)
    if extension == ".mkv":
        assert "flag" not in named


def test_attachments_that_webm_does_not_take_are_named(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", attachment=FONT)
    with pytest.warns(UnblurWarning, match=r"attachment stream 1 .* is left out.*\.mkv can"):
        pass_through(clip, tmp_path / "out.webm")


@pytest.mark.parametrize("extension", [".mkv", ".mp4", ".mov"])
def test_the_track_that_is_named_is_the_one_that_lost_something(
    tmp_path: Path, extension: str
) -> None:
    """An empty track before it is dropped, and an attachment before it comes last."""
    clip = tmp_path / "in.mkv"
    with av.open(str(clip), "w") as out:
        video: Any = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        out.add_attachment("font.ttf", "application/x-truetype-font", FONT)
        sounds: list[Any] = [out.add_stream("libmp3lame", rate=48000) for _ in range(3)]
        for sound, language in zip(sounds, ["deu", "gsw", "fra"], strict=True):
            sound.layout, sound.metadata["language"] = "mono", language
            sound.codec_context.open()
        sounds[1].disposition = av.stream.Disposition.dub
        for n in range(5):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        for sound in sounds[1:]:
            wave = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.float32), "fltp", "mono")
            wave.sample_rate, wave.pts, wave.time_base = 48000, 0, Fraction(1, 48000)
            out.mux(sound.encode(wave))
            out.mux(sound.encode(None))
    with av.open(str(clip)) as source:
        (dubbed,) = [s.index for s in source.streams.audio if s.language == "gsw"]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnblurWarning)
        pass_through(clip, tmp_path / f"out{extension}", codec="h264")
    named = " ".join(str(each.message) for each in said)
    lost = [line for line in named.split(" and the ") if "language" in line or "flag" in line]
    assert len(lost) == {".mkv": 0, ".mp4": 0, ".mov": 2}[extension], named
    assert all(f"audio stream {dubbed}" in line for line in lost)
