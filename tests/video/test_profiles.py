"""Colour profiles of still images: carried where the output takes them, named where not."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unblur
from unblur.errors import UnblurWarning
from unblur.video.profiles import profile_of, with_profile


def profile(space: bytes = b"RGB ") -> bytes:
    """A profile of 3,000 bytes in which only the header makes sense."""
    body = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
    head = struct.pack(">I", len(body)) + b"\0" * 8 + b"mntr" + space + b"XYZ "
    return head + b"\0" * (36 - len(head)) + b"acsp" + body[40:]


def image(mode: str = "RGB") -> Image.Image:
    shape = (24, 32, 3) if mode == "RGB" else (24, 32)
    values = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    return Image.fromarray(values)


def passed(source: Path, target: Path) -> list[str]:
    """Warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        unblur.restore(source, target, model="none")
    return [str(each.message) for each in said if each.category is UnblurWarning]


@pytest.mark.parametrize("written", [".png", ".tif"])
@pytest.mark.parametrize("read", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize(("mode", "space"), [("RGB", b"RGB "), ("L", b"GRAY")])
def test_a_profile_is_carried(
    tmp_path: Path, read: str, written: str, mode: str, space: bytes
) -> None:
    source, target = tmp_path / f"in{read}", tmp_path / f"out{written}"
    image(mode).save(source, icc_profile=profile(space))
    assert not passed(source, target)
    with Image.open(target) as found, Image.open(source) as before:
        assert found.info["icc_profile"] == profile(space)
        if read != ".jpg":
            np.testing.assert_array_equal(found, before)


def test_each_image_of_a_sequence_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in (1, 2, 3):
        own = {} if number == 2 else {"icc_profile": profile() + bytes([number])}
        image().save(tmp_path / "in" / f"{number}.png", **own)
    unblur.restore(tmp_path / "in", f"{tmp_path}/out/", model="none")
    for number in (1, 2, 3):
        with Image.open(next((tmp_path / "out").glob(f"*{number}.png"))) as found:
            wanted = None if number == 2 else profile() + bytes([number])
            assert found.info.get("icc_profile") == wanted


@pytest.mark.parametrize("name", ["out.exr", "out.mkv"])
def test_a_profile_that_cannot_be_carried_is_named(tmp_path: Path, name: str) -> None:
    image().save(tmp_path / "in.png", icc_profile=profile())
    assert any("ICC profile" in said for said in passed(tmp_path / "in.png", tmp_path / name))


def test_a_profile_of_other_colours_is_named(tmp_path: Path) -> None:
    image().save(tmp_path / "in.png", icc_profile=profile(b"CMYK"))
    assert any("ICC profile" in said for said in passed(tmp_path / "in.png", tmp_path / "out.png"))


def test_restored_images_keep_theirs(tmp_path: Path) -> None:
    image().save(tmp_path / "in.png", icc_profile=profile())
    unblur.restore(tmp_path / "in.png", tmp_path / "out.png", model="maxim-stage1", device="cpu")
    with Image.open(tmp_path / "out.png") as found:
        assert found.info["icc_profile"] == profile()


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_damaged_profiles_are_none(kind: str) -> None:
    """Any prefix, and any flipped byte, gives a profile or none, and no error."""
    made = io.BytesIO()
    image().save(made, kind, icc_profile=profile())
    data, codec = made.getvalue(), {"jpeg": "mjpeg"}.get(kind, kind)
    assert profile_of(codec, data) == profile()
    draw = np.random.default_rng(2)
    for _ in range(200):
        profile_of(codec, data[: draw.integers(len(data))])
        flipped = bytearray(data)
        flipped[draw.integers(min(300, len(data)))] ^= 1 << draw.integers(8)
        profile_of(codec, bytes(flipped))
    if codec != "mjpeg":
        made.seek(0)
        assert profile_of(codec, with_profile(codec, data, profile() * 2)) == profile() * 2
