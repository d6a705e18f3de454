"""From a published checkpoint on disk to a model that runs, by `unblur weights convert`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import unblur
from tests.recipe import recipe_tensor
from unblur import weights
from unblur.errors import UsageError, WeightsError
from unblur.models.bsstnet.reconstruction import relative_positions
from unblur.models.convert import convert_file


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path / "home"))


def published(table: Path) -> dict[str, Tensor]:
    """A state dict with every entry of a published checkpoint, random numbers in it."""
    state = {}
    for line in table.read_text().splitlines()[1:]:
        key, shape, dtype, _ = line.split("\t")
        size = tuple(int(n) for n in shape.split("x") if n.isdigit())
        if dtype.startswith("float"):
            state[key] = recipe_tensor(key, size)
        else:
            state[key] = torch.zeros(size, dtype=getattr(torch, dtype))
        if key.endswith("relative_position_index"):
            state[key] = relative_positions()
    return state


def test_raft(goldens, tmp_path):
    path = tmp_path / "raft-things.pth"
    state = published(goldens / "raft_keys.tsv")
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    stored = convert_file(path)
    assert stored == weights.find("raft-things")
    facts = weights.metadata(stored)
    assert facts["source_sha256"] == weights.sha256(path)
    with pytest.raises(UsageError, match="becomes one of raft-things"):
        convert_file(path, name="bsstnet-gopro")
    del state["cnet.conv2.bias"]
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"missing.*cnet\.conv2\.bias"):
        convert_file(path)


@pytest.mark.slow
def test_bsstnet(goldens, tmp_path):
    """The whole way of the README: both checkpoints, then a clip."""
    state = published(goldens / "bsstnet_keys.tsv")
    for key in state:  # geometry, which is checked or left out, not learned
        if key.endswith("mask_padding"):
            state[key] = torch.zeros_like(state[key])
    path = tmp_path / "BSST_gopro.pth"
    torch.save({"params": state}, path)
    assert convert_file(path).stem == "bsstnet-gopro"
    nameless = path.rename(tmp_path / "net_g_latest.pth")
    with pytest.raises(UsageError, match="add --name bsstnet-gopro or --name bsstnet-dvd"):
        convert_file(nameless)
    assert convert_file(nameless, name="bsstnet-dvd").stem == "bsstnet-dvd"
    torch.save(published(goldens / "raft_keys.tsv"), tmp_path / "raft-things.pth")
    convert_file(tmp_path / "raft-things.pth")
    frames = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    restored = unblur.restore(frames, model="bsstnet-gopro")
    assert restored.shape == frames.shape
    assert not torch.equal(restored, frames)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"not a checkpoint at all", "damaged|not a plain"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, message):
    path = tmp_path / "BSST_gopro.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        convert_file(path)


def test_other_networks_are_named(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"layer.weight": torch.ones(2)}, path)
    with pytest.raises(WeightsError, match=r"none of the known networks.*layer\.weight"):
        convert_file(path)
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="no state dict"):
        convert_file(path)
