"""A job in pieces that workers do side by side: what each needs, and their frames in order again.

A piece is some frames of one shot, with those around them that matter. Its frames come out as they
would if one worker had restored all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, count, tee
from typing import Any, Protocol, TypeVar

from torch import Tensor

from unblur.engine.run import Runner
from unblur.errors import MediaError
from unblur.ops.shots import FrameLike, Shot

LONGEST = 48
"""Frames of a piece: what is restored twice at its ends (frames that others are fused with) is a
tenth of it at most, and a worker that dies loses no more."""
MOST_BYTES = 500_000_000
"""That the frames of a piece may take; those of large frames have fewer."""
WAIT = 0.5
"""Seconds between looks at how far the others are."""

P = TypeVar("P", bound=FrameLike)


@dataclass(frozen=True)
class Piece:
    """Frames `first` to `stop - 1`, all of one shot; those from `begin` to `end - 1` are needed."""

    first: int
    stop: int
    begin: int
    end: int
    shot: Shot | None
    """None for a restorer that takes each frame by itself."""
    oldest: int
    """The earliest frame that this piece or a later one needs."""


class Crew(Protocol[P]):
    """Workers, each of which restores a piece at a time."""

    most: int
    """Pieces that are to be under way at once."""

    def hand(self, frame: P) -> Any:
        """Makes a frame known to the workers; what it gives is what they are handed."""
        ...

    def begin(self, piece: Piece, handed: list[Any]) -> Any:
        """Gives a piece to a worker, with the frames that it needs."""
        ...

    def is_done(self, work: Any, seconds: float) -> bool:
        """Whether what `begin` gave is done, waiting for it so long. Raises what ended it."""
        ...

    def take(self, work: Any, frames: list[P]) -> list[P]:
        """The restored frames of a piece that is done; `frames` are those it was made of."""
        ...


def frames_per_piece(frame_bytes: int, frames: int | None, workers: int) -> int:
    """How long pieces are: short enough for every worker to have some, and for memory."""
    most = max(8, min(LONGEST, MOST_BYTES // max(1, frame_bytes)))
    return most if frames is None else max(8, min(most, -(-frames // (2 * max(1, workers)))))


def pieces(
    runner: Runner, shots: Sequence[Shot] | None, first: int, length: int
) -> Iterator[Piece]:
    """The pieces of a job.

    Args:
        runner: as it will be at work in each worker.
        shots: of all frames; None for a restorer that takes each frame by itself: the pieces then
            have no end.
        first: frame to begin with.
        length: frames of a piece. A shot is a single one where its frames lean on all others.
    """
    if shots is None:
        for start in count(first, length):
            yield Piece(start, start + length, start, start + length, None, start)
        return
    found = []
    whole = runner.focus is not None or runner.restorer.info.reach is None
    for shot in shots:
        size = shot.stop - shot.start if whole else length
        for start in range(shot.start, shot.stop, size):
            stop = min(start + size, shot.stop)
            if stop > first:
                begin = max(first, start)
                found.append((begin, stop, *runner.needed(shot, begin, stop), shot))
    oldest = list(accumulate(reversed([begin for _, _, begin, _, _ in found]), min))[::-1]
    yield from (Piece(*each, old) for each, old in zip(found, oldest, strict=True))


def restore_piece(runner: Runner, piece: Piece, frames: Iterable[P]) -> Iterator[tuple[P, Tensor]]:
    """The frames of a piece with their images, as `Runner.restore` gives them.

    Args:
        runner: how.
        piece: which.
        frames: those from `piece.begin` to `piece.end - 1`.
    """
    shots = None if piece.shot is None else [piece.shot]
    return runner.restore(frames, shots, None, piece.first, piece.stop)


def spread(
    frames: Iterator[P],
    plan: Iterable[Piece],
    crew: Crew[P],
    tell: Callable[[float], None] = lambda done: None,
) -> Iterator[P]:
    """Has pieces restored side by side; the frames come out in order.

    Args:
        frames: from the earliest on that a piece needs.
        plan: the pieces, in order.
        crew: who does them.
        tell: called with the number of frames that are restored, whether or not they came out.

    Raises:
        MediaError: there are fewer frames than the pieces need.
    """
    plan, ahead = tee(plan)
    earliest = next(ahead, None)
    if earliest is None:
        return
    held: dict[int, tuple[P, Any]] = {}
    reached, out = earliest.oldest, 0
    under_way: deque[tuple[Piece, list[P], Any]] = deque()

    def results() -> Iterator[P]:
        nonlocal out
        _, own, work = under_way[0]
        while not crew.is_done(work, WAIT):
            report()
        restored = crew.take(work, own)
        under_way.popleft()
        for frame in restored:
            out += 1
            yield frame
        report()

    def report() -> None:
        done = [piece for piece, _, work in under_way if crew.is_done(work, 0)]
        tell(float(out + sum(piece.stop - piece.first for piece in done)))

    for piece in plan:
        while reached < piece.end and (frame := next(frames, None)) is not None:
            held[reached] = frame, crew.hand(frame)
            reached += 1
        if reached < piece.end and piece.shot is not None:
            raise MediaError(
                f"the video ended at frame {reached}, and had more frames when it was looked "
                "through before: is it still being written? Run again after"
            )
        piece = replace(piece, stop=min(piece.stop, reached), end=min(piece.end, reached))
        if piece.first >= piece.stop:
            break
        needed = [held[i] for i in range(piece.begin, piece.end)]
        own = [held[i][0] for i in range(piece.first, piece.stop)]
        under_way.append((piece, own, crew.begin(piece, [handed for _, handed in needed])))
        following = next(ahead, None)
        keep = reached if following is None else following.oldest
        for index in [i for i in held if i < keep]:
            del held[index]
        while len(under_way) >= crew.most:
            yield from results()
    while under_way:
        yield from results()
