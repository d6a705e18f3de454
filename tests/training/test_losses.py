"""Losses are zero at the truth, grow away from it, and have sound gradients."""

from __future__ import annotations

import pytest
import torch

from unblur.errors import UsageError
from unblur.training.losses import LOSSES, contrast, edge, frequency, l1, weighted


@pytest.mark.parametrize("name", LOSSES)
def test_the_truth_is_the_minimum(name):
    truth = torch.rand(2, 3, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    at, near, far = (float(LOSSES[name](truth + a * noise, truth)) for a in (0, 0.05, 0.2))
    assert at <= 1.1e-3
    assert at < near < far


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name):
    torch.manual_seed(0)
    x = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    truth = torch.rand(1, 2, 4, 5, dtype=torch.float64)
    if name == "frequency":  # computed in single precision by design
        loss = frequency(x, truth)
        loss.backward()
        assert x.grad.abs().sum() > 0
    else:
        assert torch.autograd.gradcheck(lambda a: LOSSES[name](a, truth), x)


def test_edge_ignores_brightness_and_sees_softness():
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., 4:] = 1
    soft = torch.nn.functional.avg_pool2d(truth, 3, 1, 1, count_include_pad=False)
    assert float(edge(truth + 0.1, truth)) <= 1.1e-3
    assert float(edge(soft, truth)) > 0.01


def test_contrast_sees_softness_and_not_place():
    truth = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(truth, 3, 1, 1, count_include_pad=False)
    moved = truth.roll(1, dims=-1)
    assert float(l1(moved, truth)) > float(l1(soft, truth))
    assert float(contrast(moved, truth)) < 0.2 * float(contrast(soft, truth))


def test_noise_weighs_the_same_in_frequency_and_l1_whatever_the_size():
    for side in (16, 64):
        noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 0.1
        ratio = float(frequency(noise, noise * 0) / l1(noise, noise * 0))
        assert 0.6 < ratio < 0.8  # real and imaginary part share the energy: 1 / sqrt(2)


def test_weights_add_up_and_unknown_names_are_refused():
    x, truth = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    both = weighted(x, truth, {"l1": 2.0, "edge": 0.5})
    torch.testing.assert_close(both, 2 * l1(x, truth) + 0.5 * edge(x, truth))
    with pytest.raises(UsageError, match="unknown loss huber"):
        weighted(x, truth, {"huber": 1.0})
