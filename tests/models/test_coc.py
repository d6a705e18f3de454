"""coc-s as a network: sizes, its start, and what it does not look at."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from unblur.models.coc import USUAL, CocConfig, CocNet

TINY = CocConfig(widths=(4, 6, 8), deepest=(1, 2))


def image(height: int, width: int, frames: int = 1) -> torch.Tensor:
    """Noise."""
    generator = torch.Generator().manual_seed(height * 100 + width)
    return torch.rand(frames, 3, height, width, generator=generator)


def shaken(net: CocNet) -> CocNet:
    """With weights that tell places apart."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return net.eval()


@given(st.integers(1, 70), st.integers(1, 70))
@settings(max_examples=25, deadline=None)
def test_any_size(height, width):
    with torch.no_grad():
        found = shaken(CocNet(TINY))(image(height, width, 2))
    assert found.shape == (2, 2, height, width)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


def test_a_fresh_network_says_the_same_everywhere():
    found = CocNet()(image(40, 56))
    torch.testing.assert_close(found, torch.tensor(USUAL)[:, None, None].expand_as(found))
    assert torch.equal(CocNet(CocConfig(outputs=3))(image(40, 56)), torch.zeros(1, 3, 40, 56))


@pytest.mark.parametrize(("change", "offset"), [(0.5, 0.0), (1.0, 0.2)])
def test_brightness_and_contrast_hardly_matter(change, offset):
    net, frame = shaken(CocNet(TINY)), image(48, 64)
    with torch.no_grad():
        a, b = net(frame * 0.8), net(frame * 0.8 * change + offset)
        other = net(image(48, 64).flip(-1))
    assert (a - b).abs().mean() < 0.25 * (a - other).abs().mean()


def test_each_frame_by_itself():
    net, frames = shaken(CocNet(TINY)), image(32, 48, 3)
    with torch.no_grad():
        torch.testing.assert_close(net(frames)[1:2], net(frames[1:2]))


def test_half_precision_changes_little():
    net, frame = shaken(CocNet(TINY)), image(64, 64)
    with torch.no_grad():
        exact = net(frame)
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(frame)
    assert (rough - exact).norm() < 0.05 * exact.norm()


def test_it_sees_far_around():
    """A disk of 16 pixels has to be distinguished from one of 12 by its rim alone."""
    net = shaken(CocNet())
    frame = image(256, 256).requires_grad_()
    net(frame)[0, 0, 128, 128].backward()
    assert frame.grad is not None
    seen = (frame.grad.abs().sum(1)[0] > 1e-6 * frame.grad.abs().max()).nonzero()
    assert (seen - 128).abs().amax(0).min() > 64


def test_it_stays_small():
    net = CocNet()
    assert sum(p.numel() for p in net.parameters()) < 0.45e6
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image(480, 854))
    assert counter.get_total_flops() / 2 < 5e9
