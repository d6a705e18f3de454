"""AVIF and HEIF, and what their boxes say in MP4 and MOV: opacity, tiles, hidden sides, grain."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, features

import unblur
from tests.video.media import MIRRORED, ROTATED, make_clip, read_all
from unblur.errors import MediaError, ResourceError, UnblurWarning
from unblur.video import probe
from unblur.video.heif import parts_of

pytestmark = pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
SIZE = (96, 64)


def photo(mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    values = np.stack([2 * x, 4 * y, x + y, np.where(x < 48, 255, 80)], -1).astype(np.uint8)
    return Image.fromarray(values[..., : len(mode)], mode)


def box(kind: str, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind.encode()) + body


def full(kind: str, *content: bytes) -> bytes:
    return box(kind, bytes(4), *content)


def clap(width: int, height: int, right: int, down: int) -> bytes:
    """A clean aperture; offsets of its centre in half pixels."""
    return box("clap", struct.pack(">4I4i", width, 1, height, 1, right, 2, down, 2))


def coded(image: Image.Image, kind: str = "av01") -> tuple[bytes, bytes]:
    """An image as AV1 or H.265, and what a file must say of it."""
    memory = io.BytesIO()
    if kind == "av01":
        image.save(memory, "AVIF", quality=100)
    else:
        with av.open(memory, "w", format="mp4") as container:
            stream = container.add_stream("libx265", rate=1)
            stream.width, stream.height = image.size
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "0", "preset": "ultrafast", "x265-params": "log-level=none"}
            frame = av.VideoFrame.from_image(image).reformat(format="yuv420p")
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                packet.pts = packet.dts = 0  # of one frame x265 says whatever its memory held
                container.mux(packet)
    data = memory.getvalue()
    at = data.index(b"av1C" if kind == "av01" else b"hvcC") - 4
    (size,) = struct.unpack_from(">I", data, at)
    start = data.index(b"mdat")
    (length,) = struct.unpack_from(">I", data, start - 4)
    return data[start + 4 : start - 4 + length], data[at : at + size]


def heif(
    path: Path,
    kinds: Sequence[str],
    references: bytes = b"",
    *extra: bytes,
    images: Sequence[Image.Image] = (),
    grid: bytes = struct.pack(">4B2H", 0, 0, 0, 1, 2 * SIZE[0], SIZE[1]),  # one row of two tiles
    inside: bool = False,
) -> Path:
    """Images numbered from 1, all with the same properties.

    Those of kind `av01` or `hvc1` are `images`, or all the same. What grids are stands where the
    pixels are, or `inside` of what describes the file, as phones have it.
    """
    codec = "hvc1" if "hvc1" in kinds else "av01"
    tiles = [coded(image, codec) for image in images or [photo()] * len(kinds)]
    data = [tiles.pop(0)[0] if kind == codec else grid for kind in kinds]
    properties = [full("ispe", struct.pack(">2I", *SIZE)), coded(photo(), codec)[1], *extra]
    names, owned = b"", b""
    places = bytes(range(1, len(properties) + 1))
    for number, kind in enumerate(kinds, 1):
        names += box("infe", b"\2\0\0\0", struct.pack(">2H", number, 0), kind.encode(), b"\0")
        owned += struct.pack(">HB", number, len(places)) + places

    def meta(start: int) -> bytes:
        table = b""
        for number, (kind, content) in enumerate(zip(kinds, data, strict=True), 1):
            there = inside and kind == "grid"
            at = 0 if there else start + sum(map(len, data[: number - 1]))
            table += struct.pack(">4H2I", number, there, 0, 1, at, len(content))
        return full(
            "meta",
            full("hdlr", bytes(4), b"pict", bytes(13)),
            full("pitm", struct.pack(">H", 1)),
            box("iloc", b"\1\0\0\0\x44\0", struct.pack(">H", len(kinds)), table),
            box("idat", grid) if inside else b"",
            full("iinf", struct.pack(">H", len(kinds)), names),
            full("iref", references) if references else b"",
            box(
                "iprp",
                box("ipco", *properties),
                full("ipma", struct.pack(">I", len(kinds)), owned),
            ),
        )

    head = box("ftyp", b"avif" if codec == "av01" else b"heic", bytes(4), b"avifheicmif1miaf")
    start = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(start) + box("mdat", *data))
    return path


def refer(kind: str, origin: int, *targets: int) -> bytes:
    return box(kind, struct.pack(f">2H{len(targets)}H", origin, len(targets), *targets))


def with_clap(clip: Path, aperture: bytes) -> Path:
    """A clean aperture in the only track of an MP4 file whose index comes last."""
    data = clip.read_bytes()
    at, end = 0, len(data)
    grown = bytearray(data)
    for kind, skip in [
        *((kind, 8) for kind in ("moov", "trak", "mdia", "minf", "stbl")),
        ("stsd", 16),
        ("avc1", 86),
    ]:
        while data[at + 4 : at + 8] != kind.encode():
            at += struct.unpack_from(">I", data, at)[0]
        size = struct.unpack_from(">I", data, at)[0]
        struct.pack_into(">I", grown, at, size + len(aperture))
        end = at + size
        at += skip
    clip.write_bytes(grown[:end] + aperture + grown[end:])
    return clip


def passed(source: Path, target: Path, **options: Any) -> list[str]:
    """Warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        unblur.restore(source, target, model="none", **options)
    return [str(each.message) for each in said if each.category is UnblurWarning]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def opacity(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA")).astype(int)[..., 3]


@pytest.mark.parametrize("written", ["out.png", "out.tif"])
@pytest.mark.parametrize("kind", ["one image", "grid"])
def test_the_opacity_of_a_still_is_kept_in_images(tmp_path: Path, written: str, kind: str) -> None:
    source = tmp_path / "in.avif"
    photo("RGBA").save(source, quality=100)
    expected = np.asarray(photo("RGBA"))
    if kind == "grid":
        alpha = photo("RGBA").getchannel("A").convert("RGB")
        images = [photo(), photo().rotate(180), alpha, alpha.rotate(180)]
        parts = refer("dimg", 1, 3, 4) + refer("dimg", 2, 5, 6) + refer("auxl", 2, 1)
        name = full("auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
        heif(source, ["grid"] * 2 + ["av01"] * 4, parts, name, images=images)
        expected = np.concatenate([expected, expected[::-1, ::-1]], 1)
    info = probe(source)
    assert (info.has_alpha, info.width) == (True, expected.shape[1])
    assert not passed(source, tmp_path / written)
    assert np.abs(opacity(tmp_path / written) - expected[..., 3]).mean() < 1
    assert np.abs(pixels(tmp_path / written) - expected[..., :3]).mean() < 4


def test_the_opacity_of_a_still_is_kept_in_restored_images(tmp_path: Path) -> None:
    source = tmp_path / "in.avif"
    photo("RGBA").save(source, quality=100)
    unblur.restore(source, tmp_path / "out.png", model="focus-s")
    expected = np.asarray(photo("RGBA"))[..., 3]
    assert np.abs(opacity(tmp_path / "out.png") - expected).mean() < 1


def test_the_opacity_of_a_still_is_kept_in_video_or_named(tmp_path: Path) -> None:
    source = tmp_path / "in.avif"
    photo("RGBA").save(source, quality=100)
    assert not passed(source, tmp_path / "out.mkv", codec="ffv1")
    assert probe(tmp_path / "out.mkv").has_alpha
    said = passed(source, tmp_path / "out.mp4")
    assert any("alpha" in text for text in said)
    assert [s.kind for s in probe(tmp_path / "out.mp4").streams] == ["video"]


def test_opacity_that_does_not_fit_is_named(tmp_path: Path) -> None:
    """One that darkens the colours, and one of another size."""
    name = full("auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    dark = refer("auxl", 2, 1) + refer("prem", 1, 2)
    small = [photo(), photo().resize((48, 32))]
    for references, images in ((dark, ()), (refer("auxl", 2, 1), small)):
        source = heif(tmp_path / "in.avif", ["av01"] * 2, references, name, images=images)
        assert not probe(source).has_alpha
        said = passed(source, tmp_path / f"{len(images)}.png")
        assert len(said) == 1
        assert "its opacity" in said[0]
        assert "(video stream 1) is left out" in said[0]


def test_the_opacity_of_a_moving_one_is_named(tmp_path: Path) -> None:
    source = tmp_path / "in.avif"
    more = [photo("RGBA").rotate(180)] * 3
    photo("RGBA").save(source, save_all=True, append_images=more, duration=40)
    said = passed(source, tmp_path / "out.mkv")
    assert [s.role for s in probe(source).streams] == ["", "opacity", "", "opacity"]
    assert any("its opacity (video streams 1 and 3) is left out" in text for text in said)
    assert len(read_all(tmp_path / "out.mkv")[1]) == 4


def test_what_images_are_to_others(tmp_path: Path) -> None:
    kinds = ["av01"] * 3
    depth = full("auxC", b"urn:mpeg:hevc:2015:auxid:2\0")
    source = heif(tmp_path / "in.avif", kinds, refer("auxl", 2, 1) + refer("thmb", 3, 1), depth)
    assert [part.role for part in parts_of(source)] == ["", "depth", "thumbnail"]
    info = probe(source)
    assert info.stream_index == 0
    assert [s.role for s in info.streams] == ["", "depth", "thumbnail"]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("codec", ["av01", "hvc1"])
def test_tiles_are_put_together(tmp_path: Path, codec: str, inside: bool) -> None:
    """Three rows of two, what hangs over cut off."""
    kinds, images = ["grid"] + [codec] * 7, [photo().rotate(180 * (n % 2)) for n in range(7)]
    images[4] = images[4].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    size = 2 * SIZE[0] - 10, 3 * SIZE[1] - 7
    for name, tile in zip("ab", (images[0], images[4]), strict=True):
        passed(heif(tmp_path / f"{name}.avif", [codec], images=[tile]), tmp_path / f"{name}.png")
    references = refer("dimg", 1, 2, 3, 4, 5, 6, 7) + refer("thmb", 8, 1)
    grid = struct.pack(">4B2I", 0, 1, 2, 1, *size)
    source = heif(tmp_path / "in.heic", kinds, references, images=images, grid=grid, inside=inside)
    info = probe(source)
    assert (info.width, info.height) == size
    said = passed(source, tmp_path / "out.png")
    assert [text for text in said if "thumbnail (video stream 6) is left out" in text] == said
    found = pixels(tmp_path / "out.png")
    assert found.shape == (size[1], size[0], 3)
    width, height = SIZE
    # At the seams chroma is interpolated between tiles.
    first, fifth = pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")
    np.testing.assert_array_equal(found[: height - 2, : width - 2], first[:-2, :-2])
    np.testing.assert_array_equal(found[2 * height + 2 :, 2 : width - 2], fifth[2:-7, 2:-2])
    expected = np.concatenate(
        [np.concatenate([np.asarray(i) for i in images[n : n + 2]], 1) for n in (0, 2, 4)]
    )
    assert np.abs(found - expected[: size[1], : size[0]]).mean() < 4


@pytest.mark.parametrize("angle", range(4))
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_tiles_are_turned_as_a_single_image(tmp_path: Path, angle: int, axis: int | None) -> None:
    turn = [box("irot", bytes([angle]))] + ([] if axis is None else [box("imir", bytes([axis]))])
    one = probe(heif(tmp_path / "one.avif", ["av01"], b"", *turn))
    tiles = probe(
        heif(tmp_path / "two.avif", ["grid", "av01", "av01"], refer("dimg", 1, 2, 3), *turn)
    )
    assert tiles.display_matrix == one.display_matrix
    assert tiles.rotation == one.rotation


def test_tiles_that_do_not_make_an_image_are_refused(tmp_path: Path) -> None:
    """Fewer than it should have, too small ones, of several sizes, damaged, and overlays."""
    tiles, three = refer("dimg", 1, 2, 3), ["grid", "av01", "av01"]
    wide = struct.pack(">4B2H", 0, 0, 0, 1, 300, 64)
    mixed = [photo(), photo().resize((48, 64))]
    damaged = heif(tmp_path / "e.heic", three, tiles)
    data = bytearray(damaged.read_bytes())
    behind = len(coded(photo())[0]) + 8  # the second tile, before the grid
    data[-behind:-8] = bytes(behind - 8)
    damaged.write_bytes(data)
    for source in (
        heif(tmp_path / "a.heic", three, refer("dimg", 1, 2)),
        heif(tmp_path / "b.heic", three, tiles, grid=wide),
        heif(tmp_path / "c.heic", three, tiles, images=mixed),
        heif(tmp_path / "d.heic", ["iovl", "av01", "av01"], tiles),
        damaged,
    ):
        with pytest.raises(MediaError, match=rf"{source.name}[: ]"):
            passed(source, tmp_path / "out.png")
        assert not (tmp_path / "out.png").exists()


def test_one_tile_can_be_taken(tmp_path: Path) -> None:
    source = heif(tmp_path / "in.heic", ["grid", "av01", "av01"], refer("dimg", 1, 2, 3))
    info, frames = read_all(source, stream=1)
    assert (info.width, len(frames)) == (SIZE[0], 1)


def test_a_huge_image_of_tiles_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    huge = struct.pack(">4B2I", 0, 1, 0, 1, 1 << 20, 1 << 20)
    source = heif(tmp_path / "in.heic", ["grid", "av01", "av01"], refer("dimg", 1, 2, 3), grid=huge)
    with pytest.raises(ResourceError, match="1048576x1048576"):
        probe(source)


def test_hidden_sides_of_a_still_are_cut_off_images(tmp_path: Path) -> None:
    """80x50 of 96x64, its centre 3 to the right and 2.5 up: 4.5 lines above are 4."""
    source = heif(tmp_path / "in.avif", ["av01"], b"", clap(80, 50, 6, -4))
    assert probe(source).crop == (5, 9, 11, 5)
    assert not passed(source, tmp_path / "out.png")
    whole = heif(tmp_path / "whole.avif", ["av01"])
    passed(whole, tmp_path / "whole.png")
    shown = pixels(tmp_path / "whole.png")[5:-9, 11:-5]
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), shown)


@pytest.mark.parametrize("matrix", [None, ROTATED, MIRRORED])
def test_hidden_sides_of_a_track(tmp_path: Path, matrix: tuple[int, ...] | None) -> None:
    source = make_clip(tmp_path / "in.mp4", size=SIZE, pts=1, matrix=matrix)
    passed(source, tmp_path / "whole.png")
    with_clap(source, clap(80, 50, 6, -4))
    assert probe(source).crop == (5, 9, 11, 5)
    said = passed(source, tmp_path / "out.mp4")
    assert any("does not hold the crop" in text for text in said)
    if matrix != MIRRORED:
        assert not passed(source, tmp_path / "out.mkv")
        assert probe(tmp_path / "out.mkv").crop == (5, 9, 11, 5)
    passed(source, tmp_path / "out.png")
    whole = pixels(tmp_path / "whole.png")
    if matrix == ROTATED:  # by 90 degrees clockwise: the left becomes the top
        shown = whole[11:-5, 9:-5]
    elif matrix == MIRRORED:
        shown = whole[5:-9, 5:-11]
    else:
        shown = whole[5:-9, 11:-5]
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), shown)


@pytest.mark.parametrize(
    "aperture",
    [
        box("clap", bytes(32)),
        clap(96, 64, 0, 0),
        clap(900, 64, 0, 0),
        clap(0, 64, 0, 0),
        box("clap", b"short"),
    ],
)
def test_an_aperture_that_hides_nothing_or_makes_no_sense(tmp_path: Path, aperture: bytes) -> None:
    source = with_clap(make_clip(tmp_path / "in.mp4", size=SIZE, pts=1), aperture)
    assert probe(source).crop is None
    assert len(read_all(source)[1]) == 1


def test_cut_off_boxes_are_no_error_of_their_own(tmp_path: Path) -> None:
    whole = heif(tmp_path / "in.avif", ["av01"], refer("auxl", 1, 1), clap(80, 50, 6, -4))
    data = whole.read_bytes()
    for size in range(0, 400, 3):
        whole.write_bytes(data[:size])
        parts_of(whole)


def test_the_grain_of_av1_is_in_the_frames(tmp_path: Path) -> None:
    """Grain that a file only describes is drawn when it is decoded, and so is not lost."""
    noise = np.random.default_rng(0).normal(0, 9, (64, 64))
    values = np.full((96, 64), 128, np.uint8)
    values[:64] = np.clip(128 + noise, 0, 255)
    spread = {}
    for grain in (0, 50):
        source = tmp_path / f"{grain}.mp4"
        with av.open(str(source), "w") as container:
            stream = container.add_stream("libsvtav1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            denoise = f"film-grain={grain}:film-grain-denoise={grain // 50}"
            stream.options = {"crf": "63", "preset": "8", "svtav1-params": denoise}
            for number in range(2):
                frame = av.VideoFrame.from_ndarray(values, "yuv420p")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        assert not passed(source, tmp_path / f"{grain}.mkv")
        frames = read_all(tmp_path / f"{grain}.mkv")[1]
        spread[grain] = 255 * frames[0].rgb().std().item()
    assert spread[0] < 4 < 6 < spread[50]
