"""Training for so many minutes of the CPU, whatever else the machine does meanwhile."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, inf
from pathlib import Path
from typing import Any

from unblur.disk import read_bytes, write_file
from unblur.errors import MediaError, UnblurWarning
from unblur.ops.device import choose_device
from unblur.progress import Progress
from unblur.schema import conform, read_json
from unblur.training import train
from unblur.training.loop import Outcome
from unblur.training.pool import Pool
from unblur.training.recipe import Recipe
from unblur.training.source import open_source
from unblur.training.tasks import open_task

ROUNDS, TRIED = 3, 6
"""How often steps are tried, and how many at a time, to tell how long one takes."""
WARMUP = 50
LARGEST = 100_000_000
"""Bytes of a file of state."""


@dataclass(frozen=True)
class Learned:
    """Where a training for equal time stands."""

    outcome: Outcome
    steps: int
    """As many as fit into the time."""
    minutes: float
    """Of the CPU, in all calls so far, with what it took to validate; of the clock on a GPU."""


def learn(
    recipe: Recipe,
    folder: Path,
    seconds: float,
    minutes: float,
    *,
    textures: Path | None,
    device: str = "cpu",
    pool: Path | None = None,
    left: float | None = None,
    looks: int = 1,
) -> Learned:
    """Trains as many steps as fit into a time, or goes on with them; rate and average end there.

    Args:
        recipe: its own length does not matter.
        folder: of the run.
        seconds: that a step takes, see `step_seconds`.
        minutes: in which all steps fit.
        textures: folder of a texture bank.
        device: where it runs.
        pool: folder for the clips of a pool; those that are missing are rendered first, which does
            not count.
        left: minutes by the clock after which it stops, to go on at the next call.
        looks: validations, the last one at the end.
    """
    render(recipe, textures, pool, device)
    steps = max(1, round(60 * minutes / seconds))
    clock = clock_of(device)
    note = folder / "minutes.json"
    before = noted(note, float, 0.0)
    began = clock()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "start_from", UnblurWarning)  # some of it is fresh
        outcome = train(
            replace(
                recipe,
                steps=steps,
                validate_every=ceil(steps / looks),
                warmup=min(WARMUP, steps // 4),
            ),
            folder,
            textures=textures,
            pool=pool,
            minutes=left,
            device=device,
        )
    spent = before + (clock() - began) / 60
    write_file(note, json.dumps(spent).encode())
    return Learned(outcome, steps, spent)


def step_seconds(
    arms: Mapping[str, Recipe],
    folder: Path,
    *,
    textures: Path | None,
    device: str = "cpu",
    pool: Path | None = None,
) -> dict[str, float]:
    """How long a step of each arm takes, in seconds of the CPU on a CPU.

    Other work on the machine makes steps longer and nothing makes them shorter, so it is the
    shortest of some. Arms take turns, so that all of them see the machine alike. Clips of a pool
    are rendered as they are first drawn; later rounds find them. What was found is noted in
    `folder` and not measured again.
    """
    note = folder / "seconds.json"
    known = noted(note, dict[str, float], {})
    clock = clock_of(device)
    fresh = {name: recipe for name, recipe in arms.items() if name not in known}
    found = dict.fromkeys(fresh, inf)
    for _ in range(ROUNDS):
        for name, recipe in fresh.items():
            ends: list[float] = []

            def listen(progress: Progress, ends: list[float] = ends) -> None:
                if progress.stage in ("open", "train"):
                    ends.append(clock())

            tried = replace(recipe, steps=TRIED, validate_every=TRIED, warmup=1, validation_clips=1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UnblurWarning)  # the run itself says it
                train(tried, folder / name, textures=textures, pool=pool, device=device,
                      restart=True, listen=listen)  # fmt: skip
            each = [after - before for before, after in pairwise(ends[1:])]  # the first warms up
            found[name] = min(found[name], *each)
    known |= found
    folder.mkdir(parents=True, exist_ok=True)
    write_file(note, json.dumps(known, indent=1).encode())
    return {name: float(known[name]) for name in arms}


def noted(path: Path, kind: Any, otherwise: Any) -> Any:
    """What an earlier call noted.

    Raises:
        MediaError: it is damaged.
    """
    if not path.is_file():
        return otherwise
    try:
        return conform(read_json(read_bytes(path, LARGEST)), kind)
    except ValueError as error:
        raise MediaError(f"{path} is damaged ({error}): delete it to measure again") from error


def clock_of(device: str) -> Callable[[], float]:
    """Seconds of the CPU where that computes, else of the clock."""
    on_cpu = choose_device(device, mps=False).type == "cpu"
    return time.process_time if on_cpu else time.monotonic


def render(recipe: Recipe, textures: Path | None, pool: Path | None, device: str) -> None:
    """Renders the clips of a recipe's pool that are not there yet, if it has one."""
    if not recipe.pool or pool is None:
        return
    where = choose_device(device, mps=False)
    task = open_task(recipe, where)
    guess, depth = getattr(task, "guess", None), getattr(task, "needs_depth", False)
    source = open_source(recipe, textures, where, task.needs_flow, pool, guess, depth)
    if isinstance(source, Pool):
        for i in range(recipe.pool):
            source.clip(i)
