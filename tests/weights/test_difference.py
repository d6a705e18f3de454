"""Weights kept as how they differ from others come back, also behind more than they knew."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur import weights
from unblur.errors import WeightsError
from unblur.weights.difference import added, difference, load_whole, save_difference

State = dict[str, Tensor]


def some(seed: int, size: float = 1.0) -> State:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv.weight": (4, 3, 3, 3), "dense.weight": (5, 7), "dense.bias": (5,)}
    return {n: size * torch.randn(s, generator=generator) for n, s in shapes.items()}


def as_it_is(state: State) -> State:
    return state


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.setattr("unblur.weights.difference.PACKAGE_FOLDER", tmp_path)
    return tmp_path


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-4, 1.0))
def test_comes_back_within_half_a_step(seed, size):
    start = some(seed)
    state = {name: start[name] + change for name, change in some(seed + 1, size).items()}
    back = added(difference(state, start), start)
    for name, whole in state.items():
        change = (whole - start[name]).abs()
        rows = change.flatten(1).amax(1) if change.ndim > 1 else whole.abs() / 8
        bound = (0.5 * rows / 127 + 1e-6).view(-1, *[1] * (whole.ndim - 1))
        assert ((back[name] - whole).abs() <= bound).all(), name


def test_only_what_changed_is_kept_a_byte_for_each_number():
    start = some(0)
    state = {**start, "dense.weight": start["dense.weight"] + 0.1}
    kept = difference(state, start)
    assert set(kept) == {"dense.weight", "dense.weight.step"}
    assert kept["dense.weight"].dtype == torch.int8
    assert torch.equal(added(kept, start)["conv.weight"], start["conv.weight"])


def test_a_row_that_does_not_change_stays_as_it_is():
    start = some(0)
    state = {name: x.clone() for name, x in start.items()}
    state["dense.weight"][2:] += 0.5
    back = added(difference(state, start), start)
    assert torch.equal(back["dense.weight"][:2], start["dense.weight"][:2])


def test_what_stands_behind_what_was_known_stays():
    start = some(0)
    state = {name: x + 0.1 for name, x in start.items()}
    longer = {**start, "dense.weight": torch.nn.functional.pad(start["dense.weight"], (0, 2, 0, 3))}
    kept = difference(state, start)
    with pytest.raises(ValueError, match=r"dense\.weight: \(5, 7\) instead of \(8, 9\)"):
        added(kept, longer)
    back = added(kept, longer, any_size=True)["dense.weight"]
    torch.testing.assert_close(back[:5, :7], state["dense.weight"], rtol=0, atol=1e-3)
    assert not back[5:].any()
    assert not back[:, 7:].any()
    shorter = {**start, "dense.weight": start["dense.weight"][:4, :6]}
    back = added(kept, shorter, any_size=True)["dense.weight"]
    assert back.shape == (5, 7)  # for the network that wants it to take what it can use
    torch.testing.assert_close(back[:4, :6], state["dense.weight"][:4, :6], rtol=0, atol=1e-3)


def test_a_file_may_build_on_one_that_builds_on_another(shipped):
    first, second, third = (some(seed) for seed in range(3))
    weights.save(shipped / "first.safetensors", first, {})
    save_difference(shipped / "second.safetensors", second, "first", as_it_is, {"licence": "MIT"})
    save_difference(shipped / "third.safetensors", third, "second", as_it_is, {})
    assert weights.metadata(shipped / "second.safetensors")["licence"] == "MIT"
    for name, wanted in (("first", first), ("second", second), ("third", third)):
        found = load_whole(shipped / f"{name}.safetensors", as_it_is)
        assert set(found) == set(wanted)
        for key, tensor in wanted.items():
            torch.testing.assert_close(found[key], tensor, rtol=0, atol=0.03)


@pytest.mark.parametrize(
    "kept",
    [
        {"dense.weight": torch.zeros(6, 7)},
        {"dense.weight": torch.zeros(5)},
        {"other": torch.zeros(5)},
        {"dense.weight": torch.zeros(5, 7, dtype=torch.int8)},
    ],
    ids=["longer", "fewer axes", "unknown", "no steps"],
)
def test_what_does_not_fit_its_base_is_refused_with_a_remedy(shipped, kept):
    weights.save(shipped / "first.safetensors", some(0), {})
    weights.save(shipped / "odd.safetensors", kept, {"base": "first"})
    with pytest.raises(WeightsError, match=r"odd\.safetensors does not fit.*take the model"):
        load_whole(shipped / "odd.safetensors", as_it_is)


def test_a_tensor_removed_or_a_wrong_base_is_noticed(shipped):
    start, state = some(1), some(2)
    weights.save(shipped / "base.safetensors", start, {})
    path = shipped / "new.safetensors"
    save_difference(path, state, "base", as_it_is, {})
    facts, kept = weights.metadata(path), weights.load(path)
    load_whole(path, as_it_is)
    for gone in (["dense.bias"], ["dense.weight", "dense.weight.step"], ["dense.weight"]):
        weights.save(path, {n: x for n, x in kept.items() if n not in gone}, facts)
        with pytest.raises(WeightsError, match="is damaged"):
            load_whole(path, as_it_is)
    weights.save(path, kept, facts)
    weights.save(shipped / "base.safetensors", start, {"licence": "MIT"})  # the same numbers
    load_whole(path, as_it_is)
    weights.save(shipped / "base.safetensors", some(3), {})
    with pytest.raises(WeightsError, match="another base"):
        load_whole(path, as_it_is)
