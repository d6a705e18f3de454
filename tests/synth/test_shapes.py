"""Outlines of layers."""

from __future__ import annotations

import pytest
import torch

from unblur.synth import SceneConfig
from unblur.synth.draw import Draw
from unblur.synth.shapes import LIGHTS, SHARES, Shapes, coverage, sample_shapes


def outlines(kind: int, device: torch.device, size: float = 0.3) -> tuple[Shapes, torch.Tensor]:
    """Eight shapes of a kind, and what they cover of 80 x 80 pixels."""
    generator = torch.Generator(device).manual_seed(1)
    shapes = sample_shapes(
        SceneConfig(layers=(2, 8)), Draw(generator), 1, torch.ones(1, dtype=torch.bool)
    )
    one = {name: value[0] for name, value in vars(shapes).items()}
    one["kind"] = torch.full((8,), kind)
    one["size"] = torch.full((8,), size)
    some = Shapes(**one)
    at = (torch.arange(80) - 39.5).expand(8, 80, 80)
    return some, coverage(some, at, at.transpose(1, 2), 80)


@pytest.mark.parametrize("kind", range(len(SHARES)))
def test_outlines_are_soft_and_end(kind: int, device: torch.device) -> None:
    _, alpha = outlines(kind, device)
    assert alpha.amin() == 0
    assert alpha.amax() == 1
    assert ((alpha > 0.02) & (alpha < 0.98)).any()
    assert 0.003 < alpha.mean() < 0.6
    rim = torch.cat((alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]))
    assert rim.amax() == 0


def test_lights_only_in_bright_scenes(device: torch.device) -> None:
    draws = Draw(torch.Generator(device).manual_seed(0))
    bright = torch.tensor([True, False]).repeat(40)
    kind = sample_shapes(SceneConfig(), draws, 80, bright).kind
    assert (kind[bright] == LIGHTS).any()
    assert not (kind[~bright] == LIGHTS).any()
