"""A training that uses every minute of a GPU that is lent for a few.

    python benchmarks/gpu_training.py motion-m PACK --textures BANK --make-pack 40
    python benchmarks/gpu_training.py motion-m RUN --textures BANK --minutes 8 \
        --start-from motion-m --pack PACK
    python benchmarks/gpu_training.py motion-s RUN --textures BANK --device cpu --batch 1 --crop 64

Scenes are rendered on the device, so there is no loader and no pool; where PyAV is missing the
renderer's stand-in takes the place of encoders. The batch is the largest that memory holds, the
number of steps what the time holds: a schedule that is cut off by the clock never reaches its low
rates, where most is gained. Validation at the start, the middle and the end.

The first command runs where there are PyAV and OpenCV and makes a pack of at most so many MB:
clips that went through real encoders, and the clips of validation with the flow that DIS finds in
them. A machine without these mixes the clips with what it renders, and validates on the same ones.

What is to be carried away lies in RUN/out: `best.safetensors`, the curve, `gpu_training.json`
(pixels per second, share of the renderer, use of the GPU, peak of memory), and `checkpoint/`,
compact, in shards of at most 15 MB. `unblur train RECIPE RUN/out` goes on from there. All of it is
written twice a minute, so that a kill loses little, and the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import torch

from unblur.errors import UsageError
from unblur.guidance.flow import dis_flow
from unblur.ops.device import choose_device
from unblur.progress import Progress
from unblur.training import checkpoint
from unblur.training import recipe as recipes
from unblur.training.averages import Mixture
from unblur.training.batches import Batch, Source
from unblur.training.loop import Run
from unblur.training.pack import Pack, write_pack
from unblur.training.source import held_out_clips, open_source
from unblur.training.tasks import open_task

SAVE_EVERY = 30.0
"""Seconds between two states on disk."""
FULL = 0.8
"""Share of the device's memory that a step may take."""
TRIALS = 3
"""Steps that time a batch; the first one, which chooses kernels, does not count."""
PACK_SEED = 9_000_000
"""Seed of the first clip of a pack."""
ROOM = 0.9
"""Share of the minutes that steps may take: the rest is validation and writing."""


class Timed:
    """A source whose time is taken."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self.source, self.device = source, device
        self.pixels_per_clip = source.pixels_per_clip
        self.seconds = 0.0
        """Spent making clips."""
        self.waited = 0.0
        """Spent waiting for the device: what is left of all time is spent on giving it work."""

    def batch(self, clips: int, seed: int) -> Batch:
        """The source's batch, on the device."""
        self.wait()
        began = time.perf_counter()
        made = self.source.batch(clips, seed).to(self.device)
        self.wait()
        self.seconds += time.perf_counter() - began
        return made

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        began = time.perf_counter()
        wait(self.device)
        self.waited += time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("run", type=Path, help="folder of the run, or the pack that is to be made")
    parser.add_argument("--textures", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="in all, rendering included")
    parser.add_argument("--start-from", default=None)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=0, help="0: the largest that memory holds")
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--rate", type=float, default=0.0, help="learning rate; 0: the recipe's")
    parser.add_argument("--filmed", type=float, default=0.6, help="share of compressed clips")
    parser.add_argument("--pack", type=Path, default=None, help="clips that were carried along")
    parser.add_argument("--packed", type=float, default=0.3, help="share of steps on them")
    parser.add_argument("--make-pack", type=float, default=0.0, help="make one, of so many MB")
    parser.add_argument("--held-out", type=int, default=0, help="its clips of validation")
    options = parser.parse_args()
    if options.make_pack:
        make_pack(options)
    else:
        train(options)


def recipe_of(options: argparse.Namespace) -> recipes.Recipe:
    """The recipe, with what a GPU for minutes changes in it."""
    recipe = dataclasses.replace(
        recipes.load(options.recipe),
        pool=0,
        crop=options.crop,
        filmed=options.filmed,
        start_from=options.start_from,
        flow="truth",  # with errors: DIS would wait for the CPU
    )
    return dataclasses.replace(recipe, learning_rate=options.rate) if options.rate else recipe


def make_pack(options: argparse.Namespace) -> None:
    """Clips through real encoders, and those of validation with the flow that is found in them."""
    cpu = torch.device("cpu")
    recipe = dataclasses.replace(recipe_of(options), filmed=1.0)
    if options.held_out:
        recipe = dataclasses.replace(recipe, validation_clips=options.held_out)
    task = open_task(recipe, cpu)
    clean = open_source(recipe, options.textures, cpu, True, options.run.parent / "pool")
    held_out = [guessed(clip) for clip in held_out_clips(recipe, cpu, flows=False)]

    def clips() -> Iterator[Batch]:
        for number in count():
            print(f"clip {number}", end="\r", flush=True)
            made = clean.batch(1, PACK_SEED + number)
            yield (
                made
                if task.needs_flow
                else dataclasses.replace(made, flow_forward=None, flow_backward=None)
            )

    held, size = write_pack(options.run, clips(), held_out, round(1e6 * options.make_pack))
    print(f"{options.run}: {held} clips, {len(held_out)} held out, {size / 1e6:.1f} MB")


def guessed(clip: Batch) -> Batch:
    """A clip of validation with the flow that DIS finds in its frames."""
    forward, backward = dis_flow(clip.blurred[0])
    return dataclasses.replace(clip, guess_forward=forward[None], guess_backward=backward[None])


def train(options: argparse.Namespace) -> dict[str, object]:
    """Trains for the minutes, and says how they were spent."""
    began = time.monotonic()
    device = choose_device(options.device, mps=False)
    recipe = recipe_of(options)
    pack = None if options.pack is None else Pack(options.pack, options.crop)
    out, trial = options.run / "out", options.run / "trial"
    done, known = take_up(options.run)
    batch = options.batch or known
    make = partial(opened, textures=options.textures, device=device, pack=pack, options=options)
    if not batch:
        batch = largest_batch(recipe, make, device, trial)
    seconds = step_seconds(make(recipe, batch, folder=trial)[0], device)
    left = 60 * options.minutes - (time.monotonic() - began)
    steps = done + max(2, math.floor(ROOM * left / seconds))
    recipe = dataclasses.replace(
        recipe,
        batch=batch,
        steps=steps,
        warmup=min(recipe.warmup, steps // 20 + 1),
        validate_every=max(1, math.ceil((steps - done) / 2)),
    )
    run, source = make(recipe, batch, folder=options.run)
    going_on = run.resume()
    shutil.rmtree(trial, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    if not going_on:
        run.validate(None)
    first, started, uses = run.step, time.monotonic(), Uses(device)
    before = source.seconds

    def carry() -> dict[str, object]:
        """Writes all that is to be carried away."""
        run.save(out, compact=True)
        for name in ("best.safetensors", "curve.csv", "validation.png"):
            if (options.run / name).is_file():
                shutil.copy2(options.run / name, out / f"{name}.part")
                (out / f"{name}.part").replace(out / name)
        spent = max(1e-9, time.monotonic() - started)
        pixels = (run.step - first) * batch * source.pixels_per_clip
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
        facts: dict[str, object] = {
            "recipe": options.recipe,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            "torch": torch.__version__,
            "batch": batch,
            "crop": recipe.crop,
            "steps": run.step - first,
            "from": first,
            "of": steps,
            "minutes": round(spent / 60, 2),
            "pixels_per_second": round(pixels / spent),
            "renderer_share": round((source.seconds - before) / spent, 3),
            "gpu_use": uses.mean(),
            "waiting_share": round(source.waited / spent, 3),
            "peak_gb": None if peak is None else round(peak, 2),
            "gain": [round(point.metrics["gain"], 3) for point in run.curve],
        }
        (out / "gpu_training.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        return facts

    saved = time.monotonic()

    def listen(now: Progress) -> None:
        nonlocal saved
        uses.look()
        if now.stage == "train" and time.monotonic() - saved > save_every():
            carry()
            saved = time.monotonic()

    left = options.minutes - (started - began) / 60
    run.train(max(0.01, left), listen=listen)
    facts = carry()
    print(json.dumps(facts, indent=1), flush=True)
    return facts


def save_every() -> float:
    """Seconds between two states on disk; tests want them sooner."""
    return float(os.environ.get("UNBLUR_SAVE_EVERY", SAVE_EVERY))


def take_up(folder: Path) -> tuple[int, int]:
    """Where a run stands that was killed, and its batch; 0 and 0 for a new one.

    Its latest state is the one to be carried away: its own is written at each validation only.
    """
    own, carried = folder / "checkpoint", folder / "out" / "checkpoint"
    found = [(path, checkpoint.load(path)) for path in (own, carried)]
    known = [(state[1]["step"], path, state[1]) for path, state in found if state is not None]
    if not known:
        return 0, 0
    step, path, facts = max(known, key=lambda one: one[0])
    if path != own:
        shutil.rmtree(own, ignore_errors=True)
        shutil.copytree(path, own)
    return step, facts["recipe"]["batch"]


class Uses:
    """How busy the GPU is, as its driver says, looked up once a second."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seen, self.last = device, [], time.monotonic()
        self.able = device.type == "cuda" and find_spec("pynvml") is not None

    def look(self) -> None:
        """Notes it, where it can be known and a second has gone by."""
        if not self.able or time.monotonic() - self.last < 1:
            return
        self.last = time.monotonic()
        try:
            self.seen.append(torch.cuda.utilization(self.device))
        except (RuntimeError, ModuleNotFoundError):
            self.able = False

    def mean(self) -> float | None:
        """Per cent; None where it cannot be known."""
        return round(sum(self.seen) / len(self.seen), 1) if self.seen else None


def opened(
    recipe: recipes.Recipe,
    batch: int,
    *,
    textures: Path,
    device: torch.device,
    pack: Pack | None,
    options: argparse.Namespace,
    folder: Path,
) -> tuple[Run, Timed]:
    """A run with `batch` clips a step, and its source."""
    recipe = dataclasses.replace(recipe, batch=batch)
    task = open_task(recipe, device)
    if pack is not None:
        task.held_out = pack.held_out(device)
    elif task.needs_flow and find_spec("cv2") is None:
        raise UsageError(
            "validation needs flow that is found in its frames, and there is no OpenCV: give "
            "--pack, made where there is"
        )
    depth = getattr(task, "needs_depth", False)
    source = open_source(recipe, textures, device, task.needs_flow, folder / "pool", depth=depth)
    if pack is not None:
        source = Mixture(source, pack, options.packed)
    timed = Timed(source, device)
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, task, timed, folder, device)
    if device.type == "cuda":
        run.network.to(memory_format=torch.channels_last)
    return run, timed


def largest_batch(
    recipe: recipes.Recipe,
    make: Callable[..., tuple[Run, Timed]],
    device: torch.device,
    folder: Path,
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
            make(recipe, batch, folder=folder)[0].advance()
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
