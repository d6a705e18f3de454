"""What neighbours are worth where focus is missed: one network trained with them and without.

    python benchmarks/focus_neighbours.py --textures BANK --pool POOL --weights FOLDER [--steps N]

Both begin as `motion-s`, have its size but for the first layer, and learn from the same clips in
the same order (scenes of the recipe `focus-s`, kept in POOL) for the same number of steps: the
first part of the training of `focus-s`, before it is told any radius. `one` sees no neighbours.
Weights lie in FOLDER afterwards; what is there already is not trained again, and a run that was
stopped goes on. Both are then measured on the suite `synth-focus`. Writes
results/focus_neighbours.csv and results/focus_neighbours.md beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import table
import torch

import unblur
from unblur import weights
from unblur.models.aligned import MOTION_S, grown
from unblur.training import recipe as recipes
from unblur.training.loop import Run
from unblur.training.recipe import Recipe
from unblur.training.source import open_source
from unblur.training.tasks import open_task

CPU = torch.device("cpu")
SCHEDULE = 1500
"""Steps after which the learning rate would be at its lowest."""
KEPT = 10
"""Steps after which a run is kept on disk."""
ROWS: Mapping[str, Mapping[str, Any]] = {"neighbours": {}, "one": {"neighbours": 0}}
TITLES = {
    "input": "input",
    "motion-s": "`motion-s`, where both begin",
    "motion-s@alone": "the same, each frame alone",
    "motion-s=neighbours.safetensors": "trained with neighbours",
    "motion-s=one.safetensors@alone": "trained without",
}
"""Of the rows, by the name of the method."""
COLUMNS = {
    "gain": ("gain, dB", 2),
    "sharpest_quarter": ("sharpest quarter", 2),
    "other_frames": ("other frames", 2),
    "ssim": ("SSIM", 3),
    "tof": ("tOF", 3),
    "detail": ("detail", 3),
    "sharpness": ("sharpness", 3),
    "added_gradient": ("gradient added to flat areas", 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--textures", type=Path, required=True, help="folder of a texture bank")
    parser.add_argument("--pool", type=Path, required=True, help="folder of the clips of a pool")
    parser.add_argument("--weights", type=Path, required=True, help="folder to keep weights in")
    parser.add_argument("--steps", type=int, default=200, help="of each (default: 200)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    options.weights.mkdir(parents=True, exist_ok=True)
    for name, changes in ROWS.items():
        path = options.weights / f"{name}.safetensors"
        if not path.is_file():
            learn(replace(recipe(), options=changes), path, options)
    models = [title for title in TITLES if title != "input"]
    result = unblur.evaluate("synth-focus", models=[placed(m, options.weights) for m in models])
    rows = [row for row in result.means() if row["method"] in TITLES]
    about = (
        f"Suite synth-focus, 24 clips, input {rows[0]['psnr']:.2f} dB; {options.steps} steps of 3 "
        f"clips of 192x192. torch {torch.__version__}."
    )
    kept = [{key: row[key] for key in ("method", "psnr", *COLUMNS)} for row in rows]
    table.write("focus_neighbours", about, kept, [line(row) for row in rows])


def recipe() -> Recipe:
    """As `focus-s` began: without a radius, and without frames of twice the size."""
    common = recipes.load("focus-s")
    factors = {key: x for key, x in common.rate_factors.items() if key != "picture"}
    return replace(
        common, network="motion-s", steps=SCHEDULE, batch=3, crop=192, rate_factors=factors
    )


def learn(chosen: Recipe, path: Path, options: argparse.Namespace) -> None:
    """Trains one and keeps it as weights of `motion-s`, blind to the neighbours it never had.

    Goes on where it was stopped.
    """
    task = open_task(chosen, CPU)
    source = open_source(chosen, options.textures, CPU, True, options.pool)
    run = Run(chosen, task, source, path.with_suffix(""), CPU)
    run.folder.mkdir(exist_ok=True)
    run.resume()
    while run.step < options.steps:
        loss = run.advance()
        if run.step % KEPT == 0:
            run.save()
            print(f"{path.stem}: step {run.step}, {loss:.4f}", flush=True)
    state = grown(run.average.half(), MOTION_S)
    weights.save(path, state, {"network": "motion-s", "step": str(run.step)})


def placed(model: str, folder: Path) -> str:
    """A model whose weights lie in a folder."""
    name, equals, file = model.partition("=")
    return f"{name}={folder / file}" if equals else name


def line(row: dict[str, Any]) -> dict[str, str]:
    """What people read of a row."""
    figures = {head: f"{row[key]:.{digits}f}" for key, (head, digits) in COLUMNS.items()}
    return {"network": TITLES[row["method"]], **figures}


if __name__ == "__main__":
    main()
