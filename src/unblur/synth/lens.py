"""The lens: depth, focus, and the circle of confusion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.optics.thin_lens import thin_lens_radius
from unblur.synth.config import SceneConfig
from unblur.synth.draw import Draw

NEAR, FAR = 0.4, 50.0
"""Range of distances in metres."""


@dataclass(frozen=True)
class Lens:
    """Distances and focus of a batch of scenes. B scenes, L layers; 1/m is dioptres."""

    slot: Tensor
    """(B, L, 2) dioptres within which a layer stays; the slots of two layers do not overlap."""
    swing: Tensor
    """(B, L, 3) share of the slot it uses, radians per unit of time, and phase."""
    focus: Tensor
    """(B, 2) dioptres in focus before and after the pull."""
    pull: Tensor
    """(B, 2) when the pull begins, and how long it takes."""
    focal_length: Tensor
    """(B,) millimetres."""
    f_number: Tensor
    """(B,) infinite for a pinhole."""
    pixels_per_mm: Tensor
    """(B,) pixels of the frame per millimetre of the sensor."""
    simulated: Tensor
    """(B, 3) largest side in pixels, sigma in pixels and sharp range of the Gaussians that blur
    in place of the lens; a side of 0 where the lens does."""


def sample_lens(config: SceneConfig, draw: Draw, count: Tensor) -> Lens:
    """Draws distances and focus of `len(count)` scenes: layer 0 is the farthest."""
    B, L = len(count), config.layers[1]
    # Random slots from far to near: only the first `count` exist, so spread those over the range.
    gaps = draw.uniform(0.2, 1, B, 2 * L)  # slot, space, slot, space, ...
    index = torch.arange(2 * L, device=draw.device)
    gaps = torch.where(index < 2 * count[:, None] - 1, gaps, torch.zeros_like(gaps))
    edges = F.pad(gaps.cumsum(1) / gaps.sum(1, keepdim=True), (1, 0))  # (B, 2 L + 1), 0 to 1
    far = draw.log_uniform(3, FAR, B, 1)
    near = draw.log_uniform(NEAR, 1.5, B, 1)
    edges = 1 / far + (1 / near - 1 / far) * edges
    slot = torch.stack((edges[:, 0:-1:2], edges[:, 1::2]), -1)  # (B, L, 2)
    swing = torch.stack(
        (
            draw.uniform(0, 1, B, L) * draw.chance(0.6, B)[:, None],
            draw.log_uniform(0.02, 0.5, B, L),
            draw.uniform(-torch.pi, torch.pi, B, L),
        ),
        -1,
    )
    # Focus goes from the middle of one layer to that of another, give or take.
    middles = slot.mean(-1)  # (B, L)
    chosen = (draw.uniform(0, 1, B, 2) * count[:, None]).long()
    focus = middles.gather(1, chosen) * (1 + 0.1 * draw.normal(B, 2)).clamp(0.7, 1.3)
    still = ~draw.chance(config.pull, B)
    focus[:, 1] = torch.where(still, focus[:, 0], focus[:, 1])
    length = draw.log_uniform(1, 16, B)
    pull = torch.stack((draw.uniform(-0.5, 0.7, B) * length, length), -1)
    focal = draw.log_uniform(18, 85, B)
    f_number = draw.log_uniform(1.2, 8, B)
    if config.mode == "motion":
        f_number = torch.full_like(f_number, torch.inf)
    else:
        f_number = torch.where(draw.chance(config.in_focus, B), torch.inf, f_number)
    # The sensor's pitch is such that the greatest radius comes out as wished.
    wished = draw.uniform(*config.coc, B)
    here = torch.arange(L, device=draw.device) < count[:, None]  # (B, L)
    ends = torch.stack(
        [
            thin_lens_radius(
                1 / slot[..., i],
                1 / focus[:, j : j + 1],
                focal[:, None],
                f_number[:, None],
                torch.ones(B, 1, device=draw.device),
            )
            for i in range(2)
            for j in range(2)
        ],
        -1,
    ).amax(-1)  # (B, L)
    widest = torch.where(here, ends, torch.zeros_like(ends)).amax(1)
    pitch = torch.where(widest > 0, wished / widest.clamp_min(1e-9), torch.ones_like(widest))
    simulated = torch.zeros(B, 3, device=draw.device)
    if config.mode != "motion" and config.simulated > 0:  # draws nothing that others never drew
        ranges = (config.kernel, config.sigma, config.sharp_range)
        settings = torch.stack([draw.uniform(*r, B) for r in ranges], -1)
        simulated = settings * draw.chance(config.simulated, B)[:, None]
        f_number = torch.where(simulated[:, 0] > 0, torch.inf, f_number)
    return Lens(slot, swing, focus, pull, focal, f_number, pitch, simulated)


def layer_distance(lens: Lens, times: Tensor) -> Tensor:
    """Distance of each layer in metres, (B, L, T), at `times` (B, T) since the first frame."""
    share, speed, phase = (x[..., None] for x in lens.swing.unbind(-1))  # (B, L, 1) each
    at = 0.5 + 0.5 * share * torch.sin(speed * times[:, None] + phase)
    low, high = (x[..., None] for x in lens.slot.unbind(-1))
    return 1 / (low + (high - low) * at)


def focus_distance(lens: Lens, times: Tensor) -> Tensor:
    """Distance in focus in metres, (B, T), at `times` (B, T) since the first frame."""
    start, length = lens.pull[:, :1], lens.pull[:, 1:]
    t = ((times - start) / length).clamp(0, 1)
    t = t * t * (3 - 2 * t)
    before, after = lens.focus[:, :1], lens.focus[:, 1:]
    return 1 / (before + (after - before) * t)
