"""Noise, and what a denoiser leaves of it; and clips that are shrunk after they were blurred."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unblur.evaluation.lowlight import denoise, noise_level
from unblur.evaluation.rendered import Making, focus_clips
from unblur.metrics import psnr
from unblur.synth import held_out


@pytest.mark.parametrize("sigma", [0.01, 0.04])
def test_noise_is_measured_and_taken_away(sigma):
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.3, 0.6, 96).expand(2, 3, 96, 96)
    noisy = ramp + sigma * torch.randn(2, 3, 96, 96, generator=generator)
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.05)
    clean = denoise(noisy)
    assert (psnr(clean, ramp) > psnr(noisy, ramp) + 6).all()
    assert noise_level(clean) < 0.3 * sigma


def test_frames_are_shrunk_after_blur_and_before_compression():
    once, twice = (
        [focus_clips(Making(held_out(), scale), seed=420_000)[i]() for i in (0, 1)]
        for scale in (1, 2)
    )
    for large, small in zip(once, twice, strict=True):
        assert small.scale == 2
        assert torch.equal(small.sharp, large.sharp)
        assert small.facts == large.facts
        assert small.depth.shape[-2:] == small.blurred.shape[-2:] == (128, 128)
    shrunk = [F.avg_pool2d(clip.blurred, 2) for clip in once]
    assert twice[0].facts["quality"] == 0 < twice[1].facts["quality"]
    assert (twice[0].blurred - shrunk[0]).abs().max() < 1.01 / 255
    assert (twice[1].blurred - shrunk[1]).abs().max() > 4 / 255
