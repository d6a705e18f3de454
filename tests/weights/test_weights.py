"""Weights are found, read, written, and refused with a reason."""

from __future__ import annotations

import os
import stat
import sys

import pytest
import torch

from unblur import weights
from unblur.errors import UsageError, WeightsError
from unblur.models import load_state


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    return tmp_path


def test_written_weights_are_found_and_come_back():
    state = {"a": torch.randn(3, 4), "b.half": torch.randn(5).half()}
    path = weights.user_folder() / "mine.safetensors"
    weights.save(path, state, {"recipe": "none"})
    assert weights.find("mine") == path
    assert weights.metadata(path) == {"recipe": "none"}
    loaded = weights.load(path)
    assert loaded["b.half"].dtype == torch.float16
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert [p.name for p in path.parent.iterdir()] == ["mine.safetensors"]
    if sys.platform != "win32":
        assert path.stat().st_mode & stat.S_IRUSR


def test_the_users_own_come_before_those_that_ship():
    shipped = weights.require("maxim-stage1", "")
    assert shipped.parent == weights.PACKAGE_FOLDER
    own = weights.user_folder() / "maxim-stage1.safetensors"
    weights.save(own, {"x": torch.zeros(1)}, {})
    assert weights.find("maxim-stage1") == own
    assert [(w.name, w.ships) for w in weights.stored() if w.name == "maxim-stage1"] == [
        ("maxim-stage1", False)
    ]


def test_missing_weights_name_the_remedy():
    with pytest.raises(WeightsError, match=r"no weights for 'nothing'.*convert it"):
        weights.require("nothing", "convert it")
    with pytest.raises(WeightsError, match="not found"):
        weights.load("nothing.safetensors")


def test_damage_is_told(home):
    path = home / "x.safetensors"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        weights.load(path)
    weights.save(path, {"good": torch.ones(2), "bad": torch.tensor([1.0, torch.nan])}, {})
    with pytest.raises(WeightsError, match=r"not finite in 1 of 2 tensors \(first: bad\)"):
        weights.load(path)


def test_weights_of_another_network_list_the_difference():
    module = torch.nn.Linear(2, 3)
    with pytest.raises(WeightsError) as caught:
        load_state(module, {"weight": torch.zeros(4, 2), "scale": torch.zeros(1)}, "file")
    message = str(caught.value)
    assert "1 missing (bias)" in message
    assert "1 unexpected (scale)" in message
    assert "weight (4, 2) instead of (3, 2)" in message


def test_a_file_that_bears_a_former_name_is_of_the_model_as_it_is_called_now(tmp_path):
    path = tmp_path / "old.safetensors"
    weights.save(path, {"a": torch.zeros(1)}, {"network": "bsstnet-m", "base": "bsstnet-s"})
    assert weights.model_names(path) == ["motion-m"]
    assert weights.metadata(path)["base"] == "motion-s"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links of POSIX")
def test_only_files_are_replaced_and_links_are_followed(tmp_path):
    state = {"a": torch.ones(1)}
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "", "a\0b", "x" * 300):
        with pytest.raises(UsageError):
            weights.save(tmp_path / name if name else "", state, {})
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    (tmp_path / "link").symlink_to("real.safetensors")
    weights.save(tmp_path / "link", state, {})
    assert (tmp_path / "link").is_symlink()
    before = (tmp_path / "real.safetensors").read_bytes()
    with pytest.raises(UsageError, match="exists: choose another name, or add --overwrite"):
        weights.save(tmp_path / "real.safetensors", {"b": torch.zeros(9)}, {}, overwrite=False)
    assert (tmp_path / "real.safetensors").read_bytes() == before
    assert not list(tmp_path.glob(".*"))
