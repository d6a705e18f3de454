"""A caller's type checker knows what comes back, and finds an option that is misspelt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import unblur

CALLER = """
from collections.abc import Iterator
from pathlib import Path
import numpy as np
import torch
import unblur
from numpy.typing import NDArray

def frames() -> Iterator[NDArray[np.uint8]]:
    yield np.zeros((4, 4, 3), np.uint8)

def show(at: unblur.Progress) -> None: ...

model = unblur.load_model("motion-s")
clip: NDArray[np.uint8] = unblur.restore(np.zeros((2, 4, 4, 3), np.uint8), model=model, strength=1)
deep: NDArray[np.float32] = unblur.restore(np.zeros((4, 4, 3), np.float32))
batch: torch.Tensor = unblur.restore(torch.zeros(1, 2, 3, 4, 4), quality="fast", progress=show)
many: list[torch.Tensor] = unblur.restore([torch.zeros(3, 4, 4)])
report: unblur.Report = unblur.restore(Path("a.mp4"), "b.mkv", start=1.5, codec="ffv1")
for frame in unblur.stream(frames(), model=model, window=5):
    shown: NDArray[np.uint8] = frame
sought: NDArray[np.uint8] = unblur.lazy(np.zeros((2, 4, 4, 3), np.uint8), transfer="bt709")[0]
"""
WRONG = {
    'unblur.restore("a.mp4", "b.mp4", modle="none")': "call-overload",
    'unblur.restore("a.mp4", "b.mp4", quality="great")': "call-overload",
    'unblur.restore("a.mp4")': "type-var",
    "unblur.restore(np.zeros((4, 4, 3), np.uint8), overwrite=True)": "call-overload",
    "unblur.stream(frames(), strenght=1.0)": "call-arg",
    'unblur.lazy([torch.zeros(3, 4, 4)], window="5")': "arg-type",
}


@pytest.mark.slow
def test_calls_are_checked(tmp_path: Path) -> None:
    (tmp_path / "caller.py").write_text(CALLER + "\n".join(WRONG) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "caller.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(unblur.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("caller.py")]
    errors = [line for line in found if " error: " in line]
    first = CALLER.count("\n") + 1
    expected = dict(enumerate(WRONG.values(), first))
    got = {int(line.split(":")[1]): line.rsplit("[", 1)[-1].rstrip("]") for line in errors}
    assert got == expected, done.stdout + done.stderr
