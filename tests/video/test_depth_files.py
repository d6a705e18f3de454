"""Depth maps from images: what they mean, and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from unblur.errors import MediaError
from unblur.video import VideoInfo, probe
from unblur.video.depth_files import DepthFiles
from unblur.video.images import write_image

H, W = 6, 8


@pytest.fixture
def info(tmp_path: Path) -> VideoInfo:
    """A video of three frames of 8x6."""
    folder = tmp_path / "video"
    folder.mkdir()
    for t in range(3):
        cv2.imwrite(str(folder / f"{t:03}.png"), np.full((H, W, 3), 60 * t, np.uint8))
    return probe(folder)


def stored(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for t, image in enumerate(images):
        if image.dtype == np.float32:
            frame = av.VideoFrame(image.shape[1], image.shape[0], "grayf32le")
            plane = np.frombuffer(frame.planes[0], np.float32).reshape(image.shape[0], -1)
            plane[:, : image.shape[1]] = image
            (folder / f"{t:03}.exr").write_bytes(write_image(frame, "exr"))
        else:
            cv2.imwrite(str(folder / f"{t:03}.png"), image)
    return folder


def ramp(low: float, high: float, kind: type) -> np.ndarray:
    return np.linspace(low, high, H * W).reshape(H, W).astype(kind)


def test_a_clip_goes_from_near_to_far_whatever_its_unit(tmp_path: Path, info: VideoInfo) -> None:
    deep = stored(tmp_path / "16", [ramp(100, 60 + 100 * (t + 1), np.uint16) for t in range(3)])
    files = DepthFiles(deep, info, frames=3)
    assert len(files) == 3
    assert float(files.read(0)[0, 0, 0]) == 0
    assert float(files.read(2)[0, -1, -1]) == 1
    assert float(files.read(0)[0, -1, -1]) == pytest.approx(60 / 260, abs=1e-3)
    near_bright = DepthFiles(deep, info, invert=True)
    assert np.allclose(near_bright.read(1), 1 - files.read(1))
    metres = stored(tmp_path / "exr", [ramp(-2, 30, np.float32)] * 3)
    assert np.allclose(DepthFiles(metres, info).read(1)[0], ramp(0, 1, np.float32), atol=1e-5)
    gray = stored(tmp_path / "8", [ramp(0, 255, np.uint8)] * 3)
    assert np.allclose(DepthFiles(gray, info).read(1)[0], ramp(0, 255, np.uint8) / 255)


def test_images_are_upright_and_frames_as_stored(tmp_path: Path, info: VideoInfo) -> None:
    turned = replace(info, width=H, height=W, rotation=90)
    folder = stored(tmp_path / "depth", [ramp(0, 65535, np.uint16)] * 3)
    depth = DepthFiles(folder, turned).read(0)
    assert depth.shape == (1, W, H)
    # Turned clockwise by a player it is the image that was stored.
    assert np.allclose(np.rot90(depth[0], -1), ramp(0, 1, np.float32), atol=1e-4)
    with pytest.raises(MediaError, match="of the same size"):
        DepthFiles(folder, replace(info, rotation=90))


BAD = {
    "size": ([np.zeros((H, W + 1), np.uint8)] * 3, "is 9x6 and the frames of .* are 8x6"),
    "too few": ([ramp(0, 9, np.uint8)] * 2, "2 depth maps and the video 3 frames"),
    "too many": ([ramp(0, 9, np.uint8)] * 4, "4 depth maps and the video 3 frames"),
    "constant": ([np.full((H, W), 7, np.uint8)] * 3, "one value only"),
    "colour": ([np.dstack([ramp(0, 99, np.uint8)] * 2 + [ramp(9, 0, np.uint8)])] * 3, "coloured"),
    "nan": ([ramp(0, 1, np.float32), np.full((H, W), np.nan, np.float32)] * 2, "holds NaN"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_depth_is_refused_before_any_work(tmp_path: Path, info: VideoInfo, case: str) -> None:
    images, message = BAD[case]
    folder = stored(tmp_path / "depth", images)
    with pytest.raises(MediaError, match=message):
        DepthFiles(folder, info, frames=4 if case == "nan" else 3)


def test_frames_beyond_the_last_map_and_files_that_are_none(
    tmp_path: Path, info: VideoInfo
) -> None:
    files = DepthFiles(stored(tmp_path / "depth", [ramp(0, 9, np.uint8)] * 2), info)
    with pytest.raises(MediaError, match="holds 2 depth maps and the video more frames"):
        files.read(2)
    (tmp_path / "depth" / "001.png").write_bytes(b"nothing")
    with pytest.raises(MediaError, match=r"001\.png"):
        DepthFiles(tmp_path / "depth", info)
    with pytest.raises(MediaError, match="no folder of depth maps"):
        DepthFiles(tmp_path / "none", info)
