"""What a network that ships makes of a frame, however the work is cut up: bounds that faults.md
states.
"""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import unblur
from unblur.engine.plan import MemoryPlan, candidates
from unblur.engine.tiled import run_tiled
from unblur.restorers.base import Priors, Restorer, Tiling
from unblur.synth import held_out

SHIPPED = ["motion-s", "motion-m", "focus-s", "focus-m", "maxim-stage1"]
WHOLE = MemoryPlan(None, None)
SPEED = 3
"""Pixels a frame."""
IN_TILES = {"motion-s": 38, "motion-m": 41, "focus-s": 44, "focus-m": 41, "maxim-stage1": 39}
"""dB between a frame in tiles and the whole frame, at least."""


@functools.cache
def load(name: str) -> Restorer:
    return unblur.load_model(name, device="cpu", precision="fp32")


def clip(length: int, height: int = 64, width: int = 96) -> tuple[Tensor, Priors]:
    """Frames (T, 3, H, W) of a texture that moves and is blurred, and how far each is out."""
    images = held_out().images
    image = torch.cat([images[7], images[14]], -1)[None].float() / 255
    soft = F.avg_pool2d(F.pad(image, (4, 4, 0, 0), mode="reflect"), (1, 9), 1)
    starts = [SPEED * t for t in range(length)]
    frames = torch.cat([soft[..., :height, start : start + width] for start in starts])
    blur = torch.full_like(frames[:, :1], 0.3)
    return frames, Priors(tuple(range(length)), blur, blur)


def restored(
    name: str, shown: tuple[Tensor, Priors], outputs: list[int], fit: MemoryPlan
) -> Tensor:
    restorer = load(name)
    frames, priors = shown
    return run_tiled(restorer, frames, outputs, fit, priors if restorer.info.needs_depth else None)


@pytest.mark.parametrize("other", [2, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SHIPPED)
def test_threads_change_rounding_at_most(name: str, other: int) -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, other):
            torch.set_num_threads(threads)
            found.append(restored(name, clip(3), [1], WHOLE))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["motion-s", "focus-s"])
def test_windows_of_any_length_give_the_same(name: str) -> None:
    """All the plan may choose before it cuts frames up."""
    restorer, length = load(name), 10
    frames, priors = clip(length)
    whole = restored(name, (frames, priors), list(range(length)), WHOLE)
    fits = candidates(restorer, 64, 96, None, None)
    assert {None, restorer.info.same_from} <= {fit.window for fit in fits if fit.tiling is None}
    for window in restorer.windows(length, restorer.info.same_from):
        part = Priors(window.inputs, *(x[list(window.inputs)] for x in priors[1:]))
        given = part if restorer.info.needs_depth else None
        positions = [window.inputs.index(i) for i in window.outputs]
        got = run_tiled(restorer, frames[list(window.inputs)], positions, WHOLE, given)
        torch.testing.assert_close(got, whole[list(window.outputs)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
def test_tiles_are_near_the_whole_frame(name: str) -> None:
    """Two tiles that share most of their pixels, as where a frame hardly fits into memory."""
    shown = clip(3, 112, 176)
    fit = MemoryPlan(Tiling(size=128, overlap=32), None)
    whole, tiled = (restored(name, shown, [1], cut).clamp(0, 1) for cut in (WHOLE, fit))
    error = (tiled - whole).square().mean()
    decibels = float(-10 * torch.log10(error))
    print(name, decibels)
    assert decibels > IN_TILES[name]
