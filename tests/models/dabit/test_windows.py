"""Windows of frames and their references."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from unblur.models.dabit.windows import references, windows


def test_windows_equal_the_published_ones(goldens: Path) -> None:
    golden = json.loads((goldens / "dabit_windows.json").read_text())
    assert len(golden) == 10
    for length, expected in golden.items():
        assert [[local, refs] for local, refs in windows(int(length))] == expected


@given(st.integers(1, 300))
def test_every_frame_is_in_a_window(length: int) -> None:
    found = windows(length)
    assert {frame for local, _ in found for frame in local} == set(range(length))
    for local, refs in found:
        assert not set(local) & set(refs)
        assert all(0 <= frame < length for frame in refs)


def test_windows_of_a_short_clip() -> None:
    # by hand: 16 frames, ten in the window; 6 before and 0 after; 0 and 6; 5 and 1
    assert windows(16) == [
        (list(range(10)), [10, 11, 12, 13, 14, 15]),
        (list(range(5, 15)), [0, 1, 2, 3, 4, 15]),
        (list(range(6, 16)), [0, 1, 2, 3, 4, 5]),
    ]


@given(st.integers(11, 400), st.data())
def test_references_stay_within_reach(length: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, length - 10))
    found = references(length, first, 10, 6, reach=80)
    assert len(found) == 6
    assert found == sorted(found)
    assert all(first - 80 <= f < first or first + 10 <= f < first + 90 for f in found)
