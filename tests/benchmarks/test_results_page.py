"""docs/results.md says what the stored results say, and nothing of the machine they lay on."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import results_page  # noqa: E402

TEXT = results_page.PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_is_stored():
    remedy = "python benchmarks/results_page.py"
    assert results_page.page(TEXT, results_page.all_stored()) == TEXT, remedy


@pytest.mark.parametrize("item", results_page.all_stored(), ids=lambda item: item["name"])
def test_every_row_can_be_made_again_by_what_it_says(item):
    assert item["command"].startswith(f"unblur evaluate {item['result']['suite']}")
    assert re.fullmatch(r"[0-9a-f]{7}( with changes)?", item["commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", item["date"])
    assert item["cpu"]
    assert not re.findall(r"\"/\w+", str(item).replace("'", '"'))


def test_the_table_of_footage_has_the_stored_figures():
    stored = {item["name"]: item["result"]["means"][-1] for item in results_page.all_stored()}
    rows = {line.split("|")[1].strip(): line for line in TEXT.splitlines() if line.startswith("|")}
    for start, name in (
        ("`synth-motion`, clean", "motion"),
        ("crf 29", "motion-crf29"),
        ("GoPro, 11 pairs", "gopro-pairs"),
        ("`synth-focus`, clean", "focus"),
    ):
        row = next(line for head, line in rows.items() if head.startswith(start))
        assert f"**{stored[name]['gain']:.2f}**" in row, name


def test_the_table_of_motion_m_has_the_stored_figures():
    means = {
        (item["name"], row["method"]): row
        for item in results_page.all_stored()
        for row in item["result"]["means"]
    }
    text = (results_page.ROOT / "docs" / "bsstnet.md").read_text(encoding="utf-8")
    table = text[text.index("| suite | input | `motion-m` |") : text.index("With [fusion]")]
    rows = {line.split("|")[1].strip(): line for line in table.strip().splitlines()}
    motion, real = means["motion", "motion-m"], means["real-5", "motion-m"]
    for name, start in (("motion", "`synth-motion`, dB gained"), ("joint", "`synth-joint`")):
        small = means["motion-s" if name == "motion" else name, "motion-s"]
        shown = f"**{means[name, 'motion-m']['gain']:.2f}** | {small['gain']:.2f} |"
        assert shown in rows[start], start
    for start, row, column in (
        ("its sharpest quarter", motion, "sharpest_quarter"),
        ("`real-average`, 5 frames", real, "gain"),
    ):
        assert f"**{row[column]:.2f}**" in rows[start], start
    for start, row in (
        ("detail, sharpness (1 is right)", motion),
        ("detail, sharpness there", real),
    ):
        shown = f"**{row['detail']:.3f}, {row['sharpness']:.3f}**".replace("0.", ".")
        assert shown in rows[start], start


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
