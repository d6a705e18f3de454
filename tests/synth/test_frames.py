"""Frames of rendered scenes, and requests that are refused."""

from __future__ import annotations

import pytest
import torch

from tests.synth.conftest_synth import draw
from unblur.errors import UsageError
from unblur.synth import SceneConfig, TextureBank, render, sample_scenes


@pytest.mark.parametrize(
    ("size", "message"), [((8, 64, 2), "8"), ((64, 64, 0), "0 frames"), ((64, 64, 999), "999")]
)
def test_wrong_sizes_are_refused(bank: TextureBank, size: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        render(draw(bank, batch=1), *size)


def test_wrong_requests_are_refused(bank: TextureBank) -> None:
    with pytest.raises(UsageError, match="colour"):
        render(draw(bank, batch=1), 32, 32, 1, truth=["colour"])
    with pytest.raises(UsageError, match="batch"):
        sample_scenes(SceneConfig(), bank, 0, torch.Generator())


@pytest.mark.parametrize("mode", ["motion", "focus", "joint"])
def test_frames_are_images(bank: TextureBank, mode: str) -> None:
    config = SceneConfig(mode=mode)  # type: ignore[arg-type]
    r = render(sample_scenes(config, bank, 3, torch.Generator().manual_seed(0)), 32, 48, 3)
    for x in (r.sharp, r.blurred):
        assert x.shape == (3, 3, 3, 32, 48)
        assert x.isfinite().all()
        assert x.amin() >= 0
        assert x.amax() <= 1
    assert (r.coc.amax() > 0) == (mode != "motion")
    assert (r.extent.amax() > 0) == (mode != "focus")


def test_bicubic_keeps_more_detail(bank: TextureBank) -> None:
    sharp = []
    for interpolation in ("bilinear", "bicubic"):
        scenes = draw(bank, batch=2, interpolation=interpolation)
        sharp.append(render(scenes, 48, 48, 1, truth=()).sharp.diff(dim=-1).abs().mean())
    assert sharp[1] > 1.1 * sharp[0]
