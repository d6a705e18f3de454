"""Which timestamps can be counted on."""

from __future__ import annotations

from fractions import Fraction

_FARTHEST = 2**33
"""Seconds, 272 years: timestamps beyond are none."""


def possible(tick: int | None, time_base: Fraction) -> bool:
    """Whether there is a timestamp, and one that can be counted on with."""
    return tick is not None and abs(tick) < 2**62 and abs(tick * time_base) < _FARTHEST
