"""Metrics against their definitions and, where it is installed, against scikit-image."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

import unblur.metrics.functional
import unblur.metrics.gather
from unblur.metrics import detail, end_point_error, gaussian_blur, psnr, sharpness, ssim


def pair(seed: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = gaussian_blur(torch.rand(2, 3, 40, 52, generator=generator), 1.0)
    return (truth + noise * torch.randn(truth.shape, generator=generator)).clamp(0, 1), truth


@pytest.mark.parametrize("module", [unblur.metrics.functional, unblur.metrics.gather])
def test_examples(module):
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 0


def test_psnr_and_ssim_equal_scikit_image():
    reference = pytest.importorskip("skimage.metrics", reason="needs the extra 'metrics'")
    x, truth = pair(0)
    for i in range(2):
        a, b = (np.asarray(t[i].permute(1, 2, 0), dtype=np.float64) for t in (x, truth))
        assert float(psnr(x, truth)[i]) == pytest.approx(
            reference.peak_signal_noise_ratio(b, a, data_range=1), abs=1e-4
        )
        expected = reference.structural_similarity(
            b, a, data_range=1, channel_axis=2, gaussian_weights=True, use_sample_covariance=False
        )
        assert float(ssim(x, truth)[i]) == pytest.approx(expected, abs=1e-5)


def test_ssim_equals_its_definition_in_one_window():
    x, truth = (t[:1, :1, :11, :11].double() for t in pair(1))
    at = torch.arange(-5, 6).double()
    window = torch.exp(-0.5 * (at / 1.5) ** 2)
    window = torch.outer(window, window) / window.sum() ** 2
    mean_a, mean_b = (x * window).sum(), (truth * window).sum()
    var_a, var_b = ((x - mean_a) ** 2 * window).sum(), ((truth - mean_b) ** 2 * window).sum()
    covariance = ((x - mean_a) * (truth - mean_b) * window).sum()
    expected = ((2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)) / (
        (mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)
    )
    torch.testing.assert_close(ssim(x, truth)[0], expected.float())


def test_a_picture_equal_to_its_truth():
    _, truth = pair(2)
    assert float(psnr(truth, truth, cap=50).max()) == 50
    for metric in (ssim, detail, sharpness):
        torch.testing.assert_close(metric(truth, truth), torch.ones(2))


def test_blur_lowers_sharpness_more_than_detail_and_contrast_leaves_detail():
    _, truth = pair(3)
    soft = gaussian_blur(truth, 1.0)
    assert float(sharpness(soft, truth).max()) < 0.8
    torch.testing.assert_close(detail(0.5 * truth, truth), torch.ones(2))
    torch.testing.assert_close(sharpness(0.5 * truth, truth), torch.full((2,), 0.5))
    assert float(detail(truth.roll(5, -1), truth).max()) < 0.5


def test_end_point_error_counts_valid_pixels_only():
    flow, truth = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    flow[:, :, 0, 0] = torch.tensor([3.0, 4.0])
    valid = torch.zeros(1, 1, 4, 4)
    valid[..., 0, :2] = 1
    assert float(end_point_error(flow, truth, valid)) == 2.5
    assert float(end_point_error(flow, truth)) == pytest.approx(5 / 16)
