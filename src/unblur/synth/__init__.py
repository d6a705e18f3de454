"""Exact truth from textures: rendered video with known blur, motion, depth and layers."""

from __future__ import annotations

from unblur.synth.config import Mode, SceneConfig
from unblur.synth.frames import TRUTHS, Rendered, render
from unblur.synth.scenes import Scenes, sample_scenes
from unblur.synth.textures import HELD_OUT_PHOTOS, Source, TextureBank, held_out

__all__ = [
    "HELD_OUT_PHOTOS",
    "TRUTHS",
    "Mode",
    "Rendered",
    "SceneConfig",
    "Scenes",
    "Source",
    "TextureBank",
    "held_out",
    "render",
    "sample_scenes",
]
