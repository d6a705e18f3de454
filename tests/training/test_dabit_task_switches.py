"""What DaBiT can be trained without: blur map, depth, flow as it is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unblur.errors import UsageError
from unblur.models.dabit.config import TINY
from unblur.training import recipe as recipes
from unblur.training.batches import Batch
from unblur.training.dabit_task import TrainDabit
from unblur.training.guiding import guided

CPU = torch.device("cpu")


def task(flow: str = "dis", **options: object) -> TrainDabit:
    recipe = replace(recipes.load("dabit-narrow"), flow=flow, options={"scales": [1], **options})
    return TrainDabit(recipe, CPU, TINY)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Noise that moves by two pixels a frame; its left half is out of focus by 3 pixels."""
    noise = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    frames = torch.stack([noise[..., 2 * t : 2 * t + 32] for t in range(4)], 1)  # (1, 4, 3, 32, 32)
    radius = torch.zeros(1, 4, 1, 32, 32)
    radius[..., :16] = 3
    return Batch(frames, frames, radius=radius)


def test_without_a_blur_map_all_counts_as_blurred(batch: Batch) -> None:
    whole, bare = task().maps(batch, 0), task(blur="none").maps(batch, 0)
    assert 0 < whole.mask.mean() < 1
    assert (bare.blur == 1).all()
    assert (bare.mask == 1).all()
    assert torch.equal(whole.depth, bare.depth)


def test_without_depth_all_is_as_far(batch: Batch) -> None:
    whole, flat = task().maps(batch, 0), task(depth="none").maps(batch, 0)
    assert whole.depth.std() > 0
    assert (flat.depth == 0).all()
    assert torch.equal(whole.blur, flat.blur)


def test_refocused_flow_differs_where_it_is_blurred_alone(batch: Batch) -> None:
    found: dict[str, torch.Tensor] = {}

    class Seen(torch.nn.Module):
        def forward(self, frames, depth, blur, mask, forward, backward, scale):
            found[self.flow] = forward
            return frames

    for flow in ("dis", "refocused"):
        network, trained = Seen(), task(flow)
        network.flow = flow
        trained.found(network, batch, trained.maps(batch, 0), 0, 1)
    apart = (found["refocused"] - found["dis"]).abs().amax(dim=(0, 1, 2, 3))
    assert apart[:16].max() > 0
    assert apart[24:].max() == 0


def test_refocused_flow_is_for_dabit(batch: Batch) -> None:
    with pytest.raises(UsageError, match="is for DaBiT"):
        guided(batch, "refocused", 0)
