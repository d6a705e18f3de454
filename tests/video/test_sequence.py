"""Image sequences: found in order, read exactly, written whole or not at all."""

from __future__ import annotations

import struct
import warnings
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import unblur
from tests.video.media import make_clip, pass_through
from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError
from unblur.ops.color import to_linear
from unblur.video import create_video, open_video, probe, sequence_writer
from unblur.video.frame import Frame
from unblur.video.images import read_image, storage_format, write_image
from unblur.video.info import ColorTags, VideoInfo
from unblur.video.pixels.layout import layout_of
from unblur.video.probe import MAX_PIXELS
from unblur.video.sequence import SequenceReader, find_images, is_sequence, probe_sequence
from unblur.video.sequence_writer import SequenceWriter, is_sequence_output


def image_of(name: str, seed: int = 0, width: int = 17, height: int = 11) -> av.VideoFrame:
    """An image of random samples."""
    random = np.random.default_rng(seed)
    image = av.VideoFrame(width, height, name)
    for plane in image.planes:
        view = np.frombuffer(plane, np.uint8)
        if "f32" in name:
            np.frombuffer(plane, np.float32)[:] = random.normal(0, 9, view.size // 4)
        else:
            view[:] = random.integers(0, 256, view.size, dtype=np.uint8)
    return image


def samples(image: av.VideoFrame) -> list[np.ndarray]:
    """All samples of an image, without the padding of lines."""
    layout = layout_of(image.format.name)
    found = []
    for s in (*layout.color, *([layout.alpha] if layout.alpha else [])):
        plane = image.planes[s.plane]
        shape = (image.height, image.width)
        found.append(np.ndarray(shape, layout.dtype, plane, s.offset, (plane.line_size, s.step)))
    return found


def save(path: Path, image: av.VideoFrame, codec: str | None = None, **options) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    kinds = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".exr": "exr"}
    path.write_bytes(write_image(image, codec or kinds[path.suffix], **options))


def make(folder: Path, names: list[str], pixel_format: str = "rgb24") -> Path:
    for seed, name in enumerate(names):
        save(folder / name, image_of(pixel_format, seed))
    return folder


def info_of(**changes) -> VideoInfo:
    given = {
        "path": Path("in.mp4"), "width": 17, "height": 11, "pixel_format": "yuv420p",
        "bit_depth": 8, "has_alpha": False, "frame_rate": Fraction(24),
        "time_base": Fraction(1, 24), "frames": 3, "duration": None,
    }  # fmt: skip
    return VideoInfo(**{**given, **changes})


def frames_of(*images: av.VideoFrame) -> list[Frame]:
    return [Frame(p, i, i, Fraction(1, 24), 1) for i, p in enumerate(images)]


def copy(source, target, **options) -> SequenceReader:
    with (
        SequenceReader(source) as reader,
        SequenceWriter(target, reader.info, source=source, **options) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    return reader


def numbers(source, **options) -> list[str]:
    return [file.path.name for file in find_images(source, **options).files]


# Finding


def test_names_are_ordered_as_people_count(tmp_path):
    make(tmp_path, ["f10.png", "f9.png", "f8.png", "f11.png"])
    expected = ["f8.png", "f9.png", "f10.png", "f11.png"]
    assert numbers(tmp_path) == expected
    assert numbers(tmp_path / "*.png") == expected
    assert numbers(tmp_path / "f%d.png") == expected


def test_patterns_take_their_files_only(tmp_path):
    make(tmp_path, ["a00001.png", "a00002.png", "b00001.png", "a3.png", "a00002x.png", ".a4.png"])
    (tmp_path / "notes.txt").write_text("no image")
    assert numbers(tmp_path / "a%05d.png") == ["a00001.png", "a00002.png"]
    assert numbers(tmp_path / "b*.png") == ["b00001.png"]
    assert numbers(tmp_path / "a%d.png") == ["a3.png"]


def test_an_existing_file_is_no_pattern(tmp_path):
    make(tmp_path, ["100%d[1].png", "2.png"])
    assert numbers(tmp_path / "100%d[1].png") == ["100%d[1].png"]


@pytest.mark.parametrize("pattern", ["", "*.png", "%05d.png", "%d.png"])
def test_gaps(tmp_path, pattern):
    folder = make(tmp_path / "in", [f"{n:05d}.png" for n in (12345, 12346, 12349)])
    source = folder / pattern if pattern else folder
    with pytest.raises(MediaError, match=r"12347.*2 missing"):
        find_images(source)
    assert numbers(source, gaps="skip") == ["12345.png", "12346.png", "12349.png"]
    held = ["12345.png", "12346.png", "12346.png", "12346.png", "12349.png"]
    assert numbers(source, gaps="hold") == held
    with SequenceReader(source, gaps="hold") as reader:
        rgb = [frame.rgb() for frame in reader]
    assert torch.equal(rgb[1], rgb[3])
    assert reader.info.frames == 5


def test_names_without_a_common_number_have_no_gaps(tmp_path):
    make(tmp_path, ["apple.png", "Berry 7.png", "cherry2.png"])
    assert numbers(tmp_path) == ["apple.png", "Berry 7.png", "cherry2.png"]


def test_a_gap_of_millions_is_not_held(tmp_path):
    make(tmp_path, ["1.png", "999999999.png"])
    with pytest.raises(MediaError, match="too many"):
        find_images(tmp_path, "hold")


def test_nothing_to_read(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(MediaError, match="no images"):
        find_images(tmp_path)
    with pytest.raises(MediaError, match="is not a folder"):
        find_images(tmp_path / "missing" / "%d.png")
    make(tmp_path, ["1.png"])
    (tmp_path / "1.jpg").write_bytes(b"x")
    with pytest.raises(MediaError, match="several kinds"):
        find_images(tmp_path)


def test_is_sequence(tmp_path):
    make(tmp_path, ["1.png"])
    (tmp_path / "v%d.mp4").write_bytes(b"x")
    assert is_sequence(tmp_path)
    assert is_sequence(tmp_path / "1.png")
    assert is_sequence(tmp_path / "%05d.png")
    assert is_sequence(str(tmp_path / "*.png"))
    assert not is_sequence(tmp_path / "v%d.mp4")
    assert not is_sequence(tmp_path / "in.mp4")


def test_is_sequence_output(tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)  # where there is no folder of these names
    assert is_sequence_output("out/%05d.png")
    assert is_sequence_output("out/")
    assert is_sequence_output(tmp_path)
    assert is_sequence_output("out.png")
    assert is_sequence_output("out", "exr")
    assert is_sequence_output("out/%04d")
    assert not is_sequence_output("clip%d.mp4")
    assert not is_sequence_output("out.mkv")
    assert not is_sequence_output("out")
    assert not is_sequence_output("out", "ffv1")


# Exactness


@pytest.mark.parametrize(
    ("suffix", "pixel_format", "bits", "alpha"),
    [
        (".png", "rgb24", 8, False), (".png", "rgba", 8, True), (".png", "gray", 8, False),
        (".png", "ya8", 8, True), (".png", "rgb48be", 16, False), (".png", "rgba64be", 16, True),
        (".png", "gray16be", 16, False), (".png", "ya16be", 16, True), (".tif", "rgb24", 8, False),
        (".tiff", "rgba", 8, True), (".tiff", "gray", 8, False), (".tiff", "rgb48le", 16, False),
        (".tiff", "rgba64le", 16, True), (".tif", "gray16le", 16, False),
        (".exr", "gbrpf32le", 32, False), (".exr", "gbrapf32le", 32, True),
        (".exr", "grayf32le", 32, False),
    ],
)  # fmt: skip
def test_images_pass_through_exactly(tmp_path, suffix, pixel_format, bits, alpha):
    source = tmp_path / "in"
    originals = [image_of(pixel_format, seed) for seed in range(3)]
    for number, image in enumerate(originals, 8):
        save(source / f"x_{number}{suffix}", image)
    reader = copy(source, tmp_path / "out" / f"%04d{suffix}")
    info = reader.info
    assert (info.width, info.height, info.bit_depth, info.has_alpha) == (17, 11, bits, alpha)
    assert (info.frames, info.frame_rate, info.container) == (3, 24, "sequence")
    assert info.pixel_format == pixel_format
    names = [f"{number:04d}{suffix}" for number in (8, 9, 10)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    with SequenceReader(tmp_path / "out") as again:
        for frame, original in zip(again, originals, strict=True):
            assert frame.image.format.name == pixel_format
            for a, b in zip(samples(frame.image), samples(original), strict=True):
                assert np.array_equal(a, b)


def test_palette_png_passes_through(tmp_path):
    save(tmp_path / "in" / "1.png", image_of("pal8"))
    reader = copy(tmp_path / "in", tmp_path / "out/")
    with SequenceReader(tmp_path / "out") as again:
        (after,) = again
        (before,) = reader
    assert after.image.format.name == "pal8"
    assert torch.equal(after.rgb(), before.rgb())
    assert torch.equal(after.alpha(), before.alpha())


def test_half_float_exr_stays_half_and_exact(tmp_path):
    save(tmp_path / "in" / "1.exr", image_of("gbrpf32le"), half=True)
    reader = copy(tmp_path / "in", tmp_path / "out" / "%d.exr")
    (before,) = reader
    with SequenceReader(tmp_path / "out") as again:
        (after,) = again
    assert again.info.color.transfer == "linear"
    assert after.image.format.name == before.image.format.name
    assert torch.equal(after.rgb(), before.rgb())
    assert before.rgb().abs().max() > 10  # neither clipped nor made positive
    size = [(tmp_path / d / "1.exr").stat().st_size for d in ("in", "out")]
    assert size[0] == size[1]


def test_exr_values_are_kept_by_other_readers(tmp_path):
    # A file written by hand, as the format's document says: one line, B G R, floats.
    values = np.array([[-1.5, 0.25, 7.0], [1e-8, 65504.0, 3.0]], "<f4")  # (pixels, B G R)
    header = b"v/1\x01" + struct.pack("<I", 2)

    def attribute(name, kind, data):
        return name + b"\0" + kind + b"\0" + struct.pack("<I", len(data)) + data

    channels = b"".join(c + b"\0" + struct.pack("<iIii", 2, 0, 1, 1) for c in (b"B", b"G", b"R"))
    box = struct.pack("<4i", 0, 0, 1, 0)
    header += attribute(b"channels", b"chlist", channels + b"\0")
    header += attribute(b"compression", b"compression", b"\0")
    header += attribute(b"dataWindow", b"box2i", box) + attribute(b"displayWindow", b"box2i", box)
    header += attribute(b"lineOrder", b"lineOrder", b"\0")
    header += attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
    header += attribute(b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0))
    header += attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1)) + b"\0"
    line = values.T.tobytes()
    data = header + struct.pack("<Q", len(header) + 8) + struct.pack("<iI", 0, len(line)) + line
    (tmp_path / "hand.exr").write_bytes(data)
    decoded = read_image(tmp_path / "hand.exr", MAX_PIXELS)
    assert decoded.damage is None
    rgb = frames_of(decoded.image)[0].rgb()
    assert torch.equal(rgb[:, 0], torch.from_numpy(values.T[::-1].copy()))
    (tmp_path / "cut.exr").write_bytes(data[:-3])
    assert read_image(tmp_path / "cut.exr", MAX_PIXELS).damage


def test_png_and_tiff_are_what_opencv_reads(tmp_path):
    image = image_of("rgb48be")
    with SequenceWriter(tmp_path / "a.png", info_of()) as writer:
        writer.write(frames_of(image)[0])
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    assert np.array_equal(read[..., ::-1], np.stack(samples(image), axis=-1))
    cv2.imwrite(str(tmp_path / "b.tiff"), read)
    frame = frames_of(read_image(tmp_path / "b.tiff", MAX_PIXELS).image)[0]
    assert torch.equal(frame.rgb(), frames_of(image)[0].rgb())


def test_jpeg_is_read(tmp_path):
    rows, columns = np.mgrid[0:64, 0:96]
    rgb = np.stack([rows * 3, columns * 2, 255 - rows * 2], axis=-1).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    with SequenceReader(tmp_path / "a.jpg") as reader:
        (frame,) = reader
    assert frame.siting == "center"
    assert reader.info.codec == "mjpeg"
    difference = frame.rgb() * 255 - torch.from_numpy(rgb).permute(2, 0, 1)
    assert difference.abs().mean() < 1


@pytest.mark.parametrize(
    ("codec", "source", "stored"),
    [
        ("png", "yuv420p", "rgb24"), ("png", "yuv420p10le", "rgb48be"), ("png", "gray", "gray"),
        ("png", "yuva444p10le", "rgba64be"), ("png", "gbrpf32le", "rgb48be"),
        ("png", "pal8", "pal8"), ("tiff", "yuv422p12le", "rgb48le"), ("tiff", "ya16be", "ya16le"),
        ("exr", "yuv420p", "gbrpf32le"), ("exr", "rgba64be", "gbrapf32le"),
        ("exr", "gray16be", "grayf32le"), ("exr", "ya8", "gbrapf32le"),
    ],
)  # fmt: skip
def test_depth_alpha_and_gray_decide_the_storage(codec, source, stored):
    assert storage_format(codec, source) == stored


def test_ten_bit_video_becomes_16_bit_png(tmp_path):
    image = image_of("yuv444p10le")
    image.colorspace, image.color_range = 1, 1
    frame = frames_of(image)[0]
    frame = frame.with_rgb(frame.rgb().clamp(0, 1))
    with SequenceWriter(tmp_path / "out/", info_of(pixel_format="yuv444p10le")) as writer:
        writer.write(frame)
    with SequenceReader(tmp_path / "out") as reader:
        (after,) = reader
    assert after.image.format.name == "rgb48be"
    torch.testing.assert_close(after.rgb(), frame.rgb().clamp(0, 1), atol=1 / 65535, rtol=0)


def test_gray_video_of_limited_range_becomes_full_range_png(tmp_path):
    image = av.VideoFrame(8, 8, "gray")
    samples(image)[0][...] = 235
    image.color_range = 1
    with SequenceWriter(tmp_path / "a.png", info_of(pixel_format="gray")) as writer:
        writer.write(frames_of(image)[0])
    info = probe_sequence(tmp_path / "a.png")
    assert (info.pixel_format, info.color.matrix) == ("gray", None)
    assert samples(read_image(tmp_path / "a.png", MAX_PIXELS).image)[0].min() == 255


def test_video_becomes_linear_exr_and_comes_back_as_srgb(tmp_path):
    image = image_of("gbrp")
    frame = frames_of(image)[0]
    info = info_of(pixel_format="gbrp", color=ColorTags(transfer="bt709"))
    with SequenceWriter(tmp_path / "out" / "%d.exr", info) as writer:
        writer.write(frame)
    with SequenceReader(tmp_path / "out") as reader:
        (light,) = reader
    torch.testing.assert_close(light.rgb(), to_linear(frame.rgb(), "bt709"), atol=3e-4, rtol=1e-3)
    copy(tmp_path / "out", tmp_path / "back" / "%d.png")
    with SequenceReader(tmp_path / "back") as reader:
        (srgb,) = reader
    assert reader.info.color.transfer == "iec61966-2-1"
    back = to_linear(srgb.rgb(), "iec61966-2-1")
    torch.testing.assert_close(back, light.rgb(), atol=1e-4, rtol=0)


def test_png_keeps_its_srgb_tag(tmp_path):
    image = image_of("rgb24")
    image.color_trc, image.color_primaries = 13, 1
    save(tmp_path / "in" / "1.png", image)
    copy(tmp_path / "in", tmp_path / "out" / "%d.png")
    info = probe_sequence(tmp_path / "out")
    assert (info.color.transfer, info.color.primaries) == ("iec61966-2-1", "bt709")


@pytest.mark.parametrize("turn", [90, 180, 270])
@pytest.mark.parametrize("suffix", [".png", ".exr"])
def test_a_rotation_flag_is_baked_in(tmp_path, turn, suffix):
    frame = frames_of(image_of("rgb24"))[0]
    info = info_of(pixel_format="rgb24", rotation=turn, color=ColorTags(transfer="linear"))
    with SequenceWriter(tmp_path / f"a{suffix}", info) as writer:
        writer.write(frame)
    with SequenceReader(tmp_path / f"a{suffix}") as reader:
        (after,) = reader
    upright = torch.rot90(frame.rgb(), -turn // 90, (1, 2))
    bound = 2e-3
    if suffix == ".png":  # light became sRGB on the way
        upright, bound = upright.clamp_min(0), 5e-3
        after_light = to_linear(after.rgb())
    else:
        after_light = after.rgb()
    torch.testing.assert_close(after_light, upright, atol=bound, rtol=0)


def photo(path: Path, orientation: int) -> Path:
    """An image of 32x24 pixels, the same for all orientations, which EXIF says."""
    path.parent.mkdir(exist_ok=True)
    y, x = np.mgrid[:24, :32]
    values = np.stack([8 * x, 10 * y, 5 * (x + y) % 256], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(values).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_baked_into_images(tmp_path, orientation, suffix):
    for name, own in (("plain", 1), ("in", orientation)):
        for number in (1, 2):
            photo(tmp_path / name / f"{number}{suffix}", own)
        unblur.restore(tmp_path / name, f"{tmp_path}/{name}_out/", model="none")
    with Image.open(tmp_path / "plain_out" / "00001.png") as image:
        plain = image.copy()
    plain.getexif()[0x112] = orientation
    wanted = np.asarray(ImageOps.exif_transpose(plain))
    for number in (1, 2):
        with Image.open(tmp_path / "in_out" / f"{number:05d}.png") as image:
            np.testing.assert_array_equal(ImageOps.exif_transpose(image), wanted)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_carried_into_video(tmp_path, orientation, suffix):
    source = photo(tmp_path / f"in{suffix}", orientation)
    unblur.restore(source, tmp_path / "a.mp4", model="none", codec="h264")
    unblur.restore(tmp_path / "a.mp4", tmp_path / "a.png", model="none")
    with Image.open(source) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    with Image.open(tmp_path / "a.png") as image:
        found = np.asarray(image.convert("RGB")).astype(int)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() < 6


def test_images_of_one_sequence_are_turned_in_one_way(tmp_path):
    photo(tmp_path / "1.jpg", 1)
    photo(tmp_path / "2.jpg", 3)
    with SequenceReader(tmp_path) as reader, pytest.raises(MediaError, match=r"2\.jpg is turned"):
        list(reader)


# Time


def test_rate_and_range(tmp_path):
    make(tmp_path, [f"{n:03d}.png" for n in range(10)])
    with SequenceReader(tmp_path, rate=Fraction(10), start="0.25s", end="f7") as reader:
        frames = list(reader)
    assert [f.index for f in frames] == [3, 4, 5, 6]
    assert [f.time for f in frames] == [Fraction(n, 10) for n in (3, 4, 5, 6)]
    assert reader.frames == 4
    assert reader.info.frames == 10
    assert reader.info.duration == 1.0


@pytest.mark.parametrize(("start", "end"), [("f3", None), ("1s", None), ("f2", "f2"), ("f2", "f1")])
def test_ranges_past_the_end_or_empty_are_refused(tmp_path, start, end):
    make(tmp_path, ["0.png", "1.png", "2.png"])
    with pytest.raises(UsageError, match=r"past the end|not after"):
        SequenceReader(tmp_path, start=start, end=end)


def test_an_end_past_the_end_is_the_end(tmp_path):
    make(tmp_path, ["0.png", "1.png", "2.png"])
    with pytest.warns(UnblurWarning, match="--end f4 lies past the end"):
        reader = SequenceReader(tmp_path, start="f1", end="f4")
    with reader:
        assert [frame.index for frame in reader] == [1, 2]


# Bad images


def test_mixed_sizes_are_refused_by_name(tmp_path):
    make(tmp_path, ["1.png", "2.png"])
    save(tmp_path / "3.png", image_of("rgb24", width=18))
    with (
        pytest.raises(MediaError, match=r"3\.png is 18x11.*17x11"),
        SequenceReader(tmp_path) as reader,
    ):
        list(reader)


@pytest.mark.parametrize(
    ("first", "then"), [("rgb24", "rgb48be"), ("rgb24", "rgba"), ("gray", "rgb24")]
)
def test_mixed_kinds_are_refused_by_name(tmp_path, first, then):
    save(tmp_path / "1.png", image_of(first))
    save(tmp_path / "2.png", image_of(then))
    with pytest.raises(MediaError, match=r"2\.png is"), SequenceReader(tmp_path) as reader:
        list(reader)


def test_gray_among_colour_images_becomes_colour(tmp_path):
    save(tmp_path / "1.png", image_of("rgb24"))
    save(tmp_path / "2.png", image_of("gray"))
    with SequenceReader(tmp_path) as reader:
        frames = list(reader)
    assert [f.image.format.name for f in frames] == ["rgb24", "rgb24"]
    gray = read_image(tmp_path / "2.png", MAX_PIXELS).image
    assert torch.equal(frames[1].rgb(), frames_of(gray)[0].rgb())


def test_damaged_images_are_counted_and_the_others_keep_their_times(tmp_path):
    make(tmp_path, [f"{n}.png" for n in range(5)])
    for n in (0, 3):
        path = tmp_path / f"{n}.png"
        path.write_bytes(path.read_bytes()[:100])
    with SequenceReader(tmp_path) as reader, pytest.warns(UnblurWarning, match="2 frames left out"):
        frames = list(reader)
    assert [f.index for f in frames] == [1, 2, 4]
    assert [f.pts for f in frames] == [1, 2, 4]
    assert reader.decode_failures == 2
    with (
        SequenceReader(tmp_path, strict=True) as reader,
        pytest.raises(MediaError, match=r"0\.png"),
    ):
        list(reader)


def test_half_a_jpeg_is_shown_and_counted(tmp_path):
    random = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", random)[1].tobytes()
    (tmp_path / "1.jpg").write_bytes(data[: len(data) // 2])
    with SequenceReader(tmp_path) as reader, pytest.warns(UnblurWarning, match="1 other fault"):
        assert len(list(reader)) == 1
    assert reader.decode_failures == 1


@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr"])
def test_cut_files_never_pass_for_whole_ones(tmp_path, suffix):
    path = tmp_path / f"1{suffix}"
    formats = {".png": "rgb48be", ".tif": "rgb48le", ".exr": "gbrpf32le"}
    save(path, image_of(formats[suffix], width=64, height=64))
    data = path.read_bytes()
    assert read_image(path, MAX_PIXELS).damage is None
    for length in (len(data) // 3, len(data) // 2, len(data) - 600):
        path.write_bytes(data[:length])
        try:
            damage = read_image(path, MAX_PIXELS).damage
        except MediaError:
            continue
        assert damage


@pytest.mark.parametrize("content", [b"", b"just text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_files_that_are_no_images(tmp_path, content):
    (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(MediaError, match=r"1\.png"):
        probe_sequence(tmp_path / "1.png")
    with pytest.raises(MediaError, match=r"1\.png"):
        SequenceReader(tmp_path)


def test_the_content_decides_the_kind(tmp_path):
    save(tmp_path / "a.jpg", image_of("rgb24"), codec="png")
    assert probe_sequence(tmp_path / "a.jpg").codec == "png"


def test_bombs_are_refused_before_they_unfold(tmp_path):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 65535, 65535, 8, 6, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    path = tmp_path / "1.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    with pytest.raises(ResourceError, match="65535x65535"):
        probe_sequence(path)
    for name in ("a.png", "b.tiff", "c.exr"):
        formats = {"c.exr": "gbrpf32le"}
        save(tmp_path / name, image_of(formats.get(name, "rgb24")))
        with pytest.raises((ResourceError, MediaError), match="100"):
            probe_sequence(tmp_path / name, max_pixels=100)


def test_values_that_are_not_finite_are_counted(tmp_path):
    image = image_of("gbrpf32le")
    samples(image)[0][0, :2] = [np.nan, np.inf]
    save(tmp_path / "1.exr", image)
    save(tmp_path / "2.exr", image_of("gbrpf32le"))
    with (
        SequenceReader(tmp_path) as reader,
        pytest.warns(UnblurWarning, match="2 values in 1 imag"),
    ):
        frames = list(reader)
    assert reader.non_finite == 2
    assert all(torch.isfinite(f.rgb()).all() for f in frames)


# Writing whole or not at all


def test_the_folder_appears_when_complete(tmp_path):
    target = tmp_path / "out" / "%03d.png"
    with SequenceWriter(target, info_of()) as writer:
        for frame in frames_of(*(image_of("rgb24", n) for n in range(3))):
            writer.write(frame)
            assert not (tmp_path / "out").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["001.png", "002.png", "003.png"]


def test_an_error_or_no_frames_leave_nothing(tmp_path):
    frame = frames_of(image_of("rgb24"))[0]

    def fail():
        with SequenceWriter(tmp_path / "out/", info_of()) as writer:
            writer.write(frame)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with SequenceWriter(tmp_path / "out/", info_of()):
        pass
    assert list(tmp_path.iterdir()) == []


def test_existing_images_are_replaced_only_on_request(tmp_path):
    out = make(tmp_path / "out", ["00001.png", "00002.png", "00009.png", "title.png"])
    (out / "notes.txt").write_text("mine")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(UsageError, match="--overwrite"):
        SequenceWriter(out / "%05d.png", info_of())
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    writer = SequenceWriter(out / "%05d.png", info_of(), overwrite=True)
    for frame in frames_of(image_of("gray", 5), image_of("gray", 6)):
        writer.write(frame)
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before
    with pytest.warns(UnblurWarning, match=r"1 images beside the 2 .* 00009.png"):
        writer.close()
    names = sorted(p.name for p in out.iterdir())
    assert names == ["00001.png", "00002.png", "00009.png", "notes.txt", "title.png"]
    assert (out / "00009.png").read_bytes() == before["00009.png"]
    assert (out / "title.png").read_bytes() == before["title.png"]
    assert probe_sequence(out / "00001.png").pixel_format == "gray"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_a_folder_that_fills_meanwhile_is_left_alone(tmp_path):
    def write():
        with SequenceWriter(tmp_path / "out/", info_of()) as writer:
            writer.write(frames_of(image_of("rgb24"))[0])
            make(tmp_path / "out", ["00001.png"])

    with pytest.raises(UsageError, match="came to exist"):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["00001.png"]


@pytest.mark.parametrize("name", ["-f", "a b", "Übung 🎬 %", "🎬" * 60])
def test_unusual_names(tmp_path, name):
    make(tmp_path / name, ["🎬 1.png", "🎬 2.png"])
    copy(tmp_path / name, tmp_path / f"{name[:-1]}x" / "%d ü.png")
    assert numbers(tmp_path / f"{name[:-1]}x") == ["1 ü.png", "2 ü.png"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    with SequenceWriter(tmp_path / "out", info_of()) as writer:
        writer.write(frames_of(image_of("rgb24"))[0])
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["00001.png"]


def test_the_input_is_never_the_output(tmp_path):
    folder = make(tmp_path / "in", ["1.png", "2.png"])
    for source in (folder, folder / "%d.png", folder / "*.png", folder / "1.png"):
        info = probe_sequence(source)
        with pytest.raises(UsageError, match="is the input"):
            SequenceWriter(folder / "%d.png", info, source=source, overwrite=True)
    info = probe_sequence(folder / "1.png")
    with pytest.raises(UsageError, match="is the input"):
        SequenceWriter(folder / "1.png", info, overwrite=True)


def test_one_image(tmp_path):
    frames = frames_of(image_of("rgb24"), image_of("rgb24", 1))
    with SequenceWriter(tmp_path / "a.png", info_of()) as writer:
        writer.write(frames[0])
        assert not (tmp_path / "a.png").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(UsageError, match="--overwrite"):
        SequenceWriter(tmp_path / "a.png", info_of())

    def write_two():
        with SequenceWriter(tmp_path / "b.png", info_of()) as writer:
            writer.write(frames[0])
            writer.write(frames[1])

    with pytest.raises(UsageError, match="%05d"):
        write_two()
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("target", "codec", "message"),
    [
        ("missing/deep/%05d.png", None, "does not exist"),
        ("out/%05d.bmp", None, "written as"),
        ("out/%05d.png", "exr", "drop one"),
        ("out/", "h264", "no codec for images"),
        ("out/%d_%d.png", None, "more than one number"),
        ("file.txt/", None, "is a file"),
    ],
)
def test_targets_that_cannot_be(tmp_path, target, codec, message):
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UsageError, match=message):
        SequenceWriter(f"{tmp_path}/{target}", info_of(), codec=codec)
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_codec_names_images_without_suffix(tmp_path):
    with SequenceWriter(f"{tmp_path}/out/", info_of(), codec="exr") as writer:
        writer.write(frames_of(image_of("rgb24"))[0])
    with SequenceWriter(tmp_path / "plain", info_of(), codec="tiff") as writer:
        writer.write(frames_of(image_of("rgb24"))[0])
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["00001.exr"]
    assert probe_sequence(tmp_path / "plain").codec == "tiff"


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sequence_writer.os, "fsync", full)

    def write():
        with SequenceWriter(tmp_path / "out/", info_of()) as writer:
            writer.write(frames_of(image_of("rgb24"))[0])

    with pytest.raises(ResourceError, match="No space left"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pixel_format", ["rgb24", "rgb48be", "gray16be", "rgba"])
def test_images_to_video_and_back_are_exact(tmp_path, pixel_format):
    originals = [image_of(pixel_format, seed) for seed in range(3)]
    for number, image in enumerate(originals, 1):
        save(tmp_path / "in" / f"{number:05d}.png", image)
    for source, target in (("in", "v.mkv"), ("v.mkv", "out/")):
        codec = "ffv1" if target == "v.mkv" else None
        with (
            open_video(tmp_path / source) as reader,
            create_video(f"{tmp_path}/{target}", reader.info, codec=codec) as writer,
        ):
            for frame in reader:
                writer.write(frame)
    assert probe(tmp_path / "v.mkv").frame_rate == 24
    for original, file in zip(originals, find_images(tmp_path / "out").files, strict=True):
        image = read_image(file.path, MAX_PIXELS).image
        assert image.format.name == pixel_format
        for a, b in zip(samples(image), samples(original), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.filterwarnings("ignore:.*bit depth:unblur.errors.UnblurWarning")
def test_linear_images_become_a_video_with_a_curve(tmp_path):
    source = av.VideoFrame(64, 48, "gbrpf32le")
    for view in samples(source):
        view[...] = np.linspace(0, 1, 64)
    save(tmp_path / "in" / "1.exr", source)
    with (
        open_video(tmp_path / "in") as reader,
        create_video(tmp_path / "v.mkv", reader.info, codec="ffv1") as writer,
    ):
        for frame in reader:
            writer.write(frame)
    with open_video(tmp_path / "v.mkv") as reader:
        (frame,) = reader
    assert reader.info.color.transfer == "bt709"
    light = to_linear(frame.rgb(), "bt709")
    torch.testing.assert_close(light[0, 0], torch.linspace(0, 1, 64), atol=1e-4, rtol=0)


def test_clean_sequences_warn_of_nothing(tmp_path):
    make(tmp_path / "in", ["1.png", "2.png"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy(tmp_path / "in", tmp_path / "out/")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr"])
def test_what_images_do_not_hold_of_a_video_is_named(tmp_path: Path, suffix: str) -> None:
    hdr = make_clip(
        tmp_path / "in.mkv",
        codec="ffv1",
        pixel_format="yuv420p10le",
        tags=(9, 9, 16, 1),
        pts=[0, 40, 70, 200],
        time_base=Fraction(1, 1000),
        audio="aac",
    )
    plain = make_clip(tmp_path / "plain.mkv", pts=4, time_base=Fraction(1, 1000))
    for clip in (hdr, plain):
        out = tmp_path / clip.stem / f"%d{suffix}"
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UnblurWarning)
            pass_through(clip, out)
        text = " ".join(str(each.message) for each in said)
        if clip is plain:
            assert text == ""
            continue
        assert "audio stream 1 (aac" in text
        assert "uneven times" in text
        assert ("primaries bt2020" in text) == (suffix != ".png")
        assert ("transfer function smpte2084" in text) == (suffix == ".tif")


def test_of_images_that_are_not_written_those_that_are_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"images to \.png, \.tif or \.exr"):
        pass_through(make_clip(tmp_path / "in.mkv", pts=2), tmp_path / "%d.jpg")
