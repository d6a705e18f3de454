"""Blur maps from flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.recipe import random_input
from unblur.guidance.blur_map import blur_map


def constant_flow(*lengths: float) -> torch.Tensor:
    """One flow per step, along x, of these lengths on the left half and zero on the right."""
    flow = torch.zeros(len(lengths), 2, 2, 4)
    for t, length in enumerate(lengths):
        flow[t, 0, :, :2] = length
    return flow


def test_equals_the_published_one(goldens):
    published_forward = random_input(13, (1, 4, 2, 12, 20), 2)[0]
    published_backward = random_input(14, (1, 4, 2, 12, 20), 2)[0]
    # The published names are the other way round.
    blur = blur_map(published_backward, published_forward)
    truth = np.load(goldens / "bsstnet_modules.npz")["blur_map"][0]
    np.testing.assert_allclose(blur, truth, atol=1e-6, rtol=0)


def test_each_frame_takes_the_flows_that_live_on_it():
    forward, backward = constant_flow(1, 2, 3), constant_flow(10, 20, 30)
    blur = blur_map(forward, backward, normalise=False)[:, 0, 0, 0]
    assert blur.tolist() == [1, (4 + 100) / 2, (9 + 400) / 2, 900]


def test_the_paper_sums_and_so_halves_the_end_frames():
    forward, backward = constant_flow(1, 2, 3), constant_flow(10, 20, 30)
    blur = blur_map(forward, backward, mode="paper", normalise=False)[:, 0, 0, 0]
    assert blur.tolist() == [1, 4 + 100, 9 + 400, 900]


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_runs_from_zero_to_one_over_the_whole_clip(mode):
    blur = blur_map(constant_flow(1, 2), constant_flow(1, 2), mode)
    assert blur.shape == (3, 1, 2, 4)
    assert blur.min() == 0
    assert blur.max() == 1
    assert (blur.amax((1, 2, 3)) == 1).sum() == 1, "one frame moves most"


@pytest.mark.parametrize("mode", ["official", "paper"])
@pytest.mark.parametrize("length", [0, 1, 2, 5])
def test_static_clips_are_sharp(mode, length):
    flow = torch.zeros(length, 2, 3, 5)
    blur = blur_map(flow, flow, mode)
    assert blur.shape == (length + 1, 1, 3, 5)
    assert blur.eq(0).all()


def test_half_precision_flow_does_not_overflow():
    flow = constant_flow(500).half()  # 500^2 is past the range of float16
    assert blur_map(flow, -flow)[0, 0, 0].tolist() == [1, 1, 0, 0]
