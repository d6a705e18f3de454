"""Data sets in the layouts they are published in, on a tiny fake tree of each."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from unblur.data.clips import ClipFolder
from unblur.errors import MediaError, UsageError
from unblur.ops.color import from_linear, to_linear

TREES = {
    "gopro": ("train/GOPR01/blur/{:06}.png", "train/GOPR01/sharp/{:06}.png"),
    "gopro, as BSSTNet sorts it": ("train/blur/GOPR01/{:05}.png", "train/GT/GOPR01/{:05}.png"),
    "dvd": ("quantitative_datasets/720/input/{:05}.jpg", "quantitative_datasets/720/GT/{:05}.jpg"),
    "bsd": (
        "BSD_3ms24ms/train/000/Blur/RGB/{:08}.png",
        "BSD_3ms24ms/train/000/Sharp/RGB/{:08}.png",
    ),
    "reds": ("train_blur/000/{:08}.png", "train_sharp/000/{:08}.png"),
}


def write(path, value, side=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((side, side + 8, 3), value, np.uint8)
    image[:4, :4] = (255, 0, 0)  # OpenCV's blue
    assert cv2.imwrite(str(path), image)


@pytest.mark.parametrize("tree", TREES)
def test_published_layouts(tmp_path, tree):
    blurred, sharp = TREES[tree]
    for i in range(4):
        write(tmp_path / blurred.format(i), 10 * i)
        write(tmp_path / sharp.format(i), 10 * i + 5)
    clips = ClipFolder.find(f"{tree.split(',')[0]}:{tmp_path}")
    assert len(clips) == 1
    assert len(clips[0]) == 4
    x, truth = clips[0].read(1, 3)
    assert x.shape == truth.shape == (2, 3, 24, 32)
    for i in (0, 1):
        assert float(x[i, 0, -1, -1] * 255) == pytest.approx(10 * (i + 1), abs=2)  # JPEG
        assert float(truth[i, 0, -1, -1] * 255) == pytest.approx(10 * (i + 1) + 5, abs=2)
    assert float(x[0, 2, 0, 0]) > 0.9  # RGB: blue is last
    assert float(x[0, 0, 0, 0]) < 0.1


def test_sharp_video_is_averaged_in_linear_light(tmp_path):
    values = [0, 255, 0, 255, 0, 255, 0, 40, 40, 40, 80, 40, 40, 40, 9]
    for i, value in enumerate(values):
        write(tmp_path / "clip" / f"{i:04}.png", value)
    (clip,) = ClipFolder.find(f"sharp:{tmp_path}")
    assert len(clip) == 2  # the odd frame at the end is left out
    x, truth = clip.read(0, 2)
    expected = from_linear(torch.tensor(3 / 7), "iec61966-2-1")
    torch.testing.assert_close(x[0, 0, -1, -1], expected)
    assert float(truth[1, 0, -1, -1]) == pytest.approx(80 / 255)
    assert float(to_linear(x[1, 0, -1, -1], "iec61966-2-1")) > float(
        to_linear(torch.tensor(40 / 255), "iec61966-2-1")
    )


def test_wrong_requests_and_broken_trees(tmp_path):
    with pytest.raises(UsageError, match="layouts are gopro, dvd, bsd, reds, sharp"):
        ClipFolder.find("kitti:/somewhere")
    with pytest.raises(MediaError, match="not found"):
        ClipFolder.find(f"gopro:{tmp_path / 'missing'}")
    with pytest.raises(MediaError, match="does not look like gopro"):
        ClipFolder.find(f"gopro:{tmp_path}")
    write(tmp_path / "a/blur/000.png", 1)
    write(tmp_path / "a/sharp/001.png", 1)
    with pytest.raises(MediaError, match=r"no sharp frame for 000.png"):
        ClipFolder.find(f"gopro:{tmp_path}")
    (tmp_path / "b/blur").mkdir(parents=True)
    (tmp_path / "b/blur/000.png").write_text("not an image")
    write(tmp_path / "b/sharp/000.png", 1)
    (clip,) = ClipFolder.find(f"gopro:{tmp_path / 'b'}")
    with pytest.raises(MediaError, match="cannot be read"):
        clip.read(0, 1)
