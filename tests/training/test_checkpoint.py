"""Checkpoints come back exactly, in small files, and a kill at any point leaves one."""

from __future__ import annotations

import json
import os

import pytest
import torch

from unblur.errors import WeightsError
from unblur.training import checkpoint


def test_everything_comes_back_in_small_files(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 1000)
    tensors = {
        "a@b": torch.randn(30, 40),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "half": torch.randn(7).half(),
        "step": torch.tensor(2.5),
    }
    checkpoint.save(tmp_path / "c", tensors, {"step": 12})
    files = list((tmp_path / "c").glob("*.safetensors"))
    assert len(files) >= 5
    assert max(file.stat().st_size for file in files) < 1600  # payload and header
    loaded, facts = checkpoint.load(tmp_path / "c")
    assert facts == {"step": 12}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor.cpu())


def test_no_checkpoint_is_not_an_error(tmp_path):
    assert checkpoint.load(tmp_path / "nothing") is None


@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_kill_between_renames_leaves_a_checkpoint(tmp_path, monkeypatch, dies_at):
    checkpoint.save(tmp_path / "c", {"x": torch.ones(2)}, {"step": 1})
    calls = []
    real = os.replace

    def replace(a, b):
        calls.append(a)
        if len(calls) == dies_at:
            raise KeyboardInterrupt
        real(a, b)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "c", {"x": torch.zeros(2)}, {"step": 2})
    assert checkpoint.load(tmp_path / "c")[1] == {"step": 1}
    monkeypatch.undo()
    checkpoint.save(tmp_path / "c", {"x": torch.zeros(2)}, {"step": 3})
    assert checkpoint.load(tmp_path / "c")[1] == {"step": 3}


@pytest.mark.parametrize("what", ["a byte", "a shard of another run", "a number of the index"])
def test_what_is_not_as_it_was_written_is_not_gone_on_with(tmp_path, what):
    checkpoint.save(tmp_path / "c", {"x": torch.ones(2)}, {"step": 1000})
    checkpoint.save(tmp_path / "d", {"x": torch.zeros(2)}, {"step": 1000})
    shard, index = tmp_path / "c" / "state-001.safetensors", tmp_path / "c" / checkpoint.INDEX
    if what == "a byte":
        shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    elif what == "a shard of another run":
        shard.write_bytes((tmp_path / "d" / shard.name).read_bytes())
    else:
        index.write_text(index.read_text().replace("1000", "9000"))
    with pytest.raises(WeightsError, match=r"not as it was written.*delete it to start again"):
        checkpoint.load(tmp_path / "c")


def test_a_checkpoint_without_check_sums_is_of_an_older_version(tmp_path):
    checkpoint.save(tmp_path / "c", {"x": torch.ones(2)}, {"step": 1})
    index = tmp_path / "c" / checkpoint.INDEX
    older = {k: v for k, v in json.loads(index.read_text()).items() if k not in ("check", "sums")}
    index.write_text(json.dumps(older))
    assert checkpoint.load(tmp_path / "c")[1] == {"step": 1}


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_pipe_in_place_of_a_shard_is_not_waited_for(tmp_path):
    checkpoint.save(tmp_path / "c", {"x": torch.ones(2)}, {})
    shard = tmp_path / "c" / "state-001.safetensors"
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(WeightsError, match="damaged"):
        checkpoint.load(tmp_path / "c")


def test_a_damaged_checkpoint_says_so(tmp_path):
    checkpoint.save(tmp_path / "c", {"x": torch.ones(2)}, {})
    shard = tmp_path / "c" / "state-001.safetensors"
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.raises(WeightsError, match="damaged"):
        checkpoint.load(tmp_path / "c")
