"""Training for so many minutes of the CPU, whatever else the machine does meanwhile."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import quantiles

from unblur.disk import write_file
from unblur.errors import UnblurWarning
from unblur.ops.device import choose_device
from unblur.progress import Progress
from unblur.training import train
from unblur.training.loop import Outcome
from unblur.training.recipe import Recipe

TRIED = 12
"""Steps that tell how long one takes."""
WARMUP = 50


@dataclass(frozen=True)
class Learned:
    """Where a training for equal time stands."""

    outcome: Outcome
    steps: int
    """As many as fit into the time."""
    minutes: float
    """Of the CPU, in all calls so far; of the clock on a GPU."""


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
) -> Learned:
    """Trains as many steps as fit into a time, or goes on with them; rate and average end there.

    Args:
        recipe: its own length does not matter.
        folder: of the run.
        seconds: that a step takes, see `step_seconds`.
        minutes: in which all steps fit.
        textures: folder of a texture bank.
        device: where it runs.
        pool: folder for the clips of a pool.
        left: minutes by the clock after which it stops, to go on at the next call.
    """
    steps = max(1, round(60 * minutes / seconds))
    clock = clock_of(device)
    note = folder / "minutes.json"
    before = float(json.loads(note.read_text(encoding="utf-8"))) if note.is_file() else 0.0
    began = clock()
    outcome = train(
        replace(recipe, steps=steps, validate_every=steps, warmup=min(WARMUP, steps // 4)),
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
    recipe: Recipe,
    folder: Path,
    *,
    textures: Path | None,
    device: str = "cpu",
    pool: Path | None = None,
) -> float:
    """How long a step takes, in seconds of the CPU on a CPU, by some of them.

    It is what a quarter of the steps does not exceed: other work on the machine makes them longer
    now and then, and nothing makes them shorter.
    """
    clock = clock_of(device)
    ends: list[float] = []

    def listen(progress: Progress) -> None:
        if progress.stage in ("open", "train"):
            ends.append(clock())

    tried = replace(recipe, steps=TRIED, validate_every=TRIED, warmup=1, validation_clips=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)  # the run itself says it
        train(tried, folder, textures=textures, pool=pool, device=device, restart=True,
              listen=listen)  # fmt: skip
    each = [later - before for before, later in pairwise(ends[1:])]  # the first one warms up
    return quantiles(each, n=4)[0]


def clock_of(device: str) -> Callable[[], float]:
    """Seconds of the CPU where that computes, else of the clock."""
    on_cpu = choose_device(device, mps=False).type == "cpu"
    return time.process_time if on_cpu else time.monotonic
