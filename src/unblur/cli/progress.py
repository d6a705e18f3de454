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


Draw = Callable[[str, int, int | None, str], None]
"""Takes title, steps done, steps in all where known, and what else there is to say."""


@contextlib.contextmanager
def text_bar(title: str, facts: str, wanted: bool) -> Iterator[Draw | None]:
    """A bar on stderr while the block runs; None where it is not wanted or no terminal listens."""
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.TextColumn("{task.fields[facts]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(title, total=None, facts=facts)

    def draw(title: str, done: int, total: int | None, facts: str) -> None:
        bar.update(task, description=title, completed=done, total=total, facts=facts)

    with bar:
        yield draw


@contextlib.contextmanager
def progress_bar(wanted: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A bar with frames and their rate; None as in `text_bar`."""
    with text_bar("starting", "", wanted) as draw:
        if draw is None:
            yield None
            return

        def update(now: Progress) -> None:
            facts = [f"{now.done}/{now.total or '?'} frames"]
            if now.fps:
                facts.append(f"{now.fps:.2f} frames/s")
            if now.eta is not None:
                facts.append(f"{duration(now.eta)} left")
            draw(now.stage, now.done, now.total, " ".join(facts))

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
