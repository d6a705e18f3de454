"""From light to signal, with noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unblur.ops.color import from_linear
from unblur.synth import SceneConfig
from unblur.synth.draw import Draw
from unblur.synth.response import add_noise, encode, sample_response


def test_responses_rise_from_black_to_white(device: torch.device) -> None:
    response = sample_response(SceneConfig(), Draw(torch.Generator(device).manual_seed(0)), 32)
    light = torch.linspace(0, 3, 400).expand(32, 400)
    signal = encode(light, response)
    assert (signal.diff(dim=1) >= -1e-6).all()
    assert (signal[:, 0] == 0).all()
    assert (signal[:, -1] > 0.95).all()
    assert signal.amax() <= 1
    srgb = replace(response, **{k: torch.zeros(32) for k in ("gamma", "shoulder", "contrast")})
    assert torch.allclose(encode(light, srgb), from_linear(light.clamp(max=1)), atol=1e-6)


def test_noise_has_the_variance_it_says(device: torch.device) -> None:
    response = sample_response(
        SceneConfig(noise=1.0, read_noise=(0.01, 0.01), shot_noise=(0.001, 0.001)),
        Draw(torch.Generator(device).manual_seed(0)),
        4,
    )
    light = torch.full((4, 2, 3, 64, 64), 0.4)
    response = replace(response, grain=torch.zeros(4))
    noisy = add_noise(light, response, torch.Generator(device).manual_seed(1))
    assert float(noisy.var()) == pytest.approx(0.01**2 + 0.001 * 0.4, rel=0.05)
    assert float(noisy.mean()) == pytest.approx(0.4, abs=1e-3)
