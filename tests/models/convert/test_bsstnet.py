"""Published checkpoints become ours, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unblur.errors import WeightsError
from unblur.models import load_state
from unblur.models.bsstnet import OFFICIAL, BSSTNet
from unblur.models.bsstnet.reconstruction import relative_positions
from unblur.models.convert.bsstnet import convert, matches, official_names


@pytest.fixture
def checkpoint(goldens: Path) -> dict[str, Tensor]:
    """All 933 entries of a published checkpoint, zeros that take no memory."""
    state = {}
    for line in (goldens / "bsstnet_keys.tsv").read_text().splitlines()[1:]:
        key, shape, dtype, _ = line.split("\t")
        zero = torch.zeros((), dtype=getattr(torch, dtype))
        state[key] = zero.expand([int(n) for n in shape.split("x")])
        if key.endswith("relative_position_index"):
            state[key] = relative_positions()
    return state


def test_every_entry_finds_its_place(checkpoint: dict[str, Tensor]) -> None:
    assert len(checkpoint) == 933
    assert matches(checkpoint.keys())
    ours = convert(checkpoint)
    with torch.device("meta"):
        net = BSSTNet(OFFICIAL)
    assert {k: v.shape for k, v in ours.items()} == {
        k: v.shape for k, v in net.state_dict().items()
    }
    names = official_names(net)
    assert len(set(names.values())) == len(names)
    load_state(BSSTNet(OFFICIAL), ours, "checkpoint")


def test_wrappings_are_taken_off(checkpoint: dict[str, Tensor]) -> None:
    plain = convert(checkpoint)
    wrapped = {"params": {f"module.{key}": value for key, value in checkpoint.items()}}
    assert matches(wrapped["params"].keys())
    assert convert(wrapped).keys() == plain.keys()  # type: ignore[arg-type]


def test_layers_that_are_never_called_may_be_missing(checkpoint: dict[str, Tensor]) -> None:
    dead = [key for key in checkpoint if key.startswith(("feat_extract.", "decoder_level2"))]
    assert dead
    for key in dead:
        del checkpoint[key]
    assert len(convert(checkpoint)) == 533


def test_differences_are_listed(checkpoint: dict[str, Tensor]) -> None:
    del checkpoint["concat.0.weight"]
    checkpoint["stranger.weight"] = torch.zeros(3)
    checkpoint["last_conv.weight"] = torch.zeros(3, 32, 3, 3)
    with pytest.raises(WeightsError) as error:
        convert(checkpoint)
    message = str(error.value)
    for part in (
        "missing (concat.0.weight)",
        "unexpected (stranger.weight)",
        "last_conv.weight (3, 32",
    ):
        assert part in message
    assert "\n" not in message


def test_another_order_of_the_window_is_refused(checkpoint: dict[str, Tensor]) -> None:
    key = next(k for k in checkpoint if k.endswith("relative_position_index"))
    checkpoint[key] = relative_positions().flip(0)
    with pytest.raises(WeightsError, match="relative_position_index"):
        convert(checkpoint)


def test_other_networks_are_not_taken(goldens: Path) -> None:
    raft = [line.split("\t")[0] for line in (goldens / "raft_keys.tsv").read_text().splitlines()]
    assert not matches(raft)
