"""Networks of other papers beside those of ours: what they cost, and that they learn."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from unblur.training.batches import Batch
from unblur.training.recipe import Recipe
from unblur.training.tasks import open_task

CPU = torch.device("cpu")
NAMES = ["nafnet-narrow", "basicvsrpp-narrow", "aligned-narrow"]
TINY = {
    "nafnet-narrow": {"width": 8, "down": [1, 1], "up": [1, 1]},
    "basicvsrpp-narrow": {"stem": 4, "channels": 8, "groups": 2, "within": 1},
    "aligned-narrow": {"width": 8, "tiles": [4, 4, 2]},
}


def moving(side: int) -> Batch:
    """A smooth clip of five frames that moves, blurred along its motion."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, side // 4 + 8, side // 4 + 8, generator=generator)
    large = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic").sigmoid()
    at = [large[..., :side, 4 * t : 4 * t + side] for t in range(5)]
    near = [[large[..., :side, 4 * t + k : 4 * t + k + side] for k in range(8)] for t in range(5)]
    sharp, blurred = torch.stack(at, 1), torch.stack([sum(each) / 8 for each in near], 1)
    flow = torch.zeros(1, 4, 2, side // 4, side // 4)
    flow[:, :, 0] = -1
    return Batch(blurred, sharp, flow, -flow)


def gmac(recipe: Recipe) -> float:
    """Of a clip of 128 x 128."""
    task, batch = open_task(recipe, CPU), moving(128)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        task.apply(task.network(), batch, list(range(5)))
    return counter.get_total_flops() / 2e9


def test_they_cost_what_the_arms_of_tables_do():
    from unblur.reproduce import PAPERS
    from unblur.reproduce.run import recipe_of

    (part,) = [part for part in PAPERS["bsstnet"] if part.name == "peers"]
    arms = {step.arm: recipe_of(step) for step in part.steps if step.changes["seed"] == 0}
    costs = {arm: gmac(recipe) for arm, recipe in arms.items()}
    assert len(costs) == 4
    for arm, cost in costs.items():
        assert cost == pytest.approx(costs["BSSTNet"], rel=0.1), arm
    assert len({(r.frames, r.crop, r.batch, str(r.scenes)) for r in arms.values()}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_one_gives_back_its_input(name):
    task, batch = open_task(Recipe(name, options=TINY[name]), CPU), moving(64)
    with torch.no_grad():
        assert torch.equal(task.apply(task.network(), batch, [0, 2]), batch.blurred[:, [0, 2]])


@pytest.mark.parametrize("name", ["nafnet-narrow", "basicvsrpp-narrow"])
def test_it_learns_a_clip(name):
    torch.manual_seed(0)
    task = open_task(Recipe(name, options=TINY[name]), CPU)
    net, batch, losses = task.network(), moving(64), []
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for step in range(25):
        loss = task.loss(net, batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_all_frames_of_a_clip_are_learned_from(name):
    task = open_task(Recipe(name, options=TINY[name]), CPU)
    assert task.trained_on(5, 3) == [0, 1, 2, 3, 4]
