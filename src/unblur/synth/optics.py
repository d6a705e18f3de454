"""The lens: depth, focus, and the circle of confusion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.synth.config import SceneConfig
from unblur.synth.draw import Draw

NEAR, FAR = 0.4, 50.0
"""Range of distances in metres."""
SUBPOINTS = 5
"""A pixel of the disk is the mean of 5 x 5 points."""
NO_BLUR = 0.5
"""Radius in pixels below which a disk lies inside one pixel and blurs nothing."""


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
            coc_radius(
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


def coc_radius(
    distance: Tensor, focus: Tensor, focal_length: Tensor, f_number: Tensor, pixels_per_mm: Tensor
) -> Tensor:
    """Radius of the circle of confusion of a thin lens, in pixels.

    The diameter on the sensor is `A f |z - s| / (z (s - f))` with the aperture `A = f / N`, the
    distance z of the object and s of the plane in focus (Potmesil and Chakravarty 1981, eq. 4).

    Args:
        distance: metres.
        focus: metres, more than the focal length.
        focal_length: millimetres.
        f_number: without unit; infinite for a pinhole.
        pixels_per_mm: of the sensor.
    """
    f = focal_length / 1000
    diameter = f * f / f_number * (distance - focus).abs() / (distance * (focus - f))  # metres
    return 0.5 * 1000 * diameter * pixels_per_mm


def disk(radius: Tensor, reach: int) -> Tensor:
    """Area of a disk inside each pixel, over the area of the disk.

    Args:
        radius: (M,) pixels.
        reach: pixels from the middle to the edge of the kernel; at least the greatest radius.

    Returns:
        (M, 2 reach + 1, 2 reach + 1), each summing to 1, none negative.
    """
    offsets = (torch.arange(SUBPOINTS, device=radius.device) + 0.5) / SUBPOINTS - 0.5
    cells = torch.arange(-reach, reach + 1, device=radius.device)
    at = (cells[:, None] + offsets).flatten()  # (2 reach + 1) * 5
    rho = (at[:, None] ** 2 + at**2).sqrt()
    inside = (0.5 + SUBPOINTS * (radius[:, None, None] - rho)).clamp(0, 1)
    kernel = F.avg_pool2d(inside[:, None], SUBPOINTS)[:, 0]
    total = kernel.sum((-2, -1), keepdim=True)
    point = torch.zeros_like(kernel)
    point[:, reach, reach] = 1
    return torch.where(total > 1e-3, kernel / total.clamp_min(1e-3), point)


def lens_blur(x: Tensor, radius: Tensor, reach: int) -> Tensor:
    """Blurs pictures by disks. The picture wraps around: its rim of `reach` pixels is spoilt.

    Args:
        x: (M, C, H, W).
        radius: (M,) pixels, at most `reach`.
        reach: width of the rim.

    Returns:
        (M, C, H, W), none negative where `x` is not, the same where the radius is below 0.5.
    """
    H, W = x.shape[-2:]
    kernel = F.pad(disk(radius, reach), (0, W - 2 * reach - 1, 0, H - 2 * reach - 1))
    kernel = kernel.roll((-reach, -reach), (-2, -1))
    blurred = torch.fft.irfft2(
        torch.fft.rfft2(x) * torch.fft.rfft2(kernel)[:, None], s=(H, W)
    ).clamp_min(0)
    return torch.where((radius < NO_BLUR)[:, None, None, None], x, blurred)
