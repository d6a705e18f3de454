"""Metrics against their definitions and, where it is installed, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unblur.metrics import (
    added_gradient,
    blur_effect,
    detail,
    end_point_error,
    mesh,
    psnr,
    sharpness,
    ssim,
    ssim_uniform,
    ssim_volume,
    tpsnr_pq,
)
from unblur.metrics.functional import pq_xyz
from unblur.ops.gaussian import gaussian_blur


def pair(seed: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = gaussian_blur(torch.rand(2, 3, 40, 52, generator=generator), 1.0)
    return (truth + noise * torch.randn(truth.shape, generator=generator)).clamp(0, 1), truth


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
        expected = reference.structural_similarity(b, a, data_range=1, channel_axis=2, win_size=33)
        assert float(ssim_uniform(x, truth, 33)[i]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 3.0])
def test_blur_effect_equals_scikit_image(sigma):
    reference = pytest.importorskip("skimage.measure", reason="needs the extra 'metrics'")
    x = pair(3)[0].double()
    x = gaussian_blur(x, sigma) if sigma else x
    for image, found in zip(x, blur_effect(x), strict=True):
        expected = reference.blur_effect(image.numpy(), channel_axis=0)
        assert float(found) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("axis", [-2, -1])
def test_blur_effect_grows_with_blur_along_either_axis(axis):
    noise = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(1))
    blurred = [noise] + [sum(noise.roll(i, axis) for i in range(n)) / n for n in (3, 7, 15)]
    figures = [float(blur_effect(x)) for x in blurred]
    assert figures == sorted(figures)
    assert 1.2 * figures[0] < figures[-1] <= 1


def test_blur_effect_of_a_flat_or_tiny_image():
    assert float(blur_effect(torch.full((3, 20, 20), 0.5))) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 11x11"):
        blur_effect(torch.zeros(3, 10, 20))


def images(file):
    """Restored frames and their truth (T, 3, H, W) of a golden file."""
    return (
        torch.from_numpy(file[name]).permute(0, 3, 1, 2).float() / 255 for name in ("pred", "gt")
    )


def test_psnr_and_ssim_equal_those_of_the_release(goldens):
    file = np.load(goldens / "metrics.npz")
    x, truth = images(file)
    for metric, name in ((psnr, "psnr"), (ssim, "ssim")):
        expected = torch.from_numpy(file[name]).float()
        torch.testing.assert_close(metric(x, truth), expected, atol=2e-5, rtol=0)


def test_ssim_of_a_window_larger_than_the_image_is_refused():
    x, truth = pair(0)
    for metric, least in ((ssim, 11), (ssim_uniform, 65)):
        with pytest.raises(ValueError, match=f"at least {least}x{least}"):
            metric(x[..., : least - 1, :], truth[..., : least - 1, :])


@pytest.mark.parametrize(
    ("peak", "code"),  # SMPTE ST 2084: white of so many candela per square metre
    [(100.0, 0.5081), (1000.0, 0.7518), (10_000.0, 1.0)],
)
def test_white_has_the_code_that_pq_gives_it(peak, code):
    white = torch.ones(3, 1, 1)
    assert float(pq_xyz(white, peak)[1]) == pytest.approx(code, abs=1e-4)


@pytest.mark.parametrize("gray", [0.1, 0.5, 0.9])
def test_pq_weighs_a_small_error_by_the_slope_of_its_curve(gray):
    truth, step = torch.full((3, 4, 4), gray, dtype=torch.float64), 1e-3
    x = truth + step
    slope = (pq_xyz(x, 1000.0) - pq_xyz(truth, 1000.0)).square().mean().sqrt() / step
    offset = float(tpsnr_pq(x, truth) - psnr(x, truth))
    assert offset == pytest.approx(float(-20 * slope.log10()), abs=1e-3)
    assert (offset > 0) == (gray > 0.1)  # dark steps count more than in sRGB


def test_added_gradient_sees_only_what_is_added_where_the_truth_is_flat():
    truth = torch.full((3, 64, 96), 0.5)
    truth[..., 48:] = torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(5))
    waves = 0.02 * torch.sin(torch.arange(96.0) * 1.5).expand(3, 64, 96)
    left, right = waves.clone(), waves.clone()
    left[..., 24:], right[..., :72] = 0, 0
    assert float(added_gradient(truth, truth)) == 0
    assert float(added_gradient(truth + 0.3, truth)) == 0
    assert float(added_gradient(truth + right, truth)) == 0
    once, twice = (float(added_gradient(truth + n * left, truth)) for n in (1, 2))
    assert once > 1
    assert twice == pytest.approx(2 * once, rel=0.02)
    assert torch.isnan(added_gradient(truth[..., 60:], truth[..., 60:]))


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


def test_a_image_equal_to_its_truth():
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


def lattice(period: int, size: int = 256) -> torch.Tensor:
    at = torch.arange(size)
    return ((at % period == 0)[:, None] | (at % period == 0)[None]).float().expand(3, -1, -1)


@pytest.mark.parametrize("period", [4, 8, 16])
def test_a_mesh_is_found_and_grows_with_its_contrast(period):
    truth = torch.rand(3, 256, 256, generator=torch.manual_seed(0))
    faint, strong = (float(mesh(truth + c / 255 * lattice(period), truth)) for c in (1, 4))
    assert 0.2 < faint < 1.1
    assert strong == pytest.approx(4 * faint, rel=0.01)


def test_errors_without_a_lattice_are_no_mesh():
    truth = torch.rand(3, 256, 256, generator=torch.manual_seed(0))
    noise = 0.05 * torch.randn(3, 256, 256, generator=torch.manual_seed(1))
    ramp = torch.linspace(0, 0.2, 256).expand(3, 256, 256)
    for error in (torch.zeros_like(truth), noise, ramp, 0.02 * lattice(5)):
        assert mesh(truth + error, truth) < 0.25
    assert torch.isnan(mesh(truth[:, :32], truth[:, :32]))
    assert mesh(truth[:, :33, :33], truth[:, :33, :33]) == 0


def test_a_mesh_is_found_below_noise():
    truth = torch.rand(3, 256, 256, generator=torch.manual_seed(0))
    noise = 0.02 * torch.randn(3, 256, 256, generator=torch.manual_seed(1))
    drawn = 2 / 255 * lattice(8)
    clean, noisy = mesh(truth + drawn, truth), mesh(truth + drawn + noise, truth)
    assert float(noisy) == pytest.approx(float(clean), rel=0.1)


def test_ssim_across_channels_is_that_of_scipy_filters():
    ndimage = pytest.importorskip("scipy.ndimage")
    random = torch.Generator().manual_seed(3)
    x, truth = torch.rand(2, 3, 20, 9, generator=random, dtype=torch.float64).numpy()

    def mean(values):
        return ndimage.gaussian_filter(values, 1.5)

    a, b = mean(x), mean(truth)
    covariance = mean(x * truth) - a * b
    variances = mean(x * x) - a * a + mean(truth * truth) - b * b
    similar = (2 * a * b + 1e-4) * (2 * covariance + 9e-4)
    expected = (similar / ((a * a + b * b + 1e-4) * (variances + 9e-4))).mean()
    found = float(ssim_volume(torch.from_numpy(x), torch.from_numpy(truth)))
    assert found == pytest.approx(expected, abs=1e-6)
