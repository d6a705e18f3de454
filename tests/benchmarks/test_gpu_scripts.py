"""The scripts for a GPU run on a CPU at tiny sizes: minutes on a GPU are not lost to them."""

from __future__ import annotations

import csv
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests import pretend

ROOT = Path(__file__).parents[2]


def run(script: str, *words: str | Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_every_row_of_the_table_can_be_measured(tmp_path: Path) -> None:
    words = ("--device", "cpu", "--tiny", "--minutes", "60", "--atlas-minutes", ".05")
    run("gpu.py", *words, "--out", tmp_path)
    with open(tmp_path / "gpu.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert not [row for row in rows if row.get("error")]


def bench(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> tuple[ModuleType, Any]:
    """The script as a module, and what it measures on."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("gpu")
    return module, module.Bench(device, tiny=True, atlas_minutes=0.02)


def test_a_row_that_fails_holds_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    module, there = bench(monkeypatch, torch.device("cpu"))

    def full() -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried ...\nand more")

    assert module.attempted(full, there) == {
        "error": "OutOfMemoryError: CUDA out of memory. Tried ..."
    }


@pytest.mark.skipif(not pretend.AVAILABLE, reason="this PyTorch has no back ends in Python")
@pytest.mark.parametrize(
    "name",
    [
        "flow-s",
        "disk blur, radius 4",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("job, motion-s", "job, focus-m", "BSSTNet", "DaBiT", "atlas, fast")
        ),
    ],
)
def test_rows_run_on_a_device_that_is_not_the_cpu(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pretend.pretending() as device:
        module, there = bench(monkeypatch, device)
        row = module.attempted(dict(module.cases(there))[name], there)
    assert "error" not in row


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """A folder of two textures."""
    made = tmp_path / "bank"
    made.mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        noise = random.uniform(0, 255, (48, 48, 3)).astype(np.float32)
        large = cv2.resize(noise, (384, 384), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(made / f"{name}.png"), large.clip(0, 255).astype(np.uint8))
    return made


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without PyAV and OpenCV, where states are written often."""
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    (lacking / "sitecustomize.py").write_text(
        "import sys\nsys.modules['av'] = sys.modules['cv2'] = None\n"
    )
    path = os.pathsep.join([str(lacking), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "UNBLUR_SAVE_EVERY": "1"}


@pytest.mark.slow
def test_a_training_without_opencv_survives_a_kill(
    tmp_path: Path, bank: Path, bare: dict[str, str]
) -> None:
    pack, where = tmp_path / "pack", tmp_path / "run"
    common = ("--textures", bank, "--device", "cpu", "--crop", "64")
    run("gpu_training.py", "motion-s", pack, *common, "--make-pack", "3", "--held-out", "1")
    assert pack.stat().st_size < 3e6
    words = ("motion-s", where, *common, "--batch", "1", "--pack", pack, "--minutes")
    script = ROOT / "benchmarks" / "gpu_training.py"
    command = [sys.executable, str(script), *map(str, words)]
    facts = where / "out" / "gpu_training.json"
    with subprocess.Popen([*command, "60"], env=bare, stderr=subprocess.PIPE) as first:
        while not (facts.is_file() and json.loads(facts.read_text() or "{}").get("steps")):
            assert first.poll() is None, (first.stderr.read() if first.stderr else b"")[-2000:]
            time.sleep(0.2)
        first.kill()  # in the middle of a step, as at a time limit
    assert (where / "out" / "best.safetensors").is_file()
    done = subprocess.run([*command, ".3"], capture_output=True, text=True, env=bare)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(facts.read_text())
    assert found["from"] > 0
    assert found["steps"] > 0
    assert found["waiting_share"] >= 0


@pytest.mark.slow
def test_a_training_of_seconds_leaves_what_can_go_on(tmp_path: Path, bank: Path) -> None:
    where = tmp_path / "run"
    words = ("motion-s", where, "--textures", bank, "--device", "cpu", "--batch", "1")
    run("gpu_training.py", *words, "--crop", "64", "--minutes", ".4")
    out = where / "out"
    facts = json.loads((out / "gpu_training.json").read_text())
    assert facts["steps"] > 0
    assert len(facts["gain"]) >= 2
    assert max(p.stat().st_size for p in (out / "checkpoint").iterdir()) < 15.1e6
    recipe = tmp_path / "more.yaml"
    recipe.write_text("network: motion-s\nsteps: 1\nbatch: 1\nframes: 5\ncrop: 64\n")
    goes_on = ("-m", "unblur", "train", recipe, out, "--textures", bank, "--device", "cpu")
    done = subprocess.run([sys.executable, *map(str, goes_on)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
