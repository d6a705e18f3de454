"""Chapters as MP4 and MOV hold them: a track of text, in which each lasts until the next begins."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container.core import Chapter

_NEAR = Fraction(1, 500)
"""Seconds by which chapters may be apart without a gap: containers round to 1 ms."""


def in_a_row(chapters: list[Chapter]) -> tuple[list[Chapter], list[str]]:
    """Chapters without gaps or overlaps, and what that changes, in words.

    What starts at 0 in such a track is the first chapter, whenever it begins; so where it begins
    later one without a name comes before it.
    """
    kept: list[Chapter] = []
    gaps, overlaps, gone = [], [], []
    chapters = sorted(chapters, key=lambda chapter: (_start(chapter), -_end(chapter)))
    for n, chapter in enumerate(chapters):
        after = chapters[n + 1] if n + 1 < len(chapters) else None
        if after is not None and _start(after) - _start(chapter) < _NEAR:
            gone.append(_name(chapter))
            continue
        if after is not None and _start(after) - _end(chapter) > _NEAR:
            gaps.append(_name(chapter))
        elif after is not None and _end(chapter) - _start(after) > _NEAR:
            overlaps.append(_name(chapter))
        kept.append(chapter)
    said = []
    if gaps:
        said.append(f"{' and '.join(gaps)} ends where the next chapter begins, not before")
    if overlaps:
        said.append(f"{' and '.join(overlaps)} ends where the next chapter begins, not behind")
    if gone:
        said.append(f"{' and '.join(gone)} is left out, another one begins with it")
    if kept and _start(kept[0]) >= _NEAR:
        first = kept[0].copy()
        first["start"], first["end"], first["metadata"] = 0, kept[0]["start"], {"title": ""}
        first["id"] = max(chapter["id"] for chapter in kept) + 1
        kept.insert(0, first)
        said.append("one without a name comes before the first")
    return kept, said


def _name(chapter: Chapter) -> str:
    return repr(chapter["metadata"].get("title", f"{float(_start(chapter)):.2f} s"))


def _start(chapter: Chapter) -> Fraction:
    return chapter["start"] * (chapter["time_base"] or Fraction(1))


def _end(chapter: Chapter) -> Fraction:
    return chapter["end"] * (chapter["time_base"] or Fraction(1))
