"""Scenes of textured layers: what is drawn by chance, before any pixel exists.

`sample_scenes` draws a batch; `unblur.synth.frames` makes frames and their truth of it, of any
size. The scenes stay the same for each size, number of frames and device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.errors import UsageError
from unblur.synth.config import SceneConfig
from unblur.synth.draw import Draw, map_tensors
from unblur.synth.lens import Lens, sample_lens
from unblur.synth.paths import Motion, sample_motion
from unblur.synth.response import Response, sample_response
from unblur.synth.shapes import LIGHTS, Shapes, sample_shapes
from unblur.synth.textures import TextureBank


@dataclass(frozen=True)
class Paint:
    """What the layers look like. B scenes, L layers."""

    texture: Tensor
    """(B, L) int64 index into the bank."""
    origin: Tensor
    """(B, L, 2) where the texture is cut out, 0 to 1."""
    turned: Tensor
    """(B, L) int64: bit 0 mirrors x, bit 1 mirrors y, bit 2 swaps the axes."""
    scale: Tensor
    """(B, L) pixels of the texture per pixel of the frame."""
    colour: Tensor
    """(B, L, 3) factor on linear light."""
    ramp: Tensor
    """(B, L, 2) change of brightness across a frame, along x and y."""
    glow: Tensor
    """(B, L) factor on the brightest parts: lights."""


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes. Layer 0 is the background, the last one the nearest."""

    config: SceneConfig
    bank: TextureBank
    count: Tensor
    """(B,) int64 number of layers; those past it do not exist."""
    paint: Paint
    shapes: Shapes
    motion: Motion
    lens: Lens
    response: Response
    seed: int
    """Of the noise."""

    def __len__(self) -> int:
        return len(self.count)

    def to(self, device: torch.device | str) -> Scenes:
        """The same scenes on another device."""
        return map_tensors(self, lambda x: x.to(device, non_blocking=True))


def sample_scenes(
    config: SceneConfig, textures: TextureBank, batch: int, generator: torch.Generator
) -> Scenes:
    """Draws scenes by chance.

    Args:
        config: ranges to draw from.
        textures: what the layers are cut from; the scenes go to the device it is on.
        batch: number of scenes.
        generator: of any device; on the CPU the same seed gives the same scenes everywhere.

    Returns:
        `batch` scenes.
    """
    if batch < 1:
        raise UsageError(f"a batch of {batch} scenes: take at least 1")
    draw = Draw(generator)
    B = batch
    count = draw.integer(config.layers[0], config.layers[1] + 1, B)
    lens = sample_lens(config, draw, count)
    nearness = lens.slot.mean(-1)
    nearness = nearness / nearness.amax(1, keepdim=True)
    bright = draw.chance(config.highlights, B)
    shapes = sample_shapes(config, draw, B, bright)
    scenes = Scenes(
        config=config,
        bank=textures,
        count=count,
        paint=sample_paint(config, draw, len(textures), bright, shapes.kind),
        shapes=shapes,
        motion=sample_motion(config, draw, count, nearness),
        lens=lens,
        response=sample_response(config, draw, B),
        seed=int(draw.integer(0, 2**62, 1)),
    )
    return scenes.to(textures.images.device)


def sample_paint(
    config: SceneConfig, draw: Draw, images: int, bright: Tensor, kind: Tensor
) -> Paint:
    """Draws textures and colours; `bright` (B,) scenes shine, layers of `kind` LIGHTS always."""
    B, L = kind.shape
    gain = draw.log_uniform(*config.gain, B, 1, 1)
    tint = (0.12 * draw.normal(B, 1, 3) + 0.12 * draw.normal(B, L, 3)).exp()
    own = draw.log_uniform(0.6, 1.5, B, L, 1)
    glow = draw.log_uniform(*config.highlight, B, L)
    shining = (bright[:, None] & draw.chance(0.5, B, L)) | (kind == LIGHTS)
    shining[:, 0] = bright
    return Paint(
        texture=draw.integer(0, images, B, L),
        origin=draw.uniform(0, 1, B, L, 2),
        # Mostly upright: light falls from above, and gravity shows.
        turned=torch.where(draw.chance(0.75, B, L), 1, 7) & draw.integer(0, 8, B, L),
        scale=draw.log_uniform(*config.scale, B, L),
        colour=gain * tint * own,
        ramp=0.25 * draw.normal(B, L, 2),
        glow=torch.where(shining, glow, torch.ones_like(glow)),
    )
