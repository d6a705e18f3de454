"""Frames of which neither the end nor the cuts are known: streams from a program or a pipe.

A file is looked through before it is restored. A stream comes once, so cuts are found a few frames
after they came, and a window is run as soon as no way for the shot to go on could change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from unblur.errors import UsageError
from unblur.ops.shots import FrameLike, marked
from unblur.restorers.base import Restorer, RestorerInfo, Window

P = TypeVar("P", bound=FrameLike)


class Step(NamedTuple):
    """A window and what follows from those after it; all indices from the start of the shot."""

    window: Window
    oldest: int
    """The first frame that this window or a later one may need."""
    unfinished: int
    """The first frame that a later window may still change."""


def shots_as_they_come(frames: Iterable[P]) -> Iterator[Iterator[P]]:
    """An iterator for each shot; it is to be used up before the next is taken."""
    source = marked((frame, frame.rgb()) for frame in frames)
    following = next(source, None)

    def shot() -> Iterator[P]:
        nonlocal following
        begins = False
        while following is not None and not begins:
            frame, _, _ = following
            following = next(source, None)
            begins = following is not None and following[2]
            yield frame

    while following is not None:
        yield shot()


def check_live(info: RestorerInfo) -> None:
    """Raises `UsageError` for a model that must see all of a shot before it gives a frame."""
    if info.reach is None:
        raise UsageError(
            f"{info.name} looks at whole shots, which a stream does not hold: restore a file or "
            "an array, or take --model motion-s"
        )


def unfolding(
    restorer: Restorer, limit: int | None, there: Callable[[int], bool]
) -> Iterator[Step]:
    """The windows of a shot whose length shows as it comes: those of `restorer.windows`.

    A window is taken once it is the same whether the shot ends here or never does, or when the
    shot has ended. Windows repeat with a period, so that no list grows with the shot.

    Args:
        restorer: one that `check_live` lets pass.
        limit: longest window in frames.
        there: waits for a frame of the shot; False where it ended before.
    """
    info = restorer.info
    reach = info.reach or 0
    endless = restorer.windows(ENDLESS * (info.window + 2 * reach), limit)
    settled, period = repetition(info, endless)
    base, length, number = 0, 0, 0  # frames and windows before `base` are done with
    while True:
        coming = endless[number]
        while length <= max(coming.inputs) or not settled_at(
            restorer, limit, length, endless, number
        ):
            if not there(base + length):
                break
            length += 1
        else:
            after = endless[number + 1].outputs[0]
            yield Step(
                moved(coming, base), base + min(coming.inputs) - reach, base + min(after, length)
            )
            if number == settled:
                base, length = base + period, length - period
            else:
                number += 1
            continue
        break
    if not length:
        return
    last = restorer.windows(length, limit)[number:]
    unfinished = [window.outputs[0] for window in last[1:]] + [length]
    for window, first in zip(last, unfinished, strict=True):
        yield Step(moved(window, base), base + min(window.inputs) - reach, base + first)


ENDLESS = 12
"""Windows with all they reach that stand for a shot without an end."""


def settled_at(
    restorer: Restorer, limit: int | None, length: int, endless: list[Window], number: int
) -> bool:
    """Whether a window that is not the last is that of an endless shot already."""
    known = restorer.windows(length, limit)
    return number + 1 < len(known) and known[number] == endless[number]


def repetition(info: RestorerInfo, endless: list[Window]) -> tuple[int, int]:
    """The window from which on each is the one before it, moved, and by how many frames."""
    full = info.window + (info.reach or 0)  # from here on there is all that is referred to
    first = next(n for n, window in enumerate(endless) if window.outputs[0] >= full)
    return first, endless[first + 1].outputs[0] - endless[first].outputs[0]


def moved(window: Window, by: int) -> Window:
    """A window some frames later."""
    return Window(*(tuple(i + by for i in indices) for indices in window))
