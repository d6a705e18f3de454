"""Flow corrected where a lens has blurred."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.guidance.flow import dis_flow
from unblur.guidance.refocus import mask_for, refocused
from unblur.models.flow_refocus import SMALL, FlowRefocus


def fresh(seed: int = 0) -> FlowRefocus:
    """A network in which no layer is zero."""
    torch.manual_seed(seed)
    net = FlowRefocus(SMALL).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return net


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70))
def test_any_size_and_length(length: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(length, 3, height, width, generator=generator)
    radius = 4 * torch.rand(length, 1, height, width, generator=generator)
    flows = dis_flow(frames)
    for new, old in zip(refocused(fresh(), frames, *flows, radius), flows, strict=True):
        assert new.shape == old.shape
        assert new.isfinite().all()


def test_only_what_is_blurred_changes() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(3, 3, 66, 94, generator=generator)
    radius = torch.zeros(3, 1, 66, 94)
    radius[:, :, 21:, 50:] = 3.0
    flows = dis_flow(frames)
    blurred = torch.zeros(17, 24, dtype=torch.bool)
    blurred[5:, 12:] = True  # elements with any blurred pixel
    for new, old in zip(refocused(fresh(), frames, *flows, radius), flows, strict=True):
        assert torch.equal(new[..., ~blurred], old[..., ~blurred])
        assert (new != old)[..., blurred].float().mean() > 0.9


@pytest.mark.parametrize("threshold", [0.1, 1.0])
def test_an_element_is_blurred_if_any_of_its_pixels_is(threshold: float) -> None:
    radius = torch.full((1, 2, 1, 10, 9), threshold)
    radius[0, 0, 0, 9, 8] = threshold + 0.01
    mask = mask_for(radius, threshold, 4)
    assert mask.shape == (1, 2, 1, 3, 3)
    assert mask.sum() == 1
    assert mask[0, 0, 0, 2, 2] == 1
