"""Times as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unblur.errors import UsageError
from unblur.video.timecode import Time, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2.5s", Fraction(5, 2)),
        ("2.5", Fraction(5, 2)),
        ("0", 0),
        ("7.", 7),
        (".25s", Fraction(1, 4)),
        ("0.1", Fraction(1, 10)),
        ("90", 90),
        ("1:30", 90),
        ("90:00", 5400),
        ("01:02:03", 3723),
        ("1:02:03.040", Fraction(372304, 100)),
        (" 5s ", 5),
    ],
)
def test_seconds(text, seconds):
    assert parse_time(text) == Time(seconds=Fraction(seconds))


def test_frames():
    assert parse_time("f0") == Time(frame=0)
    assert parse_time("f10") == Time(frame=10)


@pytest.mark.parametrize(
    "text",
    ["", "s", "f", "f-1", "f1.5", "-2s", "1e3", "nan", "inf", "1:60", "1:60:00", "1:2:3:4", ":30",
     "2,5s", "10m", "F10", "٣s", "1/2", ".", "1::2", "9" * 5000, "f" + "9" * 5000],
)  # fmt: skip
def test_anything_else_is_refused_with_the_accepted_forms(text):
    with pytest.raises(UsageError, match="hh:mm:ss"):
        parse_time(text)


@given(st.integers(0, 10**8 - 1), st.integers(0, 999))
def test_all_ways_to_write_a_time_agree(whole, thousandths):
    seconds = whole + Fraction(thousandths, 1000)
    expected = Time(seconds=seconds)
    clock = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}.{thousandths:03}"
    assert parse_time(clock) == expected
    assert parse_time(f"{whole // 60}:{whole % 60:02}.{thousandths:03}") == expected
    assert parse_time(f"{whole}.{thousandths:03}s") == expected
    assert parse_time(f"{whole}.{thousandths:03}") == expected
    assert parse_time(parse_time(clock)) == expected


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_a_usage_error(text):
    try:
        time = parse_time(text)
    except UsageError:
        return
    assert (time.seconds is None) != (time.frame is None)
    assert (time.frame if time.seconds is None else time.seconds) >= 0


def test_reached():
    assert Time(frame=3).reached(3, Fraction(0))
    assert not Time(frame=3).reached(2, Fraction(99))
    assert Time(seconds=Fraction(1, 3)).reached(0, Fraction(1, 3))
    assert not Time(seconds=Fraction(1, 3)).reached(9, Fraction(33, 100))


def test_a_time_is_one_or_the_other():
    with pytest.raises(ValueError, match="either"):
        Time()
    with pytest.raises(ValueError, match="either"):
        Time(Fraction(1), 1)
