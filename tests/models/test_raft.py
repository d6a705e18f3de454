"""RAFT: parity with the published network, any size, any memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.recipe import recipe_tensor
from unblur.errors import WeightsError
from unblur.models import load_state
from unblur.models.convert.raft import convert, matches
from unblur.models.raft import (
    Raft,
    RaftConfig,
    all_pairs,
    average_pyramid,
    compare_near,
    look_up,
    upsample_convex,
)


def published_state(goldens: Path, gain: float = 0.5) -> dict[str, Tensor]:
    """The state dict the reference outputs were computed with, under the published names."""
    state = {}
    for row in (goldens / "raft_keys.tsv").read_text().splitlines()[1:]:
        key, shape, dtype, _ = row.split("\t")
        size = () if shape == "scalar" else tuple(int(n) for n in shape.split("x"))
        if not dtype.startswith("float"):
            state[key] = torch.zeros(size, dtype=torch.int64)
            continue
        state[key] = recipe_tensor(key, size)
        if len(size) > 1:
            state[key] *= gain / 0.5
        if key.endswith("running_var"):
            state[key] += gain - 0.5
    return state


def published_raft(goldens: Path, config: RaftConfig, gain: float = 0.5) -> Raft:
    return load_state(Raft(config), convert(published_state(goldens, gain)), "the recipe")


def noise(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape, np.float32))


@pytest.fixture(scope="module")
def raft(goldens) -> Raft:
    return published_raft(goldens, RaftConfig(iterations=3))


def with_config(raft: Raft, **changes: object) -> Raft:
    other = Raft(replace(raft.config, **changes))
    other.load_state_dict(raft.state_dict())
    return other.eval()


@pytest.mark.parametrize(("iterations", "name"), [(3, "raft_flow_iters3"), (20, "raft_flow")])
def test_flow_equals_the_published_networks(goldens, raft, iterations, name):
    truth = np.load(goldens / "bsstnet_modules.npz")[name]
    with torch.no_grad():
        flow = with_config(raft, iterations=iterations)(
            noise(110, 2, 3, 128, 192), noise(111, 2, 3, 128, 192)
        )
    np.testing.assert_allclose(flow[..., ::2, ::2].numpy(), truth, atol=1e-4, rtol=0)


def test_flow_equals_dabits_network(goldens, shared):
    golden = np.load(shared / "goldens" / "dabit" / "raft_B.npz")
    raft = published_raft(goldens, RaftConfig(iterations=3, input_range=(0.0, 1.0)), gain=1.0)
    with torch.no_grad():
        flow = raft(torch.from_numpy(golden["img1"]), torch.from_numpy(golden["img2"]))
    np.testing.assert_allclose(flow.numpy(), golden["flow_up"], atol=1e-4, rtol=0)


def test_has_the_published_number_of_parameters(raft):
    assert sum(p.numel() for p in raft.parameters()) == 5_257_536


def test_neighbours_are_the_same_pairs_one_by_one(raft):
    frames = noise(1, 3, 3, 128, 136)
    with torch.no_grad():
        forward, backward = raft.between_neighbours(frames)
        truth_forward = raft(frames[:-1], frames[1:])
        truth_backward = raft(frames[1:], frames[:-1])
    torch.testing.assert_close(forward, truth_forward, atol=1e-4, rtol=0)
    torch.testing.assert_close(backward, truth_backward, atol=1e-4, rtol=0)


def test_little_memory_changes_nothing(raft):
    frames = noise(2, 3, 3, 136, 128)
    thrifty = with_config(raft, memory=1)
    with torch.no_grad():
        plenty, little = raft.between_neighbours(frames), thrifty.between_neighbours(frames)
    for a, b in zip(plenty, little, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (16, 8), (130, 129)])
def test_any_size(raft, size):
    frames = noise(3, 2, 3, *size)
    with torch.no_grad():
        flow = raft(frames[:1], frames[1:])
    assert flow.shape == (1, 2, *size)
    assert torch.isfinite(flow).all()


def test_padding_repeats_the_edge(raft):
    frames = noise(4, 2, 3, 130, 128)
    rows = torch.arange(136).clamp(max=129)
    with torch.no_grad():
        flow = raft(frames[:1], frames[1:])
        by_hand = raft(frames[:1, :, rows], frames[1:, :, rows])
    torch.testing.assert_close(flow, by_hand[:, :, :130], atol=1e-5, rtol=0)


def test_a_single_frame_has_no_flow(raft):
    forward, backward = raft.between_neighbours(noise(5, 1, 3, 20, 30))
    assert forward.shape == backward.shape == (0, 2, 20, 30)


def similarities() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features1 = torch.randn(2, 4, 8, 10, generator=generator)
    features2 = torch.randn(2, 4, 8, 10, generator=generator)
    positions = torch.rand(2, 2, 8, 10, generator=generator) * 12 - 1
    return features1, features2, positions


def test_lookup_finds_the_similarity_of_two_positions():
    features1, features2, positions = similarities()
    positions = positions.round()
    found = look_up(all_pairs(features1, features2, levels=1), positions, radius=1)
    for y, x in np.ndindex(8, 10):
        u, v = positions[0, :, y, x].int().tolist()
        # Channel: offset in x slowly, offset in y fast.
        for channel, (dx, dy) in enumerate(np.ndindex(3, 3)):
            row, col = v + dy - 1, u + dx - 1
            inside = 0 <= row < 8 and 0 <= col < 10
            truth = float(features1[0, :, y, x] @ features2[0, :, row, col]) if inside else 0.0
            assert float(found[0, channel, y, x]) == pytest.approx(truth, abs=1e-4)


def test_lookup_without_the_comparison_in_memory_is_the_same():
    features1, features2, positions = similarities()
    truth = look_up(all_pairs(features1, features2, 3), positions, radius=2)
    found = compare_near(features1, average_pyramid(features2, 3), positions, radius=2)
    torch.testing.assert_close(found, truth, atol=1e-4, rtol=0)


def test_upsampling_keeps_a_constant_flow_and_makes_it_eight_times_longer():
    flow = torch.tensor([1.0, -2.0]).reshape(1, 2, 1, 1).expand(1, 2, 5, 6)
    weights = torch.randn(1, 9 * 64, 5, 6, generator=torch.Generator().manual_seed(0))
    fine = upsample_convex(flow, weights)
    assert fine.shape == (1, 2, 40, 48)
    inside = fine[..., 8:-8, 8:-8]  # at the border zeros are mixed in, as published
    torch.testing.assert_close(inside, 8 * flow[..., :1, :1].expand_as(inside))


def test_upsampling_puts_each_pixel_in_its_place():
    flow = torch.arange(12.0).reshape(1, 1, 3, 4).expand(1, 2, 3, 4)
    weights = torch.full((1, 9, 64, 3, 4), -1e4)
    weights[:, 4] = 0  # only the middle neighbour
    fine = upsample_convex(flow, weights.flatten(1, 2))
    truth = 8 * flow.repeat_interleave(8, 2).repeat_interleave(8, 3)
    torch.testing.assert_close(fine, truth)


def test_published_checkpoint_converts_with_and_without_its_prefix(goldens):
    state = published_state(goldens)
    assert len(state) == 179
    prefixed = {f"module.{key}": value for key, value in state.items()}
    assert matches(state.keys())
    assert matches(prefixed.keys())
    plain, stripped = convert(state), convert(prefixed)
    assert plain.keys() == stripped.keys() == Raft().state_dict().keys()
    assert all(torch.equal(plain[key], stripped[key]) for key in plain)


def test_of_the_doubled_normalisation_the_second_counts(goldens):
    state = published_state(goldens)
    converted = convert(state)
    name = "context.stages.1.0.shortcut.1.weight"
    assert torch.equal(converted[name], state["cnet.layer2.0.downsample.1.weight"])


def test_other_checkpoints_are_not_taken_for_raft():
    assert not matches({"fnet.conv1.weight", "encoder.0.weight"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("fnet.conv1.bias"), r"1 missing \(fnet\.conv1\.bias\)"),
        (
            lambda s: s.pop("cnet.layer2.0.norm3.bias"),
            r"1 missing \(cnet\.layer2\.0\.norm3\.bias\)",
        ),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unexpected \(extra\)"),
        (lambda s: s.update({"fnet.conv1.bias": torch.zeros(3)}), r"fnet\.conv1\.bias \(3,\)"),
    ],
)
def test_a_checkpoint_that_differs_is_refused_by_name(goldens, change, message):
    state = published_state(goldens)
    change(state)
    with pytest.raises(WeightsError, match=message):
        convert(state)
