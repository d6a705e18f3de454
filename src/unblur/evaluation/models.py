"""Models as rows of the table: what a user writes, and the methods it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur.engine.arrivals import Focus
from unblur.engine.fusion import Fuse, Fusion, choose_fusion
from unblur.engine.plan import choose_fit
from unblur.engine.rendition import choose_rendition
from unblur.engine.run import Runner
from unblur.errors import UsageError
from unblur.evaluation.clip import Clip
from unblur.evaluation.methods import THEN_BICUBIC, Method, enlarge, nothing_missing
from unblur.guidance.coc import BLUREST
from unblur.guidance.defocus import BlurFromDepth
from unblur.guidance.of_video import FocusOfVideo
from unblur.ops import memory
from unblur.ops.device import choose_device
from unblur.ops.shots import Shot
from unblur.restorers.base import Ablatable, Light, Restorer
from unblur.restorers.registry import load_model, preset

LIGHTS: tuple[Light, ...] = ("linear", "encoded")
TRUE_DEPTH, TRUE_BLUR = "depth", "coc"
DEPTHS = (TRUE_DEPTH, TRUE_BLUR, "depth-anything")
"""What guides a model in place of what is found in the image: the depth that the blur was made
with; this and the true circle of confusion; or the depth of a network."""
ALONE = "alone"
"""Each frame is restored as if there were no other."""
UNFUSED = "unfused"
"""Restored frames are not put together with their neighbours."""


@dataclass(frozen=True)
class ClipFrame:
    """A frame as the engine takes it."""

    image: Tensor
    index: int
    coarse: Tensor | None = None

    def rgb(self) -> Tensor:
        """(3, H, W)."""
        return self.image

    def quantizers(self) -> Tensor | None:
        """As it was encoded."""
        return self.coarse


@dataclass(frozen=True)
class Choice:
    """A model as a user writes it: `NAME` or `NAME=FILE`, and any of `WORDS` behind an @."""

    text: str
    name: str
    weights: Path | None = None
    light: Light | None = None
    depth: str = "builtin"
    alone: bool = False
    unfused: bool = False

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Reads it.

        >>> Choice.parse("maxim-stage1@linear").light
        'linear'
        """
        rest = text
        words: list[str] = []
        while True:  # a path of weights may hold an @, too
            before, at, after = rest.rpartition("@")
            if not at or after not in (*LIGHTS, *DEPTHS, ALONE, UNFUSED):
                break
            rest, words = before, [after, *words]
        if at and "=" not in rest:
            raise UsageError(
                f"model '{text}': behind @ stand {', '.join((*LIGHTS, *DEPTHS, ALONE))} or "
                f"{UNFUSED}"
            )
        name, equals, file = rest.partition("=")
        if equals and not file:
            raise UsageError(f"model '{text}': name the weights, NAME=FILE.safetensors")
        name = preset(name).info.name
        lights = [light for light in LIGHTS if light in words]
        depths = [depth for depth in DEPTHS if depth in words]
        if len(lights) > 1 or len(depths) > 1 or len(set(words)) < len(words):
            raise UsageError(f"model '{text}': choose one light and one depth")
        return cls(
            text=name + "".join((f"={Path(file).name}" if file else "", *(f"@{w}" for w in words))),
            name=name,
            weights=Path(file) if file else None,
            light=lights[0] if lights else None,
            depth=depths[0] if depths else "builtin",
            alone=ALONE in words,
            unfused=UNFUSED in words,
        )


@dataclass(frozen=True)
class Rows:
    """What models are requested beside themselves, at the scale requested."""

    scale: int = 1
    depth: str = "builtin"
    """One of `DEPTHS` for a second row of each model that is guided by depth."""
    ablate: bool = False
    """Rows for each model of which parts can be switched off."""
    fuse: Fuse = "auto"
    """How restored frames are put together, as for `restore`."""


def methods(text: str, rows: Rows, device: str = "auto", precision: str = "auto") -> list[Method]:
    """The methods that a model stands for, run through the engine as `unblur restore` does.

    Args:
        text: as `Choice` says; the light is the preset's own where none is named.
        rows: what is requested beside the model itself. Where frames are to be enlarged, a model
            that can do so is measured doing it, and one that can leave the size alone with its
            frames enlarged afterwards.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.

    Raises:
        UsageError: unknown model, light or precision, or it only enlarges frames.
        WeightsError: the weights are missing or do not fit.
        ResourceError: the device is not there.
    """
    choice = Choice.parse(text)
    info = preset(choice.name).info
    if rows.scale not in info.scales and 1 not in info.scales:
        raise UsageError(
            f"{choice.name} gives frames of {info.scale} times the size: add --scale {info.scale}"
        )
    if info.real_depth and choice.depth == "builtin":
        raise UsageError(
            f"{choice.name} needs depth, not a measure of blur in its place: take "
            f"{choice.name}@depth or {choice.name}@depth-anything"
        )
    where = choose_device(device)
    fuse = "off" if choice.unfused or choice.alone else rows.fuse
    found = []
    for scale in sorted({rows.scale, 1} & set(info.scales), reverse=True):
        restorer = load_model(
            choice.name, weights=choice.weights, device=device, precision=precision, scale=scale
        )
        then = "" if scale == rows.scale else THEN_BICUBIC
        fusion = choose_fusion(fuse, restorer.info, where)
        found.append(method(choice, restorer, where, fusion, then))
        if then:
            continue
        if info.needs_depth and rows.depth not in ("builtin", choice.depth):
            guided = replace(choice, depth=rows.depth, text=f"{choice.text}@{rows.depth}")
            found.append(replace(method(guided, restorer, where, fusion), warm_up=False))
        if rows.ablate and isinstance(restorer, Ablatable):
            for name in restorer.ablations:
                without = method(choice, restorer.ablated(name), where, fusion, f" {name}")
                found.append(replace(without, ablated=True, warm_up=False))
    return found


def method(
    choice: Choice,
    restorer: Restorer,
    device: torch.device,
    fusion: Fusion | None,
    suffix: str = "",
) -> Method:
    """A loaded model as a method."""
    light = choice.light or restorer.info.light
    temporal = restorer.info.needs_shots or fusion is not None
    frames = run_alone if temporal and choice.alone else run
    guided = restorer.info.needs_depth

    def restore(clip: Clip) -> Tensor:
        restored = frames(restorer, light, device, clip, choice.depth, fusion)
        return enlarge(restored, clip.scale // restorer.info.scale)

    return Method(
        choice.text + suffix,
        restore,
        whole_clip=temporal and not choice.alone,
        misses=partial(unknown_truth, choice.depth) if guided else nothing_missing,
        warm_up=True,
        parameters=count_parameters(restorer),
    )


def unknown_truth(depth: str, clip: Clip) -> str | None:
    """Why a model cannot be guided by the truth."""
    if depth in (TRUE_DEPTH, TRUE_BLUR) and clip.depth is None:
        return "the true depth of real frames is not known"
    if depth == TRUE_BLUR and clip.radius is None:
        return "the true circle of confusion is known of rendered clips only"
    return None


def count_parameters(restorer: Restorer) -> int:
    """Numbers in the networks of a restorer; what finds its optical flow does not count."""
    networks = [part for part in vars(restorer).values() if isinstance(part, nn.Module)]
    if not networks:
        return restorer.info.parameters
    return sum(weight.numel() for network in networks for weight in network.parameters())


def run(
    restorer: Restorer,
    light: Light,
    device: torch.device,
    clip: Clip,
    depth: str = "builtin",
    fusion: Fusion | None = None,
) -> Tensor:
    """Restores the wanted frames; a model that sees one frame at a time sees no others."""
    height, width = clip.blurred.shape[-2:]
    fit = choose_fit(restorer, height, width, memory.budget(device, None))
    focus = choose_focus(depth, clip, device) if restorer.info.needs_depth else None
    runner = Runner(restorer, choose_rendition(restorer, light, None, 1.0), fit, focus, fusion)
    coarse = clip.quantizers or [None] * len(clip.blurred)
    frames = [ClipFrame(clip.blurred[i], i, coarse[i]) for i in range(len(clip.blurred))]
    if not runner.needs_shots:
        images = [frames[i] for i in clip.wanted]
        shots = None
        taken: Sequence[int] = range(len(images))
    else:
        images = frames
        shots, taken = [Shot(0, len(images))], clip.wanted
    restored = [frame for _, frame in runner.restore(images, shots)]
    return torch.stack([restored[i] for i in taken]).cpu()


def run_alone(
    restorer: Restorer,
    light: Light,
    device: torch.device,
    clip: Clip,
    depth: str = "builtin",
    fusion: Fusion | None = None,
) -> Tensor:
    """Restores the wanted frames, each as a clip of its own."""
    restored = []
    for i in clip.wanted:
        single = replace(
            clip,
            blurred=clip.blurred[i : i + 1],
            sharp=clip.sharp[i : i + 1],
            scored=(0,),
            watched=(),
            depth=None if clip.depth is None else clip.depth[i : i + 1],
            radius=None if clip.radius is None else clip.radius[i : i + 1],
        )
        restored.append(run(restorer, light, device, single, depth, fusion))
    return torch.cat(restored)


class FocusOfClip:
    """Depth that is known, and the blur map that follows from it: `engine.arrivals.Focus`.

    Args:
        depth: (T, 1, H, W).
        radius: (T, 1, H, W) of the circle of confusion in pixels, where that is to be known, too.
    """

    def __init__(self, depth: Tensor, radius: Tensor | None = None) -> None:
        self._depth = depth
        self._known = None if radius is None else (radius / BLUREST).clamp(0, 1)
        self._found = BlurFromDepth()

    def __call__(self, image: Any, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and blur map (1, 1, H, W) of a frame."""
        depth = self._depth[image.index][None]
        if self._known is not None:
            return depth, self._known[image.index][None]
        return depth, self._found(rgb, depth.to(rgb))

    def restart(self) -> None:
        """The next frame is the first of a scene."""
        self._found.restart()


def choose_focus(depth: str, clip: Clip, device: torch.device) -> Focus:
    """Where depth and blur maps come from."""
    if depth in (TRUE_DEPTH, TRUE_BLUR):
        if clip.depth is None:
            raise ValueError(f"{clip.name}: its true depth is not known")
        return FocusOfClip(clip.depth, clip.radius if depth == TRUE_BLUR else None)
    return focus_in_images(depth, str(device))


@lru_cache(maxsize=1)
def focus_in_images(depth: str, device: str) -> FocusOfVideo:
    """Kept from clip to clip: its network is loaded once. Each scene begins with a restart."""
    return FocusOfVideo(depth, device=device)
