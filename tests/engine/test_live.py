"""A stream gives what the whole clip gives, and holds no more than a window or two."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.engine.live import check_live, unfolding
from unblur.engine.plan import MemoryPlan
from unblur.engine.rendition import Rendition
from unblur.engine.run import Runner, find_shots
from unblur.errors import UsageError
from unblur.ops.shots import marked
from unblur.restorers.bsstnet import overlapping_windows
from unblur.restorers.dabit import DabitRestorer
from unblur.restorers.none import Untouched
from unblur.restorers.registry import PRESETS, preset

ENCODED = Rendition("encoded", "iec61966-2-1")


class Windowed(Untouched):
    """Says of each frame what the network saw: the mean of the window's frames."""

    info = dataclasses.replace(Untouched.info, window=8, passes_through=False)

    def windows(self, length, limit=None):
        return overlapping_windows(length, min(limit or 8, 8))

    def run(self, frames, guidance, outputs):
        return frames.mean(0, keepdim=True).expand(len(outputs), -1, -1, -1)


class Referring(Windowed):
    """The windows of a network that takes references from further away."""

    info = preset("dabit-narrow").info
    windows = DabitRestorer.windows


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.sampled_from([None, 1, 2, 3, 5, 8]))
@pytest.mark.parametrize("kind", [Windowed, Referring, Untouched])
def test_windows_unfold_as_they_would_be_of_the_whole_shot(kind, length, limit):
    restorer = kind()
    requested = []

    def there(index):
        requested.append(index)
        return index < length

    whole = restorer.windows(length, limit)
    steps, waited = [], []
    for step in unfolding(restorer, limit, there):
        steps.append(step)
        waited.append(len(requested) - 1 - max(step.window.inputs))
    assert [step.window for step in steps] == whole
    for n, step in enumerate(steps):
        assert step.oldest <= min(min(window.inputs) for window in whole[n:])
        assert all(step.unfinished <= window.outputs[0] for window in whole[n + 1 :])
    assert max(waited) <= restorer.info.window + (restorer.info.reach or 0) + 1
    assert requested == sorted(set(requested))


@dataclasses.dataclass
class Shown:
    image: torch.Tensor

    def rgb(self):
        return self.image


def clip(lengths, seed):
    """Shots of noise, with flashes and moves inside."""
    drawn = torch.Generator().manual_seed(seed)
    frames = []
    for length in lengths:
        base = torch.rand(3, 40, 70, generator=drawn)
        for n in range(length):
            light = float(torch.rand((), generator=drawn)) if n % 4 == 3 else 1.0
            frames.append(Shown(light * base[:, n % 5 : n % 5 + 34]))
    return frames


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 14), min_size=1, max_size=5), st.integers(0, 99))
def test_cuts_are_found_as_in_the_whole_clip(lengths, seed):
    frames = clip(lengths, seed)
    begins = [begins for _, _, begins in marked((f, f.rgb()) for f in frames)]
    assert [n for n, yes in enumerate(begins) if yes] == [s.start for s in find_shots(frames)]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(0, 99))
def test_a_stream_equals_the_whole_clip(lengths, seed):
    frames = clip(lengths, seed)
    runner = Runner(Windowed(), ENCODED, MemoryPlan(None, None))
    whole = list(runner.restore(frames, find_shots(frames)))
    live = list(runner.restore_live(iter(frames)))
    assert [frame for frame, _ in live] == [frame for frame, _ in whole]
    for (_, a), (_, b) in zip(live, whole, strict=True):
        assert torch.equal(a, b)


def test_a_stream_without_an_end_holds_no_more_with_time():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield Shown(torch.full((3, 4, 4), taken % 7 / 7))

    runner = Runner(Windowed(), ENCODED, MemoryPlan(None, None))
    ahead = []
    for given_back, _ in enumerate(runner.restore_live(endless()), 1):
        ahead.append(taken - given_back)
        if given_back == 300:
            break
    assert max(ahead[150:]) == max(ahead[20:150]) <= 2 * 8 + 5


@pytest.mark.parametrize("name", ["atlas", "dabit", "dabit-paper"])
def test_models_that_look_at_whole_shots_are_refused(name):
    with pytest.raises(UsageError, match="whole shots"):
        check_live(preset(name).info)


def test_all_other_models_take_streams():
    refused = {name for name, p in PRESETS.items() if p.info.reach is None}
    for name in PRESETS.keys() - refused:
        check_live(preset(name).info)
    assert {
        "motion-s",
        "motion-m",
        "focus-s",
        "focus-m",
        "maxim-stage1",
    } <= PRESETS.keys() - refused
