"""Random weights that the network for training begins with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unblur.models.dabit import SMALL, Dabit
from unblur.models.dabit.begin import begin

PLACES = {"decoder": 1, "head": 2}
"""Parts that make an image, and the size at which they do."""


@pytest.mark.parametrize("part", PLACES)
@pytest.mark.parametrize("propagation", [True, False])
def test_what_reaches_the_last_layer_depends_on_the_image(part: str, propagation: bool) -> None:
    """As PyTorch begins, it is 1 to 5 % of what is there."""
    torch.manual_seed(0)
    net = Dabit(replace(SMALL, propagation=propagation)).eval()
    begin(net)
    frames = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    one, other = (last_values(net, clip[None], part) for clip in frames)
    size = (one.abs().mean() + other.abs().mean()) / 2
    assert (one - other).abs().mean() > 0.2 * size
    assert size > 0.05


@pytest.mark.parametrize("scale", [1, 2])
def test_it_still_gives_back_its_input_at_first(scale: int) -> None:
    net, plain = Dabit(SMALL).eval(), Dabit(SMALL).eval()
    begin(net)
    frames = torch.rand(1, 2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(
            net(*inputs(frames), scale=scale),
            plain(*inputs(frames), scale=scale),
        )


def last_values(net: Dabit, frames: Tensor, part: str) -> Tensor:
    """What the last layer of the decoder or of the head is given."""
    seen: list[Tensor] = []
    layer = net.get_submodule(part).to_rgb
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        net(*inputs(frames), scale=PLACES[part])
    handle.remove()
    return torch.cat(seen)


def inputs(frames: Tensor) -> tuple[Tensor, ...]:
    """Frames (1, T, 3, H, W) blurred everywhere, without motion."""
    maps = torch.ones_like(frames[:, :, :1])
    flow = torch.zeros_like(frames[:, 1:, :2])
    return frames, maps * 0.5, maps, maps, flow, flow
