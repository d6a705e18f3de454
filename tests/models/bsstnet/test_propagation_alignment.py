"""What sharpness does to alignment: as released, as the paper says, and not at all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unblur.models.bsstnet.config import AlignmentMode
from unblur.models.bsstnet.propagation import GuidedConv, Pass, Reference, look_back
from unblur.ops.deform_conv import deform_conv2d

C, H, W = 4, 8, 8


def earlier(seed: int) -> Reference:
    """A step that lies elsewhere in the image: what is moved and what is not differ."""
    generator = torch.Generator().manual_seed(seed)

    def rand(channels: int) -> Tensor:
        return torch.rand(1, channels, H, W, generator=generator)

    return Reference(rand(C), rand(C), rand(2), rand(1), (rand(1) > 0.5).float(), rand(1))


def offset_inputs(layer: GuidedConv, *inputs: object) -> Tensor:
    """Inputs of the layers that find offsets."""
    found: list[Tensor] = []
    hook = layer.offset.register_forward_pre_hook(lambda _, x: found.append(x[0]))
    layer(*inputs)
    hook.remove()
    return found[0]


@torch.no_grad()
def test_paper_is_told_the_sharpness_of_earlier_frames_as_it_was() -> None:
    first, second, current = earlier(1), earlier(2), torch.rand(1, C, H, W)
    found = offset_inputs(GuidedConv(C, 2, "paper"), current, torch.rand(1, 1, H, W), first, second)
    expected = (first.warped, current, second.warped, first.unmoved, second.unmoved)
    assert torch.equal(found, torch.cat((*expected, first.flow, second.flow), 1))


@torch.no_grad()
def test_an_earlier_frame_brings_its_sharpness_moved_and_as_it_was() -> None:
    sharp = torch.rand(1, 1, H, W)
    flow = torch.zeros(1, 2, H, W)
    flow[:, 0] = 2  # to the right
    found = look_back(torch.rand(1, C, H, W), sharp, flow, -flow)
    assert torch.equal(found.unmoved, sharp)
    torch.testing.assert_close(found.sharp[..., :-2], sharp[..., 2:])


@torch.no_grad()
def test_paper_begins_the_mask_with_sharpness() -> None:
    first, second = earlier(1), earlier(2)
    layer = GuidedConv(C, 2, "paper")  # fresh: offsets are the flow, the mask what it begins with
    found = layer(torch.rand(1, C, H, W), torch.rand(1, 1, H, W), first, second)
    flows = torch.cat([r.flow.flip(1).repeat(1, 9, 1, 1) for r in (first, second)], 1)
    masks = torch.cat([r.unmoved.expand(-1, 9, -1, -1) for r in (first, second)], 1)
    x = torch.cat((first.feature, second.feature), 1)
    expected = deform_conv2d(x, flows, torch.sigmoid(masks), layer.weight, layer.bias)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "guided"), [("official", True), ("paper", True), ("flow", False), ("none", False)]
)
@torch.no_grad()
def test_only_plain_alignment_is_blind_to_sharpness(mode: AlignmentMode, guided: bool) -> None:
    torch.manual_seed(0)
    layer = Pass(12, 2, earlier=0, alignment=mode)
    for parameter in layer.parameters():
        parameter.normal_(0, 0.2)
    seen = [(torch.rand(1, 12, H, W),) for _ in range(3)]
    flows = [torch.rand(1, 2, H, W) for _ in range(2)]
    sharp = [torch.rand(1, 1, H, W) for _ in range(3)]
    back = [-flow for flow in flows]
    found = layer(seen, flows, back, sharp)[-1]
    other = layer(seen, flows, back, [1 - s for s in sharp])[-1]
    assert torch.equal(found, other) != guided


@torch.no_grad()
def test_without_alignment_flow_does_not_matter() -> None:
    seen = [(torch.rand(1, 12, H, W),) for _ in range(3)]
    sharp = [torch.rand(1, 1, H, W) for _ in range(3)]
    for mode in ("none", "flow"):
        layer = Pass(12, 2, earlier=0, alignment=mode)  # type: ignore[arg-type]
        found = [
            layer(seen, [flow] * 2, [-flow] * 2, sharp)[-1]
            for flow in (torch.zeros(1, 2, H, W), torch.ones(1, 2, H, W))
        ]
        assert torch.equal(*found) == (mode == "none")
