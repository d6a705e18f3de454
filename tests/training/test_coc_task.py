"""coc-s takes its first steps, from a recipe, by either road."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import cv2
import pytest
import torch

from unblur.errors import UsageError
from unblur.guidance.coc import load_coc
from unblur.models.coc import radius_of
from unblur.restorers.registry import load_model
from unblur.training import recipe as recipes
from unblur.training.batches import Batch
from unblur.training.coc_task import TrainCoc, drawn, radius_loss, weight_of
from unblur.training.recipe import Recipe
from unblur.training.start import train

TINY = {"widths": [4, 6, 8]}
RECIPE = Recipe("coc-s", options=TINY, batch=2, frames=3, crop=64, steps=2, validate_every=2,
                validation_clips=2, precision="fp32", warmup=1,
                scenes={"mode": "focus"})  # fmt: skip


def test_first_steps_on_rendered_scenes(bank, tmp_path):
    outcome = train(RECIPE, tmp_path / "run", textures=bank)
    (point,) = outcome.curve
    assert outcome.finished
    assert math.isfinite(point.loss)
    assert 0 < point.metrics["mae"] < point.metrics["rmse"]
    image = cv2.imread(str(tmp_path / "run/validation.png"))
    assert image.shape == (2 * 256, 3 * 256, 3)


def test_what_made_frames_sharp_goes_on_with_the_encoder_as_it_is(bank, tmp_path):
    sharpen = dataclasses.replace(RECIPE, options={**TINY, "outputs": 3})
    first = train(sharpen, tmp_path / "sharpen", textures=bank)
    got = first.curve[-1].metrics
    assert got["gain"] == pytest.approx(got["psnr"] - got["input"], abs=1e-5)
    transfer = dataclasses.replace(
        RECIPE, start_from=str(first.best), rate_factors={"encoder": 0}, average=0.0
    )
    with pytest.warns(UserWarning, match="start at random"):  # the head is another
        best = train(transfer, tmp_path / "transfer", textures=bank).best
    from unblur import weights

    before, after = weights.load(first.best), weights.load(best)
    same = [name for name in after if torch.equal(before[name], after[name])]
    assert {name for name in after if name.startswith("encoder.")} <= set(same)
    assert "head.weight" not in same


def batch(clips: int = 8) -> Batch:
    """Blurred frames are dark, sharp ones bright; the radius tells the frame."""
    radius = torch.arange(1.0, 6.0)[None, :, None, None, None].expand(clips, -1, 1, 192, 192)
    blurred = (radius / 20).expand(-1, -1, 3, -1, -1)
    return Batch(blurred, blurred + 0.7, radius=radius)


def test_frames_keep_their_radius_and_sharp_ones_have_none():
    kinds = set()
    for seed in range(40):
        shown, sharp, radius = drawn(batch(4), seed)
        assert len(shown) == 8
        assert shown.shape == sharp.shape
        halved = shown.shape[-1] == 96
        assert halved or shown.shape[-1] == 160
        for image, r in zip(shown, radius, strict=True):
            (value,) = r.unique().tolist()
            bright = float(image.mean()) > 0.5  # whatever the power
            assert bright == (value == 0)
            kinds.add((halved, bright))
            if not bright:
                assert value * (2 if halved else 1) in (1, 2, 3, 4, 5)
    assert len(kinds) == 4
    assert torch.equal(drawn(batch(), 3)[0], drawn(batch(), 3)[0])


def said(radius: float) -> torch.Tensor:
    """Output of a network that finds this radius everywhere."""
    found = torch.zeros(1, 2, 8, 8)
    found[:, 0] = math.log1p(radius)
    return found


def test_the_truth_costs_least():
    even = torch.ones(1, 1, 8, 8)
    for radius in (0.0, 0.4, 1.0, 3.0, 12.0):
        truth = torch.full((1, 1, 8, 8), radius)
        costs = [float(radius_loss(said(r), truth, even)) for r in (radius, radius + 1)]
        assert costs[0] == pytest.approx(0, abs=1e-6)
        assert costs[1] > 0.15
        assert torch.allclose(radius_of(said(radius)), truth, atol=1e-5)


def test_the_wrong_side_of_the_limit_costs_more():
    even, sharp = torch.ones(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.6)
    costs = [float(radius_loss(said(0.6 + step), sharp, even)) for step in (0.0, 0.2, 0.4, 0.6)]
    first, second, third = (b - a for a, b in pairwise(costs))
    assert third > second > first > 0


def test_what_has_no_detail_hardly_counts():
    sharp = torch.full((1, 3, 64, 128), 0.5)
    sharp[..., 64:] = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    weight = weight_of(sharp)
    assert weight.shape == (1, 1, 64, 128)
    assert weight[..., :48].max() < 0.1
    assert weight[..., 80:].min() > 0.9


def test_data_without_truth_is_refused():
    with pytest.raises(UsageError, match="true radius"):
        TrainCoc(dataclasses.replace(RECIPE, data="gopro:x"), torch.device("cpu"))
    task = TrainCoc(RECIPE, torch.device("cpu"))
    clip = torch.rand(1, 3, 3, 64, 64)
    with pytest.raises(UsageError, match="circle of confusion"):
        task.loss(task.network(), Batch(clip, clip), 0)


def test_a_new_decoder_learns_on_the_encoder_of_motion_s(bank, tmp_path, device):
    """The encoder stays as it is in motion-s, and gives what motion-s sees in a still clip."""
    recipe = dataclasses.replace(
        recipes.load("coc-transfer"), pool=0, batch=1, frames=3, crop=64, steps=1,
        validate_every=1, validation_clips=1, average=0.0, warmup=1, scenes={"mode": "focus"},
    )  # fmt: skip
    with pytest.warns(UserWarning, match="start at random"):  # the decoder
        best = train(recipe, tmp_path / "run", textures=bank).best
    assert best is not None
    net = load_coc(best).to(device)
    whole = load_model("motion-s", precision="fp32").network.to(device)
    kept: dict[str, torch.Tensor] = {}
    body = whole.body
    body.enc[1].register_forward_hook(lambda _, __, out: kept.update(skip=out[0]))
    body.bottom[1].register_forward_hook(lambda _, __, out: kept.update(deep=out))
    frame = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    still = torch.zeros(1, 0, 2, 32, 32)
    with torch.no_grad():
        whole(frame[None], still, still)
        found = net.encoder(frame)
    for level, name in ((1, "skip"), (3, "deep")):
        wanted = net.encoder.norms[level](kept[name]).permute(0, 3, 1, 2)
        torch.testing.assert_close(found[level], wanted, atol=2e-2, rtol=0)  # stored as halves


def test_the_encoder_of_motion_s_starts_from_no_other_network(tmp_path):
    task = TrainCoc(recipes.load("coc-transfer"), torch.device("cpu"))
    with pytest.raises(UsageError, match="motion-s or maxim-stage1"):
        task.adapt({"encoder.enter.0.weight": torch.zeros(1)})
