"""Scenes with nothing left to chance but what a test is about."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from unblur.synth import SceneConfig, Scenes, Source, TextureBank, sample_scenes

CLEAN = {
    "noise": 0.0,
    "compressed": 0.0,
    "encoded_average": 0.0,
    "highlights": 0.0,
    "repeated": 0.0,
    "reversed": 0.0,
    "shoulder": 0.0,
    "static": 0.0,
    "light": 0.0,
}


def bank_of(images: torch.Tensor) -> TextureBank:
    """A bank of (N, 3, S, S) images in [0, 1]."""
    stored = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return TextureBank(stored, tuple(Source(f"{i}.png") for i in range(len(stored))))


@pytest.fixture(scope="session")
def smooth_bank() -> TextureBank:
    """Images without fine detail: sampling between their pixels is nearly exact."""
    coarse = torch.rand(6, 3, 14, 14, generator=torch.Generator().manual_seed(5))
    return bank_of(F.interpolate(coarse, size=224, mode="bicubic", align_corners=False))


@pytest.fixture(scope="session")
def bank() -> TextureBank:
    """Images of fine detail."""
    return bank_of(torch.rand(4, 3, 160, 160, generator=torch.Generator().manual_seed(6)))


def draw(bank: TextureBank, batch: int = 4, seed: int = 0, **changes: object) -> Scenes:
    """Clean scenes, but for `changes` to their config."""
    config = SceneConfig(**{**CLEAN, **changes})  # type: ignore[arg-type]
    return sample_scenes(config, bank, batch, torch.Generator().manual_seed(seed))


def plain(scenes: Scenes) -> Scenes:
    """The same scenes in their textures' own colours, through an sRGB curve."""
    one, none = torch.ones_like, torch.zeros_like
    paint, response = scenes.paint, scenes.response
    return replace(
        scenes,
        paint=replace(
            paint,
            colour=one(paint.colour),
            ramp=none(paint.ramp),
            glow=one(paint.glow),
            scale=one(paint.scale),
            turned=none(paint.turned),
        ),
        response=replace(response, gamma=none(response.gamma), contrast=none(response.contrast)),
    )


def steady(scenes: Scenes, x: float, y: float) -> Scenes:
    """The same scenes, all of it moving (x, y) pixels per unit of time."""
    motion = scenes.motion
    drift = torch.zeros_like(motion.camera_drift)
    drift[:, 0], drift[:, 1] = x, y
    return replace(
        scenes,
        motion=replace(
            motion,
            angle=torch.zeros_like(motion.angle),
            knots=torch.zeros_like(motion.knots),
            drift=torch.zeros_like(motion.drift),
            camera_knots=torch.zeros_like(motion.camera_knots),
            camera_drift=drift,
            parallax=torch.zeros_like(motion.parallax),
        ),
    )
