"""Each network takes its first steps on rendered scenes or on a data set, from a recipe."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import warnings

import cv2
import numpy as np
import pytest
import torch

from unblur import weights
from unblur.data.clips import ClipFolder
from unblur.errors import MediaError, UnblurWarning, UsageError, WeightsError
from unblur.guidance.defocus import above_least
from unblur.guidance.flow import bidirectional_flow
from unblur.models.raft import Raft, RaftConfig
from unblur.ops.wavelet import blur_of_depths
from unblur.restorers.registry import load_model, model_of
from unblur.training import recipe as recipes
from unblur.training.batches import Batch, quarter
from unblur.training.dabit_task import focal_loss
from unblur.training.guiding import flow_finder, guided
from unblur.training.loop import load_start
from unblur.training.recipe import Recipe
from unblur.training.source import held_out_clips, open_source
from unblur.training.start import train
from unblur.training.tasks import TASKS, open_task

CPU = torch.device("cpu")
SMALL = {"batch": 1, "frames": 3, "crop": 64, "steps": 2, "validate_every": 2,
         "validation_clips": 2, "precision": "fp32", "warmup": 1}  # fmt: skip
RECIPES = [
    Recipe("bsstnet-tiny", **SMALL),
    Recipe("dabit-tiny", losses={"charbonnier": 1, "blurred": 1, "clear": 1}, **SMALL),
    Recipe("focus-s", options={"width": 8, "tiles": [4, 4, 2]}, **SMALL),
    Recipe("maxim-stage1", options={"width": 8, "tiles": [4, 4, 2]}, **SMALL),
]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Two textures of noise at several scales."""
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    for name in "ab":
        layers = [
            cv2.resize(rng.integers(0, 255, (side, side, 3), np.uint8), (256, 256))
            for side in (8, 64, 256)
        ]
        cv2.imwrite(str(folder / f"{name}.png"), np.mean(layers, 0).astype(np.uint8))
    return folder


@pytest.fixture
def gopro(tmp_path):
    """A GoPro of one clip of four frames."""
    rng = np.random.default_rng(0)
    for i in range(4):
        for kind in ("blur", "sharp"):
            path = tmp_path / f"data/train/GOPR01/{kind}/{i:06}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 255, (80, 96, 3), np.uint8))
    return f"gopro:{tmp_path / 'data'}"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.network)
def test_first_steps_on_rendered_scenes(recipe, bank, tmp_path):
    outcome = train(recipe, tmp_path, textures=bank)
    (point,) = outcome.curve
    assert outcome.finished
    assert math.isfinite(point.loss)
    assert point.metrics["gain"] == pytest.approx(
        point.metrics["psnr"] - point.metrics["input"], abs=1e-4
    )
    image = cv2.imread(str(tmp_path / "validation.png"))
    assert image.shape == (2 * 256, 3 * 256, 3)
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [row["step"] for row in rows] == ["2"]


def test_trained_weights_run_in_the_tool(bank, tmp_path):
    import unblur

    best = train(RECIPES[0], tmp_path, textures=bank).best
    frames = torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    trained = unblur.restore(frames, model="bsstnet-tiny", weights=best)
    assert trained.shape == frames.shape
    assert not torch.equal(trained, unblur.restore(frames, model="bsstnet-tiny"))


def test_weights_run_under_the_model_they_were_trained_as_and_no_other(gopro, tmp_path):
    recipe = dataclasses.replace(RECIPES[0], data=gopro, validate_on=gopro, flow="dis", steps=1)
    best = train(recipe, tmp_path / "a").best
    assert model_of(best) == "bsstnet-tiny"
    other = dataclasses.replace(recipe, options={"selection": "dense", "blur": "sum"})
    dense = train(other, tmp_path / "b").best
    assert weights.load(best).keys() == weights.load(dense).keys(), "the tensors do not tell"
    load_model("bsstnet-tiny", weights=best, device="cpu")
    with pytest.raises(WeightsError, match=r"not trained as bsstnet-tiny.*blur = sum.*selection"):
        load_model("bsstnet-tiny", weights=dense, device="cpu")


@pytest.mark.parametrize("flow", ["truth", "raft", "dis"])
def test_a_run_on_a_data_set_says_what_guides_it(flow, gopro, tmp_path, monkeypatch):
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path / "home"))
    flow_finder.cache_clear()
    recipe = dataclasses.replace(RECIPES[0], data=gopro, validate_on=gopro, flow=flow, steps=1)
    said = {"truth": "a data set has no true flow", "raft": "guided by flow-s instead"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnblurWarning)
        train(recipe, tmp_path / "run")
    warned = [str(w.message) for w in caught if w.category is UnblurWarning]
    assert [said[flow] in text for text in warned] == ([] if flow == "dis" else [True])


@pytest.mark.slow
def test_raft_guides_where_it_was_converted(tmp_path, monkeypatch):
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    torch.manual_seed(0)
    raft = Raft(RaftConfig()).eval()
    weights.save(weights.user_folder() / "raft-things.safetensors", raft.state_dict(), {})
    flow_finder.cache_clear()
    clip = torch.rand(1, 2, 3, 256, 256)
    found = guided(Batch(clip, clip), "raft", 0)
    flow_finder.cache_clear()
    expected = bidirectional_flow(raft, clip[0])[0]
    torch.testing.assert_close(found.flow_forward[0], expected, rtol=0, atol=1e-4)


def test_validation_on_a_data_set_takes_its_middles(gopro):
    recipe = dataclasses.replace(RECIPES[0], validate_on=gopro, frames=2, validation_clips=3)
    (clip,) = held_out_clips(recipe, CPU, flows=False)
    blurred, sharp = ClipFolder.find(gopro)[0].read(1, 3)
    assert torch.equal(clip.blurred[0], blurred)  # 80 x 96, less than the side
    assert torch.equal(clip.sharp[0], sharp)
    with pytest.raises(UsageError, match="9 frames"):
        held_out_clips(dataclasses.replace(recipe, frames=9), CPU, flows=False)


@pytest.mark.parametrize(
    ("place", "frames", "error"), [("gone", 3, MediaError), (None, 9, UsageError)]
)
def test_what_it_cannot_validate_on_is_refused_before_the_first_step(
    place, frames, error, gopro, bank, tmp_path
):
    where = gopro if place is None else f"gopro:{tmp_path / place}"
    recipe = dataclasses.replace(RECIPES[0], validate_on=where, frames=frames)
    with pytest.raises(error, match="not found" if place else "has 9 frames"):
        open_source(recipe, bank, CPU, True, tmp_path)


def test_a_run_started_by_file_goes_on_where_it_stopped(gopro, bank, tmp_path):
    recipe = dataclasses.replace(RECIPES[0], data=gopro, flow="dis")
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipes.to_json(recipe)))
    first = train(path, tmp_path / "run", minutes=1e-9)
    assert not first.finished
    assert train(path, tmp_path / "run").curve[-1].step == 2


def test_a_run_may_begin_with_other_weights_than_its_recipe_names(bank, tmp_path):
    recipe = dataclasses.replace(RECIPES[2], seed=1, steps=1, validate_every=1)
    first = train(recipe, tmp_path / "first", textures=bank).best
    still = dataclasses.replace(recipe, seed=2, learning_rate=1e-20, final_rate=0.0)
    second = train(still, tmp_path / "second", textures=bank, start_from=first).best
    before, after = weights.load(first), weights.load(second)
    assert all(torch.equal(after[name], x) for name, x in before.items())
    with pytest.raises(WeightsError, match=r"nothing\.safetensors: check the path"):
        train(recipe, tmp_path / "third", textures=bank, start_from="nothing.safetensors")


@pytest.mark.slow
def test_the_recipe_of_the_paper_takes_its_first_steps(gopro, tmp_path):
    paper = recipes.load("bsstnet-paper")
    short = dataclasses.replace(
        paper, data=gopro, validate_on=gopro, frames=4, crop=64, steps=2, validate_every=2
    )
    flow_finder.cache_clear()
    with pytest.warns(UnblurWarning, match="guided by flow-s instead"):
        outcome = train(short, tmp_path)
    assert outcome.finished
    assert outcome.skipped == 0
    assert load_model("bsstnet-paper", weights=outcome.best, device="cpu").info.window == 48
    shards = list((tmp_path / "checkpoint").glob("*.safetensors"))
    assert max(shard.stat().st_size for shard in shards) < 16e6


@pytest.mark.slow
def test_the_recipe_of_dabits_paper_takes_its_first_step(bank, tmp_path):
    paper = recipes.load("dabit-paper")
    short = dataclasses.replace(
        paper, frames=4, window=2, references=2, crop=64, steps=1, validate_every=1,
        validation_clips=1,
    )  # fmt: skip
    outcome = train(short, tmp_path, textures=bank)
    assert outcome.finished
    assert outcome.skipped == 0


def test_dabits_paper_is_given_depth_and_the_wavelets_of_its_blur():
    """Narrow: what it is given does not depend on its sizes."""
    options = {"pixels": "released", "blur": "wavelet", "threshold": 1e-4}
    task = open_task(Recipe("dabit-tiny", options=options), CPU)
    assert task.needs_depth
    generator = torch.Generator().manual_seed(0)
    clip = torch.rand(2, 3, 3, 32, 32, generator=generator)
    depth = torch.rand(2, 3, 1, 32, 32, generator=generator)
    maps = task.maps(Batch(clip, clip, depth=depth), 0)
    assert torch.equal(maps.depth, depth)
    assert torch.equal(maps.blur[1], blur_of_depths(clip[1], depth[1]))
    assert torch.equal(maps.mask[1], above_least(maps.blur[1]))
    with pytest.raises(UsageError, match="needs depth"):
        task.maps(Batch(clip, clip), 0)


@pytest.mark.parametrize("changes", [{"data": "gopro:x"}, {"pool": 4}, {"validate_on": "gopro:x"}])
def test_depth_comes_from_rendered_scenes_alone(changes, bank, tmp_path):
    recipe = dataclasses.replace(recipes.load("dabit-paper"), **changes, pool_side=480)
    with pytest.raises(UsageError, match="dabit-paper needs depth"):
        open_source(recipe, bank, CPU, True, tmp_path, depth=True)


def test_dabits_losses_look_at_blurred_and_clear_pixels_apart():
    truth, mask = torch.zeros(1, 1, 3, 8, 8), torch.zeros(1, 1, 1, 8, 8)
    mask[..., :2] = 1
    found = truth + 0.5 * mask
    batch = Batch(truth, truth)
    assert focal_loss(found, batch, batch, mask, {"blurred": 1}) == pytest.approx(0.5)
    assert focal_loss(found, batch, batch, mask, {"clear": 1}) == 0
    assert focal_loss(found, batch, batch, 0 * mask, {"blurred": 1}) == 0


@pytest.mark.parametrize("seed", [0, 1])  # enlarges, and does not
def test_without_neighbours_a_step_looks_at_the_frame_it_asks_for_alone(seed, monkeypatch):
    options = {"width": 8, "tiles": [4, 4, 2], "scale": 1, "neighbours": 0}
    task = open_task(Recipe("focus-m", radius="coc-s", options=options), CPU)
    network = task.network()
    torch.manual_seed(seed)
    images = torch.rand(2, 1, 5, 3, 64, 64)
    target = task.trained_on(5, seed)[0]
    rest = images.clone()
    rest[:, :, [t for t in range(5) if t != target]] = 0
    looked: list[int] = []
    monkeypatch.setattr(
        "unblur.guidance.coc.coc_radius",
        lambda net, frames: looked.append(len(frames)) or frames.mean(1, keepdim=True),
    )
    whole, other = (task.loss(network, Batch(*x), seed) for x in (images, rest))
    assert looked == [1, 1]
    torch.testing.assert_close(whole, other, rtol=0, atol=0)


def test_dabit_s_enlarges_half_of_the_frame_at_every_other_step():
    task = open_task(Recipe("focus-s", options={"width": 8, "tiles": [4, 4, 2]}), CPU)
    seen = []
    net = task.network()
    net.register_forward_hook(lambda _, given, out: seen.append((given[0].shape, out.shape)))
    clip = torch.rand(1, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(1, 2, 2, 16, 16)
    batch = Batch(clip, clip, flow, flow, torch.full((1, 3, 1, 64, 64), 4.0))
    for seed in (0, 1):
        task.loss(net, batch, seed)
    assert [(given[-1], out[-1]) for given, out in seen] == [(32, 64), (64, 64)]


@pytest.mark.parametrize("network", ["dabit-tiny", "focus-s"])
def test_a_crop_that_has_no_half_is_refused_where_half_is_enlarged(network):
    losses = {"charbonnier": 1.0}
    with pytest.raises(UsageError, match="crop is 33: half of it"):
        open_task(Recipe(network, crop=33, losses=losses), CPU)
    open_task(Recipe("dabit-tiny", crop=33, losses=losses, options={"scales": [1]}), CPU)


@pytest.mark.parametrize("network", TASKS)
def test_every_task_trains_every_parameter(network):
    if network in ("bsstnet-paper", "dabit-paper"):
        pytest.skip("over 30 M parameters: its recipe is tested in the slow tier")
    task = open_task(Recipe(network, frames=3, crop=64), CPU)
    torch.manual_seed(1)  # by which no layer of four units is idle by chance
    net = task.network()
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():  # layers that start at zero hide those before them
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    clip = torch.rand(1, 3, 3, 64, 64, generator=generator)
    flow = torch.randn(1, 2, 2, 16, 16, generator=generator)
    flow[..., :8] += 5  # so that windows are blurred
    radius = 6 * torch.rand(1, 3, 1, 64, 64, generator=generator)
    for seed in (0, 1):  # networks that give two sizes take turns
        task.loss(net, Batch(clip, clip.flip(-1), flow, -flow, radius), seed).backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_a_fresh_bsstnet_gives_back_its_input():
    task = open_task(RECIPES[0], CPU)
    clip = torch.rand(1, 3, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    restored = task.restore(task.network().eval(), Batch(clip, clip), [0, 1, 2], None)
    assert torch.equal(restored, clip)


def test_the_same_seed_gives_the_same_batch(bank, gopro, tmp_path):
    for data in ("scenes", gopro):
        source = open_source(dataclasses.replace(RECIPES[0], data=data), bank, CPU, True, tmp_path)
        a, b, other = source.batch(2, 7), source.batch(2, 7), source.batch(2, 8)
        assert torch.equal(a.blurred, b.blurred)
        assert torch.equal(a.sharp, b.sharp)
        assert not torch.equal(a.blurred, other.blurred)


def test_flow_at_a_quarter_is_in_quarter_pixels():
    flow = torch.full((1, 2, 2, 10, 13), 8.0)
    small = quarter(flow)
    assert small.shape == (1, 2, 2, 3, 4)
    torch.testing.assert_close(small, torch.full_like(small, 2.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "unet"}, "unknown network 'unet'"),
        ({"network": "bsstnet-narrow", "options": {"chanels": 3}}, "options .*chanels"),
        ({"network": "bsstnet-tiny", "scenes": {"layer": 3}}, "scenes: .*layer"),
    ],
)
def test_wrong_recipes_are_named(changes, message, bank, tmp_path):
    with pytest.raises(UsageError, match=message):
        train(dataclasses.replace(RECIPES[0], **changes), tmp_path, textures=bank)


def test_scenes_without_textures_name_the_remedy(tmp_path):
    with pytest.raises(UsageError, match="unblur data textures"):
        train(RECIPES[0], tmp_path)


@pytest.mark.parametrize(
    ("recipe", "start"),
    [
        (Recipe("motion-m"), "maxim-stage1"),
        (Recipe("motion-m"), "motion-m"),
        (Recipe("motion-s", options={"neighbours": 0}), "motion-s"),
        (Recipe("focus-s"), "motion-s"),
        (Recipe("focus-s"), "focus-s"),
        (Recipe("focus-m"), "motion-m"),
        (Recipe("focus-m"), "focus-m"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_begins_from_all_that_the_shipped_weights_hold(recipe, start):
    task = open_task(recipe, CPU)
    network = task.network()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    load_start(network, start, task.adapt)  # would warn of tensors that start at random
    untouched = [n for n, x in network.state_dict().items() if torch.equal(x, before[n])]
    assert all("norm" in name for name in untouched), untouched


def test_the_focal_network_at_full_size_begins_blind_to_the_radius():
    """motion-m has other inputs where the radius stands; none of them may be taken for it."""
    task = open_task(Recipe("focus-m"), CPU)
    network = task.network()
    load_start(network, "motion-m", task.adapt)
    first = network.state_dict()["body.inputs.0.weight"]
    whole = open_task(Recipe("motion-m"), CPU)
    other = whole.network()
    load_start(other, "motion-m", whole.adapt)
    assert torch.equal(first[:, :3], other.state_dict()["body.inputs.0.weight"][:, :3])
    assert not first[:, 3:].any()
