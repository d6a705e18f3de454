"""Layers fitted to pulls of focus, against the renderer's truth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from unblur.atlas.fitting.presets import CPU, Phase
from unblur.evaluation import layered
from unblur.evaluation.encoded import FACTORS, encoded_clips
from unblur.evaluation.focus_pulls import CLIPS, FRAMES, FocusPull, focus_pull, focus_pulls
from unblur.evaluation.layered import Found, layered_errors, layered_methods
from unblur.evaluation.maps import SUITES, figures
from unblur.ops.warp import warp

COLUMNS = SUITES["atlas"].columns


@pytest.fixture(scope="module")
def clip() -> FocusPull:
    return focus_pull("stream", 6, 72, 128)


def test_the_truth_has_no_error_and_what_is_off_is_counted(clip: FocusPull) -> None:
    assert clip.flow is not None
    true = Found(clip.sharp, clip.radius, clip.flow[0])
    right = figures([layered_errors(clip, lambda _: true)], COLUMNS)
    assert right["rmse"] == right["flow"] == 0
    assert right["ssim"] == pytest.approx(1)
    off = Found(clip.sharp + 0.1, clip.radius + 1, clip.flow[0] + 1)
    wrong = figures([layered_errors(clip, lambda _: off)], COLUMNS)
    assert wrong["psnr"] == pytest.approx(20, abs=0.01)
    assert wrong["soft"] == pytest.approx(20, abs=0.01)
    assert wrong["rmse"] == pytest.approx(2)
    assert wrong["flow"] == pytest.approx(math.sqrt(2), rel=1e-4)


def test_what_a_method_does_not_find_is_left_empty(clip: FocusPull) -> None:
    found = figures([layered_errors(clip, lambda c: Found(c.blurred))], COLUMNS)
    assert found["gain"] == 0
    assert math.isnan(found["rmse"])
    assert math.isnan(found["flow"])


def test_the_true_flow_leads_to_the_same_colours(clip: FocusPull) -> None:
    assert clip.flow is not None
    assert clip.visible is not None
    there, seen = warp(clip.sharp[1:], clip.flow[0]), clip.visible[0]
    away = warp(clip.sharp[1:], -clip.flow[0])
    moved, still, wrong = (
        float(((frames - clip.sharp[:-1]).abs() * seen).sum())
        for frames in (there, clip.sharp[1:], away)
    )
    assert moved < still / 1.5 < wrong / 2


def test_fitted_layers_give_all_that_is_measured(clip: FocusPull, monkeypatch) -> None:
    short = replace(CPU, phases=(Phase(2, 2, 2, geometry=False), Phase(3, 2, 2)))
    monkeypatch.setattr(layered, "CPU", short)
    methods = layered_methods(torch.device("cpu"))
    found = {
        name: figures([layered_errors(clip, methods[name])], COLUMNS)
        for name in ("input", "atlas@masks")
    }
    assert all(math.isfinite(row["flow"]) for row in found.values())
    assert found["input"]["gain"] == 0
    assert math.isfinite(found["atlas@masks"]["rmse"])


def test_files_hold_every_frame_of_every_clip() -> None:
    for factor in FACTORS:
        makers = encoded_clips([lambda: empty()] * len(CLIPS), "atlas", factor)
        assert len(makers) == len(focus_pulls())
        assert all(make().blurred.shape == (FRAMES, 3, 144, 256) for make in makers)


def empty() -> FocusPull:
    nothing = torch.zeros(0)
    return FocusPull("none", nothing, nothing, ())
