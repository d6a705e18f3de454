"""Flow refocusing takes its first steps, from a recipe."""

from __future__ import annotations

import dataclasses
import math

import cv2
import pytest
import torch

from unblur.errors import UsageError
from unblur.training.batches import Batch, at_full_size
from unblur.training.flow_refocus_task import LOSSES, TrainFlowRefocus, rough_mask
from unblur.training.recipe import load
from unblur.training.start import train

CPU = torch.device("cpu")
RECIPE = dataclasses.replace(
    load("flow-refocus"), batch=1, frames=3, crop=64, pool=2, pool_side=64, steps=2, warmup=1,
    validate_every=2, validation_clips=1, start_from=None,
)  # fmt: skip


def batch(clips: int = 1) -> Batch:
    """Noise that moves, and is blurred on the left."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(clips, 3, 3, 64, 64, generator=generator)
    flow = torch.randn(clips, 2, 2, 16, 16, generator=generator)
    radius = torch.zeros(clips, 3, 1, 64, 64)
    radius[..., :32] = 6
    return Batch(frames, frames.flip(-1), flow, -flow, radius, flow + 1, 1 - flow)


def test_first_steps_on_rendered_scenes(bank, tmp_path):
    outcome = train(RECIPE, tmp_path / "run", textures=bank)
    (point,) = outcome.curve
    assert outcome.finished
    assert math.isfinite(point.loss)
    got = point.metrics
    assert got["gain"] == pytest.approx(got["dis"] - got["refocused"], abs=1e-5)
    assert cv2.imread(str(tmp_path / "run/validation.png")).shape == (256, 5 * 256, 3)
    assert list((tmp_path / "run/pool").rglob("*.guess.safetensors"))


def test_first_steps_as_in_the_paper(bank, tmp_path):
    recipe = dataclasses.replace(
        load("flow-refocus-paper"), frames=3, crop=64, pool=0, steps=1, validate_every=1,
        validation_clips=1,
    )  # fmt: skip
    task = TrainFlowRefocus(recipe, CPU)
    assert sum(p.numel() for p in task.network().parameters()) == 5_081_955
    options = {**recipe.options, "channels": 4, "deform_groups": 4}
    recipe = dataclasses.replace(recipe, options=options)
    outcome = train(recipe, tmp_path / "run", textures=bank)
    assert outcome.finished
    assert outcome.skipped == 0
    assert math.isfinite(outcome.curve[0].loss)


def test_the_paper_keeps_its_schedule():
    recipe = load("flow-refocus-paper")
    assert (recipe.batch, recipe.frames, recipe.steps) == (1, 10, 100_000)
    assert recipe.learning_rate == recipe.final_rate == 1e-4
    assert recipe.losses == {
        "blurred": 0.25, "other": 0.25, "smooth": 0.25, "ternary": 0.01, "edge": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_teaches(name):
    options = {"channels": 4, "deform_groups": 4, "edges": True, "residual": name == "corrected"}
    recipe = dataclasses.replace(RECIPE, options=options, losses={name: 1.0})
    torch.manual_seed(0)
    task = TrainFlowRefocus(recipe, CPU)
    net = task.network()
    task.loss(net, batch(), 0).backward()
    learned = {n.split(".")[0] for n, p in net.named_parameters() if p.grad is not None}
    assert "to_flow" in learned
    assert ("edges" in learned) == (name == "edge")


def test_only_errors_in_blurred_regions_count():
    task = TrainFlowRefocus(RECIPE, CPU)
    net = task.network()
    given = batch()
    truth_given = dataclasses.replace(
        given, guess_forward=given.flow_forward, guess_backward=given.flow_backward
    )
    seed = next(s for s in range(50) if not (rough_mask(given.radius, s, 4) == 1).all())
    assert task.loss(net, given, seed) > 0.3
    assert task.loss(net, truth_given, seed) < 1e-3
    wrong = dataclasses.replace(
        truth_given,
        guess_forward=torch.cat(
            (given.flow_forward[..., :14], given.flow_forward[..., 14:] + 9), -1
        ),
    )
    assert task.loss(net, wrong, seed) < 1e-3  # far from what is blurred


def test_masks_are_as_wrong_as_estimates():
    radius = batch(40).radius
    masks = rough_mask(radius, 0, 4)
    assert masks.shape == (40, 3, 1, 16, 16)
    assert torch.equal(masks, rough_mask(radius, 0, 4))
    assert masks[..., :7].mean() > 0.99  # what is much blurred is seen
    widths = {int(w) for w in masks.amax((1, 2, 3)).sum(-1)}
    assert {8, 9, 10, 16} == widths


def test_flow_grows_with_the_frame():
    flow = torch.ones(1, 2, 2, 3, 5)
    for big in map(at_full_size, (flow, -flow)):
        assert big.shape == (1, 2, 2, 12, 20)
        assert (big.abs() == 4).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "gopro:x"}, "true flow"),
        ({"losses": {"warp": 1.0}}, "unknown loss warp"),
        ({"losses": {"edge": 1.0}}, "edges: true"),
        ({"options": {"stride": 2}}, "stride is 2"),
    ],
)
def test_recipes_that_cannot_work_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        TrainFlowRefocus(dataclasses.replace(RECIPE, **change), CPU)


def test_data_without_true_blur_is_refused():
    task = TrainFlowRefocus(RECIPE, CPU)
    with pytest.raises(UsageError, match="mode: focus"):
        task.loss(task.network(), dataclasses.replace(batch(), radius=None), 0)
