"""Starting and resuming a run: what `unblur train` and `unblur.train` call."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from unblur.disk import alone
from unblur.errors import UnblurWarning, UsageError
from unblur.ops.device import choose_device
from unblur.progress import Listener
from unblur.training import recipe as recipes
from unblur.training.board import board
from unblur.training.loop import Outcome, Point, Run
from unblur.training.source import open_source
from unblur.training.tasks import open_task


def train(
    recipe: str | Path | recipes.Recipe,
    folder: str | Path,
    *,
    textures: str | Path | None = None,
    start_from: str | Path | None = None,
    minutes: float | None = None,
    pool: str | Path | None = None,
    real: Sequence[str | Path] = (),
    device: str = "auto",
    restart: bool = False,
    tensorboard: bool = False,
    progress: Callable[[Point], None] | None = None,
    listen: Listener | None = None,
) -> Outcome:
    """Trains a network, or goes on where the run in `folder` stopped.

    Args:
        recipe: a `Recipe`, the name of one that ships, or the path of a YAML or JSON file.
        folder: holds `checkpoint/`, `best.safetensors`, `curve.csv` and `validation.png`.
        textures: folder of a texture bank, where the recipe renders scenes.
        start_from: weights to begin with instead of those that the recipe names: the name of some
            that ship, or a file. No matter to a run that goes on.
        minutes: stop after this time, having written a checkpoint; None runs to the end.
        pool: folder of the clips of a recipe's pool, for several runs to share; `folder/pool`
            where it is None.
        real: files of sharp video at a high frame rate, or folders of its frames: means of them are
            the real clips of a recipe that wants some (`real`).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        restart: begin anew though there is a checkpoint.
        tensorboard: write the curve to `folder/events` as well.
        progress: called at each validation.
        listen: called after each step, and when a validation begins.

    Returns:
        The learning curve and the best weights.

    Raises:
        UsageError: the recipe or the device is wrong, the recipe belongs to another run than the
            folder's, or another process trains in it.
        ResourceError: the device is not there.
        WeightsError: the checkpoint or the weights to start from are damaged.
        NumericsError: the training diverged.
    """
    if not isinstance(recipe, recipes.Recipe):
        recipe = recipes.load(recipe)
    if start_from is not None:
        recipe = replace(recipe, start_from=str(start_from))
    if minutes is not None and minutes <= 0:
        raise UsageError(f"minutes {minutes}: must be positive")
    where = choose_device(device, mps=False)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    task = open_task(recipe, where)
    if task.needs_flow and recipe.data != "scenes" and recipe.flow == "truth":
        warnings.warn(
            "recipe: a data set has no true flow, so DIS guides: `flow: raft` takes RAFT where its "
            "weights were converted, `flow: dis` says that DIS is meant",
            UnblurWarning,
            stacklevel=2,
        )
    guess = getattr(task, "guess", None)
    source = open_source(
        recipe,
        textures,
        where,
        task.needs_flow,
        pool or folder / "pool",
        guess,
        getattr(task, "needs_depth", False),
        real,
    )
    run = Run(recipe, task, source, folder, where)
    # Of several processes of one run the first writes.
    mine = contextlib.nullcontext() if run.rank else alone(folder, _taken(folder))
    with mine:
        return _train(run, restart, minutes, tensorboard, progress, listen)


def _taken(folder: Path) -> str:
    return f"another training is at work in {folder}: wait for it, or name another folder"


def _train(
    run: Run,
    restart: bool,
    minutes: float | None,
    tensorboard: bool,
    progress: Callable[[Point], None] | None,
    listen: Listener | None,
) -> Outcome:
    """See `train`."""
    if not restart:
        run.resume()
    listeners = [board(run.folder / "events")] if tensorboard and run.rank == 0 else []
    if progress is not None:
        listeners.append(progress)

    def tell(point: Point) -> None:
        for listener in listeners:
            listener(point)

    return run.train(minutes, tell, listen)
