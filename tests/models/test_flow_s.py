"""flow-s as a network: sizes, its start, and its comparison of features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from unblur.models.flow_s import FlowConfig, FlowS, affine, disagreement, reverse

TINY = FlowConfig(features=4, hidden=6, reach=(1, 2))


def clip(frames: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, and guesses of its flow both ways."""
    generator = torch.Generator().manual_seed(frames * 1000 + height * 10 + width)
    size = (1, frames - 1, 2, -(-height // 4), -(-width // 4))
    images = torch.rand(1, frames, 3, height, width, generator=generator)
    forward, backward = 3 * torch.randn(2, *size, generator=generator)
    return images, forward, backward


def shaken(net: FlowS) -> FlowS:
    """With weights that change the guess."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return net.eval()


@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70))
@settings(max_examples=25, deadline=None)
def test_any_size_and_length(frames, height, width):
    images, forward, backward = clip(frames, height, width)
    with torch.no_grad():
        found = shaken(FlowS(TINY))(images, forward, backward)
    for flow, guess in zip(found, (forward, backward), strict=True):
        assert flow.shape == guess.shape
        assert flow.dtype == torch.float32
        assert torch.isfinite(flow).all()


def test_a_fresh_network_gives_back_a_guess_without_contradictions():
    images = clip(3, 40, 72)[0]
    forward = torch.tensor([1.0, -0.5])[:, None, None].expand(1, 2, 2, 10, 18)
    found = FlowS()(images, forward, -forward)
    torch.testing.assert_close(found, (forward, -forward), atol=1e-4, rtol=0)


def test_where_the_guess_contradicts_itself_it_is_mended():
    images = clip(2, 64, 64)[0]
    forward = torch.tensor([1.0, -0.5])[:, None, None].repeat(1, 1, 1, 16, 16)
    wrong = forward.clone()
    wrong[..., 4:8, 4:8] = 9.0
    found = FlowS()(images, wrong, -forward)[0]
    assert (wrong - forward).norm(dim=2).mean() > 0.5
    assert (found - forward).norm(dim=2).mean() < 0.05


def test_the_two_directions_are_one_problem():
    """A clip that runs backwards has the flows of the clip, exchanged."""
    net = shaken(FlowS(TINY))
    images, forward, backward = clip(3, 48, 64)
    with torch.no_grad():
        a = net(images, forward, backward)
        b = net(images.flip(1), backward.flip(1), forward.flip(1))
    torch.testing.assert_close(b[0].flip(1), a[1])
    torch.testing.assert_close(b[1].flip(1), a[0])


@pytest.mark.parametrize(("change", "offset"), [(0.5, 0.0), (1.0, 0.2)])
def test_brightness_and_contrast_hardly_matter(change, offset):
    net = shaken(FlowS(TINY))
    images, forward, backward = clip(2, 48, 64)
    with torch.no_grad():
        a = net(images * 0.8, forward, backward)[0]
        b = net(images * 0.8 * change + offset, forward, backward)[0]
        moved = (a - forward).abs().mean()
    assert moved > 0.05
    assert (a - b).abs().mean() < 0.25 * moved


def test_half_precision_changes_little():
    net = shaken(FlowS(TINY))
    images, forward, backward = clip(2, 64, 64)
    with torch.no_grad():
        exact = net(images, forward, backward)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(images, forward, backward)[0]
    assert (rough - exact).norm() < 0.05 * (exact - forward).norm()


def test_the_affine_motion_is_that_of_most_of_the_frame():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 30), indexing="ij")
    wanted = torch.stack((2 + x - 0.5 * y, 0.3 * x + y))[None]
    flow, trust = wanted.clone(), torch.ones(1, 1, 20, 30)
    flow[..., 5:15, 5:15] += 6  # something that moves on its own
    flow[..., :3] = 40
    trust[..., :3] = 0  # and something that is not known
    torch.testing.assert_close(affine(flow, trust), wanted, atol=0.02, rtol=0)


def test_opposite_flows_do_not_disagree():
    flow = torch.full((1, 2, 12, 16), 2.0)
    inside = disagreement(torch.cat((flow, -flow)))[..., 3:-3, 3:-3]
    assert inside.abs().max() < 1e-5


def test_the_reverse_of_a_flow_and_its_opposite_are_the_same():
    flow = torch.full((1, 2, 12, 16), 2.0)
    both = torch.cat((flow, -flow))
    torch.testing.assert_close(reverse(both), both)
    wrong = torch.cat((flow + 1, -flow))
    torch.testing.assert_close(reverse(wrong)[0, :, 5:-5, 5:-5], flow[0, :, 5:-5, 5:-5])


def test_it_stays_small():
    net = FlowS()
    assert sum(p.numel() for p in net.parameters()) < 1e6
    images, forward, backward = clip(5, 256, 256)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(images[:, :4], forward[:, :3], backward[:, :3])
        three = counter.get_total_flops()
        net(images, forward, backward)
    another = counter.get_total_flops() - 2 * three
    assert another / 2 < 0.5e9  # multiply-adds for one frame more
