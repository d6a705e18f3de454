"""A training that uses every minute of a GPU that is lent for a few.

    python benchmarks/gpu_training.py motion-m PACK --textures BANK --make-pack 40
    python benchmarks/gpu_training.py motion-m RUN --textures BANK --minutes 8 \
        --start-from motion-m --pack PACK
    python benchmarks/gpu_training.py motion-s RUN --textures BANK --device cpu --batch 1 --crop 64

Scenes are rendered on the device, so there is no loader and no pool; where PyAV is missing the
renderer's stand-in takes the place of encoders. On a GPU it trains in bf16. The batch is the
largest that memory holds, the number of steps what the time holds, counted anew twice a minute: a
schedule that is cut off by the clock never reaches its low rates, where most is gained. Validation
at the start, the middle and the end. What it does is printed as it does it.

The first command runs where there are PyAV and OpenCV and makes a pack of at most so many MB:
clips that went through real encoders, and the clips of validation with the flow that DIS finds in
them. A machine without these mixes the clips with what it renders, and validates on the same ones.

What is to be carried away lies in RUN/out, or in the folder that --out names: `best.safetensors`,
`gpu_training.json` (the curve, pixels per second, share of the renderer, use of the GPU, peak of
memory), `recipe.json`, and `checkpoint/`, compact, in shards of at most 15 MB: eight files for
networks as large as motion-m. `unblur train RUN/out/recipe.json RUN/out --textures BANK` goes on
from there. All of it is written twice a minute, so that a kill loses little, and the same command
goes on where it was.

Where only so much can be carried to the GPU, `--make-kit MB` puts what such a run needs into the
folder RUN: the package, the weights that it starts from, this script, textures and pack.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import torch

from unblur import weights
from unblur.errors import UnblurError, UsageError
from unblur.guidance.flow import dis_flow
from unblur.ops.device import choose_device
from unblur.progress import Progress
from unblur.training import checkpoint
from unblur.training import recipe as recipes
from unblur.training.averages import Mixture
from unblur.training.batches import Batch, Source, drawing
from unblur.training.loop import Point, Run
from unblur.training.pack import Pack, write_pack
from unblur.training.pool import oriented
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
RENDERED, MOST = 0.25, 4
"""Share of the time that rendering may take, where a batch may be taken so many times for it."""
ROOM = 0.97
"""Share of the time left that steps may take: the rest is writing."""
HERE = Path(__file__).resolve().parent
KIT = ("gpu_training.py", "gpu.py", "table.py")
"""Scripts of a kit."""


class Reused:
    """Batches of another source, each taken several times in a row: mirrored, turned and reversed
    in time by chance, and of another frame, as tasks draw one for each step.
    """

    def __init__(self, source: Source, times: int) -> None:
        self.source, self.times = source, times
        self.pixels_per_clip = source.pixels_per_clip
        self.kept: tuple[int, Batch] | None = None
        self.left = 0

    def batch(self, clips: int, seed: int) -> Batch:
        """A new one, or the last one turned."""
        if self.times == 1:
            return self.source.batch(clips, seed)
        if self.left == 0 or self.kept is None or self.kept[0] != clips:
            self.kept, self.left = (clips, self.source.batch(clips, seed)), self.times
        self.left -= 1
        draw = drawing(torch.Generator().manual_seed(seed))
        return oriented(self.kept[1], draw(8), bool(draw(2)))


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
    parser.add_argument("--packed", type=float, default=0.2, help="share of steps on them")
    parser.add_argument("--reuse", type=int, default=0, help="steps on a rendered batch; 0: chosen")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=None)
    parser.add_argument("--out", type=Path, default=None, help="what is to be carried away")
    parser.add_argument("--make-pack", type=float, default=0.0, help="make one, of so many MB")
    parser.add_argument("--held-out", type=int, default=0, help="its clips of validation")
    parser.add_argument("--make-kit", type=float, default=0.0, help="make one, of so many MB")
    options = parser.parse_args()
    if options.make_pack:
        make_pack(options)
    elif options.make_kit:
        make_kit(options)
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
        real=0.0,  # video cannot be read there
        flow="truth",  # with errors: DIS would wait for the CPU
    )
    precision = options.precision or ("bf16" if options.device.startswith("cuda") else None)
    if precision:
        recipe = dataclasses.replace(recipe, precision=precision)
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


def make_kit(options: argparse.Namespace) -> None:
    """All that a run needs on another machine, in one folder."""
    kit, package = options.run, HERE.parent / "src" / "unblur"
    if kit.exists() and any(kit.iterdir()):
        raise UsageError(f"{kit} is not empty: name a new folder")
    left = shutil.ignore_patterns("__pycache__", "*.safetensors", "encoded", "static")
    shutil.copytree(package, kit / "src" / "unblur", ignore=left)
    for name in needed_weights(recipe_of(options)):
        shutil.copy2(weights.PACKAGE_FOLDER / name, kit / "src" / "unblur" / "weights" / name)
    (kit / "benchmarks").mkdir()
    for name in KIT:
        shutil.copy2(HERE / name, kit / "benchmarks" / name)
    shutil.copytree(options.textures, kit / "bank")
    words = [options.recipe, "RUN", "--textures", "bank"]
    if options.start_from:
        words += ["--start-from", options.start_from]
    if options.pack is not None:
        shutil.copy2(options.pack, kit / "pack")
        words += ["--pack", "pack"]
    size = sum(path.stat().st_size for path in kit.rglob("*") if path.is_file()) / 1e6
    print(f"{kit}: {size:.1f} MB. In it:")
    print(f"PYTHONPATH=src python benchmarks/gpu_training.py {' '.join(words)} --minutes 8")
    if size > options.make_kit:
        raise UsageError(f"{kit} has more than {options.make_kit:g} MB: make a smaller pack")


def needed_weights(recipe: recipes.Recipe) -> list[str]:
    """Names of the files that it starts from, and of what finds radii."""
    names, found = [recipe.start_from, recipe.radius], list[str]()
    while names:
        path = weights.find(str(names.pop()))
        if path is not None and path.parent == weights.PACKAGE_FOLDER and path.name not in found:
            found.append(path.name)
            names.append(weights.metadata(path).get("base"))
    return found


def guessed(clip: Batch) -> Batch:
    """A clip of validation with the flow that DIS finds in its frames."""
    forward, backward = dis_flow(clip.blurred[0])
    return dataclasses.replace(clip, guess_forward=forward[None], guess_backward=backward[None])


def train(options: argparse.Namespace) -> dict[str, object]:
    """Trains for the minutes, and says how they were spent."""
    began = time.monotonic()
    device = choose_device(options.device, mps=False)
    recipe = recipe_of(options)
    told = partial(tell, began)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    lacking = [word for word in ("av", "cv2", "triton", "pynvml") if find_spec(word) is None]
    told(f"{recipe.network} in {recipe.precision} on {name}, torch {torch.__version__}")
    told(f"not here: {', '.join(lacking) or 'nothing that could be used'}")
    pack = None if options.pack is None else Pack(options.pack, options.crop, device)
    if pack is not None:
        told(f"the pack holds {len(pack.clips)} clips")
    out, trial = options.out or options.run / "out", options.run / "trial"
    done, known = take_up(options.run, out)
    batch = options.batch or known
    make = partial(opened, textures=options.textures, device=device, pack=pack, options=options)
    if not batch:
        batch = largest_batch(recipe, make, device, trial, told)
    seconds, rendering = step_seconds(*make(recipe, batch, folder=trial, packed=0.0), device)
    reuse = options.reuse or times_to_reuse(seconds, rendering)
    mean = seconds - rendering * (1 - 1 / reuse)
    told(f"{batch} clips a step: {seconds:.3f} s, of them {rendering:.3f} s to render")
    told(f"each rendered batch is taken {reuse} time(s)")
    if pack is not None:
        read, _ = step_seconds(*make(recipe, batch, folder=trial, packed=1.0), device)
        told(f"{read:.3f} s on the pack")
        mean += (read - mean) * options.packed
    left = 60 * options.minutes - (time.monotonic() - began)
    steps = done + max(2, math.floor(ROOM * left / mean))
    recipe = dataclasses.replace(
        recipe,
        batch=batch,
        steps=steps,
        warmup=min(recipe.warmup, steps // 20 + 1),
        validate_every=max(1, math.ceil((steps - done) / 2)),
    )
    run, source = make(recipe, batch, folder=options.run, reuse=reuse)
    going_on = run.resume()
    shutil.rmtree(trial, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    measured = time.monotonic()
    if not going_on:
        run.validate(None)
        told(point_in_words(run.curve[-1]))
    first, started, uses = run.step, time.monotonic(), Uses(device)
    validating = started - measured if not going_on else 0.0
    middle = first + recipe.validate_every
    before, waited = source.seconds, source.waited

    def carry() -> dict[str, object]:
        """Writes all that is to be carried away."""
        run.save(out, compact=True)
        if (options.run / "best.safetensors").is_file():
            shutil.copy2(options.run / "best.safetensors", out / "best.part")
            (out / "best.part").replace(out / "best.safetensors")
        spent = max(1e-9, time.monotonic() - started)
        pixels = (run.step - first) * batch * source.pixels_per_clip
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
        facts: dict[str, object] = {
            "recipe": options.recipe,
            "device": name,
            "torch": torch.__version__,
            "precision": recipe.precision,
            "batch": batch,
            "reuse": reuse,
            "crop": recipe.crop,
            "steps": run.step - first,
            "from": first,
            "of": run.recipe.steps,
            "minutes": round(spent / 60, 2),
            "pixels_per_second": round(pixels / spent),
            "renderer_share": round((source.seconds - before) / spent, 3),
            "gpu_use": uses.mean(),
            "waiting_share": round((source.waited - waited) / spent, 3),
            "peak_gb": None if peak is None else round(peak, 2),
            "gain": [round(point.metrics["gain"], 3) for point in run.curve],
            "curve": [vars(point) for point in run.curve],
        }
        for file, held in (("gpu_training", facts), ("recipe", recipes.to_json(run.recipe))):
            (out / f"{file}.part").write_text(json.dumps(held, indent=1), encoding="utf-8")
            (out / f"{file}.part").replace(out / f"{file}.json")
        rate = (
            f"{pixels / spent / 1e6:.2f} million pixels/s, renderer {facts['renderer_share']:.0%}"
        )
        told(f"step {run.step} of {run.recipe.steps}: {rate}, peak {facts['peak_gb']} GB")
        return facts

    def plan_anew() -> None:
        """As many steps as the time left holds, so that the rate falls to its end in time."""
        spent, steps = time.monotonic() - started, run.step - first
        rest = 60 * options.minutes - (time.monotonic() - began) - validating
        fits = run.step + max(1, math.floor(ROOM * rest * steps / spent))
        # Validation in the middle stays where it was; at the end there is one in any case.
        every = middle if run.step < middle else fits + 1
        run.recipe = dataclasses.replace(run.recipe, steps=fits, validate_every=every)

    saved = time.monotonic()

    def listen(now: Progress) -> None:
        nonlocal saved
        uses.look()
        if now.stage == "train" and time.monotonic() - saved > save_every():
            carry()
            plan_anew()
            saved = time.monotonic()

    left = options.minutes - (started - began) / 60
    run.train(max(0.01, left), lambda point: told(point_in_words(point)), listen)
    facts = carry()
    print(json.dumps(facts, indent=1), flush=True)
    return facts


def tell(began: float, text: str) -> None:
    """Prints what happens and after how many seconds, at once: a run may be cut off."""
    print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)


def point_in_words(point: Point) -> str:
    """A line of the learning curve."""
    found = point.metrics
    return f"step {point.step}: gain {found['gain']:.3f} dB, " + " ".join(
        f"{name}={value:.4f}" for name, value in found.items() if name != "gain"
    )


def save_every() -> float:
    """Seconds between two states on disk; tests want them sooner."""
    return float(os.environ.get("UNBLUR_SAVE_EVERY", SAVE_EVERY))


def take_up(folder: Path, out: Path) -> tuple[int, int]:
    """Where a run stands that was killed, and its batch; 0 and 0 for a new one.

    Its latest state is the one to be carried away: its own is written at each validation only.
    """
    own = folder / "checkpoint"
    found = [(path, checkpoint.load(path)) for path in (own, out / "checkpoint")]
    known = [(state[1]["step"], path, state[1]) for path, state in found if state is not None]
    if not known:
        return 0, 0
    step, path, facts = max(known, key=lambda one: one[0])
    if path != own:
        shutil.rmtree(own, ignore_errors=True)
        shutil.copytree(path, own)
    best = folder / "best.safetensors"
    if not best.exists() and (out / best.name).is_file():  # only that was carried here
        shutil.copy2(out / best.name, best)
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
    packed: float | None = None,
    reuse: int = 1,
) -> tuple[Run, Timed]:
    """A run with `batch` clips a step, and its source.

    `packed` is the share of steps on the pack where it is not that of the options, `reuse` how
    often a rendered batch is taken.
    """
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
    source = Reused(source, reuse)
    if pack is not None:
        source = Mixture(source, pack, options.packed if packed is None else packed)
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
    told: Callable[[str], None],
) -> int:
    """Doubles the batch until a step takes too much of the device's memory."""
    if device.type != "cuda":
        return recipe.batch
    total = torch.cuda.get_device_properties(device).total_memory
    batch = 1
    while batch < 256:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        try:  # rendered clips, whose making takes more than reading those of a pack
            run = make(recipe, batch, folder=folder, packed=0.0)[0]
            for _ in range(2):  # networks that take turns need not use the most at once
                run.advance()
        except torch.OutOfMemoryError:
            run = None
            break
        peak = torch.cuda.max_memory_allocated(device)
        run = None
        told(f"{batch} clips take {peak / 1e9:.1f} of {total / 1e9:.1f} GB")
        if 2 * peak > FULL * total:
            return batch
        batch *= 2
    return max(1, batch // 2)


def step_seconds(run: Run, source: Timed, device: torch.device) -> tuple[float, float]:
    """Seconds of a step, and those of them that making its batch took."""
    run.advance()
    wait(device)
    began, before = time.perf_counter(), source.seconds
    for _ in range(TRIALS):
        run.advance()
    wait(device)
    return (time.perf_counter() - began) / TRIALS, (source.seconds - before) / TRIALS


def times_to_reuse(seconds: float, rendering: float) -> int:
    """How often a rendered batch is taken, so that rendering takes no more than its share."""
    learning = max(1e-9, seconds - rendering)
    return min(MOST, max(1, math.ceil(rendering * (1 - RENDERED) / (learning * RENDERED))))


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    try:
        main()
    except UnblurError as error:  # a wrong name is no fault of the script
        sys.exit(f"error: {error}")
