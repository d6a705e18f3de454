"""Four passes through time that look back two steps."""

from __future__ import annotations

import pytest
import torch

from unblur.models.peers import BasicVSRPP, BasicVSRPPConfig
from unblur.models.peers.basicvsrpp import GuidedConv

TINY = BasicVSRPPConfig(stem=4, channels=4, groups=2, before=1, within=1, after=1)


def random(config: BasicVSRPPConfig) -> BasicVSRPP:
    """A network that does something: fresh ones give back their input."""
    torch.manual_seed(0)
    net = BasicVSRPP(config).eval()
    for parameter in net.picture.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return net


def clip(frames, height, width):
    generator = torch.Generator().manual_seed(1)
    grid = -(-height // 4), -(-width // 4)
    flows = torch.randn(2, 1, frames - 1, 2, *grid, generator=generator)
    return torch.rand(1, frames, 3, height, width, generator=generator), *flows


@pytest.mark.parametrize("size", [(1, 1), (5, 30), (16, 20)])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_any_size_and_length_goes_in_and_comes_out(frames, size):
    given = clip(frames, *size)
    assert torch.equal(BasicVSRPP(TINY)(*given), given[0])
    restored = random(TINY)(*given)
    assert restored.shape == given[0].shape
    assert not torch.equal(restored, given[0])


def test_every_frame_is_restored_from_all_frames():
    net, (frames, *flows) = random(TINY), clip(4, 16, 16)
    frames.requires_grad_()
    for t in range(4):
        frames.grad = None
        net(frames, *flows)[:, t].sum().backward()
        assert (frames.grad.abs().sum((0, 2, 3, 4)) > 0).all()


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, 2), (-2, 1)])
def test_alignment_follows_the_flow(dx, dy):
    """Fresh offsets are the flow: earlier steps that are shifted copies align with each other."""
    torch.manual_seed(0)
    conv, still = GuidedConv(4, 2), torch.rand(1, 4, 16, 16)
    flow = torch.tensor([float(dx), float(dy)])[None, :, None, None].expand(1, 2, 16, 16)
    at_rest = conv(still, (still, 0 * flow), (still, 0 * flow))
    moved = still.roll((dy, dx), (2, 3)), still.roll((2 * dy, 2 * dx), (2, 3))
    aligned = conv(still, (moved[0], flow), (moved[1], 2 * flow))
    middle = slice(7, 9)  # off the edges, over which `roll` moves the other side
    torch.testing.assert_close(aligned[..., middle, middle], at_rest[..., middle, middle])


def test_passes_follow_what_moves_in_both_directions():
    """A clip that moves evenly is restored as one at rest, moved; not so with flows exchanged."""
    net, side = random(TINY), 160
    texture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(2))
    still = torch.stack([texture] * 3, 1)
    moving = torch.stack([texture.roll(8 * t, 3) for t in range(3)], 1)  # to the right
    flow = torch.zeros(1, 2, 2, side // 4, side // 4)
    onward = flow.clone()
    onward[:, :, 0] = 2.0
    middle = slice(side // 2 - 8, side // 2 + 8)  # off the edges, where things come in
    with torch.no_grad():
        at_rest = net(still, flow, flow) - still
        found, exchanged = (net(moving, f, -f) - moving for f in (onward, -onward))
    for t in range(3):
        expected = at_rest[:, t].roll(8 * t, 3)[..., middle, middle]
        torch.testing.assert_close(found[:, t, :, middle, middle], expected, rtol=0, atol=1e-3)
        assert (exchanged[:, t, :, middle, middle] - expected).abs().max() > 1e-2


def test_flows_of_another_size_are_refused():
    frames, forward, backward = clip(3, 16, 16)
    with pytest.raises(ValueError, match="need flows"):
        BasicVSRPP(TINY)(frames, forward[..., :3], backward[..., :3])


def test_groups_must_part_the_channels():
    with pytest.raises(ValueError, match="groups"):
        BasicVSRPPConfig(channels=24, groups=5)
