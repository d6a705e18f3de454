"""What is trained: for each network how it is built, fed, punished, and judged."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.errors import UnblurWarning, UsageError
from unblur.metrics import detail, psnr, sharpness, ssim
from unblur.models import aligned
from unblur.models.maxim import Maxim, MaximConfig
from unblur.ops.color import SRGB, from_linear, to_linear
from unblur.train.batches import Batch
from unblur.train.coc_task import TrainCoc
from unblur.train.flow_task import TrainFlow
from unblur.train.losses import weighted
from unblur.train.picture import write_grid
from unblur.train.recipe import Flow, Recipe
from unblur.train.refocus_task import TrainRefocus
from unblur.train.source import held_out_clips
from unblur.weights import RENAMED
from unblur.weights.switches import switches_of

SHOWN = 4
"""Validation clips in the picture."""


class Task(Protocol):
    """What the loop knows of a network.

    Where it has them, the loop also takes `switches`, what the network is trained as (see
    `weights.switches`), into its weights, and `needs_depth`, whether batches must bring depth.
    """

    needs_flow: bool
    """True where batches must bring the true flow."""
    takes_turns: bool
    """True where a step may leave parts of the network out."""

    def network(self) -> nn.Module:
        """A network with fresh weights."""
        ...

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights to start from, of this network or of one that it can begin as."""
        ...

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Loss of one batch; `seed` for anything random in it."""
        ...

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Metrics on held-out clips; `gain` among them, higher is better. A picture to `folder`."""
        ...


class Deblur:
    """Networks that make blurred clips sharp."""

    needs_flow = False
    needs_depth = False
    takes_turns = False
    linear = False
    """True for networks that see and give linear light."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device

    @property
    def switches(self) -> Mapping[str, Any]:
        """The config, where there is one."""
        raise NotImplementedError

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
        """Frames of a clip that a step asks for."""
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
        super().__init__(recipe, device)
        self.config = MaximConfig(**tuples(recipe.options))

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
        super().__init__(recipe, device)
        self.config = dataclasses.replace(preset, **tuples(recipe.options))
        self.needs_flow = self.config.neighbours > 0

    @property
    def switches(self) -> Mapping[str, Any]:
        """Its sizes and choices."""
        return switches_of(self.config)

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

    def __init__(self, recipe: Recipe, device: torch.device, preset: Any) -> None:
        super().__init__(recipe, device)
        self.config = dataclasses.replace(preset, **tuples(recipe.options))

    @property
    def switches(self) -> Mapping[str, Any]:
        """Its sizes and choices."""
        return switches_of(self.config)

    def network(self) -> nn.Module:
        """BSSTNet with `options` on top of its preset; at first it gives back its input."""
        from unblur.models.bsstnet import BSSTNet

        net = BSSTNet(self.config)
        nn.init.zeros_(net.decoder.to_rgb.weight)
        return net

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> Tensor:
        """All frames at once; those asked for are kept."""
        return network(batch.blurred, batch.flow_forward, batch.flow_backward)[:, outputs]


def guided(batch: Batch, flow: Flow, seed: int | None) -> Batch:
    """The batch with the flows that the network gets to see.

    Args:
        batch: encoded frames.
        flow: `truth` with errors, or what finds flow in the frames; DIS where there is no truth.
        seed: of the errors; None where the truth may not be used.
    """
    if flow == "truth" and seed is not None and batch.flow_forward is not None:
        generator = torch.Generator(batch.blurred.device).manual_seed(seed)
        return batch.mapped(lambda x: x, lambda x: roughen(x, generator))
    find = flow_finder("raft" if flow == "raft" else "dis", batch.blurred.device)
    both = [find(clip) for clip in batch.blurred]
    forward, backward = (torch.stack(x).to(batch.blurred) for x in zip(*both, strict=True))
    return dataclasses.replace(batch, flow_forward=forward, flow_backward=backward)


@cache
def flow_finder(
    kind: Literal["raft", "dis"], device: torch.device
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What finds flow in frames (T, 3, H, W), see `guidance.flow`; flow-s for RAFT not converted.

    It says so once.
    """
    from unblur.guidance.flow import RAFT_WEIGHTS, dis_flow, raft_or_flow_s

    if kind == "dis":
        return dis_flow
    name, find = raft_or_flow_s(device)
    if name != RAFT_WEIGHTS:
        warnings.warn(
            f"no weights for '{RAFT_WEIGHTS}': this training is guided by {name} instead; get "
            "raft-things.pth from RAFT's authors and run `unblur weights convert raft-things.pth`",
            UnblurWarning,
            stacklevel=2,
        )
    return find


def tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with tuples for the lists that YAML reads."""
    return {n: tuple(x) if isinstance(x, list) else x for n, x in options.items()}


def roughen(flow: Tensor, generator: torch.Generator) -> Tensor:
    """Adds smooth errors as flow networks make them on blurred frames: a fifth of the motion."""
    B, T, _, h, w = flow.shape
    scale = flow.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt() * 0.2 + 0.05
    coarse = torch.randn(B * T, 2, h // 8 + 2, w // 8 + 2, generator=generator, device=flow.device)
    errors = F.interpolate(coarse, (h, w), mode="bilinear").unflatten(0, (B, T))
    return flow + scale * errors


def _bsstnet(preset: str) -> Callable[[Recipe, torch.device], Task]:
    def build(recipe: Recipe, device: torch.device) -> Task:
        from unblur.models.bsstnet import config

        return TrainBSSTNet(recipe, device, getattr(config, preset))

    return build


def _focal(recipe: Recipe, device: torch.device, preset: aligned.AlignedConfig) -> Task:
    from unblur.train.focal_task import TrainFocal

    return TrainFocal(recipe, device, preset)


def _dabit(preset: str) -> Callable[[Recipe, torch.device], Task]:
    def build(recipe: Recipe, device: torch.device) -> Task:
        from unblur.models.dabit import config
        from unblur.train.dabit_task import TrainDabit

        return TrainDabit(recipe, device, getattr(config, preset))

    return build


TASKS: Mapping[str, Callable[[Recipe, torch.device], Task]] = {
    "maxim-stage1": TrainMaxim,
    "bsstnet-paper": _bsstnet("PAPER"),
    "motion-s": TrainAligned,
    "motion-m": partial(TrainAligned, preset=aligned.MOTION_M),
    "focus-s": partial(_focal, preset=aligned.FOCUS_S),
    "focus-m": partial(_focal, preset=aligned.FOCUS_M),
    "dabit-paper": _dabit("PAPER"),
    "dabit-narrow": _dabit("SMALL"),
    "dabit-tiny": _dabit("TINY"),
    "bsstnet-narrow": _bsstnet("SMALL"),
    "bsstnet-tiny": _bsstnet("TINY"),
    "flow-s": TrainFlow,
    "flow-refocus": TrainRefocus,
    "coc-s": TrainCoc,
}
"""By the name a recipe gives as its `network`."""


def open_task(recipe: Recipe, device: torch.device) -> Task:
    """The task of a recipe.

    Raises:
        UsageError: unknown network, or options it does not have.
    """
    if recipe.network not in TASKS:
        now = RENAMED.get(recipe.network)
        hint = f"it is called {now} now" if now else f"use {', '.join(TASKS)}"
        raise UsageError(f"recipe: unknown network '{recipe.network}': {hint}")
    try:
        return TASKS[recipe.network](recipe, device)
    except (TypeError, ValueError) as error:
        raise UsageError(f"recipe: options: {error}") from error
