"""Which frames the released DaBiT sees together: ten in a row, six from the rest of the clip."""

from __future__ import annotations

LOCAL = 10
"""Frames of a window, all of which are restored."""
STEP = 5
"""Frames from one window to the next: each frame is restored about twice."""
REFERENCES = 6


def windows(length: int, reach: int | None = None) -> list[tuple[list[int], list[int]]]:
    """Frames and references of each window, in the order in which the release works.

    Args:
        length: frames of the clip. Up to `LOCAL`, which the release refuses, there is one window
            without references.
        reach: as in `references`; the release looks through the whole clip.
    """
    if length <= LOCAL:
        return [(list(range(length)), [])]
    found = []
    for start in range(0, length, STEP)[:-1]:
        first = min(start, length - LOCAL)
        found.append(
            (
                list(range(first, first + LOCAL)),
                references(length, first, LOCAL, REFERENCES, reach),
            )
        )
    return found


def references(
    length: int, first: int, local: int, count: int, reach: int | None = None
) -> list[int]:
    """Frames spread evenly over what lies before and after a window.

    Args:
        length: frames of the clip, more than `local`.
        first: first frame of the window.
        local: frames of the window.
        count: how many references; each side gets a share like its length.
        reach: how many frames to look at on each side, as many as there are if None.

    Returns:
        `count` frames in ascending order. Where there are fewer, some occur repeatedly, as in the
        release.
    """
    reach = length if reach is None else reach
    before = range(max(0, first - reach), first)
    after = range(first + local, min(length, first + local + reach))
    count_before = round(count * len(before) / (len(before) + len(after)))  # half to even
    return spread(before, count_before, 0) + spread(after, count - count_before, 1)


def spread(frames: range, count: int, late: int) -> list[int]:
    """`count` of the frames, equally far apart; the rest is left at both ends."""
    if count == 0:
        return []
    step = len(frames) // count
    start = (step - late) // 2
    return [frames[start + i * step] for i in range(count)]
