"""A small clip with its truth: a round object before a background, the focus goes from one to the
other. Both move in straight lines."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.atlas.fitting.texture import look_up
from unblur.ops.color import from_linear, to_linear
from unblur.optics.disk_blur import layered_blur

T, H, W = 10, 48, 64
RADIUS = 3.0


class Clip(NamedTuple):
    sharp: Tensor
    """(T, 3, H, W) encoded."""
    blurred: Tensor
    labels: Tensor
    """(T, H, W) int64."""
    radii: Tensor
    """(2, T) radii of the lens's disks, background first."""


def texture(seed: int, height: int, width: int) -> Tensor:
    """(3, height, width) patches of all sizes, in [0.1, 0.9]."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.zeros(1, 3, height, width)
    for cell, share in ((2, 0.4), (5, 0.4), (12, 0.5)):
        noise = torch.rand(1, 3, height // cell + 2, width // cell + 2, generator=generator) - 0.5
        out += share * F.interpolate(noise, size=(height, width), mode="bicubic")
    return (0.5 + out[0]).clamp(0.1, 0.9)


def clip(pull: bool = True, moves: bool = True, frames: int = T) -> Clip:
    """With `pull` False all is as much out of focus all the time."""
    back, front = texture(1, H + 40, W + 40), texture(2, H, W)
    y, x = torch.arange(H).float()[:, None], torch.arange(W).float()
    sharp, blurred, labels = [], [], []
    way = torch.linspace(0, 1, frames)
    radii = (
        torch.stack((RADIUS * (1 - way), RADIUS * way)) if pull else torch.full((2, frames), 2.0)
    )
    for t in range(frames):
        grid = torch.stack(torch.broadcast_tensors(x, y))[None]
        behind = look_up(back, grid + 20 + torch.tensor([0.7 * t, 0.3 * t])[:, None, None])
        shift = torch.tensor([-1.5, -0.2])[:, None, None] * t * moves
        if not moves:
            shift = shift + torch.tensor([0.7 * t, 0.3 * t])[:, None, None]
        place = grid + shift
        object_ = look_up(front, place)
        distance = ((place[:, :1] - 22) ** 2 + (place[:, 1:] - 24) ** 2).sqrt()
        alpha = (14.5 - distance).clamp(0, 1)
        light = [to_linear(behind), to_linear(object_)]
        size = torch.ones(1, 1, H, W)
        layers = [
            (light[0], size, radii[0, t] * size),
            (light[1], alpha, radii[1, t] * size),
        ]
        blurred.append(from_linear(layered_blur(layers)).clamp(0, 1))
        sharp.append(from_linear(torch.lerp(light[0], light[1], alpha)))
        labels.append((alpha[0, 0] > 0.5).long())
    return Clip(torch.cat(sharp), torch.cat(blurred), torch.stack(labels), radii)


def write(frames: Tensor, folder: Path) -> Path:
    """Frames (T, C, H, W) as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for t, frame in enumerate(frames):
        codes = frame.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).flip(-1)
        cv2.imwrite(str(folder / f"{t:05}.png"), codes.contiguous().numpy())
    return folder
