"""The atlas as a model among others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unblur.atlas.fitting.presets import PRESETS as FITS
from unblur.atlas.fitting.presets import Phase
from unblur.engine.plan import choose_fit
from unblur.engine.tiled import run_tiled
from unblur.errors import ResourceError, UnblurWarning, UsageError
from unblur.restorers.atlas import INFO, MOST, AtlasRestorer
from unblur.restorers.registry import load_model


def test_a_shot_is_one_window() -> None:
    restorer = load_model("atlas", device="cpu")
    (window,) = restorer.windows(30)
    assert window.inputs == window.outputs == tuple(range(30))
    with pytest.raises(ResourceError, match="whole shot"):
        restorer.windows(MOST + 1)
    with pytest.raises(ResourceError, match="--start"):
        restorer.windows(30, 20)


def test_frames_are_never_cut() -> None:
    restorer = AtlasRestorer(torch.device("cpu"))
    fit = choose_fit(restorer, 1080, 1920, budget=40 << 30)
    assert fit.tiling is None
    assert fit.window is None or fit.window < MOST
    with pytest.raises(ResourceError, match="atlas needs"):
        choose_fit(restorer, 2160, 3840, budget=100 << 20)


def test_it_has_no_weights() -> None:
    assert INFO.ships
    with pytest.raises(UsageError, match="--weights"):
        load_model("atlas", device="cpu", weights="some.safetensors")


def test_restores_as_the_engine_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients around it, and with linear light in and out."""
    quick = replace(FITS["cpu"], phases=(Phase(2, 2, 1),), largest_radius=4.0)
    monkeypatch.setitem(FITS, "cpu", quick)
    restorer = AtlasRestorer(torch.device("cpu"))
    image = torch.rand(3, 20, 28, generator=torch.Generator().manual_seed(0))
    big = torch.nn.functional.interpolate(image[None], size=(40, 56), mode="bicubic")[0]
    frames = torch.stack([big[:, t : t + 34, t : t + 40] for t in range(4)]).clamp(0, 1)
    fit = choose_fit(restorer, 34, 40, budget=4 << 30)
    with pytest.warns(UnblurWarning, match="one layer|little to gain"):
        out = run_tiled(restorer, frames, [1, 2], fit)
    assert out.shape == (2, 3, 34, 40)
    assert (out - frames[[1, 2]]).abs().mean() < 0.1
    short = run_tiled(restorer, frames[:2], [0, 1], fit)
    assert torch.equal(short, frames[:2])
