"""The page of an evaluation: whole, by itself, and right."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unblur
from unblur.cli import main
from unblur.errors import MediaError
from unblur.evaluation.plots import Line, axis, plot
from unblur.evaluation.published import GOPRO
from unblur.evaluation.report import page, shown
from unblur.evaluation.scores import Evaluation, Score

positive = st.floats(1e-3, 1e4)


def figures(gain=2.0, facts=None):
    clips = {f"<{i}>": {"motion_px": 4.0 * i, "coc_px": 0.0} for i in range(4)}
    scores = [
        Score(clip, 0, method, seconds, 20.0 + extra, 0.9, 0.8, 1.1)
        for clip in clips
        for method, seconds, extra in (("input", 0.0, 0.0), ("mine", 0.5, gain))
    ]
    return Evaluation(
        "synth-motion", 3, ("input", "mine"), tuple(scores), facts=facts or {}, clips=clips,
        published=GOPRO,
    )  # fmt: skip


def svgs(text):
    return [ElementTree.fromstring(x) for x in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def test_the_page_holds_all_and_fetches_nothing():
    truth = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0))
    images = [shown("<0>", truth, [("input", 0.5 * truth), ("mine", truth)])]
    text = page(figures(), images)
    HTMLParser().feed(text)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("data:image/jpeg;base64,") == 3
    assert "<0>" not in text
    assert "&lt;0&gt;" in text
    assert "Published, not measured here" in text
    assert "35.98" in text
    assert len(svgs(text)) == 2  # over cost, and over the length of motion; no focus here


def test_points_of_rate_factors_are_those_of_the_results():
    clean = json.loads(figures().json())
    result = figures(1.0, {"encoded": "H.264, crf 23"})
    other = {**clean, "suite": "synth-focus"}
    fewer = {**clean, "clips": {"<0>": {}}, "facts": {"encoded": "H.264, crf 29"}}
    drawn = svgs(page(result, [], [clean, other, fewer]))[-1]
    tips = {tip.text for tip in drawn.iter("title")}
    assert tips == {"input: 0, 20.00", "input: 23, 20.00", "mine: 0, 22.00", "mine: 23, 21.00"}


@given(st.lists(st.tuples(positive, st.floats(-60, 60)), min_size=1, max_size=8), st.booleans())
def test_a_plot_keeps_all_points_within_its_axes(points, log):
    drawn = ElementTree.fromstring(
        re.search(r"<svg.*</svg>", plot("a", "b", "c", [Line("m", tuple(points))], log=log))[0]
    )
    circles = list(drawn.iter("circle"))
    assert len(circles) == len(points)
    for circle in circles:
        assert 40 <= float(circle.get("cx")) <= 348
        assert 10 <= float(circle.get("cy")) <= 200


@given(positive, positive, st.booleans())
def test_an_axis_has_some_round_values_in_order(a, b, log):
    made = axis([a, b], 0, 100, log)
    ticks = made.ticks()
    assert 1 <= len(ticks) <= (14 if log else 11)
    places = [made(tick) for tick in ticks]
    assert places == sorted(places)
    assert all(-1e-6 <= place <= 100 + 1e-6 and math.isfinite(place) for place in places)


def test_from_the_command_line(tmp_path, monkeypatch):
    folder = tmp_path / "pairs"
    folder.mkdir()
    import cv2
    import numpy as np

    for word in ("blur", "sharp"):
        image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        cv2.imwrite(str(folder / f"a_{word}.png"), image)
    out = tmp_path / "page.html"
    words = ["evaluate", "-q", "pairs", "--blurred", str(folder), "--sharp", str(folder)]
    assert main([*words, "--model", "none", "--html", str(out)]) == 0
    assert out.read_text().count("<option") == 2 * 4  # input, unsharp, none and the truth
    (tmp_path / "no.json").write_text("{}")
    assert main([*words, "--html", str(out), "--beside", str(tmp_path / "no.json")]) == 3


def test_what_is_no_result_is_said_before_the_work(tmp_path):
    with pytest.raises(MediaError, match="is no result"):
        unblur.evaluate("bench", html=tmp_path / "a.html", beside=[tmp_path / "none.json"])
