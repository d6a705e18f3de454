"""Some frames of a clip that can be had by number, restored with as many around them as matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from unblur.engine.run import Runner, find_shots
from unblur.ops.shots import AROUND, FrameLike, Shot
from unblur.restorers.base import Guidance, Priors, Restorer, RestorerInfo, Window

MARGIN = 4
"""Frames on either side that a network sees beside those that it restores."""

P = TypeVar("P", bound=FrameLike)


class Only:
    """A restorer that gives some frames of a shot and leaves out windows without any.

    Args:
        restorer: does the work.
        wanted: numbers of frames, from the start of the shot.
    """

    def __init__(self, restorer: Restorer, wanted: range) -> None:
        self.restorer, self.wanted = restorer, wanted
        self.info: RestorerInfo = restorer.info

    def windows(self, length: int, limit: int | None = None) -> list[Window]:
        """See `Restorer`; the outputs are those that are wanted."""
        found = []
        for window in self.restorer.windows(length, limit):
            outputs = tuple(i for i in window.outputs if i in self.wanted)
            if outputs:
                found.append(Window(window.inputs, outputs))
        return found

    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """See `Restorer`."""
        return self.restorer.guide(frames, priors)

    def run(self, frames: Tensor, guidance: Guidance, outputs: Sequence[int]) -> Tensor:
        """See `Restorer`."""
        return self.restorer.run(frames, guidance, outputs)

    def peak_bytes(self, frames: int, height: int, width: int) -> int:
        """See `Restorer`."""
        return self.restorer.peak_bytes(frames, height, width)


def read_for(part: range, count: int, spread: int) -> range:
    """The frames that restoring a part reads, at most: with what cuts are found by.

    Args:
        part: numbers of frames, one after the other.
        count: frames of the clip.
        spread: frames on either side that restored frames are fused with.
    """
    around = spread + MARGIN + AROUND + 1
    return range(max(0, part.start - around), min(count, part.stop + around))


def restore_part(
    runner: Runner, frame: Callable[[int], P], count: int, part: range
) -> list[tuple[P, Tensor]]:
    """Restores some frames of a clip; the result depends on which, and on nothing that went before.

    Args:
        runner: how.
        frame: gives the frame of a number.
        count: frames of the clip.
        part: numbers of frames, one after the other.

    Returns:
        Each frame of the part with its restored image, as `Runner.restore` gives it.
    """
    if not runner.needs_shots:
        return list(runner.restore((frame(i) for i in part), None))
    spread = runner.fusion.reach if runner.fusion is not None else 0
    margin = MARGIN if runner.restorer.info.needs_shots else 0
    wanted = range(max(0, part.start - spread), min(count, part.stop + spread))
    near = range(max(0, wanted.start - margin), min(count, wanted.stop + margin))
    # So far around, cuts are where they are in the whole clip.
    looked = range(max(0, near.start - AROUND - 1), min(count, near.stop + AROUND))
    frames = {i: frame(i) for i in looked}
    done = []
    for shot in find_shots(frames.values()):
        own = clipped(shot, looked.start, near)
        inside = range(max(wanted.start, own.start), min(wanted.stop, own.stop))
        if not inside:
            continue
        only = Only(runner.restorer, range(inside.start - own.start, inside.stop - own.start))
        work = Runner(only, runner.look, runner.fit, runner.focus, runner.fusion, runner.exactly)
        work.cost, work.tick = runner.cost, runner.tick
        restored = work.restore((frames[i] for i in own), [Shot(0, len(own))])
        done += [pair for i, pair in zip(inside, restored, strict=True) if i in part]
    return done


def clipped(shot: Shot, first: int, near: range) -> range:
    """The frames of a shot, counted from `first`, that are near."""
    return range(max(near.start, first + shot.start), min(near.stop, first + shot.stop))
