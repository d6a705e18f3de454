"""Published checkpoints of DaBiT become ours, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unblur import weights
from unblur.errors import WeightsError
from unblur.models import load_state
from unblur.models.convert import CHECKPOINTS, convert_file
from unblur.models.convert.dabit import (
    PLACES,
    convert,
    convert_flow,
    matches,
    matches_flow,
)
from unblur.models.convert.names import published_name
from unblur.models.dabit import OFFICIAL, Dabit
from unblur.models.flow_refocus import FlowRefocus


def checkpoint(table: Path) -> dict[str, Tensor]:
    """All entries of a published checkpoint, zeros that take no memory."""
    state = {}
    for line in table.read_text().splitlines():
        key, shape, dtype = line.split("\t")
        size = [int(n) for n in shape.strip("()").split(",") if n]
        state[key] = torch.zeros((), dtype=getattr(torch, dtype)).expand(size)
    return state


@pytest.fixture
def dabit(goldens: Path) -> dict[str, Tensor]:
    return checkpoint(goldens / "dabit_keys.tsv")


@pytest.fixture
def flow(goldens: Path) -> dict[str, Tensor]:
    return checkpoint(goldens / "dabit_flow_keys.tsv")


def test_every_entry_finds_its_place(dabit: dict[str, Tensor]) -> None:
    assert len(dabit) == 430
    ours = convert(dabit)
    with torch.device("meta"):
        own = Dabit(OFFICIAL).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in own.items()}
    names = {published_name(name, PLACES) for name in own}
    assert len(names) == len(own)
    dead = dabit.keys() - names
    tables = {key for key in dead if key.endswith("valid_ind_rolled")}
    assert len(tables) == 8
    assert sum(dabit[key].numel() for key in dead - tables) == 4_994_880


def test_every_entry_of_the_flow_network_finds_its_place(flow: dict[str, Tensor]) -> None:
    assert len(flow) == 74
    load_state(FlowRefocus(), convert_flow(flow), "checkpoint")


def test_layers_that_are_never_called_may_be_missing(dabit: dict[str, Tensor]) -> None:
    live = {k: v for k, v in dabit.items() if not k.startswith(("feat_extract.", "backbone."))}
    assert len(live) < len(dabit)
    assert convert(live).keys() == convert(dabit).keys()


def test_the_prefix_of_a_parallel_wrapper_is_taken_off(
    dabit: dict[str, Tensor], flow: dict[str, Tensor]
) -> None:
    for state, turn in ((dabit, convert), (flow, convert_flow)):
        wrapped = {f"module.{key}": value for key, value in state.items()}
        assert turn(wrapped).keys() == turn(state).keys()


def test_differences_are_listed(dabit: dict[str, Tensor]) -> None:
    del dabit["conv_hr.bias"]
    dabit["stranger.weight"] = torch.zeros(3)
    dabit["encoder.layers.0.weight"] = torch.zeros(64, 5, 3, 3)
    with pytest.raises(WeightsError) as error:
        convert(dabit)
    message = str(error.value)
    for part in (
        "missing (conv_hr.bias)",
        "unexpected (stranger.weight)",
        "encoder.layers.0.weight (64, 5, 3, 3) instead of (64, 6, 3, 3)",
    ):
        assert part in message
    assert "\n" not in message


def test_every_checkpoint_is_told_apart(
    goldens: Path, dabit: dict[str, Tensor], flow: dict[str, Tensor]
) -> None:
    assert matches(dabit.keys())
    assert matches_flow(flow.keys())
    states = {"DaBiT": dabit.keys(), "DaBiT's flow refocusing": flow.keys()}
    for name, title in (("bsstnet", "BSSTNet"), ("raft", "RAFT")):
        lines = (goldens / f"{name}_keys.tsv").read_text().splitlines()[1:]
        states[title] = {line.split("\t")[0] for line in lines}
    for title, keys in states.items():
        assert [kind.title for kind in CHECKPOINTS if kind.matches(keys)] == [title]


@pytest.mark.parametrize(
    ("kind", "network"),
    [("flow", "flow-refocus"), pytest.param("dabit", "dabit", marks=pytest.mark.slow)],
)
def test_from_file_to_weights(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    network: str,
) -> None:
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path / "home"))
    state = request.getfixturevalue(kind)
    path = tmp_path / "anything.pth"
    torch.save(state, path)
    stored = convert_file(path)
    assert stored == weights.find(network)
    state.pop(next(iter(state)))
    torch.save(state, path)
    with pytest.raises(WeightsError, match="1 missing"):
        convert_file(path)
