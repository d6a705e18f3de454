"""Rows that learn for equal time of the CPU: options of such a script, and their training."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from unblur.reproduce.equal import learn, step_seconds
from unblur.training.recipe import Recipe


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
    rows: Mapping[str, Recipe], options: argparse.Namespace, seed: int = 0
) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """Each row with its weights after as many steps as fit, and how many those are.

    Runs that are done are not done again. Time is that of the one thread that PyTorch was given.
    """
    where = {"textures": options.textures, "pool": options.pool}
    seconds = step_seconds(rows, options.runs / "tried", **where)
    for name, recipe in rows.items():
        folder = options.runs / f"{name}-{seed}".replace(", ", "-").replace(" ", "-")
        recipe = replace(recipe, seed=seed)
        found = learn(recipe, folder, seconds[name], options.minutes, **where)
        assert found.outcome.best is not None  # the only validation is that of the last step
        facts = {"steps": str(found.steps), "seconds": f"{60 * found.minutes:.0f}"}
        yield name, found.outcome.best, facts
