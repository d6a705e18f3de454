"""flow-s with the weights that ship: what it promises a user."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import weights
from unblur.guidance.flow import dis_flow, flow_s, load_flow_s
from unblur.metrics import end_point_error
from unblur.models.flow_s import FlowS
from unblur.ops.color import SRGB, to_linear
from unblur.synth import SceneConfig, held_out, render, sample_scenes

MIDDLE = (..., slice(8, -8), slice(8, -8))
FAST = SceneConfig(motion=(12.0, 40.0), camera=(0.4, 1.0), static=0.0, light=0.0)


@pytest.fixture(scope="module")
def net(device) -> FlowS:
    return load_flow_s(device)


@pytest.fixture(scope="module")
def texture(device) -> Tensor:
    """(1, 3, 448, 448), a held-out photograph of coarse shapes: blades of grass look the same."""
    return held_out().images[14:15].to(device).float() / 255


@pytest.fixture(scope="module")
def scenes(device) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Blurred frames of 192 x 192 with the true flow both ways, at a quarter of the size."""
    found = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(500_000 + seed)
        made = render(
            sample_scenes(FAST, held_out().to(device), 1, generator), 192, 192, 3, truth={"flow"}
        )
        flows = (F.avg_pool2d(x[0], 4) / 4 for x in (made.flow_forward, made.flow_backward))
        found.append((made.blurred[0], *flows))
    return found


def errors(method, scenes, change=lambda x: x) -> Tensor:
    """Mean end-point error of each scene, in elements, both directions."""
    means = []
    for frames, *truth in scenes:
        found = method(change(frames))
        pairs = zip(found, truth, strict=True)
        means.append(torch.stack([end_point_error(a, b).mean() for a, b in pairs]).mean())
    return torch.stack(means)


@pytest.mark.parametrize("shape", [(1, 3, 9, 7), (2, 3, 1, 1), (2, 3, 16, 8), (3, 3, 130, 67)])
@pytest.mark.parametrize("stride", [1, 4])
def test_any_size_and_length(net, shape, stride):
    frames = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for flow in flow_s(net, frames, stride):
        assert flow.shape == (shape[0] - 1, 2, -(-shape[2] // stride), -(-shape[3] // stride))
        assert torch.isfinite(flow).all()


@pytest.mark.parametrize(("u", "v"), [(4, 0), (0, -6), (-9, 5), (20, 8), (2, 1)])
def test_a_moving_texture_moves_exactly_so(net, texture, u, v):
    def crop(t: int) -> Tensor:
        return texture[..., 40 - t * v : 200 - t * v, 45 - t * u : 205 - t * u]

    forward, backward = flow_s(net, torch.cat([crop(0), crop(1)]))
    wanted = torch.tensor([u, v])[:, None, None] / 4
    assert (forward - wanted)[MIDDLE].norm(dim=1).mean() < 0.1
    assert (backward + wanted)[MIDDLE].norm(dim=1).mean() < 0.1


def test_what_stands_still_does_not_move(net, texture):
    for flow in flow_s(net, texture.expand(3, -1, -1, -1)):
        assert flow.norm(dim=1).mean() < 0.03
        assert flow.abs().max() < 0.25


def test_it_is_nearer_the_truth_than_dis_on_blurred_scenes(net, scenes):
    mine = errors(lambda frames: flow_s(net, frames), scenes)
    dis = errors(dis_flow, scenes)
    assert mine.mean() < 0.95 * dis.mean()
    assert (mine < dis).sum() >= 8


@pytest.mark.parametrize(
    "change",
    [lambda x: x * 0.6, lambda x: x**1.6, lambda x: to_linear(x, SRGB)],
    ids=["darker", "other curve", "linear light"],
)
def test_brightness_and_curve_matter_little(net, scenes, change):
    usual = errors(lambda frames: flow_s(net, frames), scenes)
    changed = errors(lambda frames: flow_s(net, frames), scenes, change)
    assert changed.mean() < 1.15 * usual.mean()


def test_long_clips_in_parts_equal_the_whole(net, texture, monkeypatch):
    frames = torch.cat([texture.roll((t * t, -2 * t), (2, 3)) for t in range(5)])
    whole = flow_s(net, frames)
    monkeypatch.setattr("unblur.guidance.flow.FLOW_S_PIXELS", 2 * 256 * 256)
    for a, b in zip(flow_s(net, frames), whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


def test_the_file_says_where_it_comes_from():
    path = weights.require("flow-s", "")
    assert path.stat().st_size < 2e6
    said = weights.metadata(path)
    assert {"network", "recipe", "step", "licence"} <= set(said)
    assert all(x.dtype == torch.float16 for x in weights.load(path).values())
