"""The table of ablations: what is stored of a report, and what stays."""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from unblur.reproduce.page import as_csv
from unblur.reproduce.parts import Known, Part, State, Train

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PLACE = "<!-- arms of bsstnet, table 5, 3 minutes: begin -->\n<!-- arms: end -->"
MADE = {"trained": "2026-02-03", "trained on": "A CPU", "trained by": "unblur 9.9"}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, on a table of its own."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("ablations")
    monkeypatch.setattr(module.table, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "CSV", tmp_path / "ablations.csv")
    monkeypatch.setattr(module, "checked_out", lambda: "abcdefg")
    (tmp_path / "papers.md").write_text(f"Before\n\n{PLACE}\n\nafter\n")
    monkeypatch.setattr(module, "PAGE", tmp_path / "papers.md")
    (tmp_path / "ablations.csv").write_text(
        "paper,part,minutes,arm,seed,steps,gain,at 25%,trained\n"
        'bsstnet,table 5,3,both,0,90,0.1000,0.0500,"1111111, A"\n'
        'bsstnet,table 5,3,both,1,90,0.3000,0.0700,"1111111, A"\n'
        'bsstnet,table 5,3,BSST,0,90,0.4000,,"1111111, A"\n'
        'bsstnet,table 5,5,both,0,90,0.5000,,"1111111, A"\n'
    )
    return module


def store(script: ModuleType, folder: Path, *words: str) -> dict[tuple[str, ...], dict[str, str]]:
    """Rows of the table after those of a folder were stored."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        command = ["ablations.py", "bsstnet", str(folder), "--arm-minutes", "3", *words]
        patch.setattr(sys, "argv", command)
        script.main()
    with open(script.CSV, newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["minutes"], row["arm"], row["seed"]): row for row in rows}


def reported(folder: Path, *rows: Mapping[str, Any], state: str = "done") -> Path:
    """A folder with a report."""
    steps = tuple((Train(row["arm"], row["arm"]), State(state, (row,))) for row in rows)
    folder.mkdir(exist_ok=True)
    (folder / "report.csv").write_text(as_csv([Known(Part("table 5", "", ()), steps)]))
    return folder


def row_of(arm: str, seed: int, gain: float, **more: str) -> dict[str, Any]:
    return {"arm": arm, "seed": seed, "gain": gain, "steps": 100, "gain at 26%": 0.1, **more}


def test_rows_of_other_arms_and_seeds_stay(script: ModuleType, tmp_path: Path) -> None:
    folder = reported(tmp_path / "out", row_of("both", 1, 0.2, **MADE), row_of("none", 0, 0.6))
    rows = store(script, folder)
    assert {key: row["gain"] for key, row in rows.items()} == {
        ("3", "both", "0"): "0.1000",
        ("3", "both", "1"): "0.2000",
        ("3", "BSST", "0"): "0.4000",
        ("3", "none", "0"): "0.6000",
        ("5", "both", "0"): "0.5000",
    }
    assert rows["3", "both", "1"]["at 25%"] == "0.1000"
    page = (tmp_path / "papers.md").read_text()
    assert "| both | both parts | 90, 100 | **.150** | .100, .200 | .075 |" in page
    assert "| BSST | without propagation | 90 | **.400** | .400 |  |" in page
    assert page.startswith("Before\n\n<!-- arms of bsstnet")
    assert page.endswith("<!-- arms: end -->\n\nafter\n")
    page = (tmp_path / "ablations.md").read_text()
    assert "| both | 90 | 2 | 0.150 | 0.100 | 0.075 |" in page
    assert "| 1111111, A; unblur 9.9, A CPU, 2026-02-03 |" in page


def test_a_row_says_when_and_on_what_it_was_trained(script: ModuleType, tmp_path: Path) -> None:
    folder = reported(tmp_path / "out", row_of("both", 0, 0.2, **MADE), row_of("none", 0, 0.6))
    rows = store(script, folder)
    assert rows["3", "both", "0"]["trained"] == "unblur 9.9, A CPU, 2026-02-03"
    assert rows["3", "none", "0"]["trained"] == f"abcdefg, {script.cpu()}"  # an older report
    assert rows["3", "both", "1"]["trained"] == "1111111, A"
    rows = store(script, folder, "--commit", "2222222")
    assert rows["3", "both", "0"]["trained"] == "2222222, A CPU, 2026-02-03"
    assert rows["3", "none", "0"]["trained"] == f"2222222, {script.cpu()}"


def test_arms_that_are_not_done_are_not_stored(script: ModuleType, tmp_path: Path) -> None:
    before = set(store(script, reported(tmp_path / "out")))
    assert (
        set(store(script, reported(tmp_path / "out", row_of("none", 0, 0.6), state="begun")))
        == before
    )


def test_the_page_of_the_papers_shows_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    ablations = importlib.import_module("ablations")
    page = ablations.PAGE.read_text(encoding="utf-8")
    assert len(ablations.PLACE.findall(page)) >= 4
    assert ablations.on_page(page, ablations.read(ablations.CSV)) == page, (
        "python benchmarks/ablations.py"
    )


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (f"{PLACE}\n".replace("<!-- arms: end -->", "prose") + PLACE, "needs its own end"),
        (PLACE.replace("table 5", "table 9"), "no arms of bsstnet, table 9, 3 minutes"),
    ],
)
def test_a_page_that_would_lose_something_is_refused(
    script: ModuleType, page: str, said: str
) -> None:
    with pytest.raises(SystemExit, match=said):
        script.on_page(page, script.read(script.CSV))
