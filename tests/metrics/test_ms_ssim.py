"""MS-SSIM: as the reference library had it, on small images too, and as a loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.metrics.waves import CHANGES, waves
from unblur.metrics import ms_ssim, ssim
from unblur.metrics.ms_ssim import WEIGHTS, levels_for


def pair(height: int, width: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    truth = torch.nn.functional.interpolate(
        torch.rand(2, 3, height // 4 + 1, width // 4 + 1, generator=generator),
        size=(height, width),
        mode="bilinear",
    )
    return (truth + noise * torch.randn(truth.shape, generator=generator)).clamp(0, 1), truth


# By `ms_ssim` of pytorch-msssim 1.0.0 (MIT), float64: sides that halve evenly, and odd ones.
CASES = {
    "darker": (0.97533426, 0.97511630),
    "shifted": (0.72727914, 0.71279352),
    "channels": (0.01532208, 0.01561634),
    "flat": (0.07288159, 0.07197711),
}


@pytest.mark.parametrize("name", CASES)
def test_figures_of_the_reference_library(name: str) -> None:
    for size, figure in zip([(176, 200), (181, 193)], CASES[name], strict=True):
        truth = waves(*size)
        x = CHANGES[name](truth)
        # Its exponents sum to 1.0001, ours to 1: with its sum they agree.
        channels = ms_ssim(x[:, None], truth[:, None]) ** sum(WEIGHTS)
        assert float(channels.mean()) == pytest.approx(figure, abs=3e-6)
        assert float(ms_ssim(x, truth)) == pytest.approx(figure, abs=3e-5)


def test_one_scale_is_ssim() -> None:
    x, truth = pair(40, 50)
    torch.testing.assert_close(ms_ssim(x, truth, 1), ssim(x, truth), atol=1e-4, rtol=0)


@given(st.integers(11, 200), st.integers(11, 200))
def test_as_many_scales_as_fit(height: int, width: int) -> None:
    levels = levels_for(height, width)
    side = min(height, width)
    for _ in range(levels - 1):
        side = -(-side // 2)
    assert side >= 11
    assert levels == 5 or -(-side // 2) < 11


@pytest.mark.parametrize("size", [(11, 11), (21, 64), (72, 128), (144, 256)])
def test_equal_images_score_one_and_noise_less(size: tuple[int, int]) -> None:
    x, truth = pair(*size)
    torch.testing.assert_close(ms_ssim(truth, truth), torch.ones(2))
    more, _ = pair(*size, noise=0.3)
    assert (ms_ssim(more, truth) < ms_ssim(x, truth)).all()


def test_leading_axes_stay() -> None:
    x, truth = pair(24, 30)
    assert ms_ssim(x[0], truth[0]).shape == ()
    assert ms_ssim(x[None], truth[None]).shape == (1, 2)


def test_gradient_is_right_and_finite() -> None:
    x, truth = (y[:1, :1].double() for y in pair(22, 22))
    assert torch.autograd.gradcheck(lambda a: ms_ssim(a, truth), x.requires_grad_())
    opposite = (1 - truth).requires_grad_()
    ms_ssim(opposite, truth).sum().backward()
    assert opposite.grad is not None
    assert opposite.grad.isfinite().all()


def test_too_small() -> None:
    with pytest.raises(ValueError, match="11x11"):
        ms_ssim(torch.rand(3, 10, 40), torch.rand(3, 10, 40))
    with pytest.raises(ValueError, match="1 to 2"):
        ms_ssim(torch.rand(3, 30, 40), torch.rand(3, 30, 40), 3)
