"""Frames come out of a file one by one, with their own times, also where it is damaged."""

from __future__ import annotations

import os
import random
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.media import ROTATED, VFR, image, make_clip, pass_through, read_all, same, samples
from unblur.errors import MediaError, ResourceError, UnblurError, UnblurWarning, UsageError
from unblur.video import open_video, probe
from unblur.video.probe import open_media


@pytest.fixture
def quiet() -> None:
    warnings.simplefilter("error")


def test_probe_tells_what_a_file_holds(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "in.mp4",
        pixel_format="yuv422p10le",
        size=(66, 50),
        matrix=ROTATED,
        aspect=Fraction(4, 3),
        tags=(9, 9, 18, 1),
        audio="aac",
    )
    info = probe(clip)
    assert (info.width, info.height, info.pixel_format) == (66, 50, "yuv422p10le")
    assert (info.bit_depth, info.has_alpha, info.hdr) == (10, False, "hlg")
    assert (info.frame_rate, info.time_base, info.frames) == (25, Fraction(1, 90000), 12)
    assert info.duration == pytest.approx(0.48)
    assert (info.rotation, info.sample_aspect_ratio) == (90, Fraction(4, 3))
    assert (info.color.matrix, info.color.primaries) == ("bt2020nc", "bt2020")
    assert (info.color.transfer, info.color.range) == ("arib-std-b67", "tv")
    assert not info.interlaced
    assert (info.codec, info.container[:3], info.stream_index) == ("h264", "mov", 0)
    assert [(s.kind, s.codec) for s in info.streams] == [("video", "h264"), ("audio", "aac")]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".ts", ".webm", ".avi"])
def test_frames_come_in_order_with_their_times(tmp_path: Path, extension: str) -> None:
    codec = {".webm": "libvpx-vp9", ".avi": "ffv1"}.get(extension, "libx264")
    base = Fraction(1, 25) if extension == ".avi" else Fraction(1, 90000)
    clip = make_clip(tmp_path / f"in{extension}", codec=codec, pts=30, time_base=base)
    info, frames = read_all(clip)
    assert [frame.index for frame in frames] == list(range(30))
    times = [frame.time - frames[0].time for frame in frames]
    assert times == [Fraction(n, 25) for n in range(30)]
    assert all(frame.time_base == info.time_base for frame in frames)
    if codec in ("libx264", "ffv1"):
        assert all(same(image(f.index, (64, 48), "yuv420p"), f.image) for f in frames)


def test_frames_keep_uneven_times(tmp_path: Path) -> None:
    _, frames = read_all(make_clip(tmp_path / "in.mp4", pts=VFR))
    assert tuple(frame.pts for frame in frames) == VFR


def test_missing_times_are_rebuilt_and_said(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.h264", options={"bf": "2"}, pts=20)
    with pytest.warns(UnblurWarning, match="lacks timestamps"):
        _, frames = read_all(clip)
    times = [frame.time for frame in frames]
    assert len(times) == 20
    assert times == [Fraction(n, 25) + times[0] for n in range(20)]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        ("f10", None, range(10, 60)),
        (None, "f3", range(3)),
        ("f25", "f26", range(25, 26)),
        ("1s", "1.5s", range(25, 38)),
        ("0:01", "00:00:01.2", range(25, 30)),
        ("0.99", "f60", range(25, 60)),
        ("f0", "2.4s", range(60)),
        ("f59", None, range(59, 60)),
    ],
)
def test_ranges_are_half_open(
    tmp_path: Path, extension: str, start: str | None, end: str | None, wanted: range
) -> None:
    base = Fraction(1, 25) if extension == ".avi" else Fraction(1, 90000)
    codec = "ffv1" if extension == ".avi" else "libx264"
    clip = make_clip(
        tmp_path / f"in{extension}", codec=codec, pts=60, options={"g": "12"}, time_base=base
    )
    with open_video(clip, start=start, end=end) as reader:
        frames = list(reader)
        assert reader.frames == len(wanted)
    assert [frame.index for frame in frames] == list(wanted)
    assert all(same(image(f.index, (64, 48), "yuv420p"), f.image) for f in frames)
    _, whole = read_all(clip)
    assert [f.pts for f in frames] == [whole[n].pts for n in wanted]


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("f12", None, "^f12 lies past the end"),
        ("0.48s", None, "past the end"),
        ("1:00:00", None, "12 frames, 0.480 s"),
        ("f5", "f5", "not after"),
        ("f6", "0.1s", "not after"),
        ("abc", None, "not a time"),
    ],
)
def test_ranges_past_the_end_are_refused(
    tmp_path: Path, start: str | None, end: str | None, said: str
) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    with pytest.raises(UsageError, match=said):
        open_video(clip, start=start, end=end)


@pytest.mark.parametrize("end", ["f13", "0.5s", "1:00:00"])
def test_an_end_past_the_end_is_the_end(tmp_path: Path, end: str) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    with pytest.warns(UnblurWarning, match="--end .* lies past the end.*12 frames, 0.480 s"):
        reader = open_video(clip, start="f10", end=end)
    with reader:
        assert [frame.index for frame in reader] == [10, 11]


def test_times_count_from_the_first_frame(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", pts=[90000 + 3600 * n for n in range(20)])
    _, frames = read_all(clip, start="0.2s", end="0.4s")
    assert [frame.index for frame in frames] == [5, 6, 7, 8, 9]
    assert frames[0].pts == 90000 + 5 * 3600


def corrupt(path: Path, share: float = 0.15) -> Path:
    """Spoils some packets in the middle; headers, first and last ones stay."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        found = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    dice = random.Random(4)
    for place, size in dice.sample(found[8:-8], round(len(found) * share)):
        for offset in range(8, size):
            data[place + offset] = dice.randrange(256)
    spoilt = path.with_stem("spoilt")
    spoilt.write_bytes(data)
    return spoilt


@pytest.mark.parametrize(("codec", "extension"), [("libx264", ".mp4"), ("ffv1", ".mkv")])
def test_damaged_packets_are_counted_and_the_rest_stays_in_place(
    tmp_path: Path, codec: str, extension: str
) -> None:
    clip = make_clip(
        tmp_path / f"in{extension}", codec=codec, pts=60, options={"g": "10", "bf": "0"}
    )
    _, whole = read_all(clip)
    spoilt = corrupt(clip)
    with open_video(spoilt) as reader:
        with pytest.warns(UnblurWarning, match="damaged"):
            frames = list(reader)
        assert reader.decode_failures > 0
        assert len(frames) + reader.decode_failures >= 60
    times = {frame.pts: frame for frame in whole}
    assert len(frames) >= 45
    assert all(frame.pts in times for frame in frames)
    assert sum(same(times[f.pts].image, f.image) for f in frames) >= 20
    with pytest.raises(MediaError, match="strict"), open_video(spoilt, strict=True) as reader:
        list(reader)


@pytest.mark.parametrize("extension", [".mkv", ".mp4"])
def test_cut_off_files_give_what_they_hold(tmp_path: Path, extension: str) -> None:
    flags = {"movflags": "faststart"} if extension == ".mp4" else {"cluster_time_limit": "200"}
    clip = make_clip(
        tmp_path / f"in{extension}",
        pts=60,
        options={"bf": "0", "g": "10"},
        muxer_options=flags,
    )
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 6 // 10])
    with open_video(clip) as reader:
        with pytest.warns(UnblurWarning, match="ends after"):
            frames = list(reader)
        assert reader.decode_failures > 0
    assert 25 < len(frames) < 45
    good = [f for f in frames if same(image(f.index, (64, 48), "yuv420p"), f.image)]
    assert len(good) >= len(frames) - 2
    assert [f.time for f in frames] == [Fraction(n, 25) for n in range(len(frames))]
    with pytest.raises(MediaError, match="strict"), open_video(clip, strict=True) as reader:
        list(reader)


@pytest.mark.parametrize(
    ("codec", "extension"), [("mpeg4", ".avi"), ("libx264", ".flv"), ("mpeg2video", ".mxf")]
)
def test_an_early_end_is_named(tmp_path: Path, codec: str, extension: str) -> None:
    """Where the header says how long it is to be."""
    clip = make_clip(
        tmp_path / f"in{extension}",
        codec=codec,
        pts=100,
        time_base=Fraction(1, 25),
        options={"bf": "0"},
        noise=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnblurWarning)
        _, whole = read_all(clip)
    with av.open(str(clip)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    clip.write_bytes(clip.read_bytes()[: places[60] - 8])
    with pytest.warns(UnblurWarning, match=r"it ends after \d\.\d+ of 4"):
        _, frames = read_all(clip)
    assert 58 <= len(frames) <= 60
    assert all(same(a.image, b.image) for a, b in zip(whole[:58], frames[:58], strict=True))
    with pytest.raises(MediaError, match="strict"):
        read_all(clip, strict=True)


def test_a_damaged_file_can_be_restored_to_a_whole_one(tmp_path: Path) -> None:
    clip = corrupt(make_clip(tmp_path / "in.mp4", pts=60, options={"g": "10"}, audio="aac"))
    with pytest.warns(UnblurWarning, match="damaged"):
        _, frames = pass_through(clip, tmp_path / "out.mp4", codec="ffv1")
    _, results = read_all(tmp_path / "out.mp4")
    assert [f.time for f in results] == [f.time for f in frames]


def spoil(data: bytes, dice: random.Random) -> bytes:
    """Flips bytes anywhere or in the header, cuts a piece out, or cuts the end off."""
    spoilt, kind = bytearray(data), dice.randrange(4)
    if kind < 2:
        reach = len(data) if kind else min(len(data), 2000)
        for _ in range(dice.randrange(1, 20)):
            spoilt[dice.randrange(reach)] = dice.randrange(256)
    elif kind == 2:
        start = dice.randrange(len(data))
        del spoilt[start : start + dice.randrange(1, 3000)]
    else:
        del spoilt[dice.randrange(len(data)) :]
    return bytes(spoilt)


@pytest.mark.filterwarnings("ignore::unblur.errors.UnblurWarning")
@pytest.mark.parametrize("count", [20, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("codec", "extension"),
    [
        ("libx264", ".mp4"),
        ("libx264", ".mkv"),
        ("libx265", ".mp4"),
        ("libvpx-vp9", ".webm"),
        ("libx264", ".ts"),
        ("ffv1", ".mkv"),
    ],
)
def test_any_damage_ends_in_a_whole_file_or_a_clear_error(
    tmp_path: Path, codec: str, extension: str, count: int
) -> None:
    audio = "libopus" if extension == ".webm" else "aac"
    data = make_clip(tmp_path / f"in{extension}", codec=codec, audio=audio, pts=20).read_bytes()
    dice = random.Random(f"{codec} {extension}")
    spoilt, out = tmp_path / f"spoilt{extension}", tmp_path / "out.mkv"
    whole, messages = 0, []
    for _ in range(count):
        spoilt.write_bytes(spoil(data, dice))
        out.unlink(missing_ok=True)
        try:
            _, frames = pass_through(spoilt, out, codec="ffv1")
        except UnblurError as error:
            messages.append(str(error))
            assert not out.exists()
        else:
            whole += 1
            assert len(read_all(out)[1]) == len(frames)
        assert not list(tmp_path.glob(".*"))
    assert whole > 0
    assert not any("\n" in message for message in messages)


def test_h265_is_decoded_without_frame_threads(tmp_path: Path) -> None:
    """With them FFmpeg 8.1 never returns from a file whose reference frames are damaged."""
    with open_media(make_clip(tmp_path / "in.mp4", codec="libx265")) as opened:
        assert opened.decoder.thread_type == av.codec.context.ThreadType.SLICE


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.mp4", None, "does not exist"),
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"This is a letter, not a video.\n" * 40, "not a video that can be read"),
        ("page.mp4", b"<!DOCTYPE html><html><body>404</body></html>\n" * 20, "not a video"),
        ("song.mp4", b"1\n00:00:01,000 --> 00:00:02,000\nla la\n\n" * 9, "only subtitle"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:1/a.ts\n", "playlist"),
        ("list.mkv", b"ffconcat version 1.0\nfile 'other.mp4'\n", "list of files"),
        ("sdp.mp4", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 1 RTP/AVP 96\n", "SDP"),
    ],
)
def test_what_is_no_video_is_refused(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for use in (probe, open_video):
        with pytest.raises(MediaError, match=said) as caught:
            use(path)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_playlist_never_opens_another_file(tmp_path: Path) -> None:
    make_clip(tmp_path / "secret.ts")
    playlist = tmp_path / "in.mp4"
    playlist.write_text("\n\n#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nsecret.ts\n")
    with pytest.raises(MediaError):
        open_video(playlist)
    script = tmp_path / "in.txt"
    script.write_text(f"# a comment\nffconcat version 1.0\nfile '{tmp_path}/secret.ts'\n")
    with pytest.raises(MediaError):
        open_video(script)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    full = make_clip(tmp_path / "in.mp4", audio="aac")
    with av.open(str(full)) as source, av.open(str(tmp_path / "a.mp4"), "w") as out:
        target = out.add_stream_from_template(source.streams.audio[0], opaque=True)
        for packet in source.demux(audio=0):
            if packet.size:
                packet.stream = target
                out.mux(packet)
    with pytest.raises(MediaError, match="only audio"):
        probe(tmp_path / "a.mp4")


def test_a_cover_image_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame(32, 32, "yuvj420p")
        frame.pts = 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(MediaError, match="cover"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_a_video_without_frames_is_refused(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"in{extension}"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        out.start_encoding()
    with pytest.raises(MediaError, match="frames"):
        probe(path)


def test_a_header_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    data = clip.read_bytes()
    assert data.find(b"moov") > len(data) // 2
    clip.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="cut off"):
        probe(clip)


def test_folders_without_images_and_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        probe(tmp_path)
    if os.path.exists("/dev/zero"):
        with pytest.raises(MediaError, match="regular"):
            probe("/dev/zero")


def test_huge_frames_are_refused_before_they_take_memory(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", codec="ffv1", size=(320, 304), pts=2)
    with pytest.raises(ResourceError, match="320x304"):
        probe(clip, max_pixels=320 * 304 - 1)
    assert probe(clip, max_pixels=320 * 304).width == 320
    header = b"\xb0\x82\x01\x40\xba\x82\x01\x30"
    data = clip.read_bytes()
    assert data.count(header) == 1
    clip.write_bytes(data.replace(header, b"\xb0\x82\x3e\x80\xba\x82\x2e\xe0"))
    with pytest.raises(ResourceError, match="16000x12000"):
        probe(clip)
    clip.write_bytes(data.replace(header, b"\xb0\x82\xff\xff\xba\x82\xff\xff"))
    with pytest.raises(MediaError, match="decoded"):  # more than FFmpeg itself takes
        probe(clip)


def test_interlaced_video_is_refused_or_made_progressive(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", interlaced=True, size=(64, 64), pts=VFR)
    assert probe(clip).interlaced
    with pytest.raises(MediaError, match="--deinterlace"):
        open_video(clip)
    with open_video(clip, deinterlace=True) as reader:
        assert not reader.info.interlaced
        frames = list(reader)
    assert [frame.pts for frame in frames] == list(VFR)
    assert {frame.image.format.name for frame in frames} == {"yuv420p"}
    assert not any(frame.image.interlaced_frame for frame in frames)
    # One field stays as it is (the encoder marks the bottom one as first), the other is made anew.
    source = samples(image(5, (64, 64), "yuv420p"))[0]
    result = samples(frames[5].image)[0]
    assert np.array_equal(source[1::2], result[1::2])
    assert not np.array_equal(source[::2], result[::2])
    with open_video(clip, deinterlace=True, start="f3", end="f6") as reader:
        cut = list(reader)
    assert [frame.index for frame in cut] == [3, 4, 5]
    assert [frame.pts for frame in cut] == list(VFR[3:6])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le"])
def test_deinterlacing_keeps_the_pixel_format_of_a_single_frame(
    tmp_path: Path, pixel_format: str
) -> None:
    clip = make_clip(
        tmp_path / "in.mkv", interlaced=True, size=(64, 64), pixel_format=pixel_format, pts=1
    )
    info, frames = read_all(clip, deinterlace=True)
    assert [frame.image.format.name for frame in frames] == [pixel_format]
    assert info.pixel_format == pixel_format


def test_deinterlace_leaves_progressive_video_alone(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    _, frames = read_all(clip, deinterlace=True)
    assert all(same(image(f.index, (64, 48), "yuv420p"), f.image) for f in frames)


def test_a_change_of_size_on_the_way_is_an_error(tmp_path: Path) -> None:
    parts = [
        make_clip(tmp_path / "1.ts", pts=10),
        make_clip(tmp_path / "2.ts", size=(96, 64), pts=[3600 * n for n in range(20, 30)]),
    ]
    clip = tmp_path / "in.ts"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_video(clip) as reader:
        frames = iter(reader)
        with pytest.raises(MediaError, match="64x48 yuv420p to 96x64 yuv420p at frame 10"):
            list(frames)


@pytest.mark.parametrize(
    "name", ["ein Übergang ☂.mp4", "%05d.mp4", "-v.mp4", "a:b.mp4", "x" * 200 + ".mkv", "a'b.mp4"]
)
def test_any_name_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if os.name == "nt" and ":" in name:
        pytest.skip("Windows forbids colons")
    monkeypatch.chdir(tmp_path)
    make_clip(Path("plain" + Path(name).suffix)).rename(name)
    (tmp_path / "out").mkdir()
    _, frames = pass_through(Path(name), Path("out") / name, codec="ffv1")
    _, results = read_all(Path("out") / name)
    assert [f.time for f in results] == [f.time for f in frames]
    assert os.listdir("out") == [name]


@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_real_clips_survive_ffv1(tmp_path: Path, shared: Path, count: int) -> None:
    clips = sorted((shared / "data" / "clips").iterdir())
    assert clips
    clips = clips if count > 2 else clips[2:6]
    for clip in clips:
        end = min(probe(clip).frames or count, count)
        out = tmp_path / "out.mp4"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnblurWarning)
            _, frames = pass_through(clip, out, codec="ffv1", end=f"f{end}", overwrite=True)
        info, results = read_all(out)
        assert len(frames) == len(results) == end, clip
        assert [f.time for f in frames] == [f.time for f in results], clip
        assert all(same(a.image, b.image) for a, b in zip(frames, results, strict=True)), clip
        assert info.pixel_format == frames[0].image.format.name


def test_side_data_that_pyav_has_no_name_for_is_passed_over(tmp_path: Path) -> None:
    """EXIF in a Motion JPEG: FFmpeg hands it on as a kind of side data that PyAV does not know."""
    with av.open(str(tmp_path / "plain.mjpeg"), "w", format="mjpeg") as file:
        stream = file.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        file.mux(stream.encode(image(0, (48, 32), "yuvj420p")))
        file.mux(stream.encode(None))
    plain = (tmp_path / "plain.mjpeg").read_bytes()
    # TIFF header, one entry: orientation (0x112), a short, upright.
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x01\0\0\0" + bytes(4)
    segment = b"Exif\0\0" + tiff
    length = (len(segment) + 2).to_bytes(2, "big")
    clip = tmp_path / "in.mjpeg"
    clip.write_bytes(plain[:2] + b"\xff\xe1" + length + segment + plain[2:])
    assert (probe(clip).width, probe(clip).height) == (48, 32)
    _, frames = read_all(clip)
    assert len(frames) == 1


@pytest.mark.parametrize(
    ("codec", "extension"), [("ffv1", ".mkv"), ("libx264", ".mkv"), ("libx264", ".mp4")]
)
@pytest.mark.parametrize("keys", ["5", "250"])
def test_frames_of_one_time_are_counted_one_by_one(
    tmp_path: Path, codec: str, extension: str, keys: str
) -> None:
    clip = make_clip(tmp_path / "even.mkv", codec=codec, pts=30, options={"g": keys, "bf": "0"})
    uneven = tmp_path / f"in{extension}"
    with av.open(str(clip)) as given, av.open(str(uneven), "w") as out:
        target = out.add_stream_from_template(given.streams.video[0])
        target.time_base = Fraction(1, 1000)
        for number, packet in enumerate(p for p in given.demux(video=0) if p.size):
            # From the eighth on four frames each come at one time.
            packet.pts = 40 * (number if number < 8 else 8 + (number - 8) // 4)
            packet.dts = packet.pts if extension == ".mkv" else number - 30
            packet.stream = target
            out.mux(packet)
    _, whole = read_all(uneven)
    assert len(whole) == 30
    assert whole[9].pts == whole[8].pts
    for cut in (8, 9, 12, 29):
        _, before = read_all(uneven, end=f"f{cut}")
        _, after = read_all(uneven, start=f"f{cut}")
        assert [f.index for f in before + after] == list(range(30))
        assert all(same(a.image, b.image) for a, b in zip(whole, before + after, strict=True))
    _, part = read_all(uneven, start="f9", end="f14")
    assert [f.index for f in part] == list(range(9, 14))
    assert all(same(a.image, b.image) for a, b in zip(whole[9:14], part, strict=True))
