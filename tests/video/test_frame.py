"""Images to RGB and back, for every pixel format FFmpeg decodes to."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.video.format import names as all_names
from av.video.reformatter import Interpolation, VideoReformatter

from unblur.errors import MediaError, NumericsError
from unblur.video.frame import Frame, finite
from unblur.video.pixels.layout import STAND_INS, Layout, layout_of, native_format
from unblur.video.pixels.planes import readable, tags_of

ON_DEVICES = {
    "amf", "cuda", "d3d11", "d3d11va_vld", "d3d12", "drm_prime", "dxva2_vld", "mediacodec", "mmal",
    "ohcodec", "opencl", "qsv", "vaapi", "vdpau", "videotoolbox_vld", "vulkan",
}  # fmt: skip
NO_DECODER_MAKES = {"rgb4", "bgr4"}
FORMATS = sorted(set(all_names) - ON_DEVICES - NO_DECODER_MAKES)
NATIVE = [name for name in FORMATS if name not in STAND_INS]
EXACT = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)


def frame_of(image: av.VideoFrame) -> Frame:
    return Frame(image, 3, 1001, Fraction(1, 30000), 1001)


def words(image: av.VideoFrame, layout: Layout) -> dict[tuple[int, int], np.ndarray]:
    """Views of all samples of an image, by plane and offset."""
    views = {}
    for samples in (*layout.color, *([layout.alpha] if layout.alpha else [])):
        height, width = image.height, image.width
        if layout.family == "yuv" and samples in layout.color[1:]:
            height = math.ceil(height / layout.subsampling[0])
            width = math.ceil(width / layout.subsampling[1])
        plane = image.planes[samples.plane]
        views[samples.plane, samples.offset] = np.ndarray(
            (height, width), layout.dtype, plane, samples.offset, (plane.line_size, samples.step)
        )
    return views


def noise(name: str, width: int = 19, height: int = 13, seed: int = 0) -> av.VideoFrame:
    """An image of random legal codes: the hardest case, with colours outside RGB's cube."""
    random = np.random.default_rng(seed)
    image = av.VideoFrame(width, height, name)
    if name in STAND_INS:
        for plane in image.planes:
            view = np.frombuffer(plane, np.uint8)
            view[:] = random.integers(0, 256, view.size, dtype=np.uint8)
        return image
    layout = layout_of(name)
    for view in words(image, layout).values():
        view[...] = 0
    for channel, samples in enumerate((*layout.color, *([layout.alpha] if layout.alpha else []))):
        view = words(image, layout)[samples.plane, samples.offset]
        if layout.is_float:
            view[...] = random.normal(0.4, 2, view.shape)
        else:
            bits = layout.bits_of(channel) if samples in layout.color else layout.bits
            codes = random.integers(0, 2**bits, view.shape, dtype=np.uint64)
            view |= (codes << samples.shift).astype(view.dtype)
    return image


def smooth(name: str, width: int = 192, height: int = 128) -> av.VideoFrame:
    """A colourful gradient without edges, made by FFmpeg's own converter."""
    y, x = np.mgrid[0:height, 0:width]
    red = 0.5 + 0.4 * np.sin(2 * np.pi * x / width)
    green = 0.5 + 0.4 * np.cos(2 * np.pi * y / height)
    blue = 0.5 + 0.4 * np.sin(2 * np.pi * (x / width + y / height))
    source = av.VideoFrame(width, height, "gbrpf32le")
    layout = layout_of("gbrpf32le")
    for samples, values in zip(layout.color, (red, green, blue), strict=True):
        words(source, layout)[samples.plane, 0][...] = values
    return by_ffmpeg(source, name)


def by_ffmpeg(image: av.VideoFrame, name: str) -> av.VideoFrame:
    return VideoReformatter().reformat(image, format=name, interpolation=EXACT)


def planar(image: av.VideoFrame) -> np.ndarray:
    layout = layout_of(image.format.name)
    return np.stack([words(image, layout)[s.plane, s.offset] for s in layout.color])


@pytest.mark.parametrize("name", NATIVE)
def test_unchanged_rgb_gives_back_the_same_samples(name):
    frame = frame_of(noise(name))
    rgb, alpha = frame.rgb(), frame.alpha()
    assert rgb.shape == (3, 13, 19)
    assert rgb.dtype == torch.float32
    assert rgb.is_contiguous()
    assert (alpha is not None) == any(c.is_alpha for c in frame.image.format.components)
    again = frame.with_rgb(rgb)
    assert again.image.format.name == name
    layout = layout_of(name)
    before, after = words(frame.image, layout), words(again.image, layout)
    # 32-bit integers have more digits than float32.
    slack = 2**9 if layout.bits == 32 and not layout.is_float else 0
    for where, codes in before.items():
        difference = np.abs(codes.astype(np.float64) - after[where].astype(np.float64))
        assert difference.max() <= slack, where
    if alpha is not None:
        assert alpha.shape == (1, 13, 19)
        given = frame.with_rgb(rgb, alpha)
        torch.testing.assert_close(given.alpha(), alpha)


@pytest.mark.parametrize("name", FORMATS)
def test_agrees_with_ffmpegs_converter(name):
    if name.startswith("grayf"):
        pytest.skip("FFmpeg's converter takes gray floats for limited range")
    try:
        image = smooth(name)
        reference = planar(by_ffmpeg(image, "gbrp")) / 255
    except (ValueError, OSError):
        pytest.skip("FFmpeg's converter cannot write or read this format")
    # It puts chroma in the center, works with 15 bits or fewer, and reaches white only nearly.
    ours = Frame(image, 0, 0, Fraction(1), siting="center").rgb().numpy()
    layout = layout_of(native_format(name))
    bound = 0.03 if layout.subsampling[1] == 4 else 0.012
    if layout.bits < 8:
        bound = 1 / 2**layout.bits  # it leaves the lower bits empty, so that white is gray
    assert np.abs(ours - reference).max() <= bound


@pytest.mark.parametrize("name", sorted(STAND_INS))
def test_formats_without_plain_samples_come_back_in_one_that_has(name):
    image = noise(name)
    frame = frame_of(image)
    rgb = frame.rgb()
    assert rgb.min() >= 0 or name == "uyyvyy411"
    assert rgb.std() > 0.1
    again = frame.with_rgb(rgb)
    assert again.image.format.name == native_format(name)
    torch.testing.assert_close(again.rgb(), rgb, atol=1e-5, rtol=0)


def test_palette_colours_are_exact():
    image = av.VideoFrame(4, 1, "pal8")
    np.frombuffer(image.planes[0], np.uint8)[:4] = [0, 1, 2, 3]
    palette = np.frombuffer(image.planes[1], np.uint8).reshape(256, 4)
    palette[:4] = [[10, 20, 30, 255], [255, 0, 0, 0], [0, 128, 0, 127], [1, 2, 3, 4]]  # B, G, R, A
    frame = frame_of(image)
    expected = torch.tensor([[30, 20, 10], [0, 0, 255], [0, 128, 0], [3, 2, 1]]).T / 255
    torch.testing.assert_close(frame.rgb()[:, 0], expected)
    torch.testing.assert_close(frame.alpha()[0, 0], torch.tensor([255, 0, 127, 4]) / 255)


def flat(name, codes, width=8, height=8, **tags):
    image = av.VideoFrame(width, height, name)
    layout = layout_of(name)
    for samples, code in zip(layout.color, codes, strict=True):
        words(image, layout)[samples.plane, samples.offset][...] = code << samples.shift
    for tag, value in tags.items():
        setattr(image, tag, value)
    return frame_of(image)


BT709, BT601, BT2020 = 1, 6, 9
LIMITED, FULL = 1, 2


@pytest.mark.parametrize(
    ("name", "codes", "tags", "rgb"),
    [
        ("yuv444p", (63, 102, 240), {"colorspace": BT709}, (1, 0, 0)),
        ("yuv444p", (81, 90, 240), {"colorspace": BT601}, (1, 0, 0)),
        ("yuv420p", (173, 42, 26), {"colorspace": BT709}, (0, 1, 0)),
        ("yuv420p", (145, 54, 34), {"colorspace": BT601}, (0, 1, 0)),
        ("yuv444p10le", (658, 189, 100), {"colorspace": BT2020}, (0, 1, 0)),
        ("p010le", (658, 189, 100), {"colorspace": BT2020}, (0, 1, 0)),
        ("yuv444p", (76, 85, 255), {"colorspace": BT601, "color_range": FULL}, (1, 0, 0)),
        ("yuvj444p", (76, 85, 255), {"colorspace": BT601}, (1, 0, 0)),
        ("yuv444p", (128, 255, 128), {"colorspace": 8, "color_range": FULL}, (0, 1, 0)),
        ("yuv444p", (235, 128, 128), {}, (1, 1, 1)),
        ("yuv444p", (16, 128, 128), {}, (0, 0, 0)),
        ("gray", (255,), {}, (1, 1, 1)),
        ("gray", (235,), {"color_range": LIMITED}, (1, 1, 1)),
        ("gray10le", (512,), {}, (512 / 1023,) * 3),
    ],
)
def test_known_colours(name, codes, tags, rgb):
    frame = flat(name, codes, **tags)
    expected = torch.tensor(rgb, dtype=torch.float32)[:, None, None].expand(3, 8, 8)
    bound = 0.01 if "444p" in name or "p010" in name or "420" in name else 1e-6
    torch.testing.assert_close(frame.rgb(), expected, atol=bound, rtol=0)
    assert [int(w[0, 0]) for w in words(frame.with_rgb(expected).image, layout_of(name)).values()]
    back = words(frame.with_rgb(expected).image, layout_of(name))
    shift = layout_of(name).color[0].shift
    for (plane, offset), view in back.items():
        index = [(s.plane, s.offset) for s in layout_of(name).color].index((plane, offset))
        assert abs(int(view[0, 0] >> shift) - codes[index]) <= 1


@pytest.mark.parametrize(
    ("width", "height", "matrix"), [(854, 480, BT601), (960, 720, BT709), (1280, 534, BT709)]
)
def test_untagged_matrix_follows_the_size(width, height, matrix):
    untagged = flat("yuv444p", (100, 90, 170), width, height)
    tagged = flat("yuv444p", (100, 90, 170), width, height, colorspace=matrix)
    assert torch.equal(untagged.rgb(), tagged.rgb())


@pytest.mark.parametrize("code", [10, 12, 13, 14])
def test_matrices_that_are_not_a_matrix_are_refused(code):
    with pytest.raises(MediaError, match="is not supported"):
        flat("yuv444p", (1, 2, 3), colorspace=code).rgb()


def test_frames_on_a_device_are_refused():
    with pytest.raises(MediaError, match="vaapi"):
        layout_of("vaapi")


def test_keeps_time_and_tags():
    frame = flat("yuv420p", (80, 90, 200), colorspace=BT2020, color_range=FULL)
    frame.image.color_trc = 16
    frame.image.color_primaries = 9
    new = frame.with_rgb(frame.rgb() * 0.5)
    assert (new.index, new.pts, new.time_base, new.duration) == (3, 1001, Fraction(1, 30000), 1001)
    assert (new.image.pts, new.image.time_base) == (1001, Fraction(1, 30000))
    assert new.time == Fraction(1001, 30000)
    tags = ("colorspace", "color_range", "color_trc", "color_primaries")
    assert [getattr(new.image, t) for t in tags] == [BT2020, FULL, 16, 9]
    torch.testing.assert_close(new.rgb(), frame.rgb() * 0.5, atol=0.006, rtol=0)


@pytest.mark.parametrize("name", [*NATIVE, *sorted(STAND_INS)])
def test_a_frame_taken_apart_comes_back(name):
    frame = Frame(noise(name), 3, 1001, Fraction(1, 30000), 1001, siting="center")
    frame.image.color_range, frame.image.color_trc = FULL, 16
    samples, rebuild = frame.packed()
    again = rebuild([part.copy() for part in samples])
    assert torch.equal(again.rgb(), frame.rgb())
    if frame.alpha() is not None:
        assert torch.equal(again.alpha(), frame.alpha())
    dim = frame.rgb() * 0.5
    assert torch.equal(again.with_rgb(dim).rgb(), frame.with_rgb(dim).rgb())
    assert (again.index, again.pts, again.time_base) == (3, 1001, Fraction(1, 30000))
    assert (again.duration, again.siting, again.image.pts) == (1001, "center", 1001)
    assert tags_of(again.image) == tags_of(readable(frame.image))
    kept = [cell.cell_contents for cell in rebuild.__closure__]
    assert not [x for x in kept if isinstance(x, Frame | av.VideoFrame | np.ndarray)]


@pytest.mark.parametrize("siting", ["left", "center"])
@pytest.mark.parametrize("name", ["yuv420p", "yuv411p", "yuv410p", "yuv422p10le", "nv12"])
def test_chroma_is_where_the_siting_says(name, siting):
    # A ramp across must come out as the same ramp: a wrong phase would shift it.
    width, height = 64, 16
    layout = layout_of(name)
    across = layout.subsampling[1]
    image = av.VideoFrame(width, height, name)
    image.colorspace, image.color_range = BT709, FULL
    middle = 2 ** (layout.bits - 1)
    origin = (across - 1) / 2 if siting == "center" else 0
    views = words(image, layout)
    for samples in layout.color:
        views[samples.plane, samples.offset][...] = middle
    cr = views[layout.color[2].plane, layout.color[2].offset]
    position = np.arange(cr.shape[1]) * across + origin
    cr[...] = middle + np.round(position - width / 2).astype(int)
    red = Frame(image, 0, 0, Fraction(1), siting=siting).rgb()[0, 8]
    slope = 2 * (1 - 0.2126) / (2**layout.bits - 1)
    luma = middle / (2**layout.bits - 1)
    expected = luma + slope * (torch.arange(width) - width / 2)
    inner = slice(across, -across)
    torch.testing.assert_close(red[inner], expected[inner], atol=0.55 * slope, rtol=0)


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("siting", ["left", "center", "topleft", "bottom"])
@pytest.mark.parametrize(
    ("name", "finer"),
    [
        ("yuv420p", "yuv422p10le"),
        ("yuvj420p", "yuv422p10le"),
        ("nv12", "yuv444p10le"),
        ("yuv411p", "yuv444p12le"),
        ("yuv422p", "yuv444p"),
        ("yuv440p", "yuv444p10le"),
    ],
)
def test_finer_chroma_is_not_softened(name, finer, siting, limited):
    image = noise(name, 31, 17)  # colours change with every sample
    for plane in image.planes:  # chroma of code 0 is out of reach in full range of more bits
        view = np.frombuffer(plane, np.uint8)
        view |= 2
    image.colorspace, image.color_range = BT709, FULL
    frame = Frame(image, 0, 0, Fraction(1), siting=siting)
    after = frame.converted(finer, limited=limited)
    assert (after.image.color_range, after.siting) == (1 if limited else FULL, siting)
    steps = 2 ** layout_of(finer).bits - 1
    bound = 2.5 / steps * (256 / 219 if limited else 1)  # roundings of luma and of both chroma
    torch.testing.assert_close(after.rgb(), frame.rgb(), atol=bound, rtol=0)


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le", "gbrp", "gray", "yuva420p", "rgba64be"])
def test_larger_rgb_gives_a_larger_frame(name):
    frame = frame_of(smooth(name))
    rgb = torch.nn.functional.interpolate(frame.rgb()[None], scale_factor=2, mode="bilinear")[0]
    new = frame.with_rgb(rgb)
    assert (new.width, new.height) == (384, 256)
    torch.testing.assert_close(new.rgb(), rgb, atol=0.02, rtol=0)
    if frame.alpha() is not None:
        assert new.alpha().shape == (1, 256, 384)
        torch.testing.assert_close(new.alpha().mean(), frame.alpha().mean(), atol=1e-3, rtol=0)
    wide = frame.with_rgb(torch.cat([rgb, rgb[:, :, :5]], dim=2))  # before and after side by side
    assert (wide.width, wide.height) == (389, 256)
    with pytest.raises(ValueError, match="rgb is"):
        frame.with_rgb(rgb[:2])


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (1, 5), (7, 1)])
@pytest.mark.parametrize("name", ["yuv420p", "yuv410p", "nv12", "yuyv422", "rgb24"])
def test_tiny_images(name, size):
    frame = frame_of(noise(name, *size))
    assert torch.equal(frame.with_rgb(frame.rgb()).rgb(), frame.rgb())


def test_chroma_of_unchanged_places_keeps_its_codes():
    frame = frame_of(noise("yuv420p", 64, 32))
    rgb = frame.rgb()
    rgb[:, :, 48:] += 0.1
    layout = layout_of("yuv420p")
    before, after = words(frame.image, layout), words(frame.with_rgb(rgb).image, layout)
    for where in before:
        columns = 48 if where[0] == 0 else 23
        assert np.array_equal(before[where][:, :columns], after[where][:, :columns])


def test_integer_formats_clip_and_float_formats_do_not():
    rgb = torch.tensor([-0.5, 0.25, 1.5])[:, None, None].expand(3, 4, 4)
    assert flat("rgb24", (0, 0, 0), 4, 4).with_rgb(rgb).rgb()[:, 0, 0].tolist() == pytest.approx(
        [0, 64 / 255, 1]
    )
    assert torch.equal(frame_of(av.VideoFrame(4, 4, "gbrpf32le")).with_rgb(rgb).rgb(), rgb)


def test_deep_images_keep_their_precision():
    codes = torch.arange(65536).reshape(256, 256)
    image = av.VideoFrame(256, 256, "gbrp16le")
    for view in words(image, layout_of("gbrp16le")).values():
        view[...] = codes.numpy()
    assert torch.equal((frame_of(image).rgb()[1] * 65535).round().long(), codes)


def test_rgb_that_is_not_finite_is_refused():
    frame = flat("yuv420p", (80, 90, 200))
    rgb = frame.rgb()
    rgb[1, 2, 3] = math.nan
    with pytest.raises(NumericsError, match="NaN"):
        frame.with_rgb(rgb)


def test_floats_that_are_not_finite_are_replaced_and_counted():
    image = noise("gbrpf32le")
    view = words(image, layout_of("gbrpf32le"))[2, 0]
    view[0, :3] = [math.nan, math.inf, -math.inf]
    frame = frame_of(image)
    assert frame.non_finite() == 3
    rgb = frame.rgb()
    assert torch.isfinite(rgb).all()
    assert rgb[0, 0, :3].tolist() == [0.0, rgb.max().item(), rgb.min().item()]


def test_finite():
    x = torch.tensor([1.0, 2.0])
    same, count = finite(x)
    assert same is x
    assert count == 0
    fixed, count = finite(torch.tensor([math.nan, math.inf, -math.inf, 3.0, -2.0]))
    assert fixed.tolist() == [0, 3, -2, 3, -2]
    assert count == 3
    assert finite(torch.full((2,), math.inf))[0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("source", "target"),
    [("rgb24", "yuv444p"), ("yuv444p", "gbrp16le"), ("gbrp", "yuv420p10le"), ("rgba", "rgba64be"),
     ("yuv420p", "rgb48be"), ("gray16be", "yuv420p"), ("yuva444p10le", "rgba64le")],
)  # fmt: skip
def test_converted_keeps_the_colours(source, target):
    frame = frame_of(smooth(source))
    new = frame.converted(target)
    assert new.image.format.name == target
    assert (new.pts, new.image.pts) == (1001, 1001)
    torch.testing.assert_close(new.rgb(), frame.rgb(), atol=0.02, rtol=0)
    # FFmpeg reads the new tags as we do.
    reference = planar(by_ffmpeg(new.image, "gbrpf32le"))
    np.testing.assert_allclose(frame.rgb().numpy(), reference, atol=0.02, rtol=0)


def test_converted_changes_the_transfer_function():
    frame = flat("gbrp", (188, 188, 188))
    frame.image.color_trc = 13
    light = frame.converted("gbrpf32le", transfer="linear")
    assert light.image.color_trc == 8
    assert light.rgb()[0, 0, 0].item() == pytest.approx(0.5028865, abs=1e-5)
    assert torch.equal(light.converted("gbrp", transfer="iec61966-2-1").rgb(), frame.rgb())


def test_images_stored_bottom_up(tmp_path):
    path = tmp_path / "flipped.avi"
    top = np.zeros((6, 8, 3), np.uint8)
    top[0] = 200
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=5)
        stream.width, stream.height, stream.pix_fmt = 8, 6, "bgr24"
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(top, "bgr24")), *stream.encode()]:
            container.mux(packet)
    with av.open(str(path)) as container:
        image = next(container.decode(video=0))
    frame = frame_of(image)
    expected = torch.from_numpy(top).permute(2, 0, 1) / 255
    assert torch.equal(frame.rgb(), expected)
    assert torch.equal(frame.with_rgb(frame.rgb()).rgb(), expected)


def test_reading_metadata_needs_no_torch():
    code = "import sys, unblur.video; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
