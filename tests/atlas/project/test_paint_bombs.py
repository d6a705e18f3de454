"""Projects and painted documents that claim more than they may are refused before they are read."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import unblur
from tests.atlas import analytic
from tests.test_bombs import MB, png
from unblur.atlas.project.maps import checksum
from unblur.atlas.project.paint import claimed_size, read_openraster
from unblur.errors import MediaError, ResourceError, UnblurError
from unblur.ops.memory import resident


@pytest.mark.parametrize("name", ["stack", "deep", "layer", "hidden", "size"])
def test_openraster_holds_no_more_than_the_atlas(tmp_path: Path, name: str) -> None:
    size, stack, extra = (24, 32), "<layer src='a.png'/>", png(16)
    if name == "stack":
        stack *= 5000
    if name == "deep":
        stack = "<stack>" * 500 + stack + "</stack>" * 500
    if name == "layer":
        extra = png(30000, rows=bytes(100))
    head = "60000" if name == "size" else "32"
    text = f"<image w='{head}' h='24'><stack>{stack}</stack></image>".encode()
    if name == "hidden":
        text = ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + text.decode()).encode("utf-16")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", 8) as archive:
        archive.writestr("stack.xml", text)
        archive.writestr("a.png", extra)
    before = resident()
    with pytest.raises(UnblurError):
        read_openraster(buffer.getvalue(), tmp_path / "a.ora", size)
    assert resident() - before < 64 * MB


def test_images_far_larger_than_the_atlas_are_not_decoded() -> None:
    gray = np.zeros((2000, 3000), np.uint8)
    for ending in (".jpg", ".tif", ".webp", ".bmp", ".png"):
        data = cv2.imencode(ending, gray)[1].tobytes()
        width, height = claimed_size(data, 100) or (0, 0)
        assert width * height >= 6_000_000, ending


def test_an_atlas_has_the_size_that_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "P"
    analytic.project(frames=2).save(folder)
    head = json.loads((folder / "atlas.json").read_text())
    name = next(file for file in head["files"] if file.startswith("atlas_"))

    def saved(data: bytes | None = None, **changes: object) -> None:
        if data is not None:
            (folder / name).write_bytes(data)
            head["files"][name] = checksum(data)
        (folder / "atlas.json").write_text(json.dumps({**head, **changes}))

    before = resident()
    for changes in ({"width": 10**9}, {"frames": 10**9}, {"height": -1}, {"width": "1"}):
        saved(**changes)
        with pytest.raises((MediaError, ResourceError)):
            unblur.atlas.open(folder)
    saved(png(30000, rows=bytes(100)))
    with pytest.raises(MediaError, match="damaged"):
        unblur.atlas.open(folder)
    for layer in ("../../etc", "a\0b", "", "x" * 999):
        saved(layers=[{**head["layers"][0], "name": layer}])
        with pytest.raises(MediaError):
            unblur.atlas.open(folder)
    assert resident() - before < 64 * MB
