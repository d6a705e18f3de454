"""What DaBiT can be trained without: blur map, depth, flow as it is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unblur.errors import UsageError
from unblur.models.dabit.config import PAPER, TINY
from unblur.training import recipe as recipes
from unblur.training.batches import Batch
from unblur.training.dabit_task import Seen, TrainDabit
from unblur.training.guiding import guided
from unblur.training.recipe import Recipe
from unblur.training.tasks import open_task

CPU = torch.device("cpu")


def task(flow: str = "dis", window: int = 0, references: int = 0, **options: object) -> TrainDabit:
    recipe = replace(
        recipes.load("dabit-narrow"),
        flow=flow,
        window=window,
        references=references,
        options={"scales": [1], **options},
    )
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
        def forward(self, frames, depth, blur, mask, forward, backward, outputs, scale):
            found[self.flow] = forward
            return frames

    for flow in ("dis", "refocused"):
        network, trained = Seen(), task(flow)
        network.flow = flow
        trained.found(network, batch, trained.maps(batch, 0), 0, 1, trained.seen(4, 0))
    apart = (found["refocused"] - found["dis"]).abs().amax(dim=(0, 1, 2, 3))
    assert apart[:16].max() > 0
    assert apart[24:].max() == 0


def test_refocused_flow_is_for_dabit(batch: Batch) -> None:
    with pytest.raises(UsageError, match="is for DaBiT"):
        guided(batch, "refocused", 0)


def test_the_papers_recipe_sees_ten_frames_and_six_references() -> None:
    recipe = recipes.load("dabit-paper")
    trained = TrainDabit(recipe, CPU, PAPER)
    starts = set()
    for seed in range(40):
        window, far = trained.seen(recipe.frames, seed)
        assert window == list(range(window[0], window[0] + 10))
        assert sorted([*window, *far]) == list(range(16))
        starts.add(window[0])
    assert starts == set(range(7))


@pytest.mark.parametrize("pixels", ["kept", "released"])
def test_references_are_looked_at_and_neither_restored_nor_changed(
    batch: Batch, pixels: str
) -> None:
    class Noted(torch.nn.Module):
        def forward(self, frames, depth, blur, mask, forward, backward, outputs, scale):
            self.given = frames, depth, blur, mask
            self.flows = forward, backward
            return frames[:, :outputs]

    trained = task(window=2, references=2, pixels=pixels)
    network, seed = Noted(), 5
    window, far = trained.seen(4, seed)
    maps = trained.maps(batch, seed)
    found = trained.found(network, batch, maps, seed, 1, Seen(window, far))
    assert found.shape[1] == len(window) == len(far) == 2
    assert all(flow.shape[1] == 1 for flow in network.flows)
    frames, depth, blur, mask = network.given
    assert torch.equal(frames[:, 2:], batch.blurred[:, far])
    assert torch.equal(mask[:, 2:], maps.mask[:, far])
    assert torch.equal(depth, maps.depth[:, [*window, *far]])
    assert torch.equal(blur, maps.blur[:, [*window, *far]])


def test_what_is_learned_depends_on_references_where_it_has_them(batch: Batch) -> None:
    assert batch.radius is not None
    batch = replace(batch, radius=4 * batch.radius)  # blurred enough to look at other frames
    other = batch.blurred.clone()
    other[:, [0, 3]] = 0.5
    for references, differs in ((2, True), (0, False)):
        trained = task(window=2, references=references)
        torch.manual_seed(0)
        network = trained.network()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        seed = next(s for s in range(20) if trained.seen(4, s).window == [1, 2])
        first, second = (
            float(trained.loss(network, replace(batch, blurred=frames), seed).detach())
            for frames in (batch.blurred, other)
        )
        assert (first != second) == differs


def test_validation_restores_the_middle_of_the_window_in_the_middle(batch: Batch) -> None:
    class Kept(torch.nn.Module):
        def forward(self, frames, *_, outputs, scale):
            return frames[:, :outputs]

    restored = task(window=2, references=2).restore(Kept(), batch, [2], None)
    assert torch.equal(restored, batch.blurred[:, [2]])


def test_validation_finds_the_middle_in_a_window_of_any_size() -> None:
    for length in range(1, 9):
        for window in range(length + 1):
            frames = task(window=window).seen(length, None).window
            assert len(frames) == (window or length)
            assert length // 2 in frames
            assert set(frames) <= set(range(length))


@pytest.mark.parametrize(
    ("window", "references", "said"),
    [
        (9, 0, "a window has 0 to 5"),
        (0, 2, "references are other frames"),
        (3, -1, "references -1"),
        (3, 3, "3 references, but only 2 frames"),
    ],
)
def test_a_window_and_its_references_fit_into_the_clip(
    window: int, references: int, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        Recipe(network="dabit-narrow", frames=5, window=window, references=references)


def test_a_window_is_for_dabit() -> None:
    with pytest.raises(UsageError, match="window is for DaBiT, motion-s sees whole clips"):
        open_task(Recipe(network="motion-s", frames=5, window=3), CPU)
