"""Metrics of clips against the release's numbers, and against motion that is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from unblur.metrics import tof, tpsnr_diff, warp_error
from unblur.metrics.temporal import flows
from unblur.ops.gaussian import gaussian_blur


def frames_of(file, name):
    return torch.from_numpy(file[name]).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def moving():
    """A texture that goes 3 px to the left from frame to frame, (3, 3, 96, 128)."""
    generator = torch.Generator().manual_seed(0)
    wide = gaussian_blur(torch.rand(3, 96, 140, generator=generator), 2.0)
    wide = (wide - wide.min()) / (wide.max() - wide.min())
    return torch.stack([wide[..., 3 * t : 3 * t + 128] for t in range(3)])


def test_tof_equals_that_of_the_release(goldens):
    file = np.load(goldens / "metrics.npz")
    x, truth = frames_of(file, "pred"), frames_of(file, "gt")
    torch.testing.assert_close(tof(x, truth), torch.from_numpy(file["tof"]), atol=1e-4, rtol=0)


def test_tof_equals_that_of_the_release_over_a_clip(shared):
    file = np.load(shared / "goldens" / "dabit" / "metrics.npz")
    x, truth = frames_of(file, "pred"), frames_of(file, "gt")
    torch.testing.assert_close(tof(x, truth), torch.from_numpy(file["tof"]), atol=1e-4, rtol=0)
    for i, t in ((0, 1), (1, 2)):
        expected = torch.from_numpy(file[f"flow_gt{t}"]).permute(2, 0, 1)
        torch.testing.assert_close(flows(truth)[i], expected, atol=1e-3, rtol=0)


def test_tof_is_the_distance_of_two_motions(moving):
    still = moving[:1].expand(3, -1, -1, -1)
    assert tof(moving, moving).tolist() == [0, 0]
    assert tof(still, moving) == pytest.approx(torch.full((2,), 3.0), abs=0.15)
    together = tof(torch.stack((moving, still)), torch.stack((moving, moving)))
    torch.testing.assert_close(together[1], tof(still, moving))
    assert together.shape == (2, 2)


def test_flicker_costs_tof_and_the_psnr_of_differences(moving):
    generator = torch.Generator().manual_seed(1)
    noise = gaussian_blur(torch.randn(3, 3, 96, 128, generator=generator), 2.0)
    flickering, steady = moving + noise, moving + noise[:1]
    assert (tof(flickering, moving) > tof(moving, moving) + 0.02).all()
    assert (tpsnr_diff(steady, moving, cap=90) > 80).all()
    assert (tpsnr_diff(flickering, moving) < 40).all()
    assert tpsnr_diff(flickering, moving).shape == (2,)


def test_one_frame_has_no_motion(moving):
    assert tof(moving[:1], moving[:1]).shape == (0,)
    with pytest.raises(ValueError, match="at least 48x48"):
        tof(moving[..., :40, :], moving[..., :40, :])


def going_right(shift=2, frames=4):
    """A smooth texture that moves to the right, (T, 3, 64, 64)."""
    noise = torch.rand(3, 64, 64 + shift * frames, generator=torch.Generator().manual_seed(0))
    wide = gaussian_blur(noise, 2.0)
    wide = (wide - wide.min()) / (wide.max() - wide.min())
    return torch.stack([wide[..., shift * (frames - i) :][..., :64] for i in range(frames)])


def test_a_clip_that_moves_as_its_truth_has_little_warping_error():
    truth = going_right()
    own = warp_error(truth, truth)
    assert own.shape == (3,)
    assert float(own.max()) < 1e-3
    flicker = truth + torch.tensor([0.1, -0.1, 0.1, -0.1])[:, None, None, None]
    assert warp_error(flicker, truth).tolist() == pytest.approx([0.04] * 3, rel=0.1)
    still = truth[:1].expand_as(truth)
    assert float(warp_error(still, truth).min()) > 5 * float(own.max())


def test_warping_errors_of_several_clips_are_those_of_each():
    truth = going_right()
    pair = torch.stack((truth, truth.flip(-1)))
    noisy = pair + 0.05 * torch.rand(pair.shape, generator=torch.Generator().manual_seed(1))
    found = warp_error(noisy, pair)
    assert found.shape == (2, 3)
    assert torch.allclose(found[1], warp_error(noisy[1], pair[1]))


def plainly(clip, truth):
    """The warping error of two frames (3, H, W), by OpenCV alone and rule by rule."""
    height, width = truth.shape[-2:]
    here, there = (
        cv2.cvtColor((255 * y).round().byte().permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)
        for y in truth
    )
    to, back = (
        cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0)
        for a, b in ((here, there), (there, here))
    )
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    x, y = (grid.astype(np.float32) + to[..., i] for i, grid in enumerate((x, y)))
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)

    def laid_over(image):
        return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    returned = laid_over(back)
    forgiven = 0.01 * ((to**2).sum(-1) + (returned**2).sum(-1)) + 0.5
    trusted = inside & (((to + returned) ** 2).sum(-1) < forgiven)
    first, second = (frame.permute(1, 2, 0).numpy() for frame in clip)
    square = ((laid_over(second) - first) ** 2).mean(-1)
    return square[trusted].mean(), trusted.mean()


def test_the_warping_error_is_that_of_a_plain_computation():
    """Where something appears, so that flow there and back disagrees."""
    truth = going_right(frames=2).clone()
    truth[1, :, 16:48, 16:48] = truth[0, :, 32:, :32].flip(-1)
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(2))
    clip = 0.9 * truth + 0.1 * noise
    expected, share = plainly(clip, truth)
    assert 0.5 < share < 0.94
    # OpenCV places pixels to a 32nd.
    assert float(warp_error(clip, truth)) == pytest.approx(expected, rel=2e-3)
