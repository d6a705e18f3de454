"""What a user sees of a job: one line before it, then a bar, or lines in a log, or JSON."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from unblur.cli.signals import check
from unblur.cli.terminal import emit, say, terminal

if TYPE_CHECKING:
    from unblur import Plan, Progress


Draw = Callable[[str, float, "float | None", str], None]
"""Takes title, steps done, steps in all where known, and what else there is to say."""
STAGES = {
    "open": "opening",
    "look through": "looking through",
    "try": "trying models",
    "restore": "restoring",
    "finish": "finishing",
    "measure": "measuring models",
    "evaluate": "evaluating",
    "train": "training",
    "validate": "validating",
    "cut": "cutting textures",
}
UNITS = {"try": "trials", "measure": "models", "cut": "images"}
"""What is counted where it is not frames."""
BEAT = 0.25
"""Seconds between looks at the clock."""
PATIENCE = 1.0
"""Seconds without any news after which something is said: PyTorch takes long to load."""
QUIET = 30.0
"""Seconds after which a log gets another line, whatever happens."""
STEP = 0.05
"""Share of a job after which a log gets another line, at the earliest after `HASTE` seconds."""
HASTE = 5.0
WORTH_SAYING = 100_000_000
"""Bytes of disk from which on a job says what it needs."""
EVENTS = 0.5
"""Seconds between events of `--json` in the same stage."""


@contextlib.contextmanager
def text_bar(title: str, facts: str, wanted: bool) -> Iterator[Draw | None]:
    """A bar on stderr while the block runs; None where it is not wanted or no terminal listens."""
    if not wanted or not on_terminal():
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

    def draw(title: str, done: float, total: float | None, facts: str) -> None:
        bar.update(task, description=title, completed=done, total=total, facts=facts)

    with bar:
        yield draw


def on_terminal() -> bool:
    """True where a person looks at stderr as it comes."""
    return sys.stderr is not None and sys.stderr.isatty()


class View(Protocol):
    """One way to show where a job stands."""

    def show(self, now: Progress, since: float) -> None:
        """Shows what was reported `since` seconds ago."""
        ...

    def wait(self) -> None:
        """Says that something goes on, though nothing was reported yet."""
        ...


class Bar:
    """One bar over the whole job."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def wait(self) -> None:
        """See `View`; the bar stands there already."""

    def show(self, now: Progress, since: float) -> None:
        """See `View`."""
        share = share_of(now, since)
        facts = ["" if share is None else f"{100 * share:.0f}%", status(now, since)]
        known = None if share is None else 1.0
        self.draw(title(now), share or 0.0, known, "  ".join(filter(None, facts)))


class Log:
    """Lines, every 30 seconds or twentieth of the job."""

    def __init__(self) -> None:
        self.said = time.monotonic()
        self.share = 0.0

    def wait(self) -> None:
        """See `View`."""
        say("unblur: starting")

    def show(self, now: Progress, since: float) -> None:
        """See `View`."""
        waited = time.monotonic() - self.said
        share = share_of(now, since) or 0.0
        if waited < QUIET and (waited < HASTE or share - self.share < STEP):
            return
        self.said, self.share = time.monotonic(), share
        percent = f"{100 * share:.0f} %: " if share else ""
        say(f"unblur: {title(now)} {percent}{status(now, since)}".rstrip())


class Events:
    """A line of JSON for each change, for programs."""

    def __init__(self) -> None:
        self.said = -1e9
        self.stage: str | None = None
        self.last: Progress | None = None

    def wait(self) -> None:
        """See `View`."""
        emit("progress", stage="start", done=0, total=None, share=None)

    def show(self, now: Progress, since: float) -> None:
        """See `View`."""
        clock = time.monotonic()
        news = now.stage != self.stage or (now is not self.last and clock - self.said >= EVENTS)
        if not news and clock - self.said < QUIET:
            return
        self.said, self.stage, self.last = clock, now.stage, now
        emit(
            "progress",
            stage=now.stage,
            done=now.done,
            total=now.total,
            share=share_of(now, since),
            seconds=now.seconds + since,
            left=None if now.eta is None else max(0.0, now.eta - since),
            rate=now.fps,
            **now.facts,
        )


class Reporter:
    """Listens to a job and shows it; a clock of its own keeps that going within long frames.

    Args:
        view: how; None: nothing is shown.
        wanted: whether the plan is shown.
    """

    def __init__(self, view: View | None, wanted: bool) -> None:
        self.view, self.wanted = view, wanted
        self.now: Progress | None = None
        self.plan: Plan | None = None
        self._heard = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="unblur-report", daemon=True)

    def __call__(self, now: Progress) -> None:
        """Takes what a job tells, in the thread that works; also where Ctrl-C is heard."""
        check()
        with self._lock:
            before, self.now, self._heard = self.now, now, time.monotonic()
            if now.plan is not self.plan and now.plan is not None:
                self.plan = now.plan
                self._introduce(now.plan)
            if terminal.verbose and self.wanted and before and before.stage != now.stage:
                ended = f"{title(before)}: {counted(before)}".rstrip(": ")
                say(f"unblur: {ended}, done after {duration(now.seconds)}")
        self._show()

    def _introduce(self, plan: Plan) -> None:
        if terminal.json:
            emit("plan", **vars(plan))
        elif self.wanted:
            say(f"unblur: {planned(plan)}")
            if terminal.verbose and plan.precision and plan.light and plan.window:
                say(f"unblur: {cut_up(plan)}")

    def _show(self) -> None:
        with self._lock:
            if self.now is not None and self.view is not None:
                self.view.show(self.now, time.monotonic() - self._heard)

    def _tick(self) -> None:
        if self.view is not None and not self._stop.wait(PATIENCE) and self.now is None:
            self.view.wait()
        while not self._stop.wait(BEAT):
            self._show()

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@contextlib.contextmanager
def reporter(wanted: bool) -> Iterator[Reporter]:
    """Listens to a job while the block runs: a bar for a person, lines in a log, or JSON."""
    with text_bar("starting", "", wanted and not terminal.json) as draw:
        view: View | None = None
        if terminal.json:
            view = Events()
        elif draw is not None:
            view = Bar(draw)
        elif wanted:
            view = Log()
        with Reporter(view, wanted) as listening:
            yield listening


@contextlib.contextmanager
def frames_bar(stage: str, wanted: bool) -> Iterator[Callable[[int, int | None], None]]:
    """The same for work that tells frames done and frames in all; also where Ctrl-C is heard."""
    began = time.monotonic()
    with reporter(wanted) as listening:

        def update(done: int, total: int | None) -> None:
            from unblur import Progress

            spent = time.monotonic() - began
            share = done / total if total else None
            fps = done / max(1e-9, spent)
            listening(Progress(stage, done, total, fps, seconds=spent, share=share))

        yield update


def title(now: Progress) -> str:
    """The stage, as what is going on."""
    return STAGES.get(now.stage, now.stage)


def counted(now: Progress) -> str:
    """How much is done of how much."""
    return f"{now.done}/{now.total or '?'} {unit_of(now)}" if now.total or now.done else ""


def unit_of(now: Progress) -> str:
    """What is counted."""
    return UNITS.get(now.stage) or (now.plan.unit if now.plan else "frames")


def share_of(now: Progress, since: float) -> float | None:
    """Share of the job that is done `since` seconds after its report; grows between the steps."""
    if not now.share:
        return None
    left = now.eta
    if left is None:
        return now.share
    spent = now.seconds + since
    whole = max(now.seconds + left, spent + 1e-9)
    return min(1.0, max(now.share, spent / whole if left > since else now.share))


def status(now: Progress, since: float) -> str:
    """What is done, how quickly, and how long it still takes, `since` seconds after its report."""
    parts, unit = [counted(now)], unit_of(now)
    if now.done == 0:
        pass
    elif now.fps >= 0.5:
        parts.append(f"{now.fps:.2f} {unit}/s")
    elif now.fps > 0:
        parts.append(f"{1 / now.fps:.1f} s/{unit.removesuffix('s')}")
    if "loss" in now.facts:
        parts.append(f"loss {now.facts['loss']:.4f}")
    if now.eta is not None:
        parts.append(f"{duration(max(0.0, now.eta - since))} left")
    if "validation_in" in now.facts:
        parts.append(f"validation in {duration(max(0.0, now.facts['validation_in'] - since))}")
    return ", ".join(filter(None, parts))


def planned(plan: Plan) -> str:
    """The one line before the work: model, device, precision, frames, expected time."""
    computed = "" if plan.precision in (None, "auto") else f" in {plan.precision}"
    named = {name: frames for name, frames in plan.parts.items() if name != "none"}
    passing = sum(plan.parts.values()) - sum(named.values())
    if plan.precision is None:
        parts = ["nothing to restore, frames pass through untouched"]
    elif plan.model == "auto":
        parts = [f"looking at each shot on {plan.device}"]
    elif len(named) > 1 or passing:
        each = " and ".join(f"{name} ({frames} frames)" for name, frames in named.items())
        parts = [f"{each} on {plan.device}{computed}"]
        parts += [f"{passing} sharp frames pass untouched"] if passing else []
    else:
        parts = [f"{plan.model} on {plan.device}{computed}"]
    if plan.total is not None:
        size = f" of {plan.width}x{plan.height}" if plan.width else ""
        unit = plan.unit.removesuffix("s") if plan.total == 1 else plan.unit
        parts.append(f"{plan.total} {unit}{size}")
    elif plan.width:
        parts.append(f"{plan.unit} of {plan.width}x{plan.height}")
    if plan.seconds is not None:
        most = "at most " if plan.model == "auto" else ""  # sharp shots will take no time
        parts.append(f"{most}about {rough(plan.seconds)}")
    if plan.disk is not None and plan.disk >= WORTH_SAYING:
        parts.append(f"about {plan.disk / 1e9:,.1f} GB of disk")
    return ", ".join(parts)


def cut_up(plan: Plan) -> str:
    """How the frames reach the network."""
    tiles = "whole frames" if plan.tile is None else f"tiles of {plan.tile} pixels"
    return f"{plan.light} light, {tiles}, windows of {plan.window} frames"


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


def rough(seconds: float) -> str:
    """An expected time, no more exact than it is: `8 s`, `4 min`, `1 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    tens = round(seconds / 600)
    return f"{tens // 6} h {tens % 6}0 min" if tens % 6 else f"{tens // 6} h"


def facts_of(value: Any) -> dict[str, Any]:
    """The fields of a report, as JSON can hold them."""
    return {
        k: v if isinstance(v, int | float | str | None) else str(v) for k, v in vars(value).items()
    }
