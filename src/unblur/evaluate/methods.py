"""What restores a clip: functions from a clip to its scored frames, and the models by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unblur.engine import memory
from unblur.engine.plan import choose_fit
from unblur.engine.run import Runner, choose_look
from unblur.engine.scenes import Scene
from unblur.errors import UsageError
from unblur.evaluate.clip import Clip
from unblur.evaluate.scores import INPUT
from unblur.evaluate.wiener import restore_known_blur
from unblur.guide import FocusOfVideo
from unblur.metrics import gaussian_blur
from unblur.restorers.base import Light, Restorer
from unblur.restorers.registry import choose_device, load_model, preset

UNSHARP_SIGMA = 1.0
UNSHARP_AMOUNT = 0.5
"""Chosen on scenes of other seeds: docs/evaluation.md."""
LIGHTS: tuple[Light, ...] = ("linear", "encoded")


@dataclass(frozen=True)
class Method:
    """A row of the table of methods."""

    name: str
    restore: Callable[[Clip], Tensor]
    """Gives the scored frames, (S, 3, H, W), encoded."""
    whole_clip: bool = False
    """True where all frames are restored to get at the scored ones."""
    misses: Callable[[Clip], str | None] = lambda clip: None
    """What a clip lacks for this method, in words; None where it can be had."""
    warm_up: bool = False
    """True where the first run takes longer than others."""

    def timed(self, clip: Clip) -> tuple[Tensor, float]:
        """The scored frames, and seconds per frame that was restored."""
        began = time.perf_counter()
        restored = self.restore(clip)
        frames = len(clip.blurred) if self.whole_clip else len(clip.scored)
        return restored, (time.perf_counter() - began) / frames


def untouched(clip: Clip) -> Tensor:
    """The input."""
    return clip.input


def unsharp_mask(clip: Clip) -> Tensor:
    """Adds a part of what a Gaussian blur takes away, on encoded values."""
    frames = clip.input
    return (frames + UNSHARP_AMOUNT * (frames - gaussian_blur(frames, UNSHARP_SIGMA))).clamp(0, 1)


def wiener(clip: Clip) -> Tensor:
    """Wiener's filter with the true blur of each layer."""
    if clip.blur is None:
        raise ValueError(f"{clip.name}: Wiener's filter needs the true blur")
    return restore_known_blur(clip.input, clip.blur)


def unknown_blur(clip: Clip) -> str | None:
    """Why Wiener's filter cannot be had for a clip."""
    return "the true blur of real frames is not known" if clip.blur is None else None


CLASSICAL = (
    Method(INPUT, untouched),
    Method("unsharp", unsharp_mask),
    Method("wiener", wiener, misses=unknown_blur),
)


@dataclass(frozen=True)
class Picture:
    """A frame as the engine takes it."""

    picture: Tensor

    def rgb(self) -> Tensor:
        """(3, H, W)."""
        return self.picture


@dataclass(frozen=True)
class Choice:
    """A model as a user writes it: `NAME`, `NAME@linear`, `NAME@encoded`, `NAME=FILE`, or both."""

    text: str
    name: str
    weights: Path | None
    light: Light | None

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Reads it.

        >>> Choice.parse("maxim-stage1@linear").light
        'linear'
        """
        rest, light = text, None  # a path of weights may hold an @, too
        before, at, after = text.rpartition("@")
        if after in LIGHTS:
            rest, light = before, LIGHTS[LIGHTS.index(after)]
        elif at and "=" not in text:
            raise UsageError(f"model '{text}': light is @linear or @encoded")
        name, equals, file = rest.partition("=")
        if equals and not file:
            raise UsageError(f"model '{text}': name the weights, NAME=FILE.safetensors")
        name = preset(name).info.name
        label = name + (f"={Path(file).name}" if file else "") + (f"@{light}" if light else "")
        return cls(label, name, Path(file) if file else None, light)


def model(text: str, device: str = "auto", precision: str = "auto") -> Method:
    """The method that runs a model through the engine, as `unblur restore` does.

    Args:
        text: as `Choice` says; the light is the preset's own where none is named.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.

    Raises:
        UsageError: unknown model, light or precision.
        WeightsError: the weights are missing or do not fit.
        ResourceError: the device is not there.
    """
    choice = Choice.parse(text)
    restorer = load_model(choice.name, weights=choice.weights, device=device, precision=precision)
    if restorer.info.scale != 1:
        raise UsageError(f"{choice.name} enlarges frames: no suite has truth of that size")
    where = choose_device(device)
    light = choice.light or restorer.info.light

    def restore(clip: Clip) -> Tensor:
        return run(restorer, light, where, clip)

    return Method(choice.text, restore, whole_clip=restorer.info.window > 1, warm_up=True)


def run(restorer: Restorer, light: Light, device: torch.device, clip: Clip) -> Tensor:
    """Restores the scored frames; a model that sees one frame at a time sees no others."""
    height, width = clip.blurred.shape[-2:]
    fit = choose_fit(restorer, height, width, memory.budget(device, None))
    focus = FocusOfVideo() if restorer.info.needs_depth else None
    runner = Runner(restorer, choose_look(restorer, light, None, 1.0), fit, focus)
    if restorer.info.window == 1:
        pictures, scenes = [Picture(frame) for frame in clip.input], None
        wanted: Sequence[int] = range(len(pictures))
    else:
        pictures = [Picture(frame) for frame in clip.blurred]
        scenes, wanted = [Scene(0, len(pictures))], clip.scored
    restored = [frame for _, frame in runner.restore(pictures, scenes)]
    return torch.stack([restored[i] for i in wanted]).cpu()
