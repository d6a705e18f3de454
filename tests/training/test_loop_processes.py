"""Training in several processes: they share their steps, and one of them keeps the books."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest

from unblur.training import recipe as recipes
from unblur.training.recipe import Recipe


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "bank").mkdir()
    for name in "ab":
        image = cv2.resize(rng.integers(0, 255, (32, 32, 3), np.uint8), (256, 256))
        cv2.imwrite(str(tmp_path / "bank" / f"{name}.png"), image)
    recipe = Recipe("bsstnet-tiny", batch=1, frames=3, crop=64, steps=2, validate_every=1,
                    validation_clips=1, precision="fp32", warmup=1)  # fmt: skip
    (tmp_path / "recipe.json").write_text(json.dumps(recipes.to_json(recipe)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [tmp_path / "recipe.json", tmp_path / "run", "--textures", tmp_path / "bank"]
    command = [sys.executable, "-m", "unblur", "train", *map(str, arguments), "--device", "cpu"]
    own = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    running = [
        subprocess.Popen(
            command,
            env={**os.environ, **own, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert "step 2" in said[0]
    assert "step" not in said[1]
    facts = json.loads((tmp_path / "run/checkpoint/state.json").read_text())["facts"]
    assert facts["step"] == 2
    assert facts["curve"][-1]["pixels"] == 2 * 2 * 3 * 64 * 64
