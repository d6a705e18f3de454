"""Pairs of blurred and sharp footage, as users have it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

import unblur
from unblur.cli import main
from unblur.data.codec import Encoding, encode
from unblur.errors import MediaError, UsageError
from unblur.evaluation.pairs import key, paired_clips


def image(path, value, size=(40, 48)):
    x = np.full((*size, 3), value, np.uint8)
    x[10:20, 10:20] = 255 - value
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), x)


def test_partners_are_found_by_name(tmp_path):
    image(tmp_path / "one_blur.png", 10)
    image(tmp_path / "one_sharp.png", 20)
    (clip,) = [make() for make in paired_clips(tmp_path, tmp_path)]
    assert clip.name == "one"
    assert clip.blurred[0, :, 0, 0] == pytest.approx([10 / 255] * 3)
    assert clip.sharp[0, :, 0, 0] == pytest.approx([20 / 255] * 3)
    assert (clip.scored, clip.blurred.shape) == ((0,), (1, 3, 40, 48))
    image(tmp_path / "two_blur.png", 10)
    with pytest.raises(MediaError, match="two_blur"):
        paired_clips(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("blurred", "sharp"),
    [("a.png", "a.jpg"), ("x_blur_1.png", "x_sharp_1.png"), ("input-7.png", "GT-7.png")],
)
def test_words_that_tell_partners_apart_do_not_count(tmp_path, blurred, sharp):
    assert key(tmp_path / blurred) == key(tmp_path / sharp)


def test_words_within_words_count(tmp_path):
    assert key(tmp_path / "blurton.png") == "blurton"


def test_videos_and_folders_are_clips(tmp_path):
    frames = torch.rand(3, 3, 32, 40, generator=torch.manual_seed(0))
    for side in ("blurred", "sharp"):
        (tmp_path / side).mkdir()
        data = encode(frames, Encoding("libx264", {"crf": "4"}))
        (tmp_path / side / "v.mkv").write_bytes(data)
        for n in range(2):
            image(tmp_path / side / "stills" / f"{n}.png", 30 + n)
    clips = [make() for make in paired_clips(tmp_path / "blurred", tmp_path / "sharp")]
    assert [(c.name, len(c.blurred)) for c in clips] == [("stills", 2), ("v", 3)]


def test_partners_of_unlike_size_are_refused(tmp_path):
    image(tmp_path / "a" / "x.png", 10)
    image(tmp_path / "b" / "x.png", 10, (40, 50))
    (make,) = paired_clips(tmp_path / "a", tmp_path / "b")
    with pytest.raises(MediaError, match="50x40"):
        make()
    for wrong in (tmp_path / "nothing", tmp_path / "a" / "x.png"):
        with pytest.raises(MediaError, match="not a folder"):
            paired_clips(tmp_path / "a", wrong)


def test_pairs_are_measured(tmp_path, capsys):
    image(tmp_path / "a_blur.png", 10)
    image(tmp_path / "a_sharp.png", 12)
    order = ["evaluate", "pairs", "--blurred", str(tmp_path), "--sharp", str(tmp_path), "-q"]
    assert main([*order, "--model", "none"]) == 0
    table = capsys.readouterr().out
    assert "% worse" in table
    assert "mesh" in table
    with pytest.raises(UsageError, match="--blurred"):
        unblur.evaluate("pairs")
