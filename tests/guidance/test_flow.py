"""Flows of a clip: names, sizes, units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.recipe import recipe_tensor
from unblur import weights
from unblur.guidance.blur_map import blur_map
from unblur.guidance.flow import bidirectional_flow, dis_flow, load_raft
from unblur.models import load_state
from unblur.models.convert.raft import convert
from unblur.models.raft import Raft, RaftConfig


@pytest.fixture(scope="module")
def raft(goldens) -> Raft:
    state = {}
    for row in (goldens / "raft_keys.tsv").read_text().splitlines()[1:]:
        key, shape, _, _ = row.split("\t")
        scalar = shape == "scalar"
        size = () if scalar else tuple(int(n) for n in shape.split("x"))
        state[key] = torch.tensor(0) if scalar else recipe_tensor(key, size)
    return load_state(Raft(), convert(state), "the recipe")


def moving_texture(frames: int, height: int, width: int, u: int, v: int) -> Tensor:
    """A smooth texture that moves by (u, v) pixels a frame."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 40, 50, generator=generator)
    large = F.interpolate(coarse, size=(320, 400), mode="bicubic").clamp(0, 1)
    top, left = 40, 40
    crops = [
        large[..., top - t * v : top - t * v + height, left - t * u : left - t * u + width]
        for t in range(frames)
    ]
    return torch.cat(crops)


def test_flows_equal_the_published_ones_under_swapped_names(goldens, raft):
    golden = np.load(goldens / "bsstnet_modules.npz")
    frames = np.random.default_rng(112).random((1, 3, 3, 256, 320), np.float32)[0]
    forward, backward = bidirectional_flow(raft, torch.from_numpy(frames))
    np.testing.assert_allclose(forward, golden["bi_backward"][0], atol=1e-3, rtol=0)
    np.testing.assert_allclose(backward, golden["bi_forward"][0], atol=1e-3, rtol=0)


def test_flows_and_blur_map_of_a_clip_equal_the_published_ones(shared, raft):
    golden = np.load(shared / "goldens" / "bsstnet" / "g1_full_256_T4.npz")
    frames = torch.from_numpy(golden["lq_u8"].astype(np.float32) / np.float32(255))
    forward, backward = bidirectional_flow(raft, frames)
    np.testing.assert_allclose(forward, golden["flows_backward"][0], atol=1e-3, rtol=0)
    np.testing.assert_allclose(backward, golden["flows_forward"][0], atol=1e-3, rtol=0)
    np.testing.assert_allclose(blur_map(forward, backward), golden["blur0"][0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(1, 3, 9, 7), (2, 3, 1, 1), (2, 3, 16, 8), (2, 3, 130, 67)])
@pytest.mark.parametrize("stride", [1, 4])
def test_any_size_and_length(goldens, raft, shape, stride):
    quick = Raft(RaftConfig(iterations=1))
    quick.load_state_dict(raft.state_dict())
    frames = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for flows in (bidirectional_flow(quick.eval(), frames, stride), dis_flow(frames, stride)):
        for flow in flows:
            assert flow.shape == (shape[0] - 1, 2, -(-shape[2] // stride), -(-shape[3] // stride))
            assert torch.isfinite(flow).all()


@pytest.mark.parametrize(("u", "v"), [(4, 0), (0, -4), (-3, 2)])
@pytest.mark.parametrize("stride", [2, 4])
def test_dis_follows_a_moving_texture(u, v, stride):
    forward, backward = dis_flow(moving_texture(4, 180, 240, u, v), stride)
    truth = torch.tensor([u, v]) / stride
    middle = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    torch.testing.assert_close(forward[middle].mean((0, 2, 3)), truth, atol=0.1, rtol=0)
    torch.testing.assert_close(backward[middle].mean((0, 2, 3)), -truth, atol=0.1, rtol=0)


def test_the_two_directions_live_on_different_frames():
    # Only the last step moves: it is the last entry of both.
    still = moving_texture(1, 180, 240, 4, 0)
    moved = moving_texture(2, 180, 240, 4, 0)[1:]
    forward, backward = dis_flow(torch.cat((still, still, moved)))
    assert forward[0].abs().max() < 0.05
    assert backward[0].abs().max() < 0.05
    assert forward[1, 0].median() == pytest.approx(1, abs=0.1)
    assert backward[1, 0].median() == pytest.approx(-1, abs=0.1)


def test_raft_is_found_once_its_weights_are_stored(tmp_path, monkeypatch, raft, device):
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    assert load_raft() is None
    weights.save(tmp_path / "weights" / "raft-things.safetensors", raft.state_dict(), {})
    loaded = load_raft(device)
    assert loaded is not None
    frames = moving_texture(2, 128, 128, 1, 0)
    with torch.no_grad():
        assert torch.equal(loaded(frames[:1], frames[1:]), raft(frames[:1], frames[1:]))
