"""How much of a restoration is trusted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.guidance.trust import guarded
from unblur.models.trust import Trust, TrustConfig


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = Trust(TrustConfig(width=8, dilations=(1, 2))).eval()
    torch.nn.init.normal_(net.last.weight, std=0.5)
    return net


def test_before_training_nearly_everything_is_trusted():
    trust = Trust()(torch.rand(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
    assert trust.min() > 0.94


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_size_stays_between_what_came_and_what_was_restored(height, width):
    torch.manual_seed(height * 41 + width)
    net = Trust(TrustConfig(width=4, dilations=(1,)))
    torch.nn.init.normal_(net.last.weight, std=2.0)
    frames, restored = torch.rand(2, 2, 3, height, width)
    kept = guarded(net, frames, restored)
    assert kept.shape == frames.shape
    low, high = torch.minimum(frames, restored), torch.maximum(frames, restored)
    assert (kept >= low - 1e-6).all()
    assert (kept <= high + 1e-6).all()


def test_what_was_not_changed_stays(network):
    frames = torch.rand(1, 3, 32, 40)
    assert torch.equal(guarded(network, frames, frames), frames)


def test_trust_is_local(network):
    """What lies further away than the network sees has no say."""
    frames, change = torch.rand(1, 3, 160, 160), 0.1 * torch.randn(1, 3, 160, 160)
    other = change.clone()
    other[..., 120:, 120:] = 0
    near, far = network(frames, change), network(frames, other)
    assert torch.allclose(near[..., :60, :60], far[..., :60, :60], atol=1e-6)
    assert not torch.allclose(near[..., 120:, 120:], far[..., 120:, 120:], atol=1e-4)
