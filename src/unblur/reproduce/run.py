"""Runs what can be run of a paper, within some minutes, and writes what is known so far."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE
from typing import Any

from unblur.disk import read_bytes, write_file
from unblur.errors import MediaError, ResourceError, UnblurError, UsageError
from unblur.evaluation import evaluate
from unblur.reproduce.equal import LARGEST, learn, step_seconds
from unblur.reproduce.origin import origin
from unblur.reproduce.page import as_csv, as_markdown
from unblur.reproduce.papers import PAPERS
from unblur.reproduce.parts import (
    SCRIPTS,
    Evaluate,
    Have,
    Known,
    Part,
    Script,
    State,
    Step,
    Train,
    named,
)
from unblur.schema import conform, read_json
from unblur.training import recipe as recipes

STATE = "state.json"
IMAGES = "images"
LONGEST = 1000
"""Characters of what is noted of a failure."""
LEAST = 0.01
"""Minutes that a training which was begun goes on at least."""
SEEDS = 3
LOOKS = 4
"""Validations of an arm: what it gains over time."""
ARM_MINUTES = 10.0
"""Of the CPU: training of each arm of an ablation, if nothing else is said."""


def reproduce(
    paper: str,
    folder: str | Path,
    *,
    part: str | None = None,
    minutes: float | None = None,
    data: Mapping[str, str | Path] | None = None,
    textures: str | Path | None = None,
    arm_minutes: float | None = None,
    arms: Collection[str] = (),
    seeds: int = SEEDS,
    device: str = "auto",
    listen: Callable[[str], None] | None = None,
) -> tuple[Known, ...]:
    """Says what the tables and figures of a paper need, and runs what can be run.

    Args:
        paper: a name of `PAPERS`.
        folder: results go there, and what was done there before is not done again: `report.md`,
            `report.csv`, images, and a folder for each step.
        part: `table N`, `figure N`, `peers` or `aligned` alone.
        minutes: begin nothing after so many; None runs nothing. A clip or script that has begun
            is ended, a script after twice the time that was left. What fails is noted as a state,
            and run again at the next call.
        data: folders of data sets by name: gopro, dvd, davis.
        textures: texture bank that ablations are trained on.
        arm_minutes: of the CPU, on one thread of it: how long each arm of an ablation is trained,
            in all; `ARM_MINUTES` by default.
        arms: of ablations, these alone, and nothing else; all by default.
        seeds: that each arm is trained with, at most 3.
        device: where networks run.
        listen: hears of each step before it is run.

    Raises:
        UsageError: there is no such paper, table or figure; or arms in the folder were trained for
            other minutes than are asked for, or than what is to be run would be.
    """
    if paper not in PAPERS:
        raise UsageError(f"no paper called '{paper}': there are {', '.join(PAPERS)}")
    whole = [one for one in PAPERS[paper] if part in (None, one.name)]
    if not whole:
        names = ", ".join(one.name for one in PAPERS[paper])
        raise UsageError(f"{paper} has no {part} here: there are {names}")
    have = Have(
        {name: Path(place) for name, place in (data or {}).items()},
        None if textures is None else Path(textures),
    )
    parts = [replace(one, steps=tuple(chosen(one.steps, arms, seeds))) for one in whole]
    if arms and not any(one.steps for one in parts):
        raise UsageError(f"{paper} has no arm {' or '.join(arms)} in what is asked for")
    work = Work(Path(folder), have, minutes, arm_minutes or ARM_MINUTES, device)
    if minutes is not None or arm_minutes is not None:
        work.check_minutes([step for one in parts for step in one.steps])
    found = []
    for one, all_of_it in zip(parts, whole, strict=True):
        work.arms = arms_of(all_of_it)
        for step in one.steps:
            if work.state(step).open and step.name not in work.failed and work.left() > 0:
                if listen is not None:
                    seed = f", seed {seed_of(step)}" if isinstance(step, Train) else ""
                    listen(f"{one.name}: {named(step)}{seed}")
                work.run(step)
        found.append(Known(one, tuple((step, work.state(step)) for step in one.steps)))
    work.folder.mkdir(parents=True, exist_ok=True)
    write_file(work.folder / "report.md", as_markdown(paper, found, work.folder / IMAGES).encode())
    write_file(work.folder / "report.csv", as_csv(found).encode())
    return tuple(found)


def chosen(steps: Sequence[Step], arms: Collection[str], seeds: int) -> Iterator[Step]:
    """Steps without the arms and seeds that are not wanted."""
    for step in steps:
        if not isinstance(step, Train):
            if not arms:
                yield step
        elif seed_of(step) < seeds and (not arms or step.arm in arms):
            yield step


def arms_of(part: Part) -> dict[str, Train]:
    """All arms of a part, each with its first seed."""
    found: dict[str, Train] = {}
    for step in part.steps:
        if isinstance(step, Train):
            found.setdefault(arm_of(step), step)
    return found


def arm_of(step: Train) -> str:
    """Name of an arm, whatever its seed."""
    return step.name.rpartition("-")[0]


class Work:
    """Steps in a folder, within some minutes."""

    def __init__(
        self, folder: Path, have: Have, minutes: float | None, arm_minutes: float, device: str
    ) -> None:
        self.folder, self.have, self.device = folder, have, device
        self.minutes, self.arm_minutes = minutes, arm_minutes
        self.began = time.monotonic()
        self.failed: set[str] = set()
        """Names of steps in this call; tables may share one."""
        self.arms: Mapping[str, Train] = {}
        """Of the ablation that is run, those that are not wanted too: all take equal time."""

    def left(self) -> float:
        """Minutes that are left."""
        return (self.minutes or 0) - (time.monotonic() - self.began) / 60

    def noted(self, step: Step) -> State | None:
        """What an earlier call noted of a step.

        Raises:
            MediaError: it is damaged.
        """
        path = self.folder / step.name / STATE
        if not path.is_file():
            return None
        try:
            found = read_json(read_bytes(path, LARGEST))
            return State(
                conform(found["state"], str),
                tuple(conform(found["rows"], list[dict[str, Any]])),
                conform(found.get("arm_minutes"), float | None),
            )
        except (ValueError, LookupError, TypeError) as error:
            raise MediaError(
                f"{path} is damaged ({error}): delete it to do that part again"
            ) from error

    def note(self, step: Step, state: State) -> None:
        """Keeps where a step is."""
        kept: dict[str, Any] = {"state": state.state, "rows": list(state.rows)}
        if state.arm_minutes is not None:
            kept["arm_minutes"] = state.arm_minutes
        write_file(self.folder / step.name / STATE, json.dumps(kept, indent=1).encode())

    def check_minutes(self, steps: Sequence[Step]) -> None:
        """UsageError where arms were trained for other minutes; older notes do not say."""
        for step in steps:
            known = self.noted(step) if isinstance(step, Train) else None
            if known is not None and known.arm_minutes not in (None, self.arm_minutes):
                raise UsageError(
                    f"{self.folder / step.name} was trained with --arm-minutes "
                    f"{known.arm_minutes:g}, not {self.arm_minutes:g}: take that, or another --out"
                )

    def state(self, step: Step) -> State:
        """Where a step is."""
        known = self.noted(step)
        if known is not None and known.state == "done":
            return known
        missing = tuple(need for need in step.needs if need.missing(self.have))
        if missing:
            return State("missing: " + ", ".join(need.name for need in missing), missing=missing)
        return known or State("to run")

    def run(self, step: Step) -> None:
        """Runs a step as far as the time goes, and notes what it found, or why it failed."""
        place = self.folder / step.name
        place.mkdir(parents=True, exist_ok=True)
        known = self.noted(step) or State("to run")
        if isinstance(step, Train):
            known = replace(known, state="begun", arm_minutes=self.arm_minutes)
            self.note(step, known)  # for a call that is killed
        try:
            state = self.found(step, place)
        except UnblurError as error:
            self.failed.add(step.name)
            state = State(f"failed: {error}"[:LONGEST], known.rows)
        self.note(step, replace(state, arm_minutes=known.arm_minutes))

    def found(self, step: Step, place: Path) -> State:
        """What a step finds."""
        if isinstance(step, Evaluate):
            return self.evaluated(step, place)
        if isinstance(step, Train):
            return self.trained(step, place)
        if isinstance(step, Script):
            return self.written(step, place)
        raise TypeError(f"{step.name} is no step that can be run")

    def evaluated(self, step: Evaluate, place: Path) -> State:
        """Means of a suite, or of the clips that there was time for."""
        result = evaluate(
            step.suite,
            models=step.models,
            data=() if step.data is None else self.have.data[step.data],
            keep=place / "clips",
            images=self.folder / IMAGES,
            minutes=self.left(),
            device=self.device,
            **step.options,
        )
        (place / "result.json").write_text(result.json(), encoding="utf-8")
        part = result.facts.get("clips")
        rows = json.loads(result.json())["means"]
        return State("begun" if part else "done", tuple(rows))

    def trained(self, step: Train, place: Path) -> State:
        """The gain of one arm after as many steps as fit into the time of all arms."""
        recipe = recipe_of(step)
        shared: dict[str, Any] = {
            "textures": self.have.textures,
            "pool": self.folder / "pool",
            "device": self.device,
        }
        arms = {name: recipe_of(arm) for name, arm in self.arms.items()}
        seconds = step_seconds(arms, self.folder / "tried", **shared)[arm_of(step)]
        left = max(self.left(), LEAST)
        found = learn(
            recipe, place / "run", seconds, self.arm_minutes, left=left, looks=LOOKS, **shared
        )
        if not found.outcome.curve:
            return State("begun")
        *_, last = curve = found.outcome.curve
        row = {
            "arm": step.arm,
            "seed": seed_of(step),
            "gain": last.metrics["gain"],
            "input": last.metrics["input"],
            "steps": last.step,
            "CPU minutes": found.minutes,
            **{
                f"gain at {quarter:.0%}": point.metrics["gain"]
                for point in curve[:-1]
                if 0 < (quarter := round(LOOKS * point.step / found.steps) / LOOKS) < 1
            },
            **origin(self.device),
        }
        return State("done" if found.outcome.finished else "begun", (row,))

    def written(self, step: Script, place: Path) -> State:
        """The tables of a script, which runs in a copy of its folder and so leaves ours alone."""
        scripts = place / "benchmarks"
        shutil.copytree(
            SCRIPTS, scripts, ignore=shutil.ignore_patterns("results"), dirs_exist_ok=True
        )
        stored = Path("results") / "suites"  # of evaluations, which plots are made of
        if (SCRIPTS / stored).is_dir():
            shutil.copytree(SCRIPTS / stored, scripts / stored, dirs_exist_ok=True)
        (place / "docs" / IMAGES).mkdir(parents=True, exist_ok=True)
        words = [word.replace("{folder}", str(place)) for word in step.words[1:]]
        command = [sys.executable, str(scripts / step.words[0]), *words]
        done = run_for(command, 120 * max(self.left(), LEAST))
        tables = [scripts / "results" / f"{name}.csv" for name in step.results]
        if done is None:  # the rows so far, which it leaves out at the next call
            return State("begun", tuple(row for path in tables for row in read_table(path)))
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            raise ResourceError(f"{step.words[0]}: {lines[-1]}")
        (place / "output.txt").write_text(done.stdout, encoding="utf-8")
        for image in (place / "docs" / IMAGES).iterdir():
            (self.folder / IMAGES).mkdir(exist_ok=True)
            shutil.copy(image, self.folder / IMAGES / image.name)
        return State("done", tuple(row for path in tables for row in read_table(path)))


def run_for(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str] | None:
    """Runs a command; None where time was up: it is ended then, with what it had started."""
    alone = os.name == "posix"  # a group of its own, which can be ended as a whole
    with subprocess.Popen(  # noqa: S603 - a script of our own
        command, stdout=PIPE, stderr=PIPE, text=True, start_new_session=alone
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except BaseException as error:
            if alone:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def seed_of(step: Train) -> int:
    """The seed of an arm."""
    seed: int = step.changes.get("seed", 0)
    return seed


def recipe_of(step: Train) -> recipes.Recipe:
    """The recipe of an arm: one that ships, with its changes."""
    return replace(recipes.load(step.recipe), **step.changes)


def read_table(path: Path) -> Sequence[dict[str, str]]:
    """Rows of a table that a script left; none where it left none."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
