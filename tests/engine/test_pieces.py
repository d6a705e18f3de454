"""Pieces of a job, put together again, are what one worker gives."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.engine.fusion import Fusion
from unblur.engine.pieces import frames_per_piece, pieces, restore_piece, spread
from unblur.engine.plan import MemoryPlan
from unblur.engine.rendition import Rendition
from unblur.engine.run import Runner
from unblur.errors import MediaError
from unblur.guidance.align import DisAlignment
from unblur.ops.shots import Shot
from unblur.restorers.base import Window
from unblur.restorers.none import Untouched


@dataclasses.dataclass(frozen=True)
class Plain:
    number: int
    image: torch.Tensor

    def rgb(self):
        return self.image


class Mixing(Untouched):
    """What comes out depends on all of a window; frames are in two windows, and look far back."""

    info = dataclasses.replace(
        Untouched.info, name="mixing", passes_through=False, window=7, reach=9
    )

    def windows(self, length, limit=None):
        size = min(6, length)
        starts = sorted({*range(0, length - size, 4), length - size})
        return [
            Window((max(0, a - 9), *range(a, a + size)), tuple(range(a, a + size))) for a in starts
        ]

    def run(self, frames, guidance, outputs):
        return 0.7 * frames[list(outputs)] + 0.3 * frames.mean(0)


class Threads:
    """Two workers of a program, which finish in any order."""

    most = 3

    def __init__(self, make):
        self.make, self.pool = make, ThreadPoolExecutor(2)
        self.under_way = self.longest = 0

    def hand(self, frame):
        return frame

    def begin(self, piece, handed):
        self.under_way += 1
        self.longest = max(self.longest, self.under_way)
        assert [frame.number for frame in handed] == list(range(piece.begin, piece.end))
        return self.pool.submit(lambda: list(restore_piece(self.make(), piece, handed)))

    def is_done(self, work, seconds):
        return bool(wait([work], seconds).done)

    def take(self, work, frames):
        self.under_way -= 1
        made = work.result()
        assert [frame for frame, _ in made] == frames
        return [Plain(frame.number, image) for frame, image in made]


FRAMES = [
    Plain(i, x)
    for i, x in enumerate(torch.rand(31, 3, 16, 24, generator=torch.Generator().manual_seed(0)))
]
SHOTS = [Shot(0, 17), Shot(17, 18), Shot(18, 31)]


def runner(radius=0):
    fusion = Fusion(radius, DisAlignment(), torch.device("cpu")) if radius else None
    rendition = Rendition("encoded", "iec61966-2-1")
    return Runner(Mixing(), rendition, MemoryPlan(None, None), None, fusion)


def whole(radius):
    return {f.number: x for f, x in runner(radius).restore(FRAMES, SHOTS)}


@settings(max_examples=12, deadline=None)
@given(first=st.integers(0, 30), length=st.integers(1, 20), radius=st.sampled_from([0, 0, 2]))
def test_pieces_give_what_one_worker_gives(first, length, radius):
    plan = list(pieces(runner(radius), SHOTS, first, length))
    assert [i for p in plan for i in range(p.first, p.stop)] == list(range(first, 31))
    crew, reported = Threads(lambda: runner(radius)), []
    begin = plan[0].oldest
    expected = whole(radius)
    made = list(spread(iter(FRAMES[begin:]), plan, crew, reported.append))
    assert [frame.number for frame in made] == list(range(first, 31))
    assert all(torch.equal(frame.image, expected[frame.number]) for frame in made)
    assert crew.longest <= crew.most
    assert reported == sorted(reported)
    assert reported[-1] == 31 - first


def test_frames_by_themselves_need_no_end():
    def make():
        return Runner(Untouched(), Rendition("encoded", "iec61966-2-1"), MemoryPlan(None, None))

    made = list(spread(iter(FRAMES[3:]), pieces(make(), None, 3, 8), Threads(make)))
    assert [frame.number for frame in made] == list(range(3, 31))


def test_no_more_is_restored_than_matters(monkeypatch):
    seen = []
    run = Mixing.run
    monkeypatch.setattr(
        Mixing, "run", lambda s, f, g, out: seen.append(len(out)) or run(s, f, g, out)
    )
    piece = next(pieces(runner(2), SHOTS, 0, 4))
    assert (piece.first, piece.stop) == (0, 4)
    list(restore_piece(runner(2), piece, FRAMES[piece.begin : piece.end]))
    assert sum(seen) == 7 + 2  # frames 0 to 6, of which two are in two windows


def test_a_video_that_became_shorter():
    plan = list(pieces(runner(), SHOTS, 0, 8))
    with pytest.raises(MediaError, match="ended at frame 20"):
        list(spread(iter(FRAMES[:20]), plan, Threads(runner)))


def test_every_worker_has_something_to_do():
    assert frames_per_piece(3_000_000, 100_000, 8) == 48
    assert frames_per_piece(3_000_000, 200, 8) == 13
    assert frames_per_piece(100_000_000, None, 2) == 8
