"""The figures that a script draws: each that a paper names is there."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from unblur.reproduce import PAPERS, parts
from unblur.reproduce.parts import Script


@pytest.fixture(scope="module")
def figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(parts.SCRIPTS)
        import figures

        return figures


def test_the_script_draws_every_figure_that_is_named_and_no_other(figures):
    named = {
        (step.words[1], int(step.words[2]))
        for paper in PAPERS.values()
        for part in paper
        for step in part.steps
        if isinstance(step, Script) and step.words[0] == "figures.py"
    }
    assert named == set(figures.FIGURES)


@pytest.mark.parametrize(
    ("paper", "numbers"),
    [("bsstnet", {1, 5, 6}), ("dabit", {5, 6, 7}), ("atlas", {4, 5, 6, 7, 8, 9})],
)
def test_papers_have_figures(paper, numbers):
    names = [part.name for part in PAPERS[paper]]
    assert {int(name[-1]) for name in names if name.startswith("figure")} == numbers
    assert len(names) == len(set(names))


def test_a_sheet_holds_its_images_side_by_side(figures):
    red, grey = (
        torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 8, 10),
        torch.full((1, 8, 10), 0.5),
    )
    figure = figures.sheet([[("a", red), ("b", grey)], [("c", grey), ("d", red)]])
    assert figure.words == [["a", "b"], ["c", "d"]]
    page = figure.image
    height, width = 16 + figures.HEAD, 20 + figures.GAP
    assert page.shape == (2 * height, 2 * width, 3)
    assert page[figures.HEAD + 8, 10].tolist() == [0, 0, 255]  # BGR
    assert page[height + figures.HEAD + 8, 10].tolist() == [128] * 3
    assert page[height + figures.HEAD + 8, width + 10].tolist() == [0, 0, 255]


def test_what_a_figure_says_takes_the_place_of_what_it_said(figures, tmp_path, monkeypatch):
    monkeypatch.setattr(figures.table, "RESULTS", tmp_path)
    page = np.zeros((2, 2, 3), np.uint8)
    for name, words in (("b 1", "old"), ("a 2", "other"), ("b 1", "24.33 dB")):
        figures.keep(name, figures.Figure(page, [[words, "truth"]]))
    with open(tmp_path / "figures.csv", newline="", encoding="utf-8") as file:
        found = [(row["figure"], row["row"], row["shown"]) for row in csv.DictReader(file)]
    assert found == [("a 2", "1", "other; truth"), ("b 1", "1", "24.33 dB; truth")]


def test_sharper_neighbours_weigh_more(figures):
    images = [torch.zeros(3, 2, 2), torch.ones(3, 2, 2)]
    weights = [torch.full((1, 2, 2), 1.0), torch.full((1, 2, 2), 3.0)]
    assert torch.equal(figures.mean_of(images, weights), torch.full((3, 2, 2), 0.75))


def test_the_plot_of_cost_shows_each_method_in_its_colour(figures):
    page = figures.cost().image
    for colour in figures.COLOURS[:3]:
        red, green, blue = bytes.fromhex(colour[1:])
        assert (page == np.array([blue, green, red])).all(-1).sum() > 50
