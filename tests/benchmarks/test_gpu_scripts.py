"""The scripts for a GPU run on a CPU at tiny sizes: minutes on a GPU are not lost to them."""

from __future__ import annotations

import csv
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests import pretend
from unblur.training.batches import Batch
from unblur.training.recipe import Recipe

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
    assert len(rows) == 28
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


def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The training script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu_training")


def test_the_batch_is_the_largest_that_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 GB a clip takes 3: 16 are less than half of four fifths, 32 would be more than all."""
    taken, most, heard = [0.0], [0.0], list[str]()

    def make(recipe: Recipe, batch: int, **_: object) -> tuple[SimpleNamespace]:
        def advance() -> None:
            taken[0] = 3e9 * batch
            if taken[0] > most[0]:
                raise torch.OutOfMemoryError("CUDA out of memory")

        return (SimpleNamespace(advance=advance),)

    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: taken[0])
    size = SimpleNamespace(total_memory=100e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: size)
    module, device = script(monkeypatch), torch.device("cuda")
    for most[0], wanted in ((100e9, 16), (20e9, 4)):
        given = (Recipe("motion-s"), make, device, Path("trial"), heard.append)
        assert module.largest_batch(*given) == wanted
    assert heard[:2] == ["1 clips take 3.0 of 100.0 GB", "2 clips take 6.0 of 100.0 GB"]


def test_a_rendered_batch_is_taken_as_often_as_rendering_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, made = script(monkeypatch), list[int]()

    class Numbered:
        pixels_per_clip = 1

        def batch(self, clips: int, seed: int) -> Batch:
            made.append(seed)
            x = torch.rand(clips, 3, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
            return Batch(x, x)

    assert [module.times_to_reuse(1.0, r) for r in (0.0, 0.2, 0.3, 0.5, 0.9)] == [1, 1, 2, 3, 4]
    source = module.Reused(Numbered(), 3)
    batches = [source.batch(2, seed).blurred for seed in range(7)]
    assert made == [0, 3, 6]
    assert not torch.equal(batches[0], batches[1])
    for one in batches[1:3]:  # the same pixels elsewhere
        assert torch.equal(one.flatten().sort().values, batches[0].flatten().sort().values)


def test_a_gpu_trains_in_half_precision_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = script(monkeypatch)
    given = {"recipe": "motion-m", "crop": 64, "filmed": 0.6, "start_from": "motion-m", "rate": 0}
    for device, precision, wanted in (
        ("cuda", None, "bf16"), ("cuda:1", "fp32", "fp32"), ("cpu", None, "fp32")
    ):  # fmt: skip
        options = Namespace(**given, device=device, precision=precision)
        assert module.recipe_of(options).precision == wanted


def test_a_kit_holds_the_weights_that_a_run_starts_from(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe("focus-m", start_from="focus-m", radius="coc-s")
    found = script(monkeypatch).needed_weights(recipe)
    assert {name.partition(".")[0] for name in found} == {
        "focus-m", "motion-m", "maxim-stage1", "coc-s"
    }  # fmt: skip


@pytest.mark.slow
def test_a_kit_without_opencv_survives_a_kill(
    tmp_path: Path, bank: Path, bare: dict[str, str]
) -> None:
    pack, kit, out = tmp_path / "pack", tmp_path / "kit", tmp_path / "out"
    common = ("--textures", bank, "--device", "cpu", "--crop", "64")
    run("gpu_training.py", "motion-s", pack, *common, "--make-pack", "3", "--held-out", "1")
    assert pack.stat().st_size < 3e6
    start = ("--start-from", "motion-s", "--pack", pack, "--make-kit", "60")
    run("gpu_training.py", "motion-s", kit, *common, *start)
    words = ("benchmarks/gpu_training.py", "motion-s", "run", "--textures", "bank", "--device")
    words += ("cpu", "--crop", "64", "--batch", "1", "--pack", "pack", "--out", str(out))
    words += ("--start-from", "motion-s", "--minutes")
    command = [sys.executable, *words]
    lacking = bare["PYTHONPATH"].partition(os.pathsep)[0]
    there = {**bare, "PYTHONPATH": os.pathsep.join((lacking, "src"))}
    facts = out / "gpu_training.json"
    with subprocess.Popen(
        [*command, "60"], env=there, cwd=kit, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as first:
        assert first.stdout is not None
        while not (facts.is_file() and json.loads(facts.read_text() or "{}").get("steps")):
            assert first.poll() is None, first.stdout.read()[-2000:]
            time.sleep(0.2)
        first.kill()  # in the middle of a step, as at a time limit
        said = first.stdout.read().decode()
    assert "not here: av, cv2" in said
    assert "step 0: gain" in said
    assert len(list(out.rglob("*.*"))) <= 8
    assert (out / "best.safetensors").is_file()
    shutil.rmtree(kit / "run")  # another machine, to which was carried what was carried away
    done = subprocess.run([*command, ".3"], capture_output=True, text=True, env=there, cwd=kit)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(facts.read_text())
    assert found["from"] > 0
    assert found["steps"] > 0
    assert found["waiting_share"] >= 0
    steps = [point["step"] for point in found["curve"]]
    assert steps[0] == 0
    assert steps[-1] == found["from"] + found["steps"]


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
    recipe = json.loads((out / "recipe.json").read_text())
    more = tmp_path / "more.json"
    more.write_text(json.dumps({**recipe, "steps": facts["steps"] + 2, "validation_clips": 1}))
    goes_on = ("-m", "unblur", "train", more, out, "--textures", bank, "--device", "cpu")
    done = subprocess.run([sys.executable, *map(str, goes_on)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with open(out / "curve.csv", newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps[-1] == facts["steps"] + 2
    assert steps[:-1] == [point["step"] for point in facts["curve"]]
