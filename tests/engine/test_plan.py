"""Tiles cover a frame, their weights sum to one, and pieces shrink until they fit."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.engine.fusion import Fusion
from unblur.engine.plan import (
    MemoryPlan,
    bytes_needed,
    candidates,
    choose_fit,
    starts,
    tile_weight,
    tiles,
)
from unblur.errors import ResourceError, UnblurWarning
from unblur.guidance.align import DisAlignment
from unblur.restorers.base import Tiling
from unblur.restorers.none import Untouched

sides = st.integers(1, 700)
tilings = st.builds(
    lambda size, share, merge: Tiling(size, size * share // 8, merge),
    st.sampled_from([32, 64, 96, 256]),
    st.integers(0, 4),
    st.sampled_from(["feather", "hard"]),
)


@given(sides, sides, tilings)
def test_tiles_stay_inside_and_cover_every_pixel(height, width, tiling):
    covered = torch.zeros(height, width)
    for tile in tiles(height, width, tiling):
        assert 0 <= tile.top <= tile.top + tile.height <= height
        assert 0 <= tile.left <= tile.left + tile.width <= width
        assert max(tile.height, tile.width) <= tiling.size
        weight = tile_weight(tile, height, width, tiling, torch.device("cpu"))
        assert weight.shape == (tile.height, tile.width)
        covered[tile.top :, tile.left :][: tile.height, : tile.width] += weight
    assert covered.min() > 0


def test_official_tiles_of_a_320x384_frame():
    assert starts(320, 256, 64) == [0, 64]
    assert starts(384, 256, 64) == [0, 128]


def test_official_merge_drops_half_of_the_overlap_at_inner_sides_only():
    tiling = Tiling(256, 64, "hard")
    first, *_, last = tiles(320, 384, tiling)
    weight = tile_weight(first, 320, 384, tiling, torch.device("cpu"))
    assert weight[:224, :224].min() == 1
    assert weight[224:].max() == 0
    assert weight[:, 224:].max() == 0
    weight = tile_weight(last, 320, 384, tiling, torch.device("cpu"))
    assert weight[:32].max() == 0
    assert weight[32:, 32:].min() == 1


class Hungry(Untouched):
    """Needs 100 bytes for each pixel of each frame."""

    info = dataclasses.replace(Untouched.info, window=48, tiling=Tiling(256, 64))

    def peak_bytes(self, frames, height, width):
        return 100 * frames * height * width


@pytest.mark.parametrize(
    ("budget", "size", "window"),
    [
        (148 * 48 * 480 * 854, None, None),  # all of it, and four copies of the frames
        (100 * 48 * 256 * 256 + 48 * 48 * 480 * 854, 256, None),  # tiles before shorter windows
        (100 * 24 * 256 * 256 + 48 * 24 * 480 * 854, 256, 24),
        (100 * 3 * 128 * 128 + 48 * 3 * 480 * 854, 128, 3),
    ],
)
def test_the_largest_pieces_that_fit_are_taken(budget, size, window):
    fit = choose_fit(Hungry(), 480, 854, budget)
    assert (fit.tiling.size if fit.tiling else None) == size
    assert fit.window == window


def test_frames_held_for_references_and_guidance_count():
    far = Hungry()
    far.info = dataclasses.replace(far.info, reach=100, guidance_bytes=10)
    pixels = 480 * 854
    needs = (148 + 10) * 48 * pixels + 200 * 6 * pixels
    assert choose_fit(far, 480, 854, needs).tiling is None
    assert choose_fit(far, 480, 854, needs - 1).tiling == far.info.tiling
    half = choose_fit(far, 480, 854, (100 * 24 * 256 * 256) + 58 * 24 * pixels + 100 * 6 * pixels)
    assert (half.tiling, half.window) == (far.info.tiling, 24)


@pytest.mark.parametrize("scale", [1, 2])
def test_network_and_fusion_take_turns(scale):
    """What the fusion keeps counts beside both, and of their own peaks the larger."""
    work = Hungry()
    work.info = dataclasses.replace(work.info, window=1, scale=scale)
    fusion = Fusion(2, DisAlignment(), torch.device("cpu"))
    size = 480, 854
    enlarged = scale * size[0], scale * size[1]
    alone = bytes_needed(work, MemoryPlan(None, None), *size)
    kept, working = fusion.held_bytes(*enlarged), fusion.working_bytes(*enlarged)
    both = bytes_needed(work, MemoryPlan(None, None), *size, fusion)
    assert working > alone
    assert kept + working < both < kept + working + alone
    work.peak_bytes = lambda frames, height, width: 10**10
    greedy = bytes_needed(work, MemoryPlan(None, None), *size)
    assert bytes_needed(work, MemoryPlan(None, None), *size, fusion) == kept + greedy
    work.peak_bytes = Hungry().peak_bytes
    assert choose_fit(work, *size, both, fusion=fusion).tiling is None
    with pytest.raises(ResourceError):
        choose_fit(work, *size, kept + working, fusion=fusion)


def test_what_the_user_asks_for_is_kept():
    fit = choose_fit(Hungry(), 480, 854, 10**12, tile=128, window=7)
    assert fit.tiling.size == 128
    assert fit.window == 7


def test_where_less_is_free_pieces_get_smaller_and_it_is_said():
    """By itself what is free changes nothing: the same job is cut up the same way at every run."""
    need = 148 * 48 * 480 * 854
    for free in (None, need, 10 * need):
        assert choose_fit(Hungry(), 480, 854, need, free=free).tiling is None
    with pytest.warns(UnblurWarning, match="the result differs a little"):
        fit = choose_fit(Hungry(), 480, 854, need, free=need - 1)
    assert fit.tiling is not None
    with pytest.raises(ResourceError, match=r"allow \d+ MB more"):
        choose_fit(Hungry(), 480, 854, need, free=1000)


def test_too_little_memory_is_an_error_that_names_both_figures():
    with pytest.raises(ResourceError, match=r"needs at least \d+ MB .* 854x480, 0 MB are left"):
        choose_fit(Hungry(), 480, 854, 0)


def test_a_limit_that_is_too_small_is_answered_with_the_least_that_will_do():
    """Also where the program itself needs more than the limit."""
    for room in (1000, -(10**9)):
        with pytest.raises(ResourceError) as said:
            choose_fit(Hungry(), 480, 854, room, limit=10**9)
        least = int(re.search(r"--max-memory (\d+)MB", str(said.value))[1]) * 10**6
        choose_fit(Hungry(), 480, 854, room + least - 10**9, limit=least)
        much = 2 * 10**7
        with pytest.raises(ResourceError):
            choose_fit(Hungry(), 480, 854, room + least - 10**9 - much, limit=least - much)


def test_windows_that_give_the_same_are_shortened_before_frames_are_cut():
    same = Hungry()
    same.info = dataclasses.replace(same.info, window=16, same_from=6)
    pixels = 480 * 854
    for window in (8, 6):
        assert choose_fit(same, 480, 854, 148 * window * pixels) == MemoryPlan(None, window)
    # No warning either: nothing differs.
    assert choose_fit(same, 480, 854, 10**12, free=148 * 6 * pixels) == MemoryPlan(None, 6)
    assert choose_fit(same, 480, 854, 148 * 6 * pixels - 1).tiling == same.info.tiling


def test_the_largest_tiles_that_fit_are_taken_where_they_are_nearer_to_the_whole_frame():
    near = Hungry()
    near.info = dataclasses.replace(near.info, window=1, tiling=Tiling(256, 64, larger=True))
    fits = list(candidates(near, 1080, 1920, None, None))
    assert [fit.tiling.size if fit.tiling else None for fit in fits] == [
        None,
        1024,
        512,
        256,
        128,
        64,
    ]
    assert next(candidates(near, 200, 200, None, None)).tiling is None
