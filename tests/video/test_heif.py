"""AVIF and HEIF, and what their boxes say in MP4 and MOV: opacity, tiles, hidden sides, grain."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from media import MIRRORED, ROTATED, make_clip, read_all
from PIL import Image, features

import unblur
from unblur.errors import MediaError, UnblurWarning
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


def heif(path: Path, kinds: Sequence[str], references: bytes = b"", *extra: bytes) -> Path:
    """Images numbered from 1, of which each `av01` is the same; all have the same properties."""
    memory = io.BytesIO()
    photo().save(memory, "AVIF", quality=100)
    data = memory.getvalue()
    at = data.index(b"av1C") - 4
    coded = data[data.index(b"mdat") + 4 :]
    properties = [full("ispe", struct.pack(">2I", *SIZE)), data[at : at + 12], *extra]
    grid = struct.pack(">4B2H", 0, 0, 0, 1, 2 * SIZE[0], SIZE[1])  # one row of two tiles
    names, owned = b"", b""
    places = bytes(range(1, len(properties) + 1))
    for number, kind in enumerate(kinds, 1):
        names += box("infe", b"\2\0\0\0", struct.pack(">2H", number, 0), kind.encode(), b"\0")
        owned += struct.pack(">HB", number, len(places)) + places

    def meta(start: int) -> bytes:
        table = b""
        for number, kind in enumerate(kinds, 1):
            at, size = (len(coded), len(grid)) if kind == "grid" else (0, len(coded))
            table += struct.pack(">3H2I", number, 0, 1, start + at, size)
        return full(
            "meta",
            full("hdlr", bytes(4), b"pict", bytes(13)),
            full("pitm", struct.pack(">H", 1)),
            full("iloc", b"\x44\0", struct.pack(">H", len(kinds)), table),
            full("iinf", struct.pack(">H", len(kinds)), names),
            full("iref", references) if references else b"",
            box(
                "iprp",
                box("ipco", *properties),
                full("ipma", struct.pack(">I", len(kinds)), owned),
            ),
        )

    head = box("ftyp", b"avif", bytes(4), b"avifmif1miaf")
    start = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(start) + box("mdat", coded, grid))
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


def passed(source: Path, target: Path) -> list[str]:
    """Warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        unblur.restore(source, target, model="none")
    return [str(each.message) for each in said if each.category is UnblurWarning]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("written", ["out.mkv", "out.mp4", "out.png"])
def test_the_opacity_of_a_still_is_named_and_no_video(tmp_path: Path, written: str) -> None:
    source = tmp_path / "in.avif"
    photo("RGBA").save(source, quality=100)
    said = passed(source, tmp_path / written)
    assert any("its opacity (video stream 1) is left out" in text for text in said)
    assert not any("is taken" in text for text in said)
    assert [s.kind for s in probe(tmp_path / written).streams] == ["video"]
    if written == "out.png":
        assert np.abs(pixels(tmp_path / written) - np.asarray(photo())).mean() < 4


def test_the_opacity_of_a_moving_one_is_named(tmp_path: Path) -> None:
    source = tmp_path / "in.avif"
    more = [photo("RGBA").rotate(180)] * 3
    photo("RGBA").save(source, save_all=True, append_images=more, duration=40)
    said = passed(source, tmp_path / "out.mkv")
    assert [s.role for s in probe(source).streams] == ["", "opacity", "", "opacity"]
    assert any("its opacity (video stream 3) is left out" in text for text in said)
    assert len(read_all(tmp_path / "out.mkv")[1]) == 4


def test_what_images_are_to_others(tmp_path: Path) -> None:
    kinds = ["av01"] * 3
    depth = full("auxC", b"urn:mpeg:hevc:2015:auxid:2\0")
    source = heif(tmp_path / "in.avif", kinds, refer("auxl", 2, 1) + refer("thmb", 3, 1), depth)
    assert [part.role for part in parts_of(source)] == ["", "depth", "thumbnail"]
    info = probe(source)
    assert info.stream_index == 0
    assert [s.role for s in info.streams] == ["", "depth", "thumbnail"]


def test_an_image_in_tiles_is_refused_by_name(tmp_path: Path) -> None:
    tiles = refer("dimg", 1, 2, 3) + refer("thmb", 4, 1)
    source = heif(tmp_path / "in.heic", ["grid", "av01", "av01", "av01"], tiles)
    with pytest.raises(MediaError, match=r"in\.heic holds its image in tiles"):
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
