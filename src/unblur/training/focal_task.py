"""How `focus-s` and `focus-m` are trained, given the radius of blur; to twice the size as well."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.metrics import psnr
from unblur.models import aligned
from unblur.models.coc import CocNet
from unblur.training.batches import Batch
from unblur.training.deblur_task import TrainAligned
from unblur.training.guiding import guided
from unblur.training.losses import weighted
from unblur.training.recipe import RadiusSource, Recipe


class TrainFocal(TrainAligned):
    """The aligned network guided by the circle of confusion; every other step enlarges."""

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        preset: aligned.AlignedConfig = aligned.FOCUS_S,
    ) -> None:
        super().__init__(recipe, device, preset)
        if self.config.enlarges:
            check_half(recipe)

    def restore(
        self, network: nn.Module, batch: Batch, outputs: list[int], seed: int | None
    ) -> Tensor:
        """As `Deblur.restore`, with the radius that the network gets to see."""
        radius = radius_of(batch, self.recipe.radius, seed)
        return super().restore(network, dataclasses.replace(batch, radius=radius), outputs, seed)

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> Tensor:
        """Frames from their neighbours and radii."""
        flows = batch.flow_forward, batch.flow_backward
        return network(batch.blurred, *flows, outputs, batch.radius)

    def enlarge(
        self, network: nn.Module, batch: Batch, outputs: list[int], seed: int | None
    ) -> Tensor:
        """Frames `(B, len(outputs), 3, H, W)` from the batch at half its size."""
        small = halved(batch)
        radius = radius_of(small, self.recipe.radius, seed)
        if self.needs_flow:
            small = guided(small, "dis", seed)
        flows = small.flow_forward, small.flow_backward
        return network(small.blurred, *flows, outputs, radius, True).float()

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Of the frame at its size or, at every other step, of the frame made from half of it."""
        if not self.config.neighbours:  # no need of the others' radii
            batch = alone(batch, self.trained_on(batch.blurred.shape[1], seed))
        if not self.config.enlarges or seed % 2:
            return super().loss(network, batch, seed)
        outputs = self.trained_on(batch.blurred.shape[1], seed)
        large = self.enlarge(network, batch, outputs, seed)
        with torch.autocast(large.device.type, enabled=False):
            return weighted(large, batch.sharp[:, outputs].float(), self.recipe.losses)

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """As `Deblur.validate`; and what enlarging gains over enlarging bicubically."""
        metrics = super().validate(network, folder)
        gains = []
        for clip in self.held_out if self.config.enlarges else []:
            middle = clip.blurred.shape[1] // 2
            large = self.enlarge(network, clip, [middle], None)[:, 0].clamp(0, 1)
            plain = F.interpolate(halved(clip).blurred[:, middle], scale_factor=2, mode="bicubic")
            pair = torch.cat((plain.clamp(0, 1), large))
            before, after = psnr(pair, clip.sharp[:, middle].expand_as(pair), cap=50.0)
            gains.append(float(after - before))
        if gains:
            metrics["gain_x2"] = sum(gains) / len(gains)
        return metrics


def radius_of(batch: Batch, kind: RadiusSource, seed: int | None) -> Tensor:
    """Radii `(B, T, 1, H, W)` in pixels that the network gets to see.

    Args:
        batch: encoded frames.
        kind: `truth` with errors, `coc-s` or `coc-m`.
        seed: of the errors; None where the truth may not be used.
    """
    if kind == "truth" and seed is not None and batch.radius is not None:
        generator = torch.Generator(batch.blurred.device).manual_seed(seed)
        radius = batch.radius
        B, T, _, height, width = radius.shape
        size = (height // 32 + 2, width // 32 + 2)
        coarse = torch.randn(B * T, 1, *size, generator=generator, device=radius.device)
        errors = F.interpolate(coarse, (height, width), mode="bilinear").unflatten(0, (B, T))
        return (radius * (0.2 * errors).exp() + 0.2 * errors).clamp(min=0)
    from unblur.guidance.coc import coc_radius

    net = coc_network("coc-m" if kind == "coc-m" else "coc-s", batch.blurred.device)
    return torch.stack([coc_radius(net, clip.float()) for clip in batch.blurred])


@cache
def coc_network(name: RadiusSource, device: torch.device) -> CocNet:
    """The network of that name, read from its file once and not at every step."""
    from unblur.guidance.coc import load_coc_m, load_coc_s

    return load_coc_m(device) if name == "coc-m" else load_coc_s(device)


def check_half(recipe: Recipe) -> None:
    """Raises `ValueError` where a crop has no half, from which a network is to make it."""
    if recipe.crop % 2:
        raise ValueError(f"crop is {recipe.crop}: half of it is enlarged in training, take it even")


def alone(batch: Batch, frames: list[int]) -> Batch:
    """Some frames of the clips, without flows."""
    radius = None if batch.radius is None else batch.radius[:, frames]
    return Batch(batch.blurred[:, frames], batch.sharp[:, frames], radius=radius)


def halved(batch: Batch) -> Batch:
    """The batch at half the size, without its flows; sizes are even."""

    def half(x: Tensor) -> Tensor:
        return F.avg_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])

    radius = None if batch.radius is None else half(batch.radius) / 2
    depth = None if batch.depth is None else half(batch.depth)
    return Batch(half(batch.blurred), half(batch.sharp), radius=radius, depth=depth)
