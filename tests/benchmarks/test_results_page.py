"""Pages say what the stored results say, and nothing of the machine they lay on."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import results_page  # noqa: E402
import results_tables  # noqa: E402


def test_pages_are_what_is_stored():
    for path, text in results_page.pages(results_page.all_stored()).items():
        assert path.read_text(encoding="utf-8") == text, "python benchmarks/results_page.py"


@pytest.mark.parametrize("item", results_page.all_stored(), ids=lambda item: item["name"])
def test_every_row_can_be_made_again_by_what_it_says(item):
    assert item["command"].startswith(f"unblur evaluate {item['result']['suite']}")
    assert re.fullmatch(r"[0-9a-f]{7}( with changes)?", item["commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", item["date"])
    assert item["cpu"]
    assert not re.findall(r"\"/\w+", str(item).replace("'", '"'))


def test_a_figure_is_put_in_place_of_what_names_it():
    rows = [
        {"clip": clip, "method": "sharper", "gain": gain}
        for clip, gain in (("seen_1", 3.0), ("new_1", 0.5), ("new_2", -0.75))
    ]
    means = [{"clip": "mean", "method": "sharper", "gain": 0.9166, "tof": 0.6634, "worse": 6.25}]
    items = [{"name": "suite", "result": {"means": means, "rows": rows}}]
    table = (
        "| {suite/sharper/gain}; {suite/sharper/gain without seen} | {suite/sharper/tof} | "
        "{suite/sharper/worse} | {focus_cases, motion, in focus/focus-m/kept, dB} |\n"
    )
    assert results_tables.filled(table, items) == "| .92; -.12 | .663 | 6 | 40.7 |"
    with pytest.raises(KeyError):
        results_tables.filled("{suite/other/gain}", items)


@pytest.mark.parametrize(
    ("value", "column", "shown"),
    [
        (-0.004, "gain", ".00"),
        (-0.7, "gain", "-.70"),
        (23.74, "psnr", "23.74"),
        (2.6, "rmse", "2.60"),
    ],
)
def test_figures_have_no_zero_before_the_point(value, column, shown):
    assert results_tables.written(value, column) == shown


def test_a_page_without_the_lines_of_its_table_is_refused():
    with pytest.raises(SystemExit, match=r"page\.md lacks .* table motion: begin"):
        results_tables.with_tables("# Page\n", {"motion": "| a |"}, [], "page.md")
    text = "<!-- table motion: begin --><!-- table motion: end -->"
    with pytest.raises(SystemExit, match=r"page\.md, table motion: .*'other'.* is not stored"):
        results_tables.with_tables(text, {"motion": "{other/a/gain}"}, [], "page.md")


def test_a_difference_in_what_guides_is_found():
    old = {"means": [{"clip": "mean", "method": "flow-s", "mean": 0.82, "0 to 1": None}]}
    new = copy.deepcopy(old)
    assert results_page.differences(old, new) == []
    new["means"][0]["mean"] = 0.83
    assert results_page.differences(old, new) == ["flow-s: mean was 0.82, is 0.83"]


def test_a_difference_is_found_and_time_is_none():
    (result,) = (item["result"] for item in results_page.all_stored() if item["name"] == "motion")
    new = copy.deepcopy(result)
    new["means"][-1]["seconds"] *= 3
    assert results_page.differences(result, new) == []
    new["means"][-1]["psnr"] += 0.02
    (found,) = results_page.differences(result, new)
    assert "PSNR was" in found
    assert results_page.differences(result, new, clips=2) == []
    new["rows"] = [row for row in new["rows"] if row["clip"] in ("00", "01")]
    assert results_page.differences(result, new, clips=2) == []
    assert results_page.differences(result, new, clips=3)
    new["rows"][0]["ssim"] += 0.01
    (found,) = results_page.differences(result, new, clips=2)
    assert found.startswith("clip 00, input: SSIM was")
    del new["means"][0]
    assert len(results_page.differences(result, new)) > 1


def test_a_result_is_stored_without_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(results_page, "STORE", tmp_path)
    result = {"suite": "gopro", "version": 1, "facts": {"data": "/a/b/GoPro"}, "means": []}
    item = results_page.stored("x", ["gopro:/a/b/GoPro", "--model", "none"], result)
    assert item["command"] == "unblur evaluate gopro:GoPro --model none"
    results_page.store(item)
    assert results_page.all_stored() == [item]
    assert "/a/" not in (tmp_path / "x.json").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--agian", "coc"], "what is --agian"),
        (["--again", "nonesuch"], "no row nonesuch: there are atlas, coc"),
        (["--clips", "2"], "--clips goes with --again"),
        (["--again", "coc", "--clips", "0"], "at least 1"),
        (["--run", "x/y", "coc"], "'x/y' can be no name"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_measured(words, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["results_page.py", *words])
    with pytest.raises(SystemExit):
        results_page.main()
    assert said in capsys.readouterr().err
