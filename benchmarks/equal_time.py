"""Training of a recipe for so many minutes of one thread of a CPU, rendering left out."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from pathlib import Path

from unblur.errors import UnblurWarning
from unblur.ops.device import choose_device
from unblur.training.pool import Pool
from unblur.training.recipe import Recipe
from unblur.training.source import open_source
from unblur.training.start import train
from unblur.training.tasks import open_task

TRIED = 6
"""Steps that tell how long one takes."""


def learned(
    recipe: Recipe, minutes: float, folder: Path, textures: Path, clips: Path
) -> tuple[Path, dict[str, str]]:
    """Weights after as many steps as fit, and how many those are.

    Args:
        recipe: with a pool of clips.
        minutes: of the CPU, on the one thread that PyTorch was given.
        folder: for the run.
        textures: folder of a texture bank.
        clips: folder for the clips of the pool; those that are missing are rendered first.
    """
    render_pool(recipe, textures, clips)

    def run(steps: int, where: Path) -> tuple[Path, float]:
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "start_from", UnblurWarning)  # some of it is fresh
            outcome = train(
                replace(recipe, steps=steps, validate_every=steps, warmup=min(50, steps // 4)),
                where,
                textures=textures,
                pool=clips,
                device="cpu",
                restart=True,
            )
        assert outcome.best is not None  # the only validation is that of the last step
        return outcome.best, time.process_time() - began

    # Both times hold a validation, so that their difference is that of the steps between.
    short, long = run(TRIED, folder / "tried")[1], run(3 * TRIED, folder / "tried")[1]
    steps = max(TRIED, round(60 * minutes * 2 * TRIED / (long - short)))
    best, seconds = run(steps, folder)
    return best, {"steps": str(steps), "seconds": f"{seconds:.0f}"}


def render_pool(recipe: Recipe, textures: Path, clips: Path) -> None:
    """Renders the clips of a recipe's pool that are not there yet."""
    device = choose_device("cpu", mps=False)
    task = open_task(recipe, device)
    guess = getattr(task, "guess", None)
    source = open_source(recipe, textures, device, task.needs_flow, clips, guess)
    assert isinstance(source, Pool)
    for i in range(recipe.pool):
        source.clip(i)
