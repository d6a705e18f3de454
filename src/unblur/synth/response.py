"""What a camera makes of light: response curve, noise, and the compression of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.ops.color import from_linear
from unblur.synth.config import SceneConfig
from unblur.synth.draw import Draw


@dataclass(frozen=True)
class Response:
    """Cameras of B scenes; each tensor is (B,)."""

    gamma: Tensor
    """Encoded = light ** (1 / gamma); 0 stands for sRGB."""
    shoulder: Tensor
    """Share of the range below white in which the curve bends; 0 clips hard at white."""
    contrast: Tensor
    """How far towards a smooth step the encoded values are bent."""
    encoded_average: Tensor
    """bool: sub-frames are averaged as encoded values."""
    read: Tensor
    """Sigma of the read noise in linear light."""
    shot: Tensor
    """Variance of the shot noise at white in linear light."""
    grain: Tensor
    """Share of the noise that neighbours have in common, as after demosaicking."""
    quality: Tensor
    """Quality of lossy compression on JPEG's scale; 0 = none."""


def sample_response(config: SceneConfig, draw: Draw, B: int) -> Response:
    """Draws the cameras of B scenes."""
    zero = torch.zeros(B, device=draw.device)
    noisy = draw.chance(config.noise, B)
    return Response(
        gamma=torch.where(draw.chance(config.srgb, B), zero, draw.uniform(*config.gamma, B)),
        shoulder=torch.where(draw.chance(config.shoulder, B), draw.uniform(0.1, 0.6, B), zero),
        contrast=draw.uniform(0, 0.5, B) * draw.chance(0.3, B),
        encoded_average=draw.chance(config.encoded_average, B),
        read=torch.where(noisy, draw.log_uniform(*config.read_noise, B), zero),
        shot=torch.where(noisy, draw.log_uniform(*config.shot_noise, B), zero),
        grain=draw.uniform(0, 1, B) * draw.chance(0.5, B),
        quality=torch.where(
            draw.chance(config.compressed, B), draw.uniform(*config.quality, B), zero
        ),
    )


def encode(light: Tensor, response: Response) -> Tensor:
    """Light to the encoded signal of each scene's camera.

    Args:
        light: (B, ...) linear light, white is 1.
        response: the B cameras.

    Returns:
        The same shape, in [0, 1].
    """
    shape = (-1, *[1] * (light.ndim - 1))
    gamma, shoulder, contrast = (
        x.view(shape) for x in (response.gamma, response.shoulder, response.contrast)
    )
    x = light.clamp_min(0)
    if bool((response.shoulder > 0).any()):
        knee = 1 - shoulder
        rolled = knee + shoulder * (1 - torch.exp(-(x - knee) / shoulder.clamp_min(1e-6)))
        x = torch.where(x > knee, torch.where(shoulder > 0, rolled, x), x)
    x = x.clamp(max=1)
    power = x ** (1 / gamma.clamp_min(1))
    x = torch.where(gamma > 0, power, from_linear(x))
    return x + contrast * (x * x * (3 - 2 * x) - x)


def add_noise(light: Tensor, response: Response, generator: torch.Generator) -> Tensor:
    """Adds read and shot noise to light of (B, T, 3, H, W)."""
    if not bool(((response.read > 0) | (response.shot > 0)).any()):
        return light
    read, shot, grain = (
        x.view(-1, 1, 1, 1, 1) for x in (response.read, response.shot, response.grain)
    )
    white = torch.randn(light.shape, generator=generator, device=light.device)
    H, W = light.shape[-2:]
    flat = white.reshape(-1, 1, H, W)
    taps = torch.tensor([0.25, 0.5, 0.25], device=light.device)
    soft = F.conv2d(flat, (taps[:, None] * taps)[None, None], padding=1).view(light.shape)
    # The soft noise has 0.375 of the sigma; mixed so that the sum keeps the variance.
    mixed = (1 - grain).sqrt() * white + grain.sqrt() * soft / 0.375
    return light + mixed * (read**2 + shot * light.clamp(0, 1)).sqrt()
