"""What BSSTNet costs: rows that were measured before are not measured again."""

from __future__ import annotations

import csv
import importlib
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("bsstnet")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def test_a_run_that_was_stopped_goes_on(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured: list[tuple[str, str, int]] = []

    def run_alone(preset: str, attention: str, length: int) -> dict[str, Any]:
        if len(measured) in (3, 7):
            measured.append(("", "", 0))  # the next one is measured
            raise KeyboardInterrupt
        measured.append((preset, attention, length))
        row = dict.fromkeys(script.COLUMNS, 1.0)
        named = {"preset": preset, "attention": attention, "frames": length}
        options = Namespace(device="cpu", precision="fp32", threads=threads)
        return {**row, **named, **script.conditions(options)}

    def start() -> None:
        monkeypatch.setattr(sys, "argv", ["bsstnet.py", "--quick", "--threads", str(threads)])
        script.main()

    def rows() -> list[dict[str, str]]:
        with open(tmp_path / "bsstnet.csv", newline="") as file:
            return list(csv.DictReader(file))

    monkeypatch.setattr(script, "run_alone", run_alone)
    threads = 1
    with pytest.raises(KeyboardInterrupt):
        start()
    assert len(rows()) == 3
    start()
    assert [(row["preset"], row["attention"]) for row in rows()] == list(script.ROWS)
    assert [key for key in measured if key[2]] == [(*key, 12) for key in script.ROWS]
    before = (tmp_path / "bsstnet.csv").read_bytes()
    start()
    assert (tmp_path / "bsstnet.csv").read_bytes() == before
    threads = 2  # does not compare with the others
    with pytest.raises(KeyboardInterrupt):
        start()
    assert [row["threads"] for row in rows()] == ["2"]
