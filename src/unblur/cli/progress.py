"""The progress bar: stage, frames, frames per second and the time still to go."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from unblur.cli.signals import check

if TYPE_CHECKING:
    from unblur import Progress


@contextlib.contextmanager
def progress_bar(wanted: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A bar on stderr while the block runs; None where it is not wanted or no terminal listens."""
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.TextColumn("{task.fields[counted]}", markup=False),
        rich_progress.TextColumn("{task.fields[speed]}", markup=False),
        rich_progress.TextColumn("{task.fields[left]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("starting", total=None, counted="", speed="", left="")

    def update(now: Progress) -> None:
        bar.update(
            task,
            description=now.stage,
            completed=now.done,
            total=now.total,
            counted=f"{now.done}/{now.total or '?'} frames",
            speed=f"{now.fps:.2f} frames/s" if now.fps else "",
            left=f"{duration(now.eta)} left" if now.eta is not None else "",
        )

    with bar:
        yield update


@contextlib.contextmanager
def frames_bar(stage: str, wanted: bool) -> Iterator[Callable[[int, int | None], None]]:
    """The same for work that tells frames done and frames in all; also where Ctrl-C is heard."""
    began = time.monotonic()
    with progress_bar(wanted) as bar:

        def update(done: int, total: int | None) -> None:
            check()
            if bar is not None:
                from unblur import Progress

                bar(Progress(stage, done, total, done / max(1e-9, time.monotonic() - began)))

        yield update


def duration(seconds: float) -> str:
    """A time a person can read: `4.2 s`, `2 min 31 s`, `1 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
