"""Training of a recipe for so many minutes of one thread of a CPU, rendering left out."""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from unblur.errors import UnblurWarning
from unblur.ops.device import choose_device
from unblur.progress import Progress
from unblur.training.pool import Pool
from unblur.training.recipe import Recipe
from unblur.training.source import open_source
from unblur.training.start import train
from unblur.training.tasks import open_task

TRIED = 10
"""Steps that tell how long one takes."""


def options_of(about: str, rows: Iterable[str]) -> argparse.ArgumentParser:
    """The options of a script that trains some rows: where, on what, how long, and which."""
    rows = list(rows)
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--textures", type=Path, required=True, help="folder of a texture bank")
    parser.add_argument("--pool", type=Path, required=True, help="folder of the clips of a pool")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--minutes", type=float, default=5, help="of each row (default: 5)")
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows, help="(default: all)")
    return parser


def learned(
    recipe: Recipe, minutes: float, folder: Path, textures: Path, clips: Path
) -> tuple[Path, dict[str, str]]:
    """Weights after as many steps as fit, and how many those are; of a run that is done, its own.

    Args:
        recipe: with a pool of clips.
        minutes: of the CPU, on the one thread that PyTorch was given.
        folder: for the run.
        textures: folder of a texture bank.
        clips: folder for the clips of the pool; those that are missing are rendered first.
    """
    done = folder / "equal_time.json"
    if done.is_file():
        return folder / "best.safetensors", json.loads(done.read_text(encoding="utf-8"))
    render_pool(recipe, textures, clips)

    def run(steps: int, where: Path) -> tuple[Path, list[float]]:
        """Weights, and when each step ended, in seconds of the CPU."""
        ends: list[float] = []

        def listen(progress: Progress) -> None:
            if progress.stage in ("open", "train"):
                ends.append(time.process_time())

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "start_from", UnblurWarning)  # some of it is fresh
            outcome = train(
                replace(recipe, steps=steps, validate_every=steps, warmup=min(50, steps // 4)),
                where,
                textures=textures,
                pool=clips,
                device="cpu",
                restart=True,
                listen=listen,
            )
        assert outcome.best is not None  # the only validation is that of the last step
        return outcome.best, ends

    _, ends = run(TRIED, folder / "tried")
    each = median(later - before for before, later in pairwise(ends[1:]))  # the first one warms up
    steps = max(TRIED, round(60 * minutes / each))
    best, ends = run(steps, folder)
    facts = {"steps": str(steps), "seconds": f"{ends[-1] - ends[0]:.0f}"}
    done.write_text(json.dumps(facts), encoding="utf-8")
    return best, facts


def render_pool(recipe: Recipe, textures: Path, clips: Path) -> None:
    """Renders the clips of a recipe's pool that are not there yet."""
    device = choose_device("cpu", mps=False)
    task = open_task(recipe, device)
    guess = getattr(task, "guess", None)
    source = open_source(recipe, textures, device, task.needs_flow, clips, guess)
    assert isinstance(source, Pool)
    for i in range(recipe.pool):
        source.clip(i)
