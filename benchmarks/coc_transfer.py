"""Does an encoder that learned to make frames sharp tell the circle of confusion better?

    python benchmarks/coc_transfer.py --textures BANK --pool POOL --runs DIR [--steps N]
        [--batch N]

Table 3 of Ruan et al. (Video Defocus Deblurring with Atlas Learning, SIGGRAPH 2024) in small, with
the network, the clips and the seed of the recipe `coc-s`:

| row | what |
|---|---|
| scratch, as many steps | N steps for the circle of confusion |
| transfer | N steps of making frames sharp, then N for the circle of confusion: decoder alone |
| transfer, encoder goes on | the same, the second part for the whole network, in as much time |
| scratch, as long | the circle of confusion alone, in as much time as both parts of `transfer` |

Time is the CPU's on one thread, rendering left out. Errors are those of the diameter in
pixels on the scenes of held-out textures of benchmarks/guidance.py. Writes
results/coc_transfer.csv and results/coc_transfer.md beside this file; runs stay in DIR.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import table
import torch

from guidance import SCENES, clips, errors, true_radius
from unblur.errors import UnblurWarning
from unblur.guidance.coc import coc_radius
from unblur.models import fit
from unblur.models.coc import Coc
from unblur.synth import Rendered
from unblur.training import recipe as recipes
from unblur.training.recipe import Recipe
from unblur.training.start import train
from unblur.weights import load

COUNT = 28
"""Scenes of each kind that errors are measured on."""
Trained = tuple[Path, float]
"""Weights, and seconds of the CPU that they took."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--textures", type=Path, required=True, help="folder of a texture bank")
    parser.add_argument("--pool", type=Path, required=True, help="folder of the clips of a pool")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--steps", type=int, default=400, help="of each part (default: 400)")
    parser.add_argument("--batch", type=int, default=4, help="clips of a step (default: 4)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps, scenes = options.steps, {name: clips(config, COUNT) for name, config in SCENES.items()}
    plain = replace(recipes.load("coc-s"), batch=options.batch, validation_clips=1)
    rows: list[dict[str, str]] = []
    about = (
        f"Diameter of the circle of confusion, px; {COUNT} clips of each kind; one thread. torch "
        f"{torch.__version__}."
    )

    def learn(name: str, steps: int, **changes: object) -> Trained:
        recipe = replace(plain, steps=steps, validate_every=steps, **changes)  # type: ignore[arg-type]
        return timed(recipe, options.runs / name, options)

    def note(row: str, steps: str, weights: Path, seconds: float) -> None:
        found = {"row": row, "steps": steps, "seconds": f"{seconds:.0f}"}
        rows.append(found | measured(weights, scenes))
        table.write("coc_transfer", about, rows)

    scratch, scratch_time = learn("scratch", steps)
    note("scratch, as many steps", str(steps), scratch, scratch_time)
    sharpener, first = learn("sharpen", steps, options={"outputs": 3})
    start = {"start_from": str(sharpener)}
    decoder, second = learn("decoder", steps, **start, rate_factors={"encoder": 0})
    note("transfer", f"{steps} + {steps}", decoder, first + second)
    each = scratch_time / steps
    later = round(second / each)
    whole, third = learn("whole", later, **start)
    note("transfer, encoder goes on", f"{steps} + {later}", whole, first + third)
    later = round((first + second) / each)
    note("scratch, as long", str(later), *learn("long", later))


def timed(recipe: Recipe, folder: Path, options: argparse.Namespace) -> Trained:
    """Trains from the beginning."""
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "start_from", UnblurWarning)  # the head starts anew
        outcome = train(
            recipe,
            folder,
            textures=options.textures,
            pool=options.pool,
            device="cpu",
            restart=True,
        )
    assert outcome.best is not None  # the only validation is that of the last step
    return outcome.best, time.process_time() - began


def measured(weights: Path, scenes: dict[str, list[Rendered]]) -> dict[str, str]:
    """Errors on both kinds of scenes."""
    net = fit(Coc(), load(weights), str(weights)).eval()
    found: dict[str, str] = {}
    for kind, some in scenes.items():
        radius = torch.cat([coc_radius(net, clip.blurred[0]) for clip in some])
        figures = errors(radius, torch.cat([true_radius(clip) for clip in some]))
        short = kind.split()[0]
        found |= {f"{short}: {name}": f"{x:.3f}" for name, x in figures.items()}
    return found


if __name__ == "__main__":
    main()
