"""A training that uses every minute of a GPU that is lent for a few.

    python benchmarks/gpu_training.py motion-m RUN --textures BANK --minutes 8 --start-from motion-m
    python benchmarks/gpu_training.py motion-s RUN --textures BANK --device cpu --batch 1 --crop 64

Scenes are rendered on the device, so there is no loader and no pool; where PyAV is missing the
renderer's stand-in takes the place of encoders. The batch is the largest that memory holds, the
number of steps what the time holds: a schedule that is cut off by the clock never reaches its low
rates, where most is gained. Validation at the start, the middle and the end. Twice a minute the
state is written, so that a kill loses little.

What is to be carried away lies in RUN/out: `best.safetensors`, the curve, `gpu_training.json`
(pixels per second, share of the renderer, peak of memory), and `checkpoint/`, compact, in shards of
at most 15 MB. `unblur train RECIPE RUN/out` goes on from there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
import time
from pathlib import Path

import torch

from unblur.ops.device import choose_device
from unblur.progress import Progress
from unblur.training import recipe as recipes
from unblur.training.batches import Batch, Source
from unblur.training.loop import Run
from unblur.training.source import open_source
from unblur.training.tasks import open_task

SAVE_EVERY = 30.0
"""Seconds between two states on disk."""
FULL = 0.8
"""Share of the device's memory that a step may take."""
TRIALS = 3
"""Steps that time a batch; the first one, which chooses kernels, does not count."""
ROOM = 0.9
"""Share of the minutes that steps may take: the rest is validation and writing."""


class Timed:
    """A source whose time is taken."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self.source, self.device = source, device
        self.pixels_per_clip = source.pixels_per_clip
        self.seconds = 0.0

    def batch(self, clips: int, seed: int) -> Batch:
        """The source's batch."""
        wait(self.device)
        began = time.perf_counter()
        made = self.source.batch(clips, seed)
        wait(self.device)
        self.seconds += time.perf_counter() - began
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("run", type=Path)
    parser.add_argument("--textures", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="in all, rendering included")
    parser.add_argument("--start-from", default=None)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=0, help="0: the largest that memory holds")
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--rate", type=float, default=0.0, help="learning rate; 0: the recipe's")
    parser.add_argument("--filmed", type=float, default=0.6, help="share of compressed clips")
    train(parser.parse_args())


def train(options: argparse.Namespace) -> dict[str, object]:
    """Trains for the minutes, and says how they were spent."""
    began = time.monotonic()
    device = choose_device(options.device, mps=False)
    recipe = dataclasses.replace(
        recipes.load(options.recipe),
        pool=0,
        crop=options.crop,
        filmed=options.filmed,
        start_from=options.start_from,
        flow="truth",  # with errors: DIS would wait for the CPU
    )
    if options.rate:
        recipe = dataclasses.replace(recipe, learning_rate=options.rate)
    trial = options.run / "trial"
    batch, seconds = options.batch, 0.0
    if not batch:
        batch = largest_batch(recipe, options.textures, device, trial)
    seconds = step_seconds(opened(recipe, batch, options.textures, device, trial)[0], device)
    left = 60 * options.minutes - (time.monotonic() - began)
    steps = max(2, math.floor(ROOM * left / seconds))
    recipe = dataclasses.replace(
        recipe,
        batch=batch,
        steps=steps,
        warmup=min(recipe.warmup, steps // 20 + 1),
        validate_every=max(1, math.ceil(steps / 2)),
    )
    run, source = opened(recipe, batch, options.textures, device, options.run)
    going_on = run.resume()
    shutil.rmtree(trial, ignore_errors=True)
    out = options.run / "out"
    out.mkdir(parents=True, exist_ok=True)
    if not going_on:
        run.validate(None)
    saved = time.monotonic()

    def listen(now: Progress) -> None:
        nonlocal saved
        if now.stage == "train" and time.monotonic() - saved > SAVE_EVERY:
            run.save(out, compact=True)
            saved = time.monotonic()

    first, started = run.step, time.monotonic()
    left = options.minutes - (started - began) / 60
    run.train(max(0.01, left), listen=listen)
    spent = time.monotonic() - started
    run.save(out, compact=True)
    for name in ("best.safetensors", "curve.csv", "validation.png"):
        if (options.run / name).is_file():
            shutil.copy2(options.run / name, out / name)
    pixels = (run.step - first) * batch * source.pixels_per_clip
    facts: dict[str, object] = {
        "recipe": options.recipe,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "batch": batch,
        "crop": recipe.crop,
        "steps": run.step - first,
        "of": steps,
        "minutes": round(spent / 60, 2),
        "pixels_per_second": round(pixels / spent),
        "renderer_share": round(source.seconds / spent, 3),
        "peak_gb": round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
        if device.type == "cuda"
        else None,
        "gain": [round(point.metrics["gain"], 3) for point in run.curve],
    }
    (out / "gpu_training.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    print(json.dumps(facts, indent=1), flush=True)
    return facts


def opened(
    recipe: recipes.Recipe, batch: int, textures: Path, device: torch.device, folder: Path
) -> tuple[Run, Timed]:
    """A run with `batch` clips a step, and its source."""
    recipe = dataclasses.replace(recipe, batch=batch)
    task = open_task(recipe, device)
    depth = getattr(task, "needs_depth", False)
    source = Timed(
        open_source(recipe, textures, device, task.needs_flow, folder / "pool", depth=depth), device
    )
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, task, source, folder, device)
    if device.type == "cuda":
        run.network.to(memory_format=torch.channels_last)
    return run, source


def largest_batch(
    recipe: recipes.Recipe, textures: Path, device: torch.device, folder: Path
) -> int:
    """Doubles the batch until a step takes too much of the device's memory."""
    if device.type != "cuda":
        return recipe.batch
    total = torch.cuda.get_device_properties(device).total_memory
    batch = 1
    while batch < 256:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        try:
            opened(recipe, batch, textures, device, folder)[0].advance()
        except torch.cuda.OutOfMemoryError:
            break
        if 2 * torch.cuda.max_memory_allocated(device) > FULL * total:
            return batch
        batch *= 2
    return max(1, batch // 2)


def step_seconds(run: Run, device: torch.device) -> float:
    """Seconds of a step, rendering included."""
    run.advance()
    wait(device)
    began = time.perf_counter()
    for _ in range(TRIALS):
        run.advance()
    wait(device)
    return (time.perf_counter() - began) / TRIALS


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
