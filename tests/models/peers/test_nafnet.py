"""A U-net of gated blocks that sees one frame."""

from __future__ import annotations

import pytest
import torch

from unblur.models.peers import NAFNet, NAFNetConfig
from unblur.models.peers.nafnet import GatedBlock

TINY = NAFNetConfig(width=4, down=(1, 2), up=(1, 1))


def random(config: NAFNetConfig) -> NAFNet:
    """A network that does something: fresh ones give back their input."""
    torch.manual_seed(0)
    net = NAFNet(config).eval()
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return net


@pytest.mark.parametrize("size", [(1, 1), (5, 30), (16, 20), (33, 64)])
def test_any_size_goes_in_and_comes_out(size):
    frames = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    assert torch.equal(NAFNet(TINY)(frames), frames)
    restored = random(TINY)(frames)
    assert restored.shape == frames.shape
    assert not torch.equal(restored, frames)


def test_frames_are_restored_each_by_itself():
    frames = torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    net = random(TINY)
    alone = torch.cat([net(frame[None]) for frame in frames])
    torch.testing.assert_close(net(frames), alone, rtol=1e-4, atol=1e-5)


def test_a_block_sees_its_neighbours_and_the_mean_of_all():
    """A pixel far away counts through the channel attention alone."""
    torch.manual_seed(0)
    block = GatedBlock(4)
    block.share.data.fill_(1.0)
    x = torch.rand(1, 4, 9, 9, requires_grad=True)
    block(x)[..., 4, 4].sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen.all()
    x.grad = None
    block.attend.weight.data.zero_()
    block(x)[..., 4, 4].sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0  # (9, 9)
    assert seen[3:6, 3:6].all()
    assert seen.sum() == 9


def test_levels_down_and_up_must_match():
    with pytest.raises(ValueError, match="as many levels"):
        NAFNetConfig(down=(1, 1), up=(1,))
