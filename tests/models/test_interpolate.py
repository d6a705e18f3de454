"""Means of weights."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from unblur import weights
from unblur.cli import main
from unblur.errors import UsageError, WeightsError
from unblur.models.interpolate import mean, mean_of_files


def test_the_share_is_that_of_the_second():
    first, second = (
        {"a": torch.zeros(2, 2), "b": torch.zeros(3)},
        {
            "a": torch.ones(2, 2),
            "b": torch.ones(3),
        },
    )
    mixed = mean(first, second, 0.75, {"b": 0.25})
    assert mixed["a"].unique().tolist() == [0.75]
    assert mixed["b"].unique().tolist() == [0.25]
    assert mixed["a"].dtype == torch.float16


def test_what_does_not_fit_is_refused():
    a, b = {"a": torch.zeros(2)}, {"b": torch.zeros(2)}
    with pytest.raises(ValueError, match="only one has a"):
        mean(a, b, 0.5, {})
    with pytest.raises(ValueError, match="a is"):
        mean(a, {"a": torch.zeros(3)}, 0.5, {})
    for share, shares in ((1.5, {}), (0.5, {"a": -1.0}), (0.5, {"nothing": 0.5})):
        with pytest.raises(UsageError, match="share"):
            mean(a, a, share, shares)


def test_weights_and_what_they_began_as_are_averaged():
    """`motion-s` began as `maxim-stage1`, with more inputs and outputs."""
    start, own = weights.find("maxim-stage1"), weights.find("motion-s")
    all_of_own, name = mean_of_files(start, own, 1.0)
    none, _ = mean_of_files(start, own, 0.0)
    half, _ = mean_of_files(start, own, 0.5)
    assert name == "motion-s"
    for key in ("body.inputs.0.weight", "body.sam.0.picture.bias"):
        between = (all_of_own[key].float() + none[key].float()) / 2
        assert torch.allclose(half[key].float(), between, atol=2e-3)
    assert not none["body.inputs.0.weight"][:, 12:].any()


def test_a_file_that_does_not_say_what_it_is_is_taken_as_what_the_other_is(tmp_path):
    own, path = weights.find("motion-s"), tmp_path / "mine.safetensors"
    whole, _ = mean_of_files(own, own, 1.0)
    save_file({key: x + 1 for key, x in whole.items()}, path)
    half, name = mean_of_files(own, path, 0.5)
    assert name == "motion-s"
    for key in ("body.inputs.0.weight", "body.enc.1.fuse.weight"):
        assert torch.allclose(half[key].float(), whole[key].float() + 0.5, atol=2e-3)


def test_weights_of_two_networks_are_refused():
    with pytest.raises(WeightsError, match="not of one network"):
        mean_of_files(weights.find("coc-s"), weights.find("maxim-stage1"), 0.5)


def test_a_file_that_names_a_network_it_is_not_of_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    weights.save(path, {"x": torch.ones(2)}, {"name": "motion-s"})
    with pytest.raises(WeightsError, match="does not hold the weights that it names"):
        mean_of_files(path, path, 0.5)


def test_the_command_writes_weights_that_load(tmp_path, capsys):
    out = tmp_path / "mean.safetensors"
    order = ["weights", "mean", "maxim-stage1", "motion-s", str(out), "--share", "0.75"]
    assert main([*order, "--share-of", "enc.2=1"]) == 0
    assert "motion-s=" in capsys.readouterr().out
    assert main(["weights", "verify", str(out)]) == 0
    assert main(order) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*order, "--overwrite", "--share-of", "enc.2"]) == 2
