"""coc-s: learns how far out of focus each pixel is, from rendered frames whose lens is known.

Ruan et al. (SIGGRAPH 2024) keep the encoder of a network that makes frames sharp as it is, and
train a new decoder: the recipe `coc-transfer`, whose encoder is that of `motion-s`. With `outputs:
3` coc-s itself learns to make frames sharp instead, as a start for the circle of confusion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.errors import UsageError
from unblur.metrics import psnr
from unblur.models.aligned import MAXIM_KEY
from unblur.models.aligned_encoder import FIRST, REST, beside_motion_s
from unblur.models.coc import CocConfig, CocNet, radius_of
from unblur.schema import changed
from unblur.synth.compression import compress
from unblur.training.batches import Batch
from unblur.training.image_grid import write_grid
from unblur.training.losses import charbonnier
from unblur.training.recipe import Recipe
from unblur.training.source import held_out_clips
from unblur.weights.switches import switches_of

FRAMES = 2
"""Frames of a clip that a step sees; they lie apart."""
HALVED = 0.3
"""Share of steps that see frames at half their size: crisper ones, and half the blur."""
SIDE = 160
"""Crops of the other steps, in pixels."""
SHARP = 0.15
"""Share of frames that are sharp all over."""
NOISY, NOISE = 0.4, 0.05
"""Share of frames that get noise, and its greatest deviation; most have far less."""
COMPRESSED, WORST, BEST = 0.35, 30.0, 90.0
"""Share of frames that are compressed after that, and range of the quality: see `synth`."""
GAMMA = 2.0
"""Frames are brightened or darkened by a power of up to this: videos differ in their curve."""
LARGEST = 24.0
"""Radius in pixels beyond which more does not count."""
IN_FOCUS, BETWEEN, OUT_OF_FOCUS = 0.7, 1.0, 1.3
"""Radii in pixels: what counts as sharp must come out below the second, as blurred above it."""
ALONG = 0.1
"""Weight of errors in pixels beside those of the logarithm, and of their slopes."""
DOUBT = 0.1
"""Weight of what the network says of its error; it does not change the radius."""
DETAIL, LEAST = 0.03, 0.05
"""Mean step between neighbours in the sharp frame that counts whole, and the least weight."""
SURROUNDINGS = 15
"""Pixels across in which detail is looked for."""
SHOWN, BRIGHTEST = 6, 12.0
"""Validation clips in the image, and the radius that is white in it."""


Sample = tuple[Tensor, Tensor, Tensor]
"""Frames shown (B, 3, H, W), sharp (B, 3, H, W), and radius (B, 1, H, W)."""


class TrainCoc:
    """coc-s on frames of rendered clips, each by itself."""

    needs_flow = False
    takes_turns = False

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        if recipe.data != "scenes":
            raise UsageError("recipe: coc-s learns from the true radius, take data: scenes")
        self.recipe, self.device = recipe, device
        self.config = changed(CocConfig(), recipe.options, "options")
        if self.config.outputs not in (2, 3):
            raise UsageError("recipe: options: outputs of coc-s is 2, or 3 to make frames sharp")

    @property
    def switches(self) -> Mapping[str, Any]:
        """Its sizes."""
        return switches_of(self.config)

    def network(self) -> nn.Module:
        """A network that says the same everywhere; its encoder stays where its rate is 0."""
        net = CocNet(self.config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.encoder.requires_grad_(self.recipe.rate_factors.get("encoder") != 0)
        return net

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As they are, or the encoder of `motion-s` beside its other parts."""
        if self.config.encoder == "own" or (
            f"encoder.{FIRST}" in state and f"{REST}{FIRST}" not in state
        ):
            return state
        if f"{REST}{FIRST}" not in state and MAXIM_KEY not in state:
            raise UsageError(
                "recipe: start_from: the encoder motion-s starts from motion-s or maxim-stage1"
            )
        return beside_motion_s(state)

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Of the radius, or of the sharp frame."""
        multiple = self.config.multiple_of
        shown, sharp, radius = drawn(batch, seed, SIDE // multiple * multiple)
        found = network(shown)
        with torch.autocast(shown.device.type, enabled=False):
            if self.config.outputs == 3:
                return charbonnier(shown + found, sharp)
            return radius_loss(found, radius, weight_of(sharp))

    @cached_property
    def held_out(self) -> list[Sample]:
        """Frames of rendered clips of textures that no training sees; always the same ones."""
        clips = held_out_clips(self.recipe, self.device, flows=False)
        return [(clip.blurred[0], clip.sharp[0], true_radius(clip)[0]) for clip in clips]

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Errors on held-out clips. Of the radius they are errors of the diameter, in pixels.

        `gain` is what the root mean square lies below that of the best single value; `sharp` and
        `blurred` are the shares of pixels in and out of focus that come out so. Of sharp frames
        `gain` is that in PSNR.
        """
        found = [network(frames).float() for frames, _, _ in self.held_out]
        if self.config.outputs == 3:
            return self._validate_images(found, folder)
        radii = [radius_of(x) for x in found]
        rows = [
            [frames[0], *(shade(x[0]) for x in (mine, radius))]
            for (frames, _, radius), mine in zip(self.held_out, radii, strict=True)
        ]
        write_grid(folder / "validation.png", rows[:SHOWN])
        mine, truth = torch.cat(radii), torch.cat([radius for _, _, radius in self.held_out])
        error = 2 * (mine - truth)
        detailed = torch.cat([weight_of(sharp) for _, sharp, _ in self.held_out]) > 0.5
        rmse = float(error.square().mean().sqrt())
        return {
            "gain": float(2 * truth.std(correction=0)) - rmse,
            "rmse": rmse,
            "mae": float(error.abs().mean()),
            "rmse_detail": float(error[detailed].square().mean().sqrt()),
            "sharp": float((mine < BETWEEN)[truth < IN_FOCUS].float().mean()),
            "blurred": float((mine > BETWEEN)[truth > OUT_OF_FOCUS].float().mean()),
        }

    def _validate_images(self, found: list[Tensor], folder: Path) -> dict[str, float]:
        rows, before, after = [], [], []
        for (frames, sharp, _), change in zip(self.held_out, found, strict=True):
            restored = (frames + change).clamp(0, 1)
            rows.append([frames[0], restored[0], sharp[0]])
            before.append(psnr(frames, sharp, cap=50.0))
            after.append(psnr(restored, sharp, cap=50.0))
        write_grid(folder / "validation.png", rows[:SHOWN])
        given, reached = (float(torch.cat(x).mean()) for x in (before, after))
        return {"gain": reached - given, "psnr": reached, "input": given}


def true_radius(batch: Batch) -> Tensor:
    """The true radius, (B, T, 1, H, W)."""
    if batch.radius is None:
        raise UsageError("recipe: coc-s needs data that brings the circle of confusion")
    return batch.radius


def shade(radius: Tensor) -> Tensor:
    """Radius (1, H, W) as an image (3, H, W)."""
    return (radius / BRIGHTEST).clamp(0, 1).expand(3, -1, -1)


def drawn(batch: Batch, seed: int, side: int = SIDE) -> Sample:
    """Frames of each clip: blurred or sharp, whole at half their size or a part of them (`side`
    pixels), as videos differ in brightness and noise.
    """
    generator = torch.Generator().manual_seed(seed)
    B, T = batch.blurred.shape[:2]
    clips = torch.arange(B).repeat_interleave(FRAMES)
    first = torch.randint(T, (B, 1), generator=generator)
    frame = ((first + torch.arange(FRAMES) * T // FRAMES) % T).flatten()
    blurred, sharp, radius = (
        x[clips, frame] for x in (batch.blurred, batch.sharp, true_radius(batch))
    )
    chances = torch.rand(7, B * FRAMES, 1, 1, 1, generator=generator)
    halved, power, deviation, kind, noisy, compressed, quality = chances
    in_focus = (kind < SHARP).to(blurred.device)
    blurred, radius = torch.where(in_focus, sharp, blurred), radius * ~in_focus
    if float(halved[0]) < HALVED:
        blurred, sharp, radius = F.avg_pool2d(blurred, 2), F.avg_pool2d(sharp, 2), radius / 2
        radius = radius[..., ::2, ::2]
    else:
        free = [max(1, n - side + 1) for n in blurred.shape[-2:]]
        top, left = (int(torch.randint(n, (1,), generator=generator)) for n in free)
        blurred, sharp, radius = (
            x[..., top : top + side, left : left + side] for x in (blurred, sharp, radius)
        )
    bend = torch.exp((2 * power - 1) * math.log(GAMMA)).to(blurred.device)
    deviation = NOISE * deviation.square() * (noisy < NOISY)
    noise = torch.randn(blurred.shape, generator=generator) * deviation
    shown = (blurred.clamp(0, 1) ** bend + noise.to(blurred.device)).clamp(0, 1)
    quality = (WORST + (BEST - WORST) * quality) * (compressed < COMPRESSED)
    shown = compress(shown[:, None], quality.flatten().to(shown.device))[:, 0]
    return shown, sharp.clamp(0, 1) ** bend, radius


def weight_of(sharp: Tensor) -> Tensor:
    """How much each pixel counts: little where the sharp frame (B, 3, H, W) has no detail."""
    grey = F.pad(sharp.mean(1, keepdim=True), (0, 1, 0, 1), mode="replicate")
    steps = grey.diff(dim=-1)[..., :-1, :].abs() + grey.diff(dim=-2)[..., :-1].abs()
    around = F.avg_pool2d(steps, SURROUNDINGS, 1, SURROUNDINGS // 2, count_include_pad=False)
    return (around / (2 * DETAIL)).clamp(LEAST, 1)  # (B, 1, H, W)


def radius_loss(found: Tensor, radius: Tensor, weight: Tensor) -> Tensor:
    """What the radius costs.

    Errors of log(1 + radius) and, less, of the radius; which side of the limit between sharp and
    blurred a pixel comes out on; edges that are not where they should be; and how wrong the
    network is about its own error.

    Args:
        found: (B, 2, H, W) of the network.
        radius: (B, 1, H, W) true, in pixels.
        weight: (B, 1, H, W).
    """
    found = found.float()
    mine, doubt = found[:, :1], found[:, 1:].clamp(-6, 3)
    radius = radius.clamp(max=LARGEST)
    truth = radius.log1p()
    off = (mine - truth).abs()
    pixels = (mine.clamp(-1, math.log1p(LARGEST)).expm1() - radius).abs()
    margin = math.log1p(BETWEEN)
    below = math.log1p((IN_FOCUS + BETWEEN) / 2)
    above = math.log1p((OUT_OF_FOCUS + BETWEEN) / 2)
    limit = (mine - below).relu() * (radius < IN_FOCUS)
    limit = limit + (above - mine).relu() * (radius > OUT_OF_FOCUS)
    slopes = torch.zeros_like(off)
    for axis in (-1, -2):
        slope = (mine.diff(dim=axis) - truth.diff(dim=axis)).abs()
        slopes = slopes + F.pad(slope, (0, 1, 0, 0) if axis == -1 else (0, 0, 0, 1))
    certainty = off.detach() * (-doubt).exp() + doubt
    each = off + ALONG * pixels + limit / margin + ALONG * slopes + DOUBT * certainty
    return (weight * each).sum() / weight.sum()
