"""Each shot of a job by its own model: order, progress, going on, and what passes untouched."""

from __future__ import annotations

import pytest
import torch

from unblur.engine.by_shot import ByShot
from unblur.engine.estimate import Cost
from unblur.engine.plan import MemoryPlan
from unblur.engine.rendition import Rendition
from unblur.engine.run import Runner
from unblur.errors import MediaError
from unblur.ops.shots import Shot
from unblur.restorers.base import RestorerInfo, Window

SHOTS = [Shot(0, 3), Shot(3, 5), Shot(5, 9)]


class Still:
    def __init__(self, level):
        self.level = level

    def rgb(self):
        return torch.full((3, 4, 4), self.level)


class Adding:
    """Adds to a frame; sees its neighbours."""

    def __init__(self, name, amount):
        self.amount, self.seen = amount, []
        self.info = RestorerInfo(name, "", "any", "encoded", "", 0, window=3)

    def windows(self, length, limit=None):
        return [
            Window(tuple(range(max(0, i - 1), min(length, i + 2))), (i,)) for i in range(length)
        ]

    def guide(self, frames, priors=None):
        return {}

    def run(self, frames, guidance, outputs):
        self.seen += frames[:, 0, 0, 0].tolist()
        return frames[list(outputs)] + self.amount

    def peak_bytes(self, frames, height, width):
        return 1


def by_shot(seconds=(1.0, 3.0)):
    runners = {}
    for name, amount, each in zip("ab", (0.25, 0.5), seconds, strict=True):
        plain = Rendition("encoded", None), MemoryPlan(None, None)
        runners[name] = Runner(Adding(name, amount), *plain)
        runners[name].cost = Cost(run=each)
    return ByShot(SHOTS, ["a", "none", "b"], runners)


def frames(count=9):
    return [Still(i / 32) for i in range(count)]


def level(pair):
    frame, image = pair
    return None if image is None else float(image[0, 0, 0] - frame.rgb()[0, 0, 0])


def test_each_shot_gets_its_model_and_sees_no_other_shot():
    job = by_shot()
    given = frames()
    made = list(job.restore(given))
    assert [pair[0] for pair in made] == given
    assert [level(pair) for pair in made] == [0.25] * 3 + [None] * 2 + [0.5] * 4
    assert set(job.runners["a"].restorer.seen) == {i / 32 for i in range(3)}
    assert set(job.runners["b"].restorer.seen) == {i / 32 for i in range(5, 9)}
    assert job.untouched == sum(pair[1] is None for pair in made)


@pytest.mark.parametrize("first", range(9))
def test_going_on_gives_what_the_whole_gives(first):
    whole = [level(pair) for pair in by_shot().restore(frames())]
    job = by_shot()
    rest = list(job.restore(frames()[job.begin(first) :], first=first))
    assert [level(pair) for pair in rest] == whole[first:]


def test_frames_count_by_what_they_cost():
    job = by_shot()
    assert job.paced(0) == 0
    assert job.paced(9) == pytest.approx(9)
    assert job.paced(4) == pytest.approx(9 * 3.03 / 15.06)
    assert job.paced(7) == pytest.approx(9 * 9.06 / 15.06)
    reported = []
    job.tick = reported.append
    list(job.restore(frames()))
    assert reported == sorted(reported)
    assert reported[-1] == 8  # as the last one is begun


def test_a_video_that_ends_in_a_shot_that_passes_is_told():
    with pytest.raises(MediaError, match="ended at frame 4"):
        list(by_shot().restore(frames(4)))
