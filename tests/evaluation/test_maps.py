"""Maps that guide restoring, against the renderer's truth."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

from unblur.errors import UsageError
from unblur.evaluation.clip import Clip
from unblur.evaluation.maps import (
    STRIDE,
    SUITES,
    coc_errors,
    evaluate_maps,
    figures,
    flow_clips,
    flow_errors,
    focus_clips,
)
from unblur.ops.warp import warp


@pytest.fixture(scope="module")
def clip() -> Clip:
    return flow_clips()[0]()


def test_the_true_flow_has_no_error_and_leads_to_the_same_colours(clip: Clip) -> None:
    assert clip.flow is not None
    assert clip.visible is not None
    true = tuple(F.avg_pool2d(flow, STRIDE) / STRIDE for flow in clip.flow)
    found = figures([flow_errors(clip, lambda _: true)], SUITES["flow"].columns)
    assert found["mean"] < 1e-5
    assert found["wrong"] == 0
    forward, seen = clip.flow[0], clip.visible[0]
    there = warp(clip.sharp[1:], forward)
    error = ((there - clip.sharp[:-1]).abs() * seen).sum() / (3 * seen.sum())
    still = ((clip.sharp[1:] - clip.sharp[:-1]).abs() * seen).sum() / (3 * seen.sum())
    assert error < still / 5


def test_an_error_is_in_pixels_of_the_frame(clip: Clip) -> None:
    assert clip.flow is not None
    off = tuple(F.avg_pool2d(flow, STRIDE) / STRIDE + 1 for flow in clip.flow)
    found = figures([flow_errors(clip, lambda _: off)], SUITES["flow"].columns)
    assert found["mean"] == pytest.approx(STRIDE * math.sqrt(2), rel=1e-4)
    assert found["wrong"] == 100


def test_true_radii_have_no_error_and_others_are_counted_as_diameters() -> None:
    clip = focus_clips()[0]()
    assert clip.radius is not None
    truth = clip.radius[list(clip.scored)]
    columns = SUITES["coc"].columns
    assert figures([coc_errors(clip, lambda _: truth)], columns)["rmse"] == 0
    assert figures([coc_errors(clip, lambda _: truth + 1)], columns)["mae"] == pytest.approx(2)


def test_means_weigh_pixels_and_not_clips() -> None:
    clips = [{"rmse": torch.tensor([3.0])}, {"rmse": torch.zeros(8)}]
    assert figures(clips, {"rmse": None}) == {"rmse": 1.0}
    assert math.isnan(figures([{"rmse": torch.zeros(0)}], {"rmse": None})["rmse"])


def test_flow_s_is_better_than_standing_still() -> None:
    events = []
    result = evaluate_maps("flow", methods=["still", "flow-s"], limit=1, progress=events.append)
    still, flow_s = result.means()
    assert flow_s["mean"] < still["mean"]
    assert [event.done for event in events] == [1, 2]
    assert json.loads(result.json())["means"][1]["method"] == "flow-s"
    assert len(result.csv().splitlines()) == 5
    assert "flow-s" in result.markdown(result.means())


def test_encoded_frames_are_those_that_ship() -> None:
    plain, encoded = (
        evaluate_maps("coc", methods=["coc-s"], limit=1, encoded=factor).means()[0]
        for factor in (None, 29)
    )
    assert plain["rmse"] != encoded["rmse"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"suite": "depth"}, "use flow, coc, atlas"),
        ({"suite": "flow", "methods": ["fast"]}, "no method 'fast'"),
        ({"suite": "coc", "limit": 0}, "at least 1"),
        ({"suite": "coc", "encoded": 30, "limit": 1}, "23 or 29"),
    ],
)
def test_what_is_not_there_is_refused_by_name(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        evaluate_maps(**options)  # type: ignore[arg-type]
