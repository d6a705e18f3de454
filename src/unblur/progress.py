"""Where a job stands: what it will do, how far it has come, and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

OPEN, LOOK, TRY, MEASURE, RESTORE, FINISH = (
    "open",
    "look through",
    "try",
    "measure",
    "restore",
    "finish",
)
"""Stages of restoring a file; of looking at one, some of them."""
STAGES = frozenset({OPEN, LOOK, TRY, MEASURE, RESTORE, FINISH})
PRIOR = 0.5
"""Frames that a pace expected before the work began counts as, beside those measured."""
LEAST = 0.02
"""Share of a stage that must be done before its pace, where none was expected, says anything: a
few frames that pass, or the first steps of a network, do not."""
FINISHING = 0.01
"""Of the time of a job: what closing the files is expected to take."""


@dataclass(frozen=True)
class Plan:
    """What a job will do, known before its work begins."""

    model: str
    """Or models; `auto` until each shot has been looked at."""
    device: str
    precision: str | None = None
    """None where nothing is computed: frames pass through untouched."""
    total: int | None = None
    """Frames to restore, or whatever `unit` says; None where it is not known."""
    unit: str = "frames"
    width: int | None = None
    """Of a frame, in pixels."""
    height: int | None = None
    seconds: float | None = None
    """Expected for all of it, from a short run on this machine; None where there was none."""
    light: str | None = None
    tile: int | None = None
    """Side of the tiles in pixels; None where frames go through whole."""
    window: int | None = None
    """Frames the network sees at once."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """Frames by the model that restores them, where that was chosen for each shot."""
    disk: int | None = None
    """Bytes that the job is expected to take on disk at its peak, about."""


@dataclass(frozen=True)
class Progress:
    """Where a job stands."""

    stage: str
    """What is being done: `open`, `look through`, `restore` or `finish` a video, `try` models on
    parts of its shots, `measure` how quick they are, `evaluate`
    a suite, `train` or `validate` a network."""
    done: int
    """Frames finished in this stage (steps, when training; trials, of models)."""
    total: int | None
    """Frames of this stage, where known."""
    fps: float
    """Frames a second, since the stage began."""
    left: float | None = None
    """Seconds until the whole job ends, where known."""
    seconds: float = 0.0
    """Since the job began."""
    share: float | None = None
    """Of the whole job that is done, 0 to 1, also within a frame; of time, not of frames."""
    plan: Plan | None = None
    """What the job will do, once that is known; another one once more is known."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What else there is to say: `loss` and `validation_in` (seconds) of a training."""

    @property
    def eta(self) -> float | None:
        """Seconds until the job ends, where known; of work in a single stage, until that ends."""
        if self.left is not None:
            return self.left
        # Of a job with several stages, one of them says nothing of the others.
        if self.total is None or self.fps == 0 or self.stage in STAGES:
            return None
        return max(0, self.total - self.done) / self.fps


Listener = Callable[[Progress], None]


class Job:
    """Tells a listener where a job stands, in one share of the whole.

    A stage that has begun is measured; for one that is still to come its expected time counts. So
    the share is that of time, and the bar does not stand still in a stage that has few frames.

    Args:
        listener: called with each change; None: nothing is called.
    """

    def __init__(self, listener: Listener | None) -> None:
        self.listener = listener
        self.plan: Plan | None = None
        self.stage = OPEN
        self.total: int | None = None
        self._began = self._stage_began = time.monotonic()
        self._pace: float | None = None
        self._position = 0.0
        self._done: int | None = None
        self._before = 0
        self._credit = 0.0
        """Seconds that an interrupted job took, at the pace of this one, for what was done."""
        self.later: float | None = None
        """Expected seconds of the stages after this one; None where they are not known."""
        self._share = 0.0

    def begin(
        self,
        stage: str,
        total: int | None = None,
        pace: float | None = None,
        later: float | None = 0.0,
        done: int = 0,
    ) -> None:
        """Goes on to a stage.

        Args:
            stage: its name.
            total: frames it has, where known.
            pace: expected seconds for each of them, where known.
            later: expected seconds of the stages after it; None where they are not known.
            done: frames that were done before, by a job that was interrupted.
        """
        self._before = done
        self.stage, self.total, self._pace, self.later = stage, total, pace, later
        self._stage_began, self._position, self._done = time.monotonic(), float(done), None
        self._tell()

    def at(self, position: float, done: int | None = None) -> None:
        """So many frames of the stage are done, with a part of one that is in work.

        Args:
            position: counted by what they cost, where some cost more than others.
            done: how many those really are, where that differs.
        """
        self._position = max(self._position, position)
        self._done = done
        self._tell()

    def _tell(self) -> None:
        if self.listener is None:
            return
        now = time.monotonic()
        elapsed, spent = now - self._began, now - self._stage_began
        left = self._left(spent, elapsed)
        so_far = elapsed + self._credit
        if left is not None and so_far + left > 0:
            self._share = max(self._share, so_far / (so_far + left))
        fps = (self._position - self._before) / spent if spent > 0 else 0.0
        done = int(self._position + 1e-6) if self._done is None else self._done
        self.listener(
            Progress(self.stage, done, self.total, fps, left, elapsed, self._share, self.plan)
        )

    def _left(self, spent: float, elapsed: float) -> float | None:
        """Seconds until the job ends, where known."""
        if self.stage == FINISH:
            return FINISHING * elapsed
        if self.later is None:
            return None
        if self.total is None:
            return self.later or None
        here = self._position - self._before
        if self._pace is not None:
            pace = (spent + PRIOR * self._pace) / (here + PRIOR)
        elif here > 0 and here >= LEAST * self.total:
            pace = spent / here
        elif self.later:
            pace = 0.0
        else:
            return None
        if self._before:
            self._credit = self._before * pace
        here = max(0.0, self.total - self._position) * pace + self.later
        return here + FINISHING * (elapsed + here)


class Rounds:
    """Work that goes through the same parts again and again, each of its own length.

    Args:
        parts: of a round.
        rounds: how many there are.
    """

    def __init__(self, parts: Collection[str], rounds: int) -> None:
        self.rounds = rounds
        self._spent: dict[str, list[float]] = {part: [] for part in parts}

    def note(self, part: str, seconds: float) -> None:
        """A part of a round took so long."""
        self._spent[part].append(seconds)

    def left(self) -> float | None:
        """Seconds until the last round ends; None until each part was met once."""
        if not all(self._spent.values()):
            return None
        return sum(
            sum(spent) / len(spent) * max(0, self.rounds - len(spent))
            for spent in self._spent.values()
        )
