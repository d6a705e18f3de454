"""A job tells one share of the whole, which never goes back, and a time left that comes true."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.progress import FINISH, LOOK, MEASURE, OPEN, RESTORE, TRY, Job, Rounds


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("wrong", [0.5, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize(("frames", "look", "pace"), [(36, 0.05, 4.0), (292, 0.05, 0.1)])
def test_after_a_tenth_the_time_left_is_right(clock, wrong, frames, look, pace):
    """Though the expectation was wrong by a factor of two, where the look is a small part."""
    said = []
    job = Job(lambda now: said.append((clock[0], now)))
    job.begin("open")
    clock[0] += 2.0
    job.begin(LOOK, frames, later=wrong * pace * frames)
    for n in range(1, frames + 1):
        clock[0] += look
        job.at(n)
    job.begin(RESTORE, frames, wrong * pace)
    for n in range(1, 4 * frames + 1):
        clock[0] += pace / 4
        job.at(n / 4)
    job.begin(FINISH)
    clock[0] += 0.5
    end = clock[0]
    for at, now in said:
        if now.stage == RESTORE and at > 0.1 * end and now.done > 1 and end - at > 5:
            assert now.left == pytest.approx(end - at, rel=0.3)
    shares = [now.share for _, now in said]
    assert shares == sorted(shares)
    assert shares[-1] > 0.98


def test_the_share_of_a_resumed_job_counts_what_was_done_before(clock):
    said = []
    job = Job(said.append)
    job.begin(OPEN)
    clock[0] += 1
    job.begin(RESTORE, 100, 2.0, done=90)
    assert said[-1].share == pytest.approx(0.9, abs=0.01)
    for n in range(91, 101):
        clock[0] += 2
        job.at(n)
    assert said[-2].share == pytest.approx(0.99, abs=0.01)
    job.begin(FINISH)
    assert said[-1].share > 0.98


@given(st.lists(st.floats(0, 40), min_size=1, max_size=30), st.integers(1, 40))
def test_the_share_never_goes_back(positions, total):
    said = []
    job = Job(said.append)
    job.begin(RESTORE, total)
    for position in positions:
        job.at(position)
    shares = [now.share for now in said]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    assert said[-1].done == int(max(positions) + 1e-6)


def test_without_a_length_there_is_no_time_left(clock):
    said = []
    job = Job(said.append)
    job.begin(RESTORE)
    clock[0] = 5.0
    job.at(3)
    assert (said[-1].done, said[-1].total, said[-1].eta) == (3, None, None)
    assert said[-1].fps == pytest.approx(0.6)


def test_frames_that_pass_do_not_say_how_long_the_others_take(clock):
    said = []
    job = Job(said.append)
    job.begin(RESTORE, 18)
    for n in range(1, 7):  # sharp: they cost a hundredth, and are written in no time
        clock[0] += 0.01
        job.at(0.01 * n, n)
    assert said[-1].eta is None
    assert said[-1].share == 0
    for n in range(1, 13):
        clock[0] += 5.0
        job.at(0.06 + 17.94 * n / 12, 6 + n)
        assert said[-1].left == pytest.approx(5.0 * (12 - n), rel=0.1, abs=1.0)


def test_what_is_expected_of_later_stages_is_kept_from_stage_to_stage(clock):
    said = []
    job = Job(said.append)
    job.begin(MEASURE, later=None)
    assert said[-1].eta is None  # of this stage alone nothing is known
    job.begin(LOOK, 10, later=100.0)
    for n in range(1, 11):
        clock[0] += 0.1
        job.at(n)
    assert said[-1].left == pytest.approx(100, rel=0.03)
    job.begin(TRY, 4, later=job.later)
    assert said[-1].left == pytest.approx(100, rel=0.03)
    clock[0] += 2.0
    job.at(1)
    assert said[-1].left == pytest.approx(106, rel=0.03)
    job.begin(MEASURE, later=job.later)
    assert said[-1].left == pytest.approx(100)


def test_rounds_know_their_parts_apart():
    rounds = Rounds(["quick", "slow"], 10)
    rounds.note("quick", 1.0)
    assert rounds.left() is None
    rounds.note("slow", 20.0)
    assert rounds.left() == pytest.approx(9 * 21.0)
    rounds.note("quick", 3.0)
    assert rounds.left() == pytest.approx(8 * 2 + 9 * 20)
