"""The same numbers on every device: operations, networks, restorers, scenes, steps of training.

On a GPU (`--device cuda`) each case is compared with the CPU in fp32. On a CPU precisions are
compared with each other, and a pretended device stands in for a GPU: it computes on the CPU and
refuses what a GPU would.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import pretend
from tests.device_cases import (
    FITS,
    NETWORKS,
    OPERATIONS,
    RESTORERS,
    SCENES,
    TRAINED,
    Case,
    smooth,
)
from unblur.engine.plan import MemoryPlan, choose_fit
from unblur.engine.rendition import Rendition
from unblur.engine.run import Runner
from unblur.engine.tiled import run_tiled
from unblur.metrics import psnr
from unblur.ops import memory
from unblur.ops.color import SRGB
from unblur.restorers import registry
from unblur.restorers.base import LoadOptions, Precision

CPU = torch.device("cpu")
EXACT = {"fit: fast": 1e-2, "fit: paper": 1e-2}
"""Largest errors in fp32, where they may be more than 1e-4: see `error`. A fit's first steps have
the signs of gradients, which rounding turns where they are near zero."""
BOUNDS: dict[Precision, dict[str, float]] = {"bf16": {"usual": 1.2e-2}, "fp16": {"usual": 1.2e-3}}
"""Largest errors in half precision, measured on a CPU and doubled."""
BF16_STEP = 6.5e-2
"""Likewise of the loss and gradients of a step of training in bf16."""
QUICK = ("operation", "scenes", "network: coc-s", "network: look-s")
"""What takes no seconds."""
ALL: dict[str, Case] = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("operation", OPERATIONS),
        ("network", NETWORKS),
        ("restorer", RESTORERS),
        ("fit", FITS),
        ("scenes", SCENES),
        ("training", TRAINED),
    )
    for name, case in cases.items()
}


@pytest.fixture
def elsewhere() -> Iterator[torch.device]:
    """A device that is not the CPU."""
    if not pretend.AVAILABLE:
        pytest.skip("this PyTorch has no back ends in Python")
    with pretend.pretending() as device:
        yield device


def quick_first(names: Iterable[str]) -> list[Any]:
    """Parameters of a test, marked where they take seconds."""
    return [
        name if name.startswith(QUICK) else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


@pytest.mark.parametrize("name", quick_first(ALL))
def test_what_runs_on_a_device_stays_there(name: str, elsewhere: torch.device) -> None:
    found, truth = ALL[name](elsewhere, "fp32"), ALL[name](CPU, "fp32")
    wanted = "cpu" if name.startswith("restorer") else elsewhere.type
    assert found.device.type == wanted
    torch.testing.assert_close(found.cpu(), truth, rtol=1e-4, atol=1e-5)


SOME = ("ops/test_warp.py", "synth/test_shapes.py", "training/test_loop.py")
"""A few tests of the rooms: operations, random numbers, a training and what it keeps on disk."""


@pytest.mark.skipif(not pretend.AVAILABLE, reason="this PyTorch has no back ends in Python")
def test_tests_of_the_rooms_pass_elsewhere() -> None:
    """`pytest --device pretend` goes on to work; all rooms on it take half an hour."""
    here = Path(__file__).parent
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--device",
        "pretend",
    ]
    command += [str(here / name) for name in SOME]
    done = subprocess.run(command, capture_output=True, text=True, cwd=here.parent)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.fixture
def exact_products() -> Iterator[None]:
    """No TensorFloat-32, which convolutions of fp32 use on a GPU unless told otherwise."""
    kinds = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [kind.allow_tf32 for kind in kinds]
    for kind in kinds:
        kind.allow_tf32 = False
    yield
    for kind, allowed in zip(kinds, before, strict=True):
        kind.allow_tf32 = allowed


def error(found: Tensor, truth: Tensor) -> float:
    """RMS of the difference over that of the truth."""
    scale = truth.double().square().mean().sqrt().clamp_min(1e-6)
    return float((found.cpu().double() - truth.double()).square().mean().sqrt() / scale)


@pytest.mark.parametrize("name", quick_first(ALL))
@pytest.mark.usefixtures("exact_products")
def test_fp32_gives_the_cpus_numbers(name: str, device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("this is the CPU")
    assert error(ALL[name](device, "fp32"), ALL[name](CPU, "fp32")) < EXACT.get(name, 1e-4)


HALVED = [f"operation: {name}" for name in ("colour", "gaussian", "padding", "bicubic")]
HALVED += [f"network: {name}" for name in NETWORKS if not name.startswith("coc")]


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", quick_first(HALVED))
def test_half_precision_stays_near_fp32(
    name: str, precision: Precision, device: torch.device
) -> None:
    found, truth = ALL[name](device, precision), ALL[name](CPU, "fp32")
    assert error(found, truth) < BOUNDS[precision].get(name, BOUNDS[precision]["usual"])


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_step_of_training_in_bf16_stays_near_fp32(name: str, device: torch.device) -> None:
    found, truth = TRAINED[name](device, "bf16"), TRAINED[name](CPU, "fp32")
    assert error(found, truth) < BF16_STEP


def test_a_gpu_that_is_full_leads_to_smaller_tiles(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("there is no GPU; tests/engine/test_run.py has its error on the CPU")
    restorer = registry.PRESETS["maxim-stage1"].load(LoadOptions(device, "fp32", None))
    runner = Runner(restorer, Rendition("encoded", SRGB), MemoryPlan(None, None))
    shown = smooth(CPU, 1, 3, 1024, 1024)
    truth = runner.restore_window(shown, [0])
    assert runner.fit.tiling is None
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    enough = torch.cuda.memory_allocated(device) + restorer.peak_bytes(1, 512, 512)
    torch.cuda.set_per_process_memory_fraction(enough / total, device)
    try:
        found = runner.restore_window(shown, [0])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert runner.fit.tiling is not None
    assert runner.fit.tiling.size < 1024
    assert psnr(found, truth) > 30


def test_a_limit_of_memory_is_kept_on_the_device(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("there is no GPU; tests/engine/test_plan.py has limits of the CPU")
    restorer = registry.PRESETS["maxim-stage1"].load(LoadOptions(device, "fp32", None))
    limit = memory.budget(device, 900_000_000)
    fit = choose_fit(restorer, 1024, 1024, limit)
    assert fit.tiling is not None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run_tiled(restorer, smooth(CPU, 1, 3, 1024, 1024), [0], fit)
    assert torch.cuda.max_memory_allocated(device) - before < limit
