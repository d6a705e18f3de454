"""How networks that make blurred clips sharp are trained: MAXIM, aligned networks, BSSTNet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur.metrics import detail, psnr, sharpness, ssim
from unblur.models import aligned
from unblur.models.bsstnet import BSSTNet
from unblur.models.maxim import Maxim, MaximConfig
from unblur.ops.color import SRGB, from_linear, to_linear
from unblur.schema import changed
from unblur.training.batches import Batch
from unblur.training.guiding import guided
from unblur.training.image_grid import write_grid
from unblur.training.losses import weighted
from unblur.training.recipe import Recipe
from unblur.training.source import held_out_clips
from unblur.weights.switches import switches_of

SHOWN = 4
"""Validation clips in the image."""


class Deblur:
    """Networks that make blurred clips sharp.

    Args:
        recipe: with options of the network.
        device: where it trains.
        preset: config of the network, which the options change.
    """

    needs_flow = False
    needs_depth = False
    takes_turns = False
    linear = False
    """True for networks that see and give linear light."""

    def __init__(self, recipe: Recipe, device: torch.device, preset: Any) -> None:
        self.recipe, self.device = recipe, device
        self.config = changed(preset, recipe.options, "options")

    @property
    def switches(self) -> Mapping[str, Any]:
        """Its sizes and choices."""
        return switches_of(self.config)

    def network(self) -> nn.Module:
        """A network with fresh weights."""
        raise NotImplementedError

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As they are."""
        return state

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> Tensor:
        """Frames `outputs`, `(B, len(outputs), 3, H, W)`, for input in the network's light."""
        raise NotImplementedError

    def trained_on(self, frames: int, seed: int) -> list[int]:
        """Frames of a clip that a step requests."""
        return list(range(frames))

    def restore(
        self, network: nn.Module, batch: Batch, outputs: list[int], seed: int | None
    ) -> Tensor:
        """Encoded `(B, len(outputs), 3, H, W)` from encoded.

        `seed` is None in validation: no guidance may come from the truth then.
        """
        if self.needs_flow:
            batch = guided(batch, self.recipe.flow, seed)
        if not self.linear:
            return self.apply(network, batch, outputs).float()
        shown = dataclasses.replace(batch, blurred=to_linear(batch.blurred, SRGB))
        light = self.apply(network, shown, outputs).float()
        # The curve is infinitely steep for the eye of a gradient at black: keep off it.
        return from_linear(light.clamp(min=1e-4), SRGB)

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Weighted losses of the frames that `trained_on` names."""
        outputs = self.trained_on(batch.blurred.shape[1], seed)
        restored = self.restore(network, batch, outputs, seed)
        with torch.autocast(restored.device.type, enabled=False):
            return weighted(restored, batch.sharp[:, outputs].float(), self.recipe.losses)

    @cached_property
    def held_out(self) -> list[Batch]:
        """Rendered clips of textures that no training sees; always the same ones."""
        return held_out_clips(self.recipe, self.device, flows=False, depth=self.needs_depth)

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Middle frames of held-out clips: mean PSNR of input and output, and the rest."""
        kept: list[tuple[Tensor, Tensor, Tensor]] = []
        for clip in self.held_out:
            middle = clip.blurred.shape[1] // 2
            restored = self.restore(network, clip, [middle], None).clamp(0, 1)
            kept.append((clip.blurred[0, middle], restored[0, 0], clip.sharp[0, middle]))
        write_grid(folder / "validation.png", [list(row) for row in kept[:SHOWN]])
        blurred, restored, sharp = (torch.stack(x) for x in zip(*kept, strict=True))  # (N, 3, H, W)
        before, after = psnr(blurred, sharp, cap=50.0), psnr(restored, sharp, cap=50.0)
        quarter = before >= before.quantile(0.75)
        return {
            "gain": float((after - before).mean()),
            "psnr": float(after.mean()),
            "input": float(before.mean()),
            "sharp_loss": float((before - after)[quarter].mean()),
            "ssim": float(ssim(restored, sharp).mean()),
            "detail": float(detail(restored, sharp).mean()),
            "sharpness": float(sharpness(restored, sharp).mean()),
        }


class TrainMaxim(Deblur):
    """MAXIM, in linear light, one frame at a time."""

    linear = True

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        super().__init__(recipe, device, MaximConfig())

    @property
    def switches(self) -> Mapping[str, Any]:
        """Its sizes, and the light it sees."""
        return switches_of(self.config, light="linear")

    def network(self) -> nn.Module:
        """MAXIM with `options` as its config."""
        return Maxim(self.config)

    def trained_on(self, frames: int, seed: int) -> list[int]:
        """The middle one."""
        return [frames // 2]

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> Tensor:
        """Each frame by itself."""
        frames = batch.blurred[:, outputs]
        return network(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])


class TrainAligned(Deblur):
    """The network that sees neighbours laid over each frame.

    It sees encoded values: there it learns faster than in linear light, whose dark places count too
    little before they are encoded and too much after.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        preset: aligned.AlignedConfig = aligned.MOTION_S,
    ) -> None:
        super().__init__(recipe, device, preset)
        self.needs_flow = self.config.neighbours > 0

    def network(self) -> nn.Module:
        """The preset with `options`."""
        return aligned.Aligned(self.config)

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """MAXIM's first stage, or its own weights."""
        return aligned.begin_from(state, self.config)

    def trained_on(self, frames: int, seed: int) -> list[int]:
        """One frame, anywhere in the clip: frames near its ends have fewer neighbours."""
        generator = torch.Generator().manual_seed(seed)
        return [int(torch.randint(frames, (1,), generator=generator))]

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> Tensor:
        """Frames from their neighbours."""
        return network(batch.blurred, batch.flow_forward, batch.flow_backward, outputs)


class TrainBSSTNet(Deblur):
    """BSSTNet of any size."""

    needs_flow = True

    def network(self) -> nn.Module:
        """BSSTNet with `options` on top of its preset; at first it gives back its input."""
        net = BSSTNet(self.config)
        nn.init.zeros_(net.decoder.to_rgb.weight)
        return net

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> Tensor:
        """All frames at once; those requested are kept."""
        return network(batch.blurred, batch.flow_forward, batch.flow_backward)[:, outputs]
