"""A job whose shots are restored by different models, or left as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from torch import Tensor

from unblur.engine.held import Held, InMemory
from unblur.engine.run import ENDED, Runner, outputs_in_all
from unblur.errors import MediaError
from unblur.ops.shots import FrameLike, Shot

P = TypeVar("P", bound=FrameLike)
PASSING = 0.01
"""What a frame that passes untouched costs, in frames that are restored."""


class ByShot:
    """Runners at work, one for each shot; shots without one pass as they are.

    Args:
        shots: of all frames.
        models: what restores each of them; the name of none of the runners where nothing does.
        runners: by the name of their model.
    """

    def __init__(
        self, shots: Sequence[Shot], models: Sequence[str], runners: Mapping[str, Runner]
    ) -> None:
        self.shots, self.models, self.runners = list(shots), tuple(models), dict(runners)
        self.tick: Callable[[float], None] | None = None
        """Called with the number of frames that are restored, with a part of one."""
        costs = [self._cost(model) for model in models]
        lengths = [shot.stop - shot.start for shot in shots]
        steps = [n * cost for n, cost in zip(lengths, costs, strict=True)]
        self.spent = [0.0, *accumulate(steps)]
        """Seconds that all shots up to each are expected to take, or shares of them."""

    def _cost(self, model: str) -> float:
        known = [sum(runner.cost) for runner in self.runners.values()]
        usual = max([*known, 0.0]) or 1.0
        runner = self.runners.get(model)
        return PASSING * usual if runner is None else sum(runner.cost) or usual

    @property
    def repeated(self) -> int:
        """Windows that were computed again in full precision."""
        return sum(runner.repeated for runner in self.runners.values())

    @property
    def untouched(self) -> int:
        """Frames that pass as they are."""
        pairs = zip(self.shots, self.models, strict=True)
        return sum(shot.stop - shot.start for shot, model in pairs if model not in self.runners)

    def begin(self, first: int) -> int:
        """The earliest frame that `restore` must be given for `first` and those after it."""
        for shot, model in zip(self.shots, self.models, strict=True):
            if shot.start <= first < shot.stop and model in self.runners:
                return self.runners[model].begin([shot], first)
        return first

    def restore(
        self, frames: Iterable[P], held: Held[P] | None = None, first: int = 0
    ) -> Iterator[tuple[P, Tensor | None]]:
        """As `Runner.restore`; frames that pass come without an image."""
        source = iter(frames)
        held = InMemory() if held is None else held
        for shot, model in zip(self.shots, self.models, strict=True):
            if shot.stop <= first:
                continue
            start, runner = max(first, shot.start), self.runners.get(model)
            if runner is None:
                yield from self._pass(source, start, shot.stop)
                continue
            self._listen(runner, shot, start, first)
            yield from runner.restore(source, [shot], held, first)

    def _pass(self, source: Iterator[P], start: int, stop: int) -> Iterator[tuple[P, None]]:
        for number in range(start, stop):
            frame = next(source, None)
            if frame is None:
                raise MediaError(ENDED.format(number=number))
            yield frame, None

    def _listen(self, runner: Runner, shot: Shot, start: int, first: int) -> None:
        """Passes on how far the work on a shot is, in frames of the whole."""
        before, tick = runner.restored, self.tick
        if tick is None:
            return
        length = shot.stop - shot.start
        each = min(1.0, length / outputs_in_all(runner.restorer, [shot], runner.fit.window))
        runner.tick = lambda restored: tick(
            start - first + min(shot.stop - start, (restored - before) * each)
        )

    def fused(self, frame: float) -> float:
        """Share of fusion in what the shot of a frame costs."""
        model = self.models[self._shot_at(frame)]
        return self.runners[model].cost.fused if model in self.runners else 0.0

    def paced(self, frames: float) -> float:
        """So many frames from the first on, counted by what they cost: as many in all."""
        n = self._shot_at(frames)
        shot = self.shots[n]
        inside = (frames - shot.start) / (shot.stop - shot.start)
        spent = self.spent[n] + inside * (self.spent[n + 1] - self.spent[n])
        return spent / self.spent[-1] * self.shots[-1].stop

    def _shot_at(self, frame: float) -> int:
        within = (n for n, shot in enumerate(self.shots) if frame < shot.stop)
        return next(within, len(self.shots) - 1)
