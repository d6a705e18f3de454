"""What files of all kinds hold goes over, is converted, or is named; and nothing fails late."""

from __future__ import annotations

import dataclasses
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.bitstream import BitStreamFilterContext

from tests.video.boxes import box, described
from tests.video.media import image, make_clip, pass_through, read_all
from tests.video.test_seek import make as make_seekable
from tests.video.test_seek import threaded, trimmed
from tests.video.test_times import beeps, flashing
from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError
from unblur.video import create_video, open_video, probe
from unblur.video.codecs import choose
from unblur.video.matroska import reserve
from unblur.video.packets import shows_image
from unblur.video.probe import _video_stream
from unblur.video.rehearsal import Outcome, Parts, rehearse
from unblur.video.side_data import beside
from unblur.video.times import with_times


def with_sound(path: Path, codec: str, layout: str, rate: int = 48000) -> Path:
    """A clip with sound in any layout."""
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=25)
        video.codec_context.width, video.codec_context.height = 64, 48
        video.codec_context.pix_fmt = "yuv420p"
        sound: Any = out.add_stream(codec, rate=rate)
        sound.codec_context.layout = layout
        context = sound.codec_context
        count = {"mono": 1, "stereo": 2, "4.0": 4, "7.1": 8}[layout]
        for n in range(5):
            frame = image(n, (64, 48), "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(video.encode(frame))
        step = context.frame_size or rate // 25
        for at in range(0, rate // 5, step):
            planes = np.zeros((1, step * count), np.int16)
            kind = context.format.name
            if kind.startswith("s32"):
                planes = planes.astype(np.int32)
            frame = av.AudioFrame.from_ndarray(planes, kind, layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            out.mux(sound.encode(frame))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
    return path


def said_by(source: Path, target: Path, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnblurWarning)
        pass_through(source, target, **options)
    return [str(each.message) for each in said]


# Nothing fails late.


def test_sound_that_mp4_refuses_with_its_last_byte_is_named_at_once(tmp_path: Path) -> None:
    clip = with_sound(tmp_path / "in.mkv", "pcm_s16le", "4.0")
    with pytest.warns(
        UnblurWarning, match=r"pcm_s16le\) becomes FLAC without loss, .mp4 cannot hold it"
    ):
        writer = create_video(tmp_path / "out.mp4", probe(clip), source=clip)
    _, frames = read_all(clip)
    with writer:
        for frame in frames:
            writer.write(frame)
    assert probe(tmp_path / "out.mp4").frames == 5
    assert not said_by(clip, tmp_path / "out.mov", codec="h264")


def test_amr_in_mov_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    clip = with_sound(tmp_path / "in.3gp", "libopencore_amrnb", "mono", 8000)
    assert not said_by(clip, tmp_path / "out.mov", codec="h264")
    assert [s.codec for s in probe(tmp_path / "out.mov").streams] == ["h264", "amr_nb"]
    said = said_by(clip, tmp_path / "out.mp4")
    assert ["becomes FLAC without loss, .mp4 cannot hold it" in text for text in said] == [True]


def test_a_refusal_of_ffmpeg_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", pts=2)
    writer: Any = create_video(tmp_path / "out.mp4", probe(clip))
    with pytest.raises(ResourceError, match="refuses what it is given"), writer._errors():
        raise av.error.PermissionError(1, "Operation not permitted")
    writer.abort()


def test_layouts_of_eight_channels_do_not_end_the_process(tmp_path: Path) -> None:
    clip = with_sound(tmp_path / "in.mov", "pcm_s24le", "7.1")
    code = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from tests.video.media import pass_through; from pathlib import Path\n"
        "pass_through(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    for name in ("out.mkv", "out.mp4"):
        command = [sys.executable, "-c", code, str(clip), str(tmp_path / name)]
        subprocess.run([*command, str(Path(__file__).parents[2])], check=True, capture_output=True)
        kinds = [stream.kind for stream in probe(tmp_path / name).streams]
        assert kinds == ["video", "audio"]
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize("size", [(33, 17), (34, 34), (48, 18), (62, 62)])
def test_x265_is_not_asked_for_sizes_that_end_the_process(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=f"h265 cannot hold frames of {size[0]}x{size[1]} pixels"):
        choose(["h265"], "yuv420p", *size)
    assert choose(["h265", "h264"], "yuv420p10le", *size).key == "h264"


def test_clocks_of_nanoseconds_are_counted_in_microseconds(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", pts=[0, 40, 5000], time_base=Fraction(1, 1000))
    info, frames = read_all(clip)
    fine = Fraction(1, 10**9)
    frames = [
        dataclasses.replace(f, pts=round(f.time / fine), time_base=fine, duration=0) for f in frames
    ]
    with create_video(tmp_path / "out.mp4", dataclasses.replace(info, time_base=fine)) as writer:
        for frame in frames:
            writer.write(frame)
    _, results = read_all(tmp_path / "out.mp4")
    assert [float(f.time) for f in results] == pytest.approx([0, 0.04, 5], abs=1e-6)


def test_frames_longer_than_the_clock_of_mp4_can_count(tmp_path: Path) -> None:
    hours = 7 * 3600 * 1000
    clip = make_clip(tmp_path / "in.mkv", pts=[0, 40, hours], time_base=Fraction(1, 1000))
    info, frames = read_all(clip)
    fine = Fraction(1, 90000)
    info = dataclasses.replace(info, time_base=fine, duration=float(hours // 1000))
    with create_video(tmp_path / "out.mp4", info, source=clip) as writer:
        for frame in frames:
            writer.write(frame)
    _, results = read_all(tmp_path / "out.mp4")
    assert [f.time for f in results] == [0, Fraction(1, 25), hours // 1000]


def test_wild_durations_and_times_are_none() -> None:
    step = 1000
    sent = [(0, 2**40), (2**61, -5), (None, 0), (3 * step, 1), (-(2**62), 0)]

    def source() -> Iterator[av.VideoFrame]:
        for pts, duration in sent:
            frame = av.VideoFrame(16, 16, "yuv420p")
            frame.pts, frame.duration = pts, duration
            yield frame

    opened: Any = SimpleNamespace(
        path=Path("in.mkv"),
        container=SimpleNamespace(format=SimpleNamespace(name="matroska,webm"), duration=1),
        stream=SimpleNamespace(
            average_rate=Fraction(1), guessed_rate=Fraction(1), duration=1, time_base=None
        ),
        time_base=Fraction(1, step),
    )
    with pytest.warns(UnblurWarning, match="lacks timestamps"):
        found = [frame.pts for frame in with_times(opened, source())]
    assert found == [0, step, 2 * step, 3 * step, 3 * step + 1]


def test_a_duration_that_cannot_be_is_not_told(tmp_path: Path) -> None:
    """As of Ogg whose last page has a damaged time."""
    data = bytearray((Path(__file__).parent / "theora.ogv").read_bytes())
    page = data.rindex(b"OggS")
    data[page + 6 : page + 14] = (2**61).to_bytes(8, "little")
    data[page + 22 : page + 26] = bytes(4)
    total = 0
    for byte in data[page:]:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ (0x104C11DB7 if total >> 31 else 0)) & 0xFFFFFFFF
    data[page + 22 : page + 26] = total.to_bytes(4, "little")
    clip = tmp_path / "in.ogv"
    clip.write_bytes(data)
    assert probe(clip).duration is None


# Streams and metadata.


def two_tracks(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        streams: list[Any] = []
        for size in ((96, 64), (64, 48)):
            stream: Any = out.add_stream("libx264", rate=25)
            stream.codec_context.width, stream.codec_context.height = size
            stream.codec_context.pix_fmt = "yuv420p"
            stream.disposition = av.stream.Disposition.default
            streams.append((stream, size))
        for n in range(5):
            for stream, size in streams:
                frame = image(n, size, "yuv420p")
                frame.pts, frame.time_base = n, Fraction(1, 25)
                out.mux(stream.encode(frame))
        for stream, _ in streams:
            out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_of_two_video_tracks_the_choice_is_said_and_can_be_made(
    tmp_path: Path, extension: str
) -> None:
    clip = two_tracks(tmp_path / f"in{extension}")
    with pytest.warns(UnblurWarning, match="stream 0 is taken, not video stream 1.*--stream"):
        info, _ = pass_through(clip, tmp_path / f"out{extension}")
    assert (info.width, info.stream_index) == (96, 0)
    assert probe(tmp_path / f"out{extension}").width == 96
    with av.open(str(tmp_path / f"out{extension}")) as container:
        flags = [stream.disposition for stream in container.streams.video]
    assert all(flag & av.stream.Disposition.default for flag in flags)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        info, frames = read_all(clip, stream=1, start="f2")
    assert (info.width, info.stream_index, len(frames)) == (64, 1, 3)
    with pytest.raises(UsageError, match=r"--stream 7: .* has the video streams 0, 1"):
        open_video(clip, stream=7)


def test_what_serves_another_image_is_not_taken_for_it() -> None:
    """Opacity of AVIF and HEIF, as FFmpeg gives it: here even as the best stream."""
    Flag = av.stream.Disposition
    flags = [Flag.default | Flag.dependent, Flag.default, Flag.attached_pic]
    streams = [
        SimpleNamespace(index=n, disposition=flag, codec_context=object(), type="video")
        for n, flag in enumerate(flags)
    ]

    class Streams(list[Any]):
        video = streams

        def best(self, kind: str) -> Any:
            return streams[0]

    container: Any = SimpleNamespace(streams=Streams(streams))
    assert _video_stream(Path("in.avif"), container, None, {}).index == 1
    assert _video_stream(Path("in.avif"), container, 0, {}).index == 0


def test_what_cannot_be_written_is_found_one_by_one() -> None:
    tried: list[Parts] = []

    def attempt(parts: Parts) -> Outcome:
        tried.append(parts)
        bad = not parts.left_out or parts.timecode or 2 not in parts.left_out
        return Outcome((1, 2, 3), ValueError("no") if bad else None)

    assert rehearse(attempt) == (Parts((2,), timecode=False), None)
    assert tried[0] == Parts()
    error = ValueError("never")
    assert rehearse(lambda parts: Outcome((), error)) == (Parts(), error)


def test_flags_of_the_track_are_kept(tmp_path: Path) -> None:
    clip = tmp_path / "in.mkv"
    wanted = av.stream.Disposition.default | av.stream.Disposition.original
    with av.open(str(clip), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.codec_context.width, stream.codec_context.height = 64, 48
        stream.disposition = wanted
        frame = image(0, (64, 48), "yuv420p")
        frame.pts = 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    pass_through(clip, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].disposition == wanted


def exif(orientation: int) -> bytes:
    body = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation])
    body += b"\0" * 7
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


def test_side_data_without_a_name_does_not_hide_the_rotation(tmp_path: Path) -> None:
    plain = make_clip(
        tmp_path / "plain.mov", codec="mjpeg", pixel_format="yuvj420p", pts=3,
        matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
    )  # fmt: skip
    clip = tmp_path / "in.mov"
    with av.open(str(plain)) as read, av.open(str(clip), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        stream.set_display_matrix((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
        for packet in read.demux(video=0):
            if packet.size:
                data = bytes(packet)
                fresh: Any = av.Packet(data[:2] + exif(6) + data[2:])
                fresh.pts, fresh.dts, fresh.time_base = packet.pts, packet.dts, packet.time_base
                fresh.stream, fresh.is_keyframe = stream, True
                out.mux(fresh)
    with av.open(str(clip)) as container, pytest.raises(ValueError, match="not a valid Type"):
        _ = next(container.decode(video=0)).side_data  # what this is about
    assert probe(clip).rotation == 90
    pass_through(clip, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").rotation == 90


PHONE = {
    "com.apple.quicktime.make": "Maker",
    "com.apple.quicktime.creationdate": "2023-01-02T03:04:05+0200",
    "com.apple.quicktime.location.ISO6709": "+12.3400+056.7800+010.0/",
    "com.android.version": "13",
    "title": "hello",
}


@pytest.mark.parametrize("extension", [".mov", ".mp4"])
def test_keys_of_phones_are_kept(tmp_path: Path, extension: str) -> None:
    clip = make_clip(
        tmp_path / "in.mov", metadata=PHONE, muxer_options={"movflags": "use_metadata_tags"}, pts=3
    )
    pass_through(clip, tmp_path / f"out{extension}", codec="h264")
    with av.open(str(tmp_path / f"out{extension}")) as container:
        assert PHONE.items() <= container.metadata.items()


def test_data_of_an_unknown_kind_is_left_out_of_mov_by_name(tmp_path: Path) -> None:
    text = make_clip(tmp_path / "text.mp4", subtitles=[(0.1, 0.2, "Hello")])
    clip = tmp_path / "in.mp4"
    data = text.read_bytes().replace(b"sbtl", b"meta").replace(b"tx3g", b"mebx")
    clip.write_bytes(data)
    assert [stream.kind for stream in probe(clip).streams] == ["video", "data"]
    said = said_by(clip, tmp_path / "out.mov", codec="h264")
    assert ["data stream 1" in line and "is left out" in line for line in said] == [True]


def captioned(path: Path) -> Path:
    """H.264 with closed captions (CEA-608 in A/53 messages)."""
    plain = make_clip(path.with_name("plain.mp4"), options={"bf": "0"}, pts=8)
    pairs = [(0x94, 0x20), (0x94, 0xAE), (0xC8, 0x45), (0x4C, 0x4C), (0x4F, 0x80), (0x94, 0x2F)]
    with av.open(str(plain)) as read, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        for n, packet in enumerate(p for p in read.demux(video=0) if p.size):
            body = b"\xb5\x00\x31GA94\x03\xc1\xff\xfc" + bytes(pairs[n % 6]) + b"\xff"
            unit = b"\x06" + bytes([4, len(body)]) + body + b"\x80"
            fresh: Any = av.Packet(len(unit).to_bytes(4, "big") + unit + bytes(packet))
            fresh.pts, fresh.dts, fresh.time_base = packet.pts, packet.dts, packet.time_base
            fresh.duration, fresh.is_keyframe = packet.duration, packet.is_keyframe
            fresh.stream = stream
            out.mux(fresh)
    return path


def test_captions_stay_with_restored_frames_or_are_named(tmp_path: Path) -> None:
    clip = captioned(tmp_path / "in.mp4")
    info, frames = read_all(clip)
    assert all("closed captions" in frame.beside for frame in frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with create_video(tmp_path / "out.mp4", info, source=clip) as writer:
            for frame in frames:
                restored = frame.with_rgb(1 - frame.rgb())
                assert float((restored.rgb() - frame.rgb()).abs().mean()) > 0.1
                writer.write(restored)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert all("closed captions" in beside(f) for f in container.decode(video=0))
    with pytest.warns(UnblurWarning, match="not carried over.*closed captions"):
        pass_through(clip, tmp_path / "out.mkv", codec="ffv1")


def test_stereo_3d_is_named(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", options={"x264-params": "frame-packing=3"}, pts=4)
    with pytest.warns(UnblurWarning, match="not carried over.*stereo 3D"):
        pass_through(clip, tmp_path / "out.mkv", codec="ffv1")


SPHERE = b"".join(
    (
        box("st3d", b"\0\0\0\0\2"),  # side by side
        box(
            "sv3d",
            box("svhd", b"\0\0\0\0me\0")
            + box("proj", box("prhd", bytes(16)) + box("equi", bytes(20))),
        ),
    )
)
"""Boxes of a 360 degree camera with two lenses (Google's Spherical Video V2)."""


def sphere_in_matroska(path: Path) -> Path:
    """The same in Matroska: StereoMode 1, and a Projection of type 1."""
    spare = reserve("")
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["title"] = spare
        for n in range(4):
            out.mux(stream.encode(image(n, (64, 48), "yuv420p")))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    at, length = data.index(spare.encode()), len(spare.encode())
    assert data[at - 4 : at - 2] == b"\x53\x6e"  # its number, then its size in two bytes
    data, room = data[: at - 4] + data[at + length :], length + 4
    video = data.index(b"\xb0\x81\x40") - 2  # its first element is a width of 64
    assert data[video] == 0xE0
    said = b"\x53\xb8\x81\1" + b"\x76\x70\x84\x76\x71\x81\1"
    size = data[video + 1] & 0x7F
    fresh = bytes([0xE0, 0x80 | size + len(said)]) + data[video + 2 : video + 2 + size] + said
    void = room - len(said) - 9
    fresh += b"\xec\1" + void.to_bytes(7, "big") + bytes(void)
    path.write_bytes(data[:video] + fresh + data[video + 2 + size :])
    return path


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_spherical_and_stereo_3d_are_kept_or_named(tmp_path: Path, kind: str) -> None:
    """What the output does not say the warning does, with frames as they came and restored."""
    clip = tmp_path / f"in.{kind}"
    if kind == "mp4":
        plain = make_clip(tmp_path / "plain.mp4", pts=4)
        clip.write_bytes(described(plain.read_bytes(), SPHERE))
    else:
        sphere_in_matroska(clip)
    names = {"spherical (360 degrees) mapping", "stereo 3D arrangement"}
    info, frames = read_all(clip)
    assert info.beside == names
    for extension in (".mp4", ".mov", ".mkv", ".webm"):
        for restored in (False, True):
            out = tmp_path / f"{restored}{extension}"
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", UnblurWarning)
                with create_video(out, info, source=clip) as writer:
                    for frame in frames:
                        writer.write(frame.with_rgb(frame.rgb()) if restored else frame)
            text = " ".join(str(each.message) for each in said)
            assert {name for name in names if name in text} == names - probe(out).beside, out


def test_a_crop_is_kept_in_matroska_and_named_elsewhere(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.mkv", codec="ffv1", pts=2)
    info, frames = read_all(plain)
    clip = tmp_path / "in.mkv"
    with create_video(clip, dataclasses.replace(info, crop=(2, 4, 6, 8)), codec="ffv1") as writer:
        for frame in frames:
            writer.write(frame)
    assert probe(clip).crop == (2, 4, 6, 8)
    assert not said_by(clip, tmp_path / "out.mkv", codec="ffv1")
    assert probe(tmp_path / "out.mkv").crop == (2, 4, 6, 8)
    assert (probe(tmp_path / "out.mkv").width, probe(tmp_path / "out.mkv").height) == (64, 48)
    with pytest.warns(UnblurWarning, match="does not hold the crop"):
        pass_through(clip, tmp_path / "out.mp4", codec="h264")


@pytest.mark.parametrize("extension", [".mov", ".mp4"])
def test_holes_in_plain_sound_stay_silent(tmp_path: Path, extension: str) -> None:
    whole = flashing(tmp_path / "whole.mkv", audio="pcm_s16le", frames=25)
    clip = tmp_path / "in.mkv"
    with av.open(str(whole)) as read, av.open(str(clip), "w") as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in read.streams}
        for packet in read.demux():
            sound = packet.stream.type == "audio"
            if packet.size and not (sound and 0.25 < packet.pts * packet.time_base < 0.7):
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    pass_through(clip, tmp_path / f"out{extension}", codec="h264")
    assert beeps(tmp_path / f"out{extension}") == pytest.approx([0.0, 0.2, 0.8], abs=0.002)


def test_the_clock_in_the_stream_is_the_frames(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", pts=25)
    pass_through(clip, tmp_path / "out.mp4")
    raw = tmp_path / "out.h264"
    with av.open(str(tmp_path / "out.mp4")) as read:
        annexb = BitStreamFilterContext("h264_mp4toannexb", read.streams.video[0])
        raw.write_bytes(
            b"".join(
                bytes(part) for p in read.demux(video=0) if p.size for part in annexb.filter(p)
            )
        )
    with av.open(str(raw)) as container:
        assert container.streams.video[0].codec_context.framerate == 25


# "Damaged" is a verdict.


def test_a_trimmed_clip_is_whole(tmp_path: Path) -> None:
    clip = trimmed(make_seekable(tmp_path / "a.mp4", "B-pyramid"), tmp_path / "in.mp4", 17)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, frames = read_all(clip, strict=True)
    assert len(frames) == 23


def test_hidden_frames_are_no_damage(tmp_path: Path) -> None:
    whole = make_seekable(tmp_path / "a.mkv", "AV1")
    clip = tmp_path / "in.mkv"
    count = 0
    with av.open(str(whole)) as read, av.open(str(clip), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0], opaque=True)
        split = BitStreamFilterContext("av1_frame_split", read.streams.video[0], stream)
        for packet in read.demux(video=0):
            for part in split.filter(packet if packet.size else None):
                part.stream = stream
                count += 1
                out.mux(part)
    assert count > 40, "no frame is hidden"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, frames = read_all(clip, strict=True)
        assert len(frames) == 40
        assert len(read_all(clip, end="f5", strict=True)[1]) == 5


def test_units_of_dirac_without_an_image_are_no_damage(tmp_path: Path) -> None:
    """Padding between frames, and the unit that ends a sequence: the image before stays."""

    def unit(code: int, content: bytes = b"") -> bytes:
        return b"BBCD" + bytes([code]) + struct.pack(">II", 13 + len(content), 0) + content

    whole = resized(tmp_path / "whole.mkv", "vc2", {})  # of which the first half is taken
    clip = tmp_path / "in.mkv"
    with av.open(str(whole)) as read, av.open(str(clip), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0], opaque=True)
        for n, packet in enumerate(p for p in islice(read.demux(video=0), 10) if p.size):
            packet.pts = packet.dts = 80 * n
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            out.mux(packet)
            if n not in (2, 5, 9):
                continue
            repeat: Any = av.Packet(unit(0x30, bytes(5)) if n < 9 else unit(0x10))
            repeat.pts = repeat.dts = 80 * n + 40
            repeat.stream, repeat.time_base, repeat.duration = stream, Fraction(1, 1000), 40
            out.mux(repeat)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, frames = pass_through(clip, tmp_path / "out.mkv", codec="ffv1")
        read_all(clip, strict=True)
    assert [frame.pts for frame in frames] == [80 * n for n in range(10)]


@pytest.mark.parametrize(
    ("codec", "data", "shown"),
    [
        ("vp9", [0x82, 0x49], True),  # a key frame that is shown
        ("vp9", [0x84, 0x00], False),  # between frames, kept for later
        ("vp9", [0x86, 0x00], True),
        ("vp9", [0x88, 0x00], True),  # one of those, shown at last
        ("vp9", [0x84, 0x00, 0xC0], True),  # several frames in a packet
        ("vp8", [0x10, 0x02], True),
        ("vp8", [0x00, 0x02], False),
        ("theora", [0x80, 0x74], False),  # a header
        ("theora", [0x00, 0x74], True),
        ("h264", [0x00, 0x00], True),
        ("mpeg4", [0x00, 0x00], None),
    ],
)
def test_what_packets_show(codec: str, data: list[int], shown: bool | None) -> None:
    assert shows_image(av.Packet(bytes(data)), codec) is shown


def test_transport_packets_that_are_missing_are_damage(tmp_path: Path) -> None:
    clip = flashing(tmp_path / "a.ts", frames=40, options={"g": "12", "bf": "2"}, size=(160, 96))
    data = clip.read_bytes()
    at = len(data) // 188 // 2 * 188
    spoilt = tmp_path / "in.ts"
    spoilt.write_bytes(data[:at] + data[at + 4 * 188 :])
    with pytest.warns(UnblurWarning, match="is damaged"):
        read_all(spoilt)
    with pytest.raises(MediaError, match="is damaged"):
        read_all(spoilt, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_all(clip, strict=True)


def test_encrypted_video_is_refused_by_name(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "in.mp4",
        pts=4,
        muxer_options={
            "encryption_scheme": "cenc-aes-ctr",
            "encryption_key": "00112233445566778899aabbccddeeff",
            "encryption_kid": "00112233445566778899aabbccddee00",
        },
    )
    for look in (probe, open_video):
        with pytest.raises(MediaError, match="is encrypted: decrypt it first"):
            look(clip)


# Choices.


def test_rgb_in_mp4_plays_everywhere(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", pixel_format="bgr0", pts=2)
    with pytest.warns(UnblurWarning, match="--pixel-format"):
        pass_through(clip, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, context.profile) == ("yuv420p", "High")
    pass_through(clip, tmp_path / "fine.mp4", pixel_format="yuv444p")
    assert probe(tmp_path / "fine.mp4").pixel_format == "yuv444p"
    with pytest.raises(UsageError, match="h264 cannot be written as 'rgb999': choose one of"):
        pass_through(clip, tmp_path / "no.mp4", pixel_format="rgb999")


def test_webm_keeps_ten_bits(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", pixel_format="yuv420p10le", pts=2)
    assert not said_by(clip, tmp_path / "out.webm")
    info = probe(tmp_path / "out.webm")
    assert (info.codec, info.bit_depth) == ("av1", 10)
    said = said_by(clip, tmp_path / "vp9.webm", codec="vp9")
    assert "--codec av1 keeps everything" in said[0]


def test_an_animated_png_under_png_is_a_video(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.apng", codec="apng", pixel_format="rgb24", pts=5)
    named = clip.rename(tmp_path / "a.png")
    assert len(read_all(named)[1]) == 5


def test_an_animated_webp_is_named(tmp_path: Path) -> None:
    """Built by hand: a canvas of 8x8 whose flags say that it moves, and the head of a movement."""
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\7\0\0" * 2
    body = b"WEBP" + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    clip = tmp_path / "in.webp"
    clip.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    with pytest.raises(MediaError, match="is an animated WebP"):
        read_all(clip)


def test_what_is_not_finite_in_alpha_is_replaced_and_counted(tmp_path: Path) -> None:
    frame = av.VideoFrame(8, 4, "gbrapf32le")
    for plane in frame.planes:
        plane.update(np.full(plane.buffer_size // 4, 0.5, "<f4").tobytes())
    alpha = np.full(frame.planes[3].buffer_size // 4, 0.5, "<f4")
    alpha[:2] = np.nan, np.inf
    frame.planes[3].update(alpha.tobytes())
    from unblur.video import Frame

    held = Frame(frame, 0, 0, Fraction(1, 25))
    assert held.non_finite() == 2
    found = held.alpha()
    assert found is not None
    assert bool(torch.isfinite(found).all())
    assert float(found[0, 0, 0]) == 0
    assert held.converted("gbrap16le").alpha() is not None
    # As an EXR that a network restored has it.
    given = held.with_rgb(torch.zeros(3, 4, 8))
    assert given.non_finite() == 0
    assert given.alpha().equal(found)  # type: ignore[union-attr]


def test_where_the_size_changes_the_advice_works(tmp_path: Path) -> None:
    parts = [
        flashing(
            tmp_path / f"{n}.ts", audio=None, frames=10, size=size, options={"bf": "0"},
            offset=Fraction(n * 10, 25),
        )
        for n, size in enumerate([(160, 96), (96, 64)])
    ]  # fmt: skip
    clip = tmp_path / "in.ts"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(MediaError, match="--end f10 and with --start f10"):
        read_all(clip)
    info, frames = read_all(clip, start="f10")
    assert (info.width, info.height, len(frames)) == (96, 64, 10)
    info, frames = read_all(clip, end="f10")
    assert (info.width, info.height, len(frames)) == (160, 96, 10)


@pytest.mark.parametrize(
    "kind", [*("mpeg2video.vob", "mpeg2video.ts", "mpeg2video.mkv"), "mpeg4.avi", "mpeg4.ts"]
)
def test_where_the_size_changes_no_frame_is_lost(tmp_path: Path, kind: str) -> None:
    """With B frames: the decoder holds one while it meets the new size."""
    codec, extension = kind.split(".")
    clip = resized(tmp_path / f"in.{extension}", codec, {"bf": "2"})
    with pytest.raises(MediaError, match="--end f10 and with --start f10"):
        read_all(clip, strict=True)
    check_parts(clip)


def test_where_the_size_of_dirac_changes_all_is_read(tmp_path: Path) -> None:
    clip = resized(tmp_path / "in.ts", "vc2", {})
    with pytest.raises(MediaError, match="--end f10 and with --start f10"):
        read_all(clip)
    check_parts(clip)


@pytest.mark.parametrize("extension", ["avi", "mkv", "flv", "webm"])
def test_where_the_size_changes_the_advice_works_in_other_containers(
    tmp_path: Path, extension: str
) -> None:
    codec = {"flv": "flv", "webm": "libvpx"}.get(extension, "mpeg4")
    clip = resized(tmp_path / f"in.{extension}", codec, {})
    with pytest.raises(MediaError, match="--end f10 and with --start f10"):
        read_all(clip)
    check_parts(clip)


SIZES = ((160, 96), (96, 64))


def resized(clip: Path, codec: str, options: dict[str, str]) -> Path:
    """Ten frames of each of `SIZES`, the streams of two encoders one behind the other."""
    base = Fraction(1, 25)
    with av.open(str(clip), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = SIZES[0]
        stream.pix_fmt = "yuv420p"
        for part, (width, height) in enumerate(SIZES):
            encoder: Any = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate, encoder.options = base, 25, options
            for n in range(11):
                frame = av.VideoFrame.from_ndarray(
                    np.full((height * 3 // 2, width), 100 + n, np.uint8), "yuv420p"
                )
                frame.pts, frame.time_base = n, base
                for packet in encoder.encode(frame if n < 10 else None):
                    packet.dts = (packet.pts if packet.dts is None else packet.dts) + 10 * part
                    packet.pts += 10 * part
                    packet.time_base, packet.stream = base, stream
                    container.mux(packet)
    return clip


def check_parts(clip: Path) -> None:
    for chosen, size in zip(({"end": "f10"}, {"start": "f10"}), SIZES, strict=True):
        info, frames = read_all(clip, **chosen)
        assert ((info.width, info.height), len(frames)) == (size, 10)
        shown = [int(np.frombuffer(f.image.planes[0], np.uint8)[0]) for f in frames]
        assert all(abs(value - 100 - n) < 5 for n, value in enumerate(shown)), shown


@pytest.mark.parametrize("kind", ["mpeg2video.ts", "libx264.ts"])
def test_where_aspect_or_colours_change_it_is_said_and_the_advice_works(
    tmp_path: Path, kind: str
) -> None:
    codec, extension = kind.split(".")
    parts = [
        make_clip(
            tmp_path / f"{n}.{extension}", codec=codec, size=(352, 288), pts=10,
            time_base=Fraction(1, 25), aspect=aspect, tags=tags,
        )
        for n, (aspect, tags) in enumerate(
            [(Fraction(12, 11), (6, 6, 6, 1)), (Fraction(16, 11), (1, 1, 1, 1))]
        )
    ]  # fmt: skip
    clip = tmp_path / f"in.{extension}"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    aspects, colours = "pixel aspect ratio from 12/11 to 16/11", "matrix from smpte170m to bt709"
    with (
        pytest.warns(UnblurWarning, match=aspects),
        pytest.warns(UnblurWarning, match=colours),
    ):
        assert len(read_all(clip)[1]) == 20
    for chosen, aspect, matrix in (
        ({"end": "f10"}, Fraction(12, 11), "smpte170m"),
        ({"start": "f10"}, Fraction(16, 11), "bt709"),
    ):
        info, frames = read_all(clip, **chosen)
        assert (info.sample_aspect_ratio, info.color.matrix) == (aspect, matrix)
        assert len(frames) == 10


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("bad", [32, 36, 38])
@pytest.mark.parametrize("kind", ["FFV1", "B-pyramid", "MPEG-4"])
def test_an_error_at_the_end_takes_no_good_frames_along(
    tmp_path: Path, kind: str, bad: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With threads the last frames leave the decoder together: of a bad one only itself is lost."""
    threaded(threads, monkeypatch)
    whole = make_seekable(tmp_path / "a.mkv", kind)
    clip = tmp_path / "in.mkv"
    with av.open(str(whole)) as read, av.open(str(clip), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        for n, packet in enumerate(p for p in read.demux(video=0) if p.size):
            fresh: Any = av.Packet(b"\0" if n == bad else bytes(packet))
            fresh.pts, fresh.dts, fresh.time_base = packet.pts, packet.dts, packet.time_base
            fresh.is_keyframe, fresh.stream = packet.is_keyframe, stream
            out.mux(fresh)
    with open_video(clip) as reader, warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)
        found = [frame.pts for frame in reader]
    assert len(found) == len(set(found)) == 39
    assert found == sorted(found)
    assert reader.decode_failures == 1


def test_what_a_run_reads_is_never_its_output(tmp_path: Path) -> None:
    """Depth maps, weights, painted images: also with --overwrite, and under another name."""
    clip = make_clip(tmp_path / "clip.mkv", codec="ffv1", pts=2)
    other = make_clip(tmp_path / "other.mkv", codec="ffv1", pts=2)
    maps = tmp_path / "maps"
    maps.mkdir()
    info = probe(clip)
    (tmp_path / "link.mkv").symlink_to(other)
    with pytest.raises(UsageError, match="read by this run"):
        create_video(tmp_path / "link.mkv", info, inputs=(other,), overwrite=True)
    pass_through(clip, tmp_path / "maps" / "%05d.png")
    for out in (f"{maps}/", maps / "%05d.png", maps / "new.png"):
        with pytest.raises(UsageError, match=r"is the input|which this run reads"):
            create_video(out, info, inputs=(maps,), overwrite=True)
    assert len(list(maps.iterdir())) == 2


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
        ((1, 0, 0, -1), lambda x: x[::-1]),
        ((-1, 0, 0, -1), lambda x: x[::-1, ::-1]),
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
        ((0, -1, 1, 0), lambda x: np.rot90(x)),
        ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
    ],
)
def test_images_are_turned_and_mirrored_as_players_show_them(
    tmp_path: Path, matrix: tuple[int, ...], shown: Any
) -> None:
    a, b, c, d = (n << 16 for n in matrix)
    whole = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip = make_clip(
        tmp_path / "a.mov", codec="png", pixel_format="rgb24", pts=1, matrix=whole, options={}
    )
    stored = read_all(clip)[1][0].image.to_ndarray(format="rgb24")
    pass_through(clip, tmp_path / "a.png")
    written = read_all(tmp_path / "a.png")[1][0].image.to_ndarray(format="rgb24")
    assert np.array_equal(written, shown(stored))


def test_a_profile_in_an_animated_png_does_not_end_the_process(tmp_path: Path) -> None:
    """PyAV frees the profile's name, and FFmpeg does so again once the frame is collected."""
    pillow = pytest.importorskip("PIL.Image")
    profile = pytest.importorskip("PIL.ImageCms").createProfile("sRGB")
    profile = pytest.importorskip("PIL.ImageCms").ImageCmsProfile(profile).tobytes()
    images = [pillow.new("RGB", (40, 30), (shade, 9, 90)) for shade in (10, 200)]
    path = tmp_path / "a.png"
    images[0].save(path, save_all=True, append_images=images[1:], icc_profile=profile)
    words = "import gc, sys, unblur.video as v; list(v.open_video(sys.argv[1])); gc.collect()"
    subprocess.run([sys.executable, "-c", words, str(path)], check=True)
