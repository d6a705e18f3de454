"""Sharp pixels that travel along the flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.ops.propagation import propagate_pixels


def panning(length: int = 6, dx: int = 3, dy: int = -2) -> tuple[Tensor, Tensor, Tensor]:
    """A camera over an image: sharp frames (1, T, 3, 40, 48), flow forward and backward."""
    image = torch.rand(3, 120, 140, generator=torch.Generator().manual_seed(0))
    frames = torch.stack(
        [image[:, 40 - dy * t : 80 - dy * t, 40 - dx * t : 88 - dx * t] for t in range(length)]
    )[None]
    flow = torch.tensor([dx, dy]).float().reshape(1, 1, 2, 1, 1).expand(1, length - 1, 2, 40, 48)
    return frames, flow, -flow


def soften(frames: Tensor) -> Tensor:
    return F.avg_pool2d(frames.flatten(0, 1), 5, 1, 2).unflatten(0, frames.shape[:2])


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_equals_the_published_one(goldens, mode):
    file = np.load(goldens / "dabit_pixels.npz")
    golden = {key: torch.from_numpy(file[key]).float() for key in file.files}
    flows = golden["flow_f"], golden["flow_b"]
    frames, mask = propagate_pixels(golden["frames"], golden["mask"], *flows, mode, official=True)
    expected = golden["frames"] + golden[f"change_{mode}"]
    torch.testing.assert_close(frames, expected, rtol=0, atol=1e-5)
    assert torch.equal(mask, golden[f"upd_{mode}"])
    ones = torch.ones_like(golden["mask"])
    frames, mask = propagate_pixels(golden["frames"], ones, *flows, "nearest", official=True)
    assert torch.equal(frames, golden["frames"]), "where all is blurred nothing is replaced"
    assert torch.equal(mask, golden["upd_ones"])


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("sharp", [0, 3, 5])
def test_one_sharp_frame_sharpens_all_the_others(mode, sharp):
    truth, forward, backward = panning()
    mask = torch.ones(1, 6, 1, 40, 48)
    mask[:, sharp] = 0
    blurred = torch.where(mask == 1, soften(truth), truth)
    frames, left = propagate_pixels(blurred, mask, forward, backward, mode, similarity=None)
    filled = (mask * (1 - left)).expand_as(frames) == 1
    torch.testing.assert_close(frames[filled], truth[filled], rtol=0, atol=1e-5)
    assert torch.equal(frames[~filled], blurred[~filled])
    # all that lies in the sharp frame reaches all others, but for a rim of one pixel a step
    for t in range(6):
        steps = abs(t - sharp)
        dx, dy = 3 * steps, 2 * steps
        assert (1 - left[0, t]).sum() == (40 - dy - steps) * (48 - dx - steps)


def test_what_is_not_similar_is_not_pasted():
    truth, forward, backward = panning()
    mask = torch.zeros(1, 6, 1, 40, 48)
    mask[:, 3] = 1
    lamp = truth.clone()
    lamp[:, 3, :, :, 20:] += 0.3  # the light changes in the blurred frame; the flow is right
    frames, left = propagate_pixels(lamp, mask, forward, backward)
    assert torch.equal(frames[:, 3, ..., 20:], lamp[:, 3, ..., 20:])
    assert left[:, 3, ..., 20:].all()
    assert not left[:, 3, ..., 8:32, 8:15].any(), "elsewhere pixels are replaced"


def test_sharp_regions_of_blurred_frames_travel():
    truth, forward, backward = panning()
    mask = torch.zeros(1, 6, 1, 40, 48)
    mask[:, ::2, :, :, 24:] = 1  # even frames lack the right half, odd ones the left
    mask[:, 1::2, :, :, :24] = 1
    blurred = torch.where(mask == 1, soften(truth), truth)
    frames, left = propagate_pixels(blurred, mask, forward, backward, similarity=0.1)
    before, after = (((x - truth) ** 2).mean() for x in (blurred, frames))
    assert after < 0.2 * before
    assert left.mean() < 0.2 * mask.mean()


def test_nothing_comes_from_outside_of_the_frame():
    truth = panning(dx=0, dy=0)[0]
    drift = torch.full((1, 5, 2, 40, 48), 0.6)
    mask = torch.zeros(1, 6, 1, 40, 48)
    mask[:, 3] = 1
    frames, _ = propagate_pixels(truth + 1, mask, drift, -drift, "nearest", similarity=None)
    assert frames.min() >= 1, "no black at the edges"
    official, _ = propagate_pixels(truth + 1, mask, drift, -drift, "nearest", official=True)
    assert official.min() == 0, "as the release does it"


def test_flows_that_disagree_carry_nothing():
    truth, forward, backward = panning()
    mask = torch.ones(1, 6, 1, 40, 48)
    mask[:, 2] = 0
    frames, left = propagate_pixels(truth, mask, forward, -2 * backward)
    assert torch.equal(frames, truth)
    assert torch.equal(left, mask)


@settings(max_examples=15, deadline=None)
@given(
    length=st.integers(1, 5),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    share=st.floats(0, 1),
    official=st.booleans(),
)
def test_only_blurred_pixels_change_and_none_becomes_blurred(
    length, height, width, share, official
):
    generator = torch.Generator().manual_seed(length * height + width)
    frames = torch.rand(2, length, 3, height, width, generator=generator)
    mask = (torch.rand(2, length, 1, height, width, generator=generator) < share).float()
    flow = torch.randn(2, length - 1, 2, height, width, generator=generator)
    out, left = propagate_pixels(frames, mask, flow, -flow, official=official)
    assert torch.equal(out[mask.expand_as(out) == 0], frames[mask.expand_as(out) == 0])
    assert ((left == 0) | (left == 1)).all()
    assert (left <= mask).all()
    unfilled = (left == mask).expand_as(out)
    assert torch.equal(out[unfilled], frames[unfilled])
