"""The image on each layer's plane: texture, colour and outline, in linear light."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.ops.color import to_linear
from unblur.synth.draw import take
from unblur.synth.scenes import Scenes
from unblur.synth.shapes import LIGHTS, REACH, coverage


@dataclass(frozen=True)
class Atlas:
    """Images of all layers of a batch; S of them, each A x A."""

    rgba: Tensor
    """(S, 4, A, A) linear light times coverage, and coverage."""
    row: Tensor
    """(B, L) int64 which of the S it is; 0 where there is no such layer."""
    scale: Tensor
    """(S,) pixels of the image per pixel of the layer's plane."""


def build_atlas(scenes: Scenes, height: int, width: int) -> Atlas:
    """Paints all layers for frames of the given size."""
    device = scenes.count.device
    L = scenes.config.layers[1]
    exists = torch.arange(L, device=device) < scenes.count[:, None]  # (B, L)
    row = (exists.flatten().cumsum(0) - 1).clamp_min(0).view(exists.shape)
    paint = take(scenes.paint, exists)  # (S, ...)
    shapes = take(scenes.shapes, exists)
    back = torch.arange(L, device=device).expand_as(exists)[exists] == 0  # (S,)

    # Large enough for the largest cut-out at the greatest scale, and no larger than a texture.
    side = min(height, width)
    tile = scenes.bank.size
    widest = 2 * REACH * scenes.config.object_size[1] * side * scenes.config.scale[1]
    A = min(tile, int(max(widest, 1.3 * max(height, width))) // 8 * 8 + 16)
    fits = (A / 2 - 3) / (REACH * shapes.size * side)
    scale = torch.where(back, paint.scale, torch.minimum(paint.scale, fits))

    cell = torch.arange(A, device=device)
    rgb = linear_table(device)[texels(scenes, paint.texture, paint.origin, paint.turned, A)]
    at = cell + 0.5 - A / 2
    plane = at / scale[:, None]  # (S, A) pixels of the layer's plane
    x, y = plane[:, None, :].expand(-1, A, -1), plane[:, :, None].expand(-1, -1, A)
    alpha = torch.where(back[:, None, None], 1.0, coverage(shapes, x, y, side))

    # Lights: what is bright in the texture is brighter than white in truth.
    lamp = (shapes.kind == LIGHTS) & ~back
    rgb = torch.where(lamp[:, None, None, None], 0.7 + 0.3 * rgb, rgb)
    bright = ((rgb.amax(1, keepdim=True) - 0.7) / 0.3).clamp(0, 1).square()
    glow = 1 + (paint.glow[:, None, None, None] - 1) * bright
    ramp = paint.ramp[:, 0, None, None] * x + paint.ramp[:, 1, None, None] * y  # (S, A, A)
    shade = (ramp / (0.5 * side)).clamp(-0.6, 0.6).exp()
    light = rgb * glow * (shade * alpha)[:, None] * paint.colour[:, :, None, None]
    return Atlas(torch.cat((light, alpha[:, None]), 1), row, scale)


def texels(scenes: Scenes, texture: Tensor, origin: Tensor, turned: Tensor, A: int) -> Tensor:
    """Cuts A x A out of the textures and turns them: (S, 3, A, A) int64, 0 to 255."""
    tile = scenes.bank.size
    corner = (origin * (tile - A + 1)).long().clamp(0, tile - A)  # (S, 2)
    cell = torch.arange(A, device=texture.device)
    mirrored = A - 1 - cell
    u = torch.where((turned & 1).bool()[:, None], mirrored, cell) + corner[:, :1]  # (S, A)
    v = torch.where((turned & 2).bool()[:, None], mirrored, cell) + corner[:, 1:]
    upright = v[:, :, None] * tile + u[:, None, :]  # (S, A, A)
    swapped = u[:, :, None] * tile + v[:, None, :]
    index = torch.where((turned & 4).bool()[:, None, None], swapped, upright)
    flat = scenes.bank.images.flatten(2)[texture]  # (S, 3, tile * tile)
    S = len(texture)
    cut = flat.gather(2, index.view(S, 1, A * A).expand(-1, 3, -1))
    return cut.view(S, 3, A, A).long()


def linear_table(device: torch.device) -> Tensor:
    """(256,) linear light of each 8-bit sRGB value."""
    return to_linear(torch.arange(256, device=device, dtype=torch.float32) / 255)
