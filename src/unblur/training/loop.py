"""The loop that trains every network.

Step `n` sees the batch made from seed, rank and `n` alone, so that a run that was killed and
resumed goes on as if it had not been. Under `torchrun` each process renders its own clips.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur import weights
from unblur.errors import NumericsError, UnblurWarning, UsageError
from unblur.progress import Listener, Plan, Progress
from unblur.schema import conform
from unblur.training import checkpoint
from unblur.training.average import Average
from unblur.training.batches import Source
from unblur.training.recipe import Recipe, to_json
from unblur.training.task import Task
from unblur.weights import difference
from unblur.weights.switches import KEY

MEMORY = 20
"""Steps over which the reported loss is averaged."""
PATIENCE = 20
"""Steps in a row without a finite gradient before a run gives up."""
SAME = ("network", "options", "seed", "batch", "frames", "window", "references", "crop", "data")
"""Fields of a recipe that have to be those of the run that goes on."""
TOLD = ("losses", "flow", "radius", "scenes", "validate_on")
"""Fields that may change on the way, but gains before and after do not compare then."""


@dataclass(frozen=True)
class Point:
    """A line of the learning curve."""

    step: int
    minutes: float
    """Time spent training, over all resumptions."""
    pixels: int
    """Pixels of input seen, over all processes."""
    loss: float | None
    """Mean since the last line; None where no step had a finite one."""
    metrics: dict[str, float]
    """Of the averaged weights on held-out clips; `gain` (higher is better) decides."""


@dataclass(frozen=True)
class Outcome:
    """Where a run ended."""

    curve: tuple[Point, ...]
    """Empty in all but the first process."""
    best: Path | None
    """Averaged weights of the best validation so far, in half precision."""
    finished: bool
    """True where the schedule has run to its end."""
    skipped: int
    """Steps whose loss or gradient was not finite."""


class Run:
    """A training run in a folder: network, optimizer, average, and how far it has come."""

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        source: Source,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.recipe, self.task, self.source = recipe, task, source
        self.folder, self.device = folder, device
        self.rank, self.world = join_processes()
        torch.manual_seed(recipe.seed)
        self.network = network_of(task).to(device)
        if recipe.start_from is not None:
            load_start(self.network, recipe.start_from, task.adapt)
        self.average = Average(self.network, recipe.average)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, recipe), betas=recipe.betas
        )
        self.step = 0
        self.minutes = 0.0
        self.skipped = 0
        self.curve: list[Point] = []
        self.model = self.network
        if self.world > 1:
            self.model = nn.parallel.DistributedDataParallel(
                self.network,
                device_ids=[device.index] if device.type == "cuda" else None,
                find_unused_parameters=task.takes_turns,
            )

    def train(
        self,
        minutes: float | None = None,
        progress: Callable[[Point], None] | None = None,
        listen: Listener | None = None,
    ) -> Outcome:
        """Goes on to the end of the schedule, or for `minutes` minutes.

        `progress` hears of each validation, `listen` of each step.

        Raises:
            NumericsError: no finite gradient for many steps in a row.
        """
        began, before = time.monotonic(), self.minutes
        losses: list[float] = []
        failures = 0
        report = Reporter(self, minutes, listen if self.rank == 0 else None)
        report("open", math.nan)
        while self.step < self.recipe.steps:
            loss = self.advance()
            failures = 0 if math.isfinite(loss) else failures + 1
            if failures >= PATIENCE:
                raise NumericsError(
                    f"no finite gradient in the last {PATIENCE} steps to step {self.step}: "
                    "lower learning_rate, or take precision: fp32"
                )
            if math.isfinite(loss):
                losses.append(loss)
            self.minutes = before + (time.monotonic() - began) / 60
            report("train", loss)
            over = minutes is not None and self.minutes - before >= minutes
            if over or self.step % self.recipe.validate_every == 0 or self.finished:
                mean = sum(losses) / len(losses) if losses else None
                report("validate", loss)
                self.validate(mean)
                losses = []
                if progress is not None and self.rank == 0:
                    progress(self.curve[-1])
            if over:
                break
        best = self.folder / "best.safetensors"
        return Outcome(
            tuple(self.curve), best if best.is_file() else None, self.finished, self.skipped
        )

    @property
    def finished(self) -> bool:
        """True where the schedule has run to its end."""
        return self.step >= self.recipe.steps

    def advance(self) -> float:
        """One step. Returns the loss; weights stay where it or its gradient is not finite."""
        recipe = self.recipe
        self.model.train()
        seed = step_seed(recipe.seed, self.rank, self.step)
        batch = self.source.batch(recipe.batch, seed).to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * learning_rate(recipe, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = self.task.loss(self.model, batch, seed)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.step += 1
        if not torch.isfinite(loss) or not torch.isfinite(norm):
            self.skipped += 1
            return math.nan
        self.optimizer.step()
        self.average.update(self.network, self.step)
        return float(loss.detach())

    def validate(self, loss: float | None) -> None:
        """Measures the averaged weights, notes a point of the curve, and writes a checkpoint."""
        if self.rank == 0:
            self.network.eval()
            with self.average.within(self.network), torch.no_grad():
                metrics = self.task.validate(self.network, self.folder)
            pixels = self.step * self.recipe.batch * self.world * self.source.pixels_per_clip
            best = max((p.metrics["gain"] for p in self.curve), default=-math.inf)
            self.curve.append(Point(self.step, self.minutes, pixels, loss, metrics))
            if metrics["gain"] > best:
                weights.save(
                    self.folder / "best.safetensors", self.average.half(), self._metadata()
                )
            self.save()
            write_curve(self.folder / "curve.csv", self.curve)
        if self.world > 1:
            torch.distributed.barrier()

    def save(self, folder: Path | None = None, compact: bool = False) -> None:
        """Writes the whole state.

        Args:
            folder: of the run that is to go on with it; this run's own where it is None.
            compact: at half the size, for a narrow line: weights in fp16, moments in bf16.
        """
        tensors: dict[str, Tensor] = {}
        for kind, state in (
            ("network", self.network.state_dict()),
            ("average", self.average.state),
        ):
            tensors |= {f"{kind}.{name}": x for name, x in state.items()}
        for name, parameter in self.network.named_parameters():
            for kind, x in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{kind}.{name}"] = x
        facts = {
            "step": self.step,
            "minutes": self.minutes,
            "skipped": self.skipped,
            "recipe": to_json(self.recipe),
            "curve": [vars(point) for point in self.curve],
        }
        if compact:
            tensors = {
                name: x.to(torch.bfloat16 if name.startswith("optimizer.exp") else torch.float16)
                for name, x in tensors.items()
            }
        checkpoint.save((folder or self.folder) / "checkpoint", tensors, facts)

    def resume(self) -> bool:
        """Takes up the checkpoint in the folder; False where there is none.

        Raises:
            UsageError: it belongs to a run with another network or other data.
        """
        found = checkpoint.load(self.folder / "checkpoint")
        if found is None:
            return False
        try:
            return self._take_up(*found)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise checkpoint.damaged(self.folder / "checkpoint", error) from error

    def _take_up(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> bool:
        mine = to_json(self.recipe)
        theirs = {"window": 0, "references": 0, **facts["recipe"]}  # before recipes had these
        for name in SAME:
            if mine[name] != theirs[name]:
                raise UsageError(
                    f"{self.folder} holds a run with {name} = {theirs[name]}, not {mine[name]}: "
                    "resume with the same recipe, or take another folder"
                )
        other = [name for name in TOLD if mine[name] != theirs.get(name, mine[name])]
        if other:
            warnings.warn(
                f"{self.folder}: {', '.join(other)} of the recipe changed on the way: gains from "
                "here on do not compare with those before",
                UnblurWarning,
                stacklevel=2,
            )
        self.network.load_state_dict(under("network.", tensors))
        for name, x in under("average.", tensors).items():
            self.average.state[name].copy_(x)
        for name, parameter in self.network.named_parameters():
            if not parameter.requires_grad:
                continue
            state = {
                kind: saved.float().to(parameter.device if saved.ndim else "cpu")
                for kind in ("exp_avg", "exp_avg_sq", "step")
                if (saved := tensors.get(f"optimizer.{kind}.{name}")) is not None
            }
            if state:
                self.optimizer.state[parameter] = state
        self.step = conform(facts["step"], int, "step")
        self.minutes = conform(facts["minutes"], float, "minutes")
        self.skipped = conform(facts["skipped"], int, "skipped")
        self.curve = [Point(**point) for point in facts["curve"]]
        return True

    def _metadata(self) -> dict[str, str]:
        switches = getattr(self.task, "switches", None)
        known = {} if switches is None else {KEY: json.dumps(switches)}
        return {
            **known,
            "name": self.recipe.network,
            "network": self.recipe.network,
            "recipe": str(to_json(self.recipe)),
            "step": str(self.step),
            "licence": "Apache-2.0",
        }


class Reporter:
    """Reports to a listener where a run stands, how fast it is, and how long it will take.

    Args:
        run: the training.
        minutes: after which it is to stop, if any.
        listener: called with each change, if given.
    """

    def __init__(self, run: Run, minutes: float | None, listener: Listener | None) -> None:
        recipe = run.recipe
        self.run, self.minutes, self.listener = run, minutes, listener
        self.plan = Plan(
            model=recipe.network,
            device=str(run.device),
            precision=recipe.precision,
            total=recipe.steps,
            unit="steps",
            seconds=None if minutes is None else 60 * minutes,
        )
        self.began, self.first = time.monotonic(), run.step
        self.loss = math.nan

    def __call__(self, stage: str, loss: float) -> None:
        """Reports; the loss is a running mean."""
        if self.listener is None:
            return
        if stage == "train" and math.isfinite(loss):
            self.loss = loss if math.isnan(self.loss) else self.loss + (loss - self.loss) / MEMORY
        step, recipe = self.run.step, self.run.recipe
        spent = time.monotonic() - self.began
        done = step - self.first
        left = (recipe.steps - step) * spent / done if done else None
        if self.minutes is not None:
            rest = max(0.0, 60 * self.minutes - spent)
            left = rest if left is None else min(left, rest)
        facts = {} if math.isnan(self.loss) else {"loss": self.loss}
        if done:
            wait = (recipe.validate_every - step % recipe.validate_every) * spent / done
            facts["validation_in"] = min(wait, left or 0.0)  # one ends the run
        share = None if left is None else spent / max(1e-9, spent + left)
        rate = done / spent if spent > 0 else 0.0
        self.listener(
            Progress(stage, step, recipe.steps, rate, left, spent, share, self.plan, facts)
        )


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to `final_rate`."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    share = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return recipe.final_rate + (recipe.learning_rate - recipe.final_rate) * fall


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters by the factor on their learning rate; no decay on norms and biases.

    Those with a factor of 0 are frozen.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = next((f for key, f in recipe.rate_factors.items() if key in name), 1.0)
        if factor == 0:
            parameter.requires_grad_(False)
            continue
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": decay, "lr": 0.0}
        for (factor, decay), parameters in groups.items()
    ]


def network_of(task: Task) -> nn.Module:
    """The network of a task; UsageError where options give it sizes that cannot be."""
    try:
        return task.network()
    except (TypeError, ValueError, ArithmeticError, LookupError, AssertionError) as error:
        raise UsageError(f"recipe: options make no network ({error})") from error
    except RuntimeError as error:
        if "alloc" in str(error):
            raise
        raise UsageError(f"recipe: options make no network ({error})") from error


def load_start(
    network: nn.Module, start: str, adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    """Loads the tensors of a weights file that fit by name and shape; says which did not."""
    path = weights.find(start) or Path(start)
    state, own = difference.load_start(path, adapt), network.state_dict()
    fitting = {n: x for n, x in state.items() if n in own and own[n].shape == x.shape}
    if not fitting:
        raise UsageError(f"start_from: nothing in {path} fits this network")
    network.load_state_dict(fitting, strict=False)
    if len(fitting) < len(own):
        warnings.warn(
            f"start_from: {len(own) - len(fitting)} of {len(own)} tensors start at random",
            UnblurWarning,
            stacklevel=2,
        )


def step_seed(seed: int, rank: int, step: int) -> int:
    """Seed of one batch, unlike those of all other steps and processes."""
    return (seed * 1_000_003 + rank) * 100_000_007 + step


def join_processes() -> tuple[int, int]:
    """Rank and number of processes; joins the others where `torchrun` started this one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return (torch.distributed.get_rank() if world > 1 else 0), world


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def write_curve(path: Path, curve: list[Point]) -> None:
    """The learning curve as CSV."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["step", "minutes", "pixels", "loss", *curve[-1].metrics])
        table.writerows(rows(curve))


def rows(curve: list[Point]) -> Iterator[list[str]]:
    """The curve as text, a list for each line."""
    for p in curve:
        numbers = [p.minutes, p.loss, *p.metrics.values()]
        minutes, loss, *metrics = ("" if x is None else f"{x:.5g}" for x in numbers)
        yield [str(p.step), minutes, str(p.pixels), loss, *metrics]
