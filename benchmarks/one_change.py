"""What one change does to a training that goes on from weights that ship.

Usage: python benchmarks/one_change.py --textures BANK --pool DIR [--network motion-m] [--steps 40]
       [--clips 600] [--rows NAME ...]

Every row goes on for as many steps with the learning rate falling to zero, on the same clips in the
same order, and changes one thing: the learning rate, what may learn (capacity), or the loss. Gain
in dB over the blurred input, on held-out clips of the recipe. Rows of earlier calls are kept.
Writes results/one_change.csv and results/one_change.md beside this file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import table
import torch

from unblur.training import recipe as recipes
from unblur.training.loop import Run
from unblur.training.recipe import Recipe
from unblur.training.source import open_source
from unblur.training.tasks import open_task

CPU = torch.device("cpu")
RATE = 1e-4
CLIPS = 8
"""Held-out ones."""
LOWEST = ("enc.2", "dec.2", "bottom", "cross.2")
"""Parts of the level with the fewest pixels."""
SHOWN = ("gain", "sharp_loss", "ssim", "detail", "sharpness")


@dataclass(frozen=True)
class Row:
    """A change to the recipe, and what question it answers."""

    question: str
    changes: Mapping[str, Any] = field(default_factory=dict)


ROWS = {
    "as it is": Row(""),
    "rate halved": Row("learning rate", {"learning_rate": RATE / 2}),
    "rate doubled": Row("learning rate", {"learning_rate": 2 * RATE}),
    "lowest level still": Row(
        "capacity",
        {"rate_factors": {"inputs.0": 4, "picture": 2} | dict.fromkeys(LOWEST, 0.0)},
    ),
    "no frequency loss": Row("loss", {"losses": {"charbonnier": 1.0}}),
    "frequency loss x 4": Row("loss", {"losses": {"charbonnier": 1.0, "frequency": 0.2}}),
}


def main() -> None:
    """Trains and measures row after row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--textures", type=Path, required=True, help="folder of a texture bank")
    parser.add_argument("--pool", type=Path, required=True, help="folder of the clips of a pool")
    parser.add_argument("--clips", type=int, help="of the pool (default: as the recipe)")
    parser.add_argument("--network", default="motion-m")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    common = recipes.load(options.network)
    common = replace(
        common,
        start_from=options.network,
        steps=options.steps,
        warmup=max(1, options.steps // 10),
        learning_rate=RATE,
        average=0.9,
        pool=options.clips or common.pool,
        validation_clips=CLIPS,
    )
    anew = {*options.rows, *(["before"] if "as it is" in options.rows else [])}
    rows: list[dict[str, Any]] = [*table.earlier("one_change", "change", anew)]
    about = (
        f"`{options.network}` as it ships, {options.steps} steps more; {CLIPS} held-out clips; "
        f"one thread. torch {torch.__version__}."
    )
    for name in options.rows:
        row = ROWS[name]
        rows += measured(name, row.question, replace(common, **row.changes), options)
        rows.sort(key=lambda line: ["before", *ROWS].index(line["change"]))
        table.write("one_change", about, rows)


def measured(
    name: str, question: str, recipe: Recipe, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Goes on as `recipe` says; with the row that changes nothing comes the start."""
    task = open_task(recipe, CPU)
    source = open_source(recipe, options.textures, CPU, task.needs_flow, options.pool)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, task, source, Path(folder), CPU)

        def note(change: str, seconds: float) -> None:
            with run.average.within(run.network.eval()), torch.no_grad():
                metrics = task.validate(run.network, Path(folder))
            figures = {key: f"{metrics[key]:.3f}" for key in SHOWN}
            lines.append(
                {"change": change, "question": question, **figures, "s a step": f"{seconds:.1f}"}
            )

        if not question:
            note("before", 0.0)
        began = time.process_time()
        while not run.finished:
            run.advance()
        note(name, (time.process_time() - began) / recipe.steps)
    return lines


if __name__ == "__main__":
    main()
