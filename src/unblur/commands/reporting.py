"""What a restoration says: how far it has come while it runs, and at the end what it did."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from unblur.commands.request import Options
from unblur.engine.by_shot import ByShot
from unblur.engine.plan import MemoryPlan
from unblur.engine.run import Runner, outputs_in_all
from unblur.ops.shots import Shot
from unblur.progress import RESTORE, Job
from unblur.restorers.registry import NOTHING

T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """What a finished job did."""

    output: Path | str
    """A string where it is a URL."""
    frames: int
    seconds: float
    """Wall-clock time of the whole job, loading the model included."""
    model: str
    light: str
    device: str
    tile: int | None
    """Side of the tiles in pixels; None where frames went through whole."""
    window: int
    """Frames the network saw at once."""
    shots: int
    decode_failures: int
    """Packets that could not be decoded."""
    untouched: int = 0
    """Frames that passed as they were, since their shots are sharp or nothing was to be done."""
    skipped: bool = False
    """Whether the output was complete before, with `resume`, so that nothing was done."""


def skipped_report(output: Path | str, options: Options) -> Report:
    """The report of a job that had come to its end before."""
    return Report(
        output=output,
        frames=0,
        seconds=0.0,
        model=str(options["model"]),
        light=options["light"],
        device=str(options["device"]),
        tile=None,
        window=1,
        shots=0,
        decode_failures=0,
        skipped=True,
    )


def report_of(
    output: Path,
    frames: int,
    began: float,
    job: Job,
    device: str,
    runner: Runner | ByShot | None,
    shots: Sequence[Shot] | None = None,
    decode_failures: int = 0,
) -> Report:
    """The report of a job that ends now.

    Args:
        output: what it wrote.
        frames: how many it wrote.
        began: when it did, by `time.monotonic`.
        job: with its plan.
        device: what computed, in words.
        runner: what restored.
        shots: of the input, where they were looked for.
        decode_failures: of the reader.
    """
    plan = job.plan
    assert plan is not None  # noqa: S101
    fit = next(iter(fits_of(runner).values()))
    return Report(
        output=output,
        frames=frames,
        seconds=time.monotonic() - began,
        model=plan.model,
        light=plan.light or "encoded",
        device=device,
        tile=fit.tiling.size if fit.tiling else None,
        window=fit.window or plan.window or 1,
        shots=len(shots) if shots else 1,
        decode_failures=decode_failures,
        untouched=runner.untouched if isinstance(runner, ByShot) else 0 if runner else frames,
    )


def fits_of(runner: Runner | ByShot | None) -> dict[str, MemoryPlan]:
    """How the job is cut up for each model."""
    found = {each.restorer.info.name: each.fit for each in workers(runner)}
    return found or {NOTHING: MemoryPlan(None, None)}


def workers(runner: Runner | ByShot | None) -> list[Runner]:
    """All that restore."""
    if isinstance(runner, ByShot):
        return list(runner.runners.values())
    return [] if runner is None else [runner]


def counted(items: Iterable[T], job: Job) -> Iterator[T]:
    """Passes items on and reports each."""
    for done, item in enumerate(items, 1):
        yield item
        job.at(done)


def restoring(
    restored: Iterable[T],
    runner: Runner | ByShot | None,
    shots: Sequence[Shot] | None,
    total: int | None,
    job: Job,
    done: int = 0,
) -> Iterator[T]:
    """Passes restored frames on and reports each, and what the network does between them.

    `done` of them were restored before.
    """
    expected = job.plan.seconds if job.plan else None
    job.begin(
        RESTORE, total, None if expected is None or not total else expected / total, done=done
    )
    out, seen = done, float(done)

    def tell(restored: float) -> None:
        # Frames come out late (windows, fusion): those that the network has done count, too.
        nonlocal seen
        # A resumed job runs windows again that begin before its first frame.
        seen = max(seen, restored if total is None else min(restored, total), out)
        if isinstance(runner, ByShot):
            fused = runner.fused(out)
            job.at(runner.paced((1 - fused) * seen + fused * out), out)
        else:
            fused = runner.cost.fused if runner else 0.0
            job.at((1 - fused) * seen + fused * out)

    if isinstance(runner, ByShot):
        runner.tick = lambda frames: tell(done + frames)
    elif runner is not None:
        work = outputs_in_all(runner.restorer, shots, runner.fit.window) if shots else total
        each = min(1.0, total / work) if total and work else 1.0
        runner.tick = lambda frames: tell(done + frames * each)
    for item in restored:
        yield item
        out += 1
        tell(out)
