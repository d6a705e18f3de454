"""PSNR over T: stored results stay where there is nothing to measure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_folder_without_trained_arms_leaves_stored_results_alone(tmp_path: Path) -> None:
    stored = BENCHMARKS / "results" / "clip_length.csv"
    before = stored.read_bytes()
    command = [sys.executable, str(BENCHMARKS / "clip_length.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    after = stored.read_bytes()
    stored.write_bytes(before)
    assert after == before
    assert done.returncode == 2
    assert "has no trained arm of Table 5" in done.stderr
