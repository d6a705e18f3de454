"""The loop learns, resumes as if nothing had happened, and survives bad gradients."""

from __future__ import annotations

import dataclasses
import math
import warnings

import pytest
import torch
from torch import nn

from unblur.errors import NumericsError, UnblurWarning, UsageError
from unblur.training import checkpoint, start
from unblur.training.batches import Batch
from unblur.training.loop import Run, learning_rate
from unblur.training.recipe import Recipe

RECIPE = Recipe(
    "tiny", steps=40, batch=4, frames=1, crop=8, learning_rate=0.1, warmup=4,
    validate_every=10, average=0.5, precision="fp32",
)  # fmt: skip


class Halves:
    """Truth is the input times two."""

    pixels_per_clip = 64

    def batch(self, clips, seed):
        generator = torch.Generator().manual_seed(seed)
        blurred = torch.rand(clips, 1, 3, 8, 8, generator=generator) / 2
        return Batch(blurred, 2 * blurred)


class Scale:
    """Learns one factor for each colour."""

    def __init__(self):
        self.seeds = []

    def network(self):
        return nn.Conv2d(3, 3, 1)

    def loss(self, network, batch, seed):
        self.seeds.append(seed)
        return (network(batch.blurred[:, 0]) - batch.sharp[:, 0]).abs().mean()

    def validate(self, network, folder):
        x = Halves().batch(16, 10**9)
        return {"gain": -float(self.loss(network, x, 0))}


class Sometimes(Scale):
    """Gives a loss that is not finite at some steps."""

    def __init__(self, bad):
        super().__init__()
        self.bad, self.calls = bad, -1

    def loss(self, network, batch, seed):
        if seed:
            self.calls += 1
        loss = super().loss(network, batch, seed)
        return loss * math.nan if seed and self.calls in self.bad else loss


def run(folder, task=None, recipe=RECIPE):
    folder.mkdir(exist_ok=True)
    device = torch.zeros(()).device  # where tensors of tests live
    return Run(recipe, task or Scale(), Halves(), folder, device)


def test_it_learns_and_writes_what_it_says(tmp_path):
    outcome = run(tmp_path).train()
    gains = [point.metrics["gain"] for point in outcome.curve]
    assert outcome.finished
    assert len(gains) == 4
    assert gains[-1] > gains[0] / 2
    assert outcome.best.is_file()
    assert (tmp_path / "curve.csv").read_text().count("\n") == 5
    assert outcome.curve[-1].pixels == 40 * 4 * 64


def test_each_step_is_told(tmp_path):
    heard = []
    run(tmp_path).train(listen=heard.append)
    assert [h.done for h in heard if h.stage == "train"] == list(range(1, 41))
    assert [h.done for h in heard if h.stage == "validate"] == [10, 20, 30, 40]
    assert (heard[0].stage, heard[0].plan.model, heard[0].plan.total) == ("open", "tiny", 40)
    assert heard[1].facts["validation_in"] > 0
    assert 0 < heard[-1].facts["loss"] < heard[1].facts["loss"]
    assert heard[-1].eta == 0


def test_a_run_that_was_measured_before_its_first_step_goes_on(tmp_path):
    first = run(tmp_path)
    first.validate(None)
    again = run(tmp_path)
    assert again.resume()
    assert again.curve == first.curve
    assert (tmp_path / "curve.csv").read_text().splitlines()[1].startswith("0,0,0,,")


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole = run(tmp_path / "whole")
    whole.train()
    killed = run(tmp_path / "killed")
    for _ in range(20):
        killed.advance()
    killed.validate(0.0)
    for _ in range(7):  # lost with the kill
        killed.advance()
    resumed = run(tmp_path / "killed")
    assert resumed.resume()
    assert resumed.step == 20
    resumed.train()
    assert resumed.task.seeds[:20] != whole.task.seeds[:20]
    for (name, a), b in zip(
        whole.network.state_dict().items(), resumed.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert [p.metrics for p in whole.curve][-2:] == [p.metrics for p in resumed.curve][-2:]
    for name, x in whole.average.state.items():
        assert torch.equal(x, resumed.average.state[name])


def test_a_time_box_ends_with_a_checkpoint(tmp_path):
    outcome = run(tmp_path).train(minutes=1e-9)
    assert not outcome.finished
    assert outcome.curve[-1].step == 1
    again = run(tmp_path)
    assert again.resume()
    assert again.step == 1


def test_a_few_bad_gradients_are_skipped_many_end_the_run(tmp_path):
    outcome = run(tmp_path / "few", Sometimes({3, 4, 11})).train()
    assert outcome.skipped == 3
    assert outcome.curve[-1].metrics["gain"] > -0.2
    with pytest.raises(NumericsError, match="lower learning_rate"):
        run(tmp_path / "many", Sometimes(range(1000))).train()


def test_another_recipe_does_not_take_over_a_folder(tmp_path):
    run(tmp_path).train(minutes=1e-9)
    other = dataclasses.replace(RECIPE, seed=1)
    with pytest.raises(UsageError, match="seed = 0, not 1"):
        run(tmp_path, recipe=other).resume()


def test_what_a_step_looks_at_stays_as_it_is(tmp_path):
    recipe = dataclasses.replace(RECIPE, frames=5, window=3)
    run(tmp_path, recipe=recipe).train(minutes=1e-9)
    with pytest.raises(UsageError, match="window = 3, not 0"):
        run(tmp_path, recipe=dataclasses.replace(recipe, window=0)).resume()
    with pytest.raises(UsageError, match="references = 0, not 2"):
        run(tmp_path, recipe=dataclasses.replace(recipe, references=2)).resume()


def test_what_gains_depend_on_may_change_and_is_named(tmp_path):
    run(tmp_path).train(minutes=1e-9)
    other = dataclasses.replace(RECIPE, losses={"l1": 1.0}, flow="dis", steps=50)
    with pytest.warns(UnblurWarning, match="losses, flow of the recipe changed on the way"):
        assert run(tmp_path, recipe=other).resume()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(tmp_path).resume()


def test_a_checkpoint_from_before_there_were_windows_goes_on(tmp_path):
    first = run(tmp_path)
    first.train(minutes=1e-9)
    tensors, facts = checkpoint.load(tmp_path / "checkpoint")
    del facts["recipe"]["window"], facts["recipe"]["references"]
    checkpoint.save(tmp_path / "checkpoint", tensors, facts)
    assert run(tmp_path).resume()


def test_the_rate_rises_then_falls_along_a_cosine():
    rates = [learning_rate(RECIPE, step) for step in range(41)]
    assert rates[3] == max(rates) == RECIPE.learning_rate
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[22] == pytest.approx(RECIPE.learning_rate / 2, rel=1e-3)
    assert rates[40] == pytest.approx(RECIPE.final_rate)


def test_a_second_training_in_one_folder_is_refused(tmp_path, monkeypatch):
    """Each would take away what the other writes."""
    tried = []

    class Opened(Scale):
        needs_flow = False

        def validate(self, network, folder):
            if not tried:
                tried.append(True)
                with pytest.raises(UsageError, match="another training is at work"):
                    start.train(RECIPE, tmp_path)
            return super().validate(network, folder)

    monkeypatch.setattr(start, "open_task", lambda *_: Opened())
    monkeypatch.setattr(start, "open_source", lambda *_: Halves())
    here = torch.zeros(()).device  # where tensors of tests live
    monkeypatch.setattr(start, "choose_device", lambda *_, **__: here)
    assert start.train(RECIPE, tmp_path).finished
    assert tried
    assert start.train(RECIPE, tmp_path).finished
