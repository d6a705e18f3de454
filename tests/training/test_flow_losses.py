"""Losses of optical flow."""

from __future__ import annotations

import pytest
import torch

from unblur.training.flow_losses import (
    CENSUS,
    edge,
    edges_of,
    log_error,
    region,
    roughness,
    ternary,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_tenth_less_error_counts_the_same_for_all_pairs():
    truth = 100 * noise(2, 3, 2, 8, 8)
    assert log_error(truth, truth) == 0

    def gain(error: float) -> float:
        return float(log_error(truth + error, truth) - log_error(truth + 0.9 * error, truth))

    assert gain(40.0) > 0
    assert gain(400.0) == pytest.approx(gain(40.0), rel=0.1)


def test_errors_count_only_where_they_are_asked_for():
    truth = noise(2, 3, 2, 8, 8)
    where = torch.zeros(2, 3, 1, 8, 8)
    where[0, :, :, :4] = 1  # nothing of the second clip
    found = truth.clone()
    found[:, :, :, 4:] += 5
    found[1] -= 3
    assert log_error(found, truth, where) == 0
    assert region(found, truth, where) == 0
    found[0, :, :, :4] += 1
    assert log_error(found, truth, where) == pytest.approx(
        float(log_error(truth[:1] + 1, truth[:1])), rel=1e-5
    )
    assert region(found, truth, where) == pytest.approx(1, rel=1e-5)
    nothing = torch.zeros_like(where)
    assert log_error(found, truth, nothing) == 0
    assert region(found.requires_grad_(), truth, nothing).item() == 0


def test_what_is_flat_is_smooth_and_a_slope_is_smoother_than_noise():
    ramp = torch.arange(16.0).expand(1, 1, 2, 16, 16)
    mixed = ramp[..., torch.randperm(16, generator=torch.Generator().manual_seed(0))]
    assert roughness(torch.ones(1, 1, 2, 16, 16)) < roughness(ramp) < roughness(mixed)


def test_the_true_flow_fetches_what_looks_the_same_even_if_it_is_brighter():
    texture = noise(1, 3, 40, 48).sigmoid()
    here, there = texture[..., 6:38], texture[..., 3:35]
    flow = torch.zeros(1, 2, 40, 32)
    flow[:, 0] = 3
    assert ternary(flow, here, there) < 1e-6
    assert ternary(flow, here, 0.5 * there) < 0.2 * ternary(flow - 1, here, there)
    # What leaves the frame, or is not requested, does not count.
    where = torch.ones(1, 1, 40, 32)
    where[..., : CENSUS + 8] = 0
    wrong = flow.clone()
    wrong[..., :8] = -2
    assert ternary(wrong, here, there, where) < 1e-6
    wrong = torch.full_like(flow, 100.0, requires_grad=True)
    loss = ternary(wrong, here, there)
    loss.backward()
    assert loss == 0


def test_ternary_leads_to_the_true_flow():
    texture = torch.nn.functional.avg_pool2d(noise(1, 3, 44, 52), 5, 1).mul(2).sigmoid()
    here, there = texture[..., 6:38], texture[..., 5:37]  # moved by 1
    flow = torch.zeros(1, 2, 40, 32).requires_grad_()
    ternary(flow, here, there).backward()
    assert flow.grad[0, 0].sum() < 0  # further to the right


def test_edges_are_where_motion_changes():
    flow = torch.zeros(2, 2, 16, 16)
    flow[0, 0, :, 8:] = 5.0
    edges = edges_of(flow)
    assert edges.shape == (2, 1, 16, 16)
    assert set(edges[0].nonzero()[:, 2].tolist()) <= {7, 8}
    assert edges[0].sum() >= 12
    assert edges[1].sum() == 0
    assert edge(edges, edges) < 1e-4
    assert edge(1 - edges, edges) > edge(torch.full_like(edges, 0.5), edges) > edge(edges, edges)
