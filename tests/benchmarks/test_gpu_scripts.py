"""The scripts for a GPU run on a CPU at tiny sizes: minutes on a GPU are not lost to them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def run(script: str, *words: str | Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_row_of_the_table_can_be_measured(tmp_path: Path) -> None:
    run("gpu.py", "--device", "cpu", "--tiny", "--minutes", "60", "--out", tmp_path)
    with open(tmp_path / "gpu.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 17
    assert not [row for row in rows if row.get("error")]


@pytest.mark.slow
def test_a_training_of_seconds_leaves_what_can_go_on(tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    bank.mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        noise = random.uniform(0, 255, (48, 48, 3)).astype(np.float32)
        large = cv2.resize(noise, (384, 384), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(bank / f"{name}.png"), large.clip(0, 255).astype(np.uint8))
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
