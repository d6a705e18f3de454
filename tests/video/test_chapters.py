"""Chapters begin where they did, and what a container cannot hold of them is named."""

from __future__ import annotations

import warnings
from pathlib import Path

import av
import pytest

from tests.video.media import make_clip, pass_through
from unblur.errors import UnblurWarning

CASES = {
    "gaps": (
        [(0.0, 0.5, "a"), (0.7, 1.0, "b")],
        [(0.0, 0.7, "a"), (0.7, 1.0, "b")],
        "'a' ends where the next chapter begins, not before",
    ),
    "late": (
        [(0.2, 0.5, "a"), (0.5, 1.0, "b")],
        [(0.0, 0.2, ""), (0.2, 0.5, "a"), (0.5, 1.0, "b")],
        "one without a name comes before the first",
    ),
    "overlaps": (
        [(0.0, 0.7, "a"), (0.5, 1.0, "b")],
        [(0.0, 0.5, "a"), (0.5, 1.0, "b")],
        "'a' ends where the next chapter begins, not behind",
    ),
    "within others": (
        [(0.0, 1.0, "all"), (0.0, 0.5, "a"), (0.5, 1.0, "b")],
        [(0.0, 0.5, "a"), (0.5, 1.0, "b")],
        "'all' is left out, another one begins with it",
    ),
    "in a row": ([(0.0, 0.5, "a"), (0.5, 1.0, "b")], [(0.0, 0.5, "a"), (0.5, 1.0, "b")], ""),
    "only one": ([(0.0, 0.4, "a")], [(0.0, 0.4, "a")], ""),
}


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("case", CASES)
def test_chapters_are_kept_or_named(tmp_path: Path, case: str, extension: str) -> None:
    given, wanted, words = CASES[case]
    clip = make_clip(tmp_path / "in.mkv", pts=30, chapters=given)
    out = tmp_path / f"out{extension}"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UnblurWarning)
        pass_through(clip, out, codec="h264")
    text = " ".join(str(each.message) for each in said)
    with av.open(str(out)) as container:
        found = [
            (
                float(each["start"] * each["time_base"]),
                float(each["end"] * each["time_base"]),
                each["metadata"].get("title", ""),
            )
            for each in container.chapters()
        ]
    if extension == ".mkv" or not words:
        assert (found, text) == (given, "")
    else:
        assert found == wanted
        assert words in text
