"""What a step trains on: clips rendered on the spot, or cut from data sets on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.data.clips import ClipFolder
from unblur.errors import UsageError
from unblur.ops.resize import enlarge_flow
from unblur.schema import MismatchError, conform
from unblur.synth import SceneConfig, TextureBank, render, sample_scenes

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """Clips and their truth; encoded RGB in [0, 1]."""

    blurred: Tensor
    """`(B, T, 3, H, W)`"""
    sharp: Tensor
    """`(B, T, 3, H, W)`"""
    flow_forward: Tensor | None = None
    """`(B, T-1, 2, ceil(H/4), ceil(W/4))` in elements of its own grid, on frame t, to t + 1;
    None where it is not known."""
    flow_backward: Tensor | None = None
    """Likewise, on frame t + 1, to t."""
    radius: Tensor | None = None
    """`(B, T, 1, H, W)` of the circle of confusion in pixels; None where it is not known."""
    guess_forward: Tensor | None = None
    """Like `flow_forward`, but found in the blurred frames; None where the source finds none."""
    guess_backward: Tensor | None = None
    """Like `flow_backward`, found in the blurred frames."""
    depth: Tensor | None = None
    """`(B, T, 1, H, W)` 0 = near to 1 = far; None where it is not known."""

    def mapped(self, image: Map, flow: Map) -> Batch:
        """The same with `image` done to frames, radii, depth, `flow` to what flows there are."""
        flows = self.flow_forward, self.flow_backward, self.guess_forward, self.guess_backward
        forward, backward, *guesses = (None if x is None else flow(x) for x in flows)
        radius, depth = (None if x is None else image(x) for x in (self.radius, self.depth))
        return Batch(
            image(self.blurred),
            image(self.sharp),
            forward,
            backward,
            radius,
            guesses[0],
            guesses[1],
            depth,
        )

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        return self.mapped(lambda x: x.to(device), lambda x: x.to(device))


class Source(Protocol):
    """Gives batches by seed."""

    pixels_per_clip: int
    """Pixels of input in a clip, over all its frames."""

    def batch(self, clips: int, seed: int) -> Batch:
        """The batch of that seed; the same one each time it is requested."""
        ...


class Rendered:
    """Clips from the scene renderer, made on the device that trains."""

    def __init__(
        self,
        config: SceneConfig,
        textures: TextureBank,
        frames: int,
        side: int,
        device: torch.device,
        flows: bool = True,
        depth: bool = False,
    ) -> None:
        self.config, self.textures = config, textures.to(device)
        self.frames, self.side = frames, side
        self.truth: set[str] = {"flow"} if flows else set()
        if config.mode != "motion":
            self.truth.add("coc")
        if depth:
            self.truth.add("depth")
        self.pixels_per_clip = frames * side * side

    def batch(self, clips: int, seed: int) -> Batch:
        """Renders clips."""
        generator = torch.Generator().manual_seed(seed)
        scenes = sample_scenes(self.config, self.textures, clips, generator)
        clip = render(scenes, self.side, self.side, self.frames, truth=self.truth)
        flows = quarter(clip.flow_forward), quarter(clip.flow_backward)
        return Batch(clip.blurred, clip.sharp, *flows, clip.coc, depth=clip.depth)


def quarter(flow: Tensor | None) -> Tensor | None:
    """Flow (B, T-1, 2, H, W) in pixels at a quarter of the size, in pixels of that size."""
    if flow is None:
        return None
    small = F.avg_pool2d(flow.flatten(0, 1), 4, ceil_mode=True, count_include_pad=False) / 4
    return small.unflatten(0, flow.shape[:2])


def at_full_size(flow: Tensor) -> Tensor:
    """The opposite of `quarter`: flow (B, T-1, 2, 4 h, 4 w) in pixels, float32, interpolated."""
    return enlarge_flow(flow.flatten(0, 1), 4).unflatten(0, flow.shape[:2])


def drawing(generator: torch.Generator) -> Callable[[int], int]:
    """A function that draws one of so many numbers, from 0 on."""
    return lambda choices: int(torch.randint(choices, (1,), generator=generator))


def drawn(clip: Callable[[torch.Generator], tuple[Tensor, Tensor]], clips: int, seed: int) -> Batch:
    """The batch of a seed, of clips that a function draws, blurred and sharp `(T, 3, H, W)`."""
    generator = torch.Generator().manual_seed(seed)
    blurred, sharp = zip(*(clip(generator) for _ in range(clips)), strict=True)
    return Batch(torch.stack(blurred), torch.stack(sharp))


class Cut:
    """Random crops, mirrored and turned, from folders of blurred and sharp frames."""

    def __init__(self, folders: Sequence[ClipFolder], frames: int, side: int) -> None:
        self.clips = [clip for clip in folders if len(clip) >= frames]
        if not self.clips:
            raise UsageError(f"no clip of the data set has {frames} frames: lower `frames`")
        self.frames, self.side = frames, side
        self.pixels_per_clip = frames * side * side

    def batch(self, clips: int, seed: int) -> Batch:
        """Reads clips: a folder, a start, a place and one of eight orientations each."""
        return drawn(self._clip, clips, seed)

    def _clip(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        draw = drawing(generator)
        clip = self.clips[draw(len(self.clips))]
        start = draw(len(clip) - self.frames + 1)
        pair = clip.read(start, start + self.frames)  # 2 x (T, 3, H, W)
        height, width = pair[0].shape[-2:]
        if min(height, width) < self.side:
            raise UsageError(f"{clip.name}: frames are smaller than the crop of {self.side}")
        top, left, turn = draw(height - self.side + 1), draw(width - self.side + 1), draw(8)

        def cut(x: Tensor) -> Tensor:
            x = x[..., top : top + self.side, left : left + self.side]
            x = x.flip(-1) if turn & 1 else x
            x = x.flip(-2) if turn & 2 else x
            return x.mT if turn & 4 else x

        return cut(pair[0]), cut(pair[1])


def scene_config(fields: Mapping[str, Any]) -> SceneConfig:
    """SceneConfig with some fields other than its defaults; lists become ranges."""
    kinds = get_type_hints(SceneConfig)
    try:
        values: dict[str, Any] = {
            name: conform(value, kinds.get(name, Any), name) for name, value in fields.items()
        }
        return SceneConfig(**values)
    except (TypeError, MismatchError) as error:
        raise UsageError(f"recipe: scenes: {error}") from error
