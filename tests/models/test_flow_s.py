"""flow-s as a network: sizes, its start, and its comparison of features."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from unblur.models.flow_s import FlowConfig, FlowS, compare, disagreement

TINY = FlowConfig(features=(8, 6, 4), hidden=(8, 6, 4), radius=(1, 1, 1))


def clip(frames: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, and guesses of its flow both ways."""
    generator = torch.Generator().manual_seed(frames * 1000 + height * 10 + width)
    size = (1, frames - 1, 2, -(-height // 4), -(-width // 4))
    pictures = torch.rand(1, frames, 3, height, width, generator=generator)
    forward, backward = 3 * torch.randn(2, *size, generator=generator)
    return pictures, forward, backward


def shaken(net: FlowS) -> FlowS:
    """With weights that change the guess."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return net.eval()


@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70))
@settings(max_examples=25, deadline=None)
def test_any_size_and_length(frames, height, width):
    pictures, forward, backward = clip(frames, height, width)
    with torch.no_grad():
        levels = shaken(FlowS(TINY))(pictures, forward, backward)
    for scale, flows in zip((4, 2, 1), levels, strict=True):
        for flow, guess in zip(flows, (forward, backward), strict=True):
            h, w = (-(-s // scale) for s in guess.shape[-2:])
            assert flow.shape == (1, frames - 1, 2, h, w)
            assert flow.dtype == torch.float32
            assert torch.isfinite(flow).all()


def test_a_fresh_network_gives_back_a_guess_without_contradictions():
    pictures = clip(3, 40, 72)[0]
    forward = torch.tensor([1.0, -0.5])[:, None, None].expand(1, 2, 2, 10, 18)
    found = FlowS()(pictures, forward, -forward)[-1]
    torch.testing.assert_close(found, (forward, -forward), atol=1e-4, rtol=0)


def test_where_the_guess_contradicts_itself_it_is_mended():
    pictures = clip(2, 64, 64)[0]
    forward = torch.tensor([1.0, -0.5])[:, None, None].repeat(1, 1, 1, 16, 16)
    wrong = forward.clone()
    wrong[..., 4:8, 4:8] = 9.0
    found = FlowS()(pictures, wrong, -forward)[-1][0]
    assert (wrong - forward).norm(dim=2).mean() > 0.5
    assert (found - forward).norm(dim=2).mean() < 0.05


def test_the_two_directions_are_one_problem():
    """A clip that runs backwards has the flows of the clip, exchanged."""
    net = shaken(FlowS(TINY))
    pictures, forward, backward = clip(3, 48, 64)
    with torch.no_grad():
        a = net(pictures, forward, backward)[-1]
        b = net(pictures.flip(1), backward.flip(1), forward.flip(1))[-1]
    torch.testing.assert_close(b[0].flip(1), a[1])
    torch.testing.assert_close(b[1].flip(1), a[0])


@pytest.mark.parametrize(("change", "offset"), [(0.5, 0.0), (1.0, 0.2)])
def test_brightness_and_contrast_hardly_matter(change, offset):
    net = shaken(FlowS(TINY))
    pictures, forward, backward = clip(2, 48, 64)
    with torch.no_grad():
        a = net(pictures * 0.8, forward, backward)[-1][0]
        b = net(pictures * 0.8 * change + offset, forward, backward)[-1][0]
        moved = (a - forward).abs().mean()
    assert moved > 0.05
    assert (a - b).abs().mean() < 0.25 * moved


def test_half_precision_changes_little():
    net = shaken(FlowS(TINY))
    pictures, forward, backward = clip(2, 64, 64)
    with torch.no_grad():
        exact = net(pictures, forward, backward)[-1][0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(pictures, forward, backward)[-1][0]
    assert (rough - exact).norm() < 0.05 * (exact - forward).norm()


@pytest.mark.parametrize("size", [(5, 3), (9, 12), (7, 29)])
@pytest.mark.parametrize("radius", [1, 3])
def test_comparison_equals_its_definition(size, radius):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 2, 6, *size, generator=generator)
    h, w = size
    around = F.pad(b, (radius,) * 4)
    side = range(2 * radius + 1)
    wanted = [(a * around[..., y : y + h, x : x + w]).sum(1) for y in side for x in side]
    torch.testing.assert_close(compare(a, b, radius), torch.stack(wanted, 1))


def test_opposite_flows_do_not_disagree():
    flow = torch.full((1, 2, 12, 16), 2.0)
    inside = disagreement(torch.cat((flow, -flow)))[..., 3:-3, 3:-3]
    assert inside.abs().max() < 1e-5


def test_it_stays_small():
    net = FlowS()
    assert sum(p.numel() for p in net.parameters()) < 1e6
    pictures, forward, backward = clip(5, 256, 256)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(pictures[:, :4], forward[:, :3], backward[:, :3])
        three = counter.get_total_flops()
        net(pictures, forward, backward)
    another = counter.get_total_flops() - 2 * three
    assert another / 2 < 0.5e9  # multiply-adds for one frame more


def test_levels_must_agree():
    with pytest.raises(ValueError, match="each level"):
        FlowConfig(radius=(3, 3))
