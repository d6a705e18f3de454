"""flow-s takes its first steps, from a recipe."""

from __future__ import annotations

import dataclasses
import math

import cv2
import pytest
import torch

from unblur.errors import UsageError
from unblur.training.batches import Batch
from unblur.training.flow_task import TrainFlow, drawn, log_error
from unblur.training.recipe import Recipe
from unblur.training.start import train

RECIPE = Recipe("flow-s", batch=2, frames=4, crop=64, steps=2, validate_every=2,
                validation_clips=2, precision="fp32", warmup=1)  # fmt: skip


def batch(clips: int = 8) -> Batch:
    """Blurred frames are dark, sharp ones bright; each flow tells its place in the clip."""
    number = torch.arange(3.0)[None, :, None, None, None].expand(clips, -1, 2, 16, 16)
    blurred = torch.full((clips, 4, 3, 64, 64), 0.1)
    return Batch(blurred, blurred + 0.8, number, -number)


def test_first_steps_on_rendered_scenes(bank, tmp_path):
    outcome = train(RECIPE, tmp_path / "run", textures=bank)
    (point,) = outcome.curve
    assert outcome.finished
    assert math.isfinite(point.loss)
    got = point.metrics
    assert got["gain"] == pytest.approx(got["dis"] - got["blurred"], abs=1e-5)
    assert got["gain_sharp"] == pytest.approx(got["dis_sharp"] - got["sharp"], abs=1e-5)
    image = cv2.imread(str(tmp_path / "run/validation.png"))
    assert image.shape == (2 * 256, 4 * 256, 3)


def test_clips_are_blurred_sharp_or_mixed_and_keep_their_flow():
    kinds = set()
    for seed in range(12):
        frames, (forward, backward) = drawn(batch(), seed)
        assert frames.shape == (8, 3, 3, 64, 64)
        first = int(forward[0, 0, 0, 0, 0])
        assert forward[0, :, 0, 0, 0].tolist() == [first, first + 1]
        assert torch.equal(forward, -backward)
        bright = frames.mean((2, 3, 4)) > 0.55  # whatever the power, 0.1 is darker and 0.9 brighter
        kinds |= {tuple(row.tolist()) for row in bright}
    assert {(False,) * 3, (True,) * 3} < kinds
    assert torch.equal(drawn(batch(), 3)[0], drawn(batch(), 3)[0])


def test_a_tenth_less_error_counts_the_same_for_all_pairs():
    generator = torch.Generator().manual_seed(0)
    truth = tuple(torch.randn(2, 2, 3, 2, 8, 8, generator=generator))
    assert log_error(truth, truth) == 0
    easy, hard = ([x + error for x in truth] for error in (1.0, 10.0))
    less_easy, less_hard = ([x + 0.9 * error for x in truth] for error in (1.0, 10.0))
    gain = float(log_error(easy, truth) - log_error(less_easy, truth))
    assert gain > 0
    gain_hard = float(log_error(hard, truth) - log_error(less_hard, truth))
    assert gain_hard == pytest.approx(gain, rel=0.05)


def test_data_without_truth_is_refused():
    with pytest.raises(UsageError, match="true flow"):
        TrainFlow(dataclasses.replace(RECIPE, data="gopro:x"), torch.device("cpu"))
