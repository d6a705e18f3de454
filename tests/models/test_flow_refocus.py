"""Flow refocusing against the published network, and what it must do to any flow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.models.dabit.published import official_flow_net
from unblur.models.flow_refocus import (
    OFFICIAL,
    SMALL,
    Correction,
    FlowRefocus,
    FlowRefocusConfig,
    clues,
    doubts,
    elsewhere,
)

TINY = FlowRefocusConfig(channels=4, deform_groups=4, edges=False)


def tiny(**changes: object) -> FlowRefocus:
    """A narrow network in which no layer is zero."""
    torch.manual_seed(0)
    net = FlowRefocus(replace(TINY, **changes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return net


def clip(batch: int, length: int, height: int, width: int, stride: int = 1) -> list[Tensor]:
    """Both flows, frames and mask."""
    generator = torch.Generator().manual_seed(0)
    h, w = -(-height // stride), -(-width // stride)
    flows = torch.randn(2, batch, length - 1, 2, h, w, generator=generator)
    frames = torch.rand(batch, length, 3, height, width, generator=generator)
    mask = (torch.rand(batch, length, 1, h, w, generator=generator) > 0.5).float()
    return [*flows, frames, mask]


def published(file: Path) -> tuple[dict[str, Tensor], list[Tensor]]:
    """A golden, and the arguments it was made with."""
    golden = {key: torch.from_numpy(value).float() for key, value in np.load(file).items()}
    return golden, [golden[key] for key in ("flow_f", "flow_b", "frames", "mask")]


def assert_golden(golden: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Compares all pixels that the golden holds: all, or every so many."""
    for name, x in found.items():
        step = round(x.shape[-1] / golden[name].shape[-1])
        torch.testing.assert_close(x[..., ::step, ::step], golden[name], rtol=0, atol=2e-5)


def every_output(net: FlowRefocus, inputs: list[Tensor]) -> dict[str, Tensor]:
    with torch.inference_mode():
        found = dict(zip(("pred_f", "pred_b"), net.predict(*inputs), strict=True))
        found |= zip(("comb_f", "comb_b"), net(*inputs), strict=True)
        assert net.edges is not None
        found["edge_f"] = net.edges(found["pred_f"].flatten(0, 1)).unflatten(0, (1, -1))
    return found


def test_equals_the_published_network(goldens: Path) -> None:
    golden, inputs = published(goldens / "dabit_flow.npz")
    assert_golden(golden, every_output(official_flow_net(), inputs))


def test_every_number_equals_the_published_network(shared: Path) -> None:
    golden, inputs = published(shared / "goldens" / "dabit" / "flow_B.npz")
    net = official_flow_net()
    assert_golden(golden, every_output(net, inputs))
    stages: dict[str, list[Tensor]] = {}
    layers = {
        "fwd_encoder1": net.encode1[-1],
        "fwd_encoder2": net.encode2[-1],
        "fwd_feat_prop_module": net.propagate,
    }
    handles = [
        layer.register_forward_hook(lambda _, __, y, name=name: stages[name].append(y))
        for name, layer in layers.items()
    ]
    try:
        stages |= {name: [] for name in layers}
        with torch.inference_mode():
            net.predict(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    for name, (both,) in stages.items():
        expected, forward = golden[name], both.chunk(2)[0]
        if forward.dim() == 4:  # the published one has frames after channels
            forward = forward[None].transpose(1, 2)
        torch.testing.assert_close(forward, expected, rtol=0, atol=2e-5)


def test_backward_in_time_the_frames_are_read_backward() -> None:
    """A clip shown backward has the flows of the other direction; the published code misses it."""
    flow_forward, flow_backward, frames, mask = (x.flip(1) for x in clip(1, 4, 24, 32))
    turned = [flow_backward, flow_forward, frames, mask]
    for net, same in ((tiny(), True), (tiny(flip_frames=False), False)):
        with torch.inference_mode():
            forward, backward = net(*clip(1, 4, 24, 32))
            other_forward, other_backward = (x.flip(1) for x in net(*turned))
        assert torch.allclose(forward, other_backward, atol=1e-5) is same
        assert torch.allclose(backward, other_forward, atol=1e-5) is same


@pytest.mark.parametrize("residual", [False, True])
def test_only_blurred_pixels_change(residual: bool) -> None:
    inputs = clip(2, 4, 30, 41)
    mask = inputs[3]
    with torch.inference_mode():
        found = tiny(residual=residual)(*inputs)
    for new, old, at in zip(found, inputs[:2], (mask[:, :-1], mask[:, 1:]), strict=True):
        kept = (at == 0).expand_as(old)
        assert torch.equal(new[kept], old[kept])
        assert (new - old)[~kept].abs().gt(1e-4).float().mean() > 0.99


def test_what_is_taken_out_is_not_looked_at() -> None:
    inputs = clip(1, 3, 24, 24)
    changed = [x.clone() for x in inputs]
    mask = inputs[3]
    changed[0] += 3 * mask[:, :-1]
    changed[1] -= 3 * mask[:, 1:]
    with torch.inference_mode():
        for a, b in zip(tiny()(*inputs), tiny()(*changed), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 50), st.integers(1, 50), st.booleans(), st.booleans())
def test_any_size_and_length(
    length: int, height: int, width: int, residual: bool, coarse: bool
) -> None:
    stride = 4 if coarse else 1
    inputs = clip(1, length, height, width, stride)
    net = tiny(residual=residual, stride=stride)
    with torch.inference_mode():
        for new, old in zip(net(*inputs), inputs[:2], strict=True):
            assert new.shape == old.shape
            assert new.isfinite().all()


def test_correction_begins_with_the_flow_given() -> None:
    inputs = clip(1, 3, 98, 130, SMALL.stride)
    with torch.inference_mode():
        for new, old in zip(FlowRefocus(SMALL)(*inputs), inputs[:2], strict=True):
            torch.testing.assert_close(new, old, rtol=0, atol=1e-4)


def test_what_contradicts_itself_or_the_frames_is_seen() -> None:
    """A flow that is right leaves nothing; one that is off by a bit leaves that, and colours."""
    texture = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    here, there = texture[..., 8:32], texture[..., 6:30]  # all moves right by 2
    flow = torch.zeros(1, 2, 24, 24)
    flow[:, 0] = 2
    inner = (..., slice(4, -4), slice(4, -4))
    seen = clues(flow, -flow, here, there)
    torch.testing.assert_close(seen[:, :5][inner], torch.zeros(1, 5, 16, 16))
    assert (seen[:, 5, :, -2:] == 0).all()
    assert (seen[:, 5, :, :-2] > 0.99).all()
    assert not seen[..., -2:].any()  # what leaves the frame contradicts nothing
    seen = clues(flow + 1, -flow, here, there)[inner]
    torch.testing.assert_close(seen[:, :2], torch.ones(1, 2, 16, 16))
    assert (seen[:, 2:5].abs() > 0.1).float().mean() > 0.5


def test_flows_of_other_places_are_told_apart() -> None:
    """Of two motions, the one that is meant leads to the same colours and back, at its edge too."""
    texture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    here, there = texture[..., 8:40], texture[..., 6:38]  # all moves right by 2, 4 at full size
    true = torch.zeros(1, 2, 32, 32)
    true[:, 0] = 4
    flow = true.clone()
    flow[..., 16:] = 0  # wrong on the right
    found = doubts(flow, -true, here, there)
    offers = torch.cat((flow[:, None], elsewhere(flow, 2)), 1)
    right = (offers - true[:, None]).abs().amax(2) == 0  # (1, 1 + K, 32, 32)
    inner = (..., slice(4, -4), slice(4, -4))
    way, colours, change = (x[inner] for x in found)
    right = right[inner]
    for x in (way, colours):
        assert x.shape == right.shape
        assert x[right].amax() < 0.011
    assert way[~right].amin() > 1
    assert colours[~right].mean() > 0.1
    assert not right[:, 0, :, 12:].any()
    assert right[:, :, :, 12].any(1).all()  # from beside the edge comes what is right
    assert (change[:, 0] == change.amin()).all()
    assert ((change > 1) == (right != right[:, :1])).all()


def test_a_mixture_takes_the_flow_that_leads_back() -> None:
    """With all of the mixture taken, the prior alone mends a strip along an edge of motion."""
    texture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    large = [F.interpolate(x, scale_factor=2) for x in (texture[..., 8:40], texture[..., 6:38])]
    true = torch.zeros(1, 2, 64, 64)
    true[:, 0] = 4
    flow = true.clone()
    flow[..., 30:34] = 0
    correction = Correction(4, recurrent=False)
    with torch.no_grad():
        assert correction.last.bias is not None
        correction.last.bias[-1] = 1.0
        found = correction(None, flow, flow[:, :1], -true, *large)
    before, after = ((x - true)[..., 8:-8, 24:40].norm(dim=1).mean() for x in (flow, found))
    assert after < 0.2 * before


@pytest.mark.parametrize("config", [TINY, SMALL])
def test_gradients_reach_every_parameter(config: FlowRefocusConfig) -> None:
    torch.manual_seed(0)
    net = FlowRefocus(config)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    s = config.stride
    sum(flow.square().mean() for flow in net(*clip(1, 4, 24 * s, 32 * s, s))).backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize(("config", "parameters"), [(OFFICIAL, 5_081_955), (SMALL, 397_484)])
def test_sizes_of_the_presets(config: FlowRefocusConfig, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in FlowRefocus(config).parameters()) == parameters
