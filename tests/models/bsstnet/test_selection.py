"""Exactly which frames of which windows attend to which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.models.bsstnet.stages import masks
from unblur.models.bsstnet.selection import (
    Selection,
    select,
    select_official,
    select_paper,
    window_blur,
)


def clip(levels: list[float], length: int = 8, inset: int = 0) -> Tensor:
    """Blur map of two windows side by side: the left one is sharp, the right one has `levels`.

    Patches reach 2 elements into the next window, which a maximum can notice: with an `inset` the
    blur stays that far away from the window's border.
    """
    blur = torch.zeros(1, length, 1, 16, 32)
    blur[..., inset : 16 - inset, 16 + inset : 32 - inset] = torch.tensor(levels)[
        :, None, None, None
    ]
    return blur


def pairs(selection: Selection, frames: Tensor) -> set[tuple[int, int]]:
    """(frame, window column) of all that was taken."""
    return {
        (int(frame), col)
        for col in range(selection.windows.shape[2])
        if selection.windows[0, 0, col]
        for frame in frames[0, :, 0, col]
    }


LEVELS = [0.1, 0.9, 0.8, 0.5, 0.2, 0.6, 0.7, 0.95]


def test_official_first_block_ranks_even_frames_by_blur() -> None:
    first = select(clip(LEVELS), "official", blocks=4)[0]
    assert first.windows.tolist() == [[[False, True]]]
    assert pairs(first, first.queries) == {(2, 1), (6, 1)}  # .8 and .7 of the even frames
    assert pairs(first, first.keys) == {(0, 1), (4, 1)}  # .1 and .2


def test_official_later_blocks_are_blind_to_blur() -> None:
    _, second, third, fourth = select(clip(LEVELS), "official", blocks=4)
    for block, keys in ((second, {1, 3}), (third, {0, 2}), (fourth, {1, 3})):
        assert block.windows.tolist() == [[[False, True]]]
        assert pairs(block, block.queries) == {(0, 1), (1, 1)}
        assert pairs(block, block.keys) == {(k, 1) for k in keys}


def test_official_windows_follow_the_parity_of_the_block() -> None:
    only_frame_3 = [0, 0, 0, 0.9, 0, 0, 0, 0]
    blocks = select(clip(only_frame_3), "official", blocks=4)
    assert [b.windows[0, 0].tolist() for b in blocks] == [[False, False], [False, True]] * 2


def test_official_threshold_is_exceeded_not_reached() -> None:
    u = torch.full((1, 4, 1, 1), 0.5)
    assert not select_official(u, 1, 0.25, 0.5)[0].windows.any()
    assert select_paper(u, 1, 0.5, 0.5)[0].windows.all()


def test_official_48_frames_take_the_stable_order() -> None:
    u = torch.rand(1, 48, 1, 1, generator=torch.Generator().manual_seed(0))
    _, second, third, _ = select_official(u, 4, 0.25, 0.3)
    assert second.queries.flatten().tolist() == list(range(12))
    assert second.keys.flatten().tolist() == list(range(1, 24, 2))
    assert third.keys.flatten().tolist() == list(range(0, 24, 2))


def test_paper_ranks_queries_over_all_frames_and_keys_within_a_parity() -> None:
    blocks = select(clip(LEVELS, inset=2), "paper", blocks=4, keep=0.5)
    for i, block in enumerate(blocks):
        assert block.windows.tolist() == [[[False, True]]]
        assert pairs(block, block.queries) == {(1, 1), (2, 1), (6, 1), (7, 1)}
        parity = {0, 2, 4, 6} if i % 2 == 0 else {1, 3, 5, 7}
        assert pairs(block, block.keys) == {(k, 1) for k in parity}


def test_paper_keeps_a_quarter() -> None:
    even, odd = select(clip(LEVELS, inset=2), "paper", blocks=2, keep=0.25)
    for block in (even, odd):
        assert pairs(block, block.queries) == {(1, 1), (7, 1)}
    assert pairs(even, even.keys) == {(0, 1), (4, 1)}
    assert pairs(odd, odd.keys) == {(3, 1), (5, 1)}


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_keeping_all_takes_every_frame_of_blurred_windows(mode: str) -> None:
    for block in select(clip(LEVELS, inset=2), mode, blocks=4, keep=1):  # type: ignore[arg-type]
        assert pairs(block, block.queries) == pairs(block, block.keys) == {(t, 1) for t in range(8)}


def test_paper_takes_the_mean_of_each_token_and_the_largest_of_each_window() -> None:
    blur = torch.rand(1, 2, 1, 16, 32, generator=torch.Generator().manual_seed(0))
    found = window_blur(blur, "max")
    for t, col in ((0, 0), (0, 1), (1, 0), (1, 1)):
        tokens = [
            blur[0, t, 0, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].mean()
            for y in range(0, 16, 2)
            for x in range(16 * col, 16 * col + 16, 2)
        ]
        torch.testing.assert_close(found[0, t, 0, col], torch.stack(tokens).max())


def test_paper_selects_a_window_for_one_blurred_token() -> None:
    blur = torch.zeros(1, 4, 1, 16, 32)
    blur[0, 2, 0, 4:9, 22:27] = 0.3  # the 5 x 5 elements of one token
    blocks = select(blur, "paper", blocks=2, keep=0.5, threshold=0.2999)
    assert all(b.windows.tolist() == [[[False, True]]] for b in blocks)
    assert not any(b.windows.any() for b in select(blur, "official", blocks=2, threshold=0.2999))
    blur[0, 2, 0, 6, 24] = 0  # one element of it is sharp
    assert not any(b.windows.any() for b in select(blur, "paper", 2, 0.5, threshold=0.2999))


def test_random_takes_as_much_as_paper_by_lot() -> None:
    blur = clip(LEVELS, inset=2)
    paper = select(blur, "paper", 4, keep=0.5)
    first, again, other = (
        select(blur, "random", 4, keep=0.5, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    for a, b in zip(paper, first, strict=True):
        assert torch.equal(a.windows, b.windows)
        assert a.queries.shape == b.queries.shape
        assert a.keys.shape == b.keys.shape
    assert all(torch.equal(x.keys, y.keys) for x, y in zip(first, again, strict=True))
    assert not all(torch.equal(x.keys, y.keys) for x, y in zip(first, other, strict=True))
    taken = [{int(t) for t in b.queries[0, :, 0, 1]} for b in first]
    assert len(set(map(frozenset, taken))) > 1, "each block draws its own"


def test_dense_takes_everything() -> None:
    for block in select(clip([0.0] * 3, 3), "dense", blocks=2):
        assert pairs(block, block.queries) == {(t, c) for t in range(3) for c in range(2)}
        assert pairs(block, block.keys) == pairs(block, block.queries)


def test_samples_of_a_batch_are_judged_one_by_one() -> None:
    blur = torch.cat((clip(LEVELS).flip(4), clip(LEVELS[::-1])))
    together = select(blur, "paper", blocks=2, keep=0.5)
    for i in range(2):
        alone = select(blur[i : i + 1], "paper", blocks=2, keep=0.5)
        for a, b in zip(together, alone, strict=True):
            assert all(torch.equal(x[i], y[0]) for x, y in zip(a, b, strict=True))


@settings(deadline=None)
@given(st.integers(1, 13), st.sampled_from(["official", "paper", "random"]), st.floats(0.05, 1))
def test_any_length_takes_frames_that_exist_once(length: int, mode: str, keep: float) -> None:
    blur = torch.rand(1, length, 1, 16, 16, generator=torch.Generator().manual_seed(length))
    for block in select(blur, mode, blocks=3, keep=keep):  # type: ignore[arg-type]
        for frames in (block.queries, block.keys):
            taken = frames.flatten().tolist()
            assert taken == sorted(set(taken))
            assert len(taken) == max(1, int(length * keep))
            assert set(taken) <= set(range(length))


def assert_masks(golden: np.lib.npyio.NpzFile) -> None:
    """The frames taken in each block are those of the published code."""
    blur = torch.from_numpy(golden["blur"])
    for i, block in enumerate(select(blur, "official", blocks=4)):
        for kind, frames in (("q", block.queries), ("kv", block.keys)):
            expected = torch.from_numpy(golden[f"{kind}mask{i}"])
            assert torch.equal(masks(block.windows, frames, blur.shape[1])[0], expected), (kind, i)


def test_masks_of_six_frames_equal_the_published_code(goldens: Path) -> None:
    assert_masks(np.load(goldens / "bsstnet_T6.npz"))


@pytest.mark.parametrize("name", ["g1_full_256_T4", "g2_flows_given_256_T8"])
def test_masks_equal_the_published_code(shared: Path, name: str) -> None:
    golden = np.load(shared / "goldens" / "bsstnet" / f"{name}.npz")
    u = torch.from_numpy(golden["U"])
    found = window_blur(torch.from_numpy(golden["blur"]), "mean")[0]
    torch.testing.assert_close(found, u, rtol=0, atol=1e-6)
    assert_masks(golden)
