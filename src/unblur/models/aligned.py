"""MAXIM's first stage with neighbouring frames laid over each frame by optical flow.

At half size a 2 x 2 block of pixels becomes one of 12 channels, so that nothing is lost, a blur is
half as long, and a frame costs a quarter. Each frame is restored from itself and from up to
`neighbours` frames on either side. Of these the network sees how they differ from the frame once
warped onto it, where the flow came from, and how fast they move there. It starts as MAXIM that
sees one frame.

For focal blur it can be guided: it is given the radius of the circle of confusion of each pixel,
and leaves alone what is in focus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.maxim import MaximConfig, Stage
from unblur.ops.consistency import consistency
from unblur.ops.pad import crop_from, pad_flow, pad_to, padded_length
from unblur.ops.resize import enlarge_flow
from unblur.ops.warp import warp

FLOW_STRIDE = 4
"""Pixels of the frame per element of the flows that come in."""
FLOW_SCALE = 16.0
"""Motion, in elements of the working grid, and radius, in pixels, that count as 1."""
IN_FOCUS, OUT_OF_FOCUS = 0.9, 1.8
"""Radii in pixels up to which a pixel is left alone, and from which on it is wholly restored. For
what is sharp `coc-s` says .7 pixels on average, and up to 1.7 for all but a tenth of it."""
FORGIVEN = 2.0
"""Elements of the working grid by which the way to a neighbour and back may miss its start."""
FURTHEST = 64.0
"""Pixels of motion from which on a neighbour is not seen, and fades from three quarters on: flow
that large is no longer found to the pixel, nor did training hold much of it."""
BESIDE = 9
"""Elements along each side over which it is averaged where a way returns."""
MAXIM_KEY = "stages.0.inputs.0.weight"
"""Only in the weights of a MAXIM."""
ENLARGED = 2
"""Size of the larger output in multiples of the input's."""


@dataclass(frozen=True)
class AlignedConfig:
    """Sizes of the network."""

    scale: int = 2
    """Pixels of the frame per element of the working grid, along each side."""
    neighbours: int = 2
    """Frames on either side that a frame is restored from; 0: from itself alone."""
    alignment: Literal["flow", "none"] = "flow"
    """How neighbours are laid over a frame: along optical flow, or, for ablations, as they are."""
    speeds: bool = True
    """It is told how fast things move in its neighbours, which says how blurred they are; without,
    for ablations, it is given zeros."""
    guided: bool = False
    """It is given the circle of confusion of each pixel."""
    enlarges: bool = False
    """It can also give frames of twice the size."""
    width: int = 32
    """As in `MaximConfig`."""
    tiles: tuple[int, int, int] = (16, 16, 8)
    """As in `MaximConfig`."""

    @property
    def channels(self) -> int:
        """Values in a block of pixels."""
        return 3 * self.scale**2

    @property
    def images(self) -> int:
        """Inputs that come before the radii: the frame, and what is seen of its neighbours."""
        return self.channels + 2 * self.neighbours * (self.channels + 3)

    @property
    def body(self) -> MaximConfig:
        """The network that does the work."""
        return MaximConfig(
            width=self.width,
            tiles=self.tiles,
            inputs=self.images + self.guided * (2 * self.neighbours + 1),
            outputs=self.channels * (1 + self.enlarges * ENLARGED**2),
        )

    @property
    def multiple_of(self) -> int:
        """What height and width are padded to multiples of."""
        return self.scale * self.body.multiple_of


MOTION_S = AlignedConfig()
"""`motion-s`."""
MOTION_M = AlignedConfig(scale=1)
"""`motion-m`."""
FOCUS_S = AlignedConfig(guided=True, enlarges=True)
"""`focus-s`."""
FOCUS_M = AlignedConfig(scale=1, neighbours=0, guided=True, enlarges=True)
"""`focus-m`: neighbours were measured to cost it more than they give."""


class Aligned(nn.Module):
    """The whole network. See `AlignedConfig`."""

    def __init__(self, config: AlignedConfig = MOTION_S) -> None:
        super().__init__()
        self.config = config
        self.body = Stage(config.body, 0)

    def forward(
        self,
        frames: Tensor,
        flow_forward: Tensor | None = None,
        flow_backward: Tensor | None = None,
        outputs: Sequence[int] | None = None,
        radius: Tensor | None = None,
        enlarge: bool = False,
        mask: Tensor | None = None,
        tell: Callable[[float], None] | None = None,
    ) -> Tensor:
        """Restores some frames of a clip.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], any size, T >= 1.
            flow_forward: (B, T-1, 2, ceil(H/4), ceil(W/4)) in elements of its own grid; flow t
                lives on frame t and points to t + 1. None where the network sees no neighbours.
            flow_backward: the other way, flow t lives on frame t + 1 and points to t.
            outputs: which frames; None for all.
            radius: (B, T, 1, H, W) of the circle of confusion in pixels, where the network is
                guided.
            enlarge: give twice the size, where the network can.
            mask: (B, T, 1, H, W), by how much each pixel is to be restored, 0 to 1; None where
                `radius` is to say that.
            tell: called after each frame with the share that is done, 0 to 1.

        Returns:
            (B, len(outputs), 3, H, W), input plus residual, not clipped, in the input's dtype;
            (B, len(outputs), 3, 2 H, 2 W) where enlarged.

        Raises:
            ValueError: radius, flows or the larger size do not suit the network.
        """
        T, _, height, width = frames.shape[1:]
        config = self.config
        if config.guided != (radius is not None) or enlarge > config.enlarges:
            raise ValueError("guided networks need a radius, others none; not all can enlarge")
        if radius is not None and mask is None:
            mask = out_of_focus(radius)
        clip = AlignedClip(config, frames, radius, flow_forward, flow_backward)
        restored = []
        wanted = range(T) if outputs is None else outputs
        for t in wanted:
            residual = self.residual(list(clip.seen(t)), clip.image(t))
            same, larger = residual.split((config.channels, residual.shape[1] - config.channels), 1)
            change = crop_from(F.pixel_shuffle(same, config.scale).to(frames.dtype), height, width)
            if mask is not None:
                change = change * mask[:, t]
            frame = frames[:, t] + change
            if enlarge:
                detail = F.pixel_shuffle(larger, ENLARGED * config.scale).to(frames.dtype)
                frame = F.interpolate(frame, scale_factor=ENLARGED, mode="bicubic")
                frame = frame + crop_from(detail, ENLARGED * height, ENLARGED * width)
            restored.append(frame)
            if tell is not None:
                tell(len(restored) / len(wanted))
        return torch.stack(restored, 1)

    def residual(self, seen: list[Tensor], image: Tensor) -> Tensor:
        """Runs the body.

        Args:
            seen: maps (B, C, h, w) that together have all inputs; the list comes back empty.
            image: (B, 3, h, w), for the lower levels.

        Returns:
            (B, outputs, h, w).
        """
        dtype = next(self.body.parameters()).dtype
        small = image.permute(0, 2, 3, 1).to(dtype)
        images = [torch.cat([part.permute(0, 2, 3, 1).to(dtype) for part in seen], -1)]
        images += [small[:, 1::2, 1::2].contiguous(), small[:, 2::4, 2::4].contiguous()]
        seen.clear()  # so that they take no memory beside the network's
        del small
        residual, _ = self.body(images, None)
        return residual.permute(0, 3, 1, 2)


def out_of_focus(radius: Tensor) -> Tensor:
    """By how much a pixel is to be restored, 0 to 1, from the radius of its circle of confusion."""
    return ((radius - IN_FOCUS) / (OUT_OF_FOCUS - IN_FOCUS)).clamp(0, 1)


class AlignedClip:
    """A clip on the working grid, and what the network sees of it for one frame.

    Nothing is kept from frame to frame: it would take memory beside the network's, and time to make
    it anew is little.

    Args:
        config: of the network.
        frames: (B, T, 3, H, W).
        radius: (B, T, 1, H, W) in pixels, or None.
        forward: (B, T-1, 2, ceil(H/4), ceil(W/4)); None where no neighbours are seen.
        backward: the other way.
    """

    def __init__(
        self,
        config: AlignedConfig,
        frames: Tensor,
        radius: Tensor | None,
        forward: Tensor | None,
        backward: Tensor | None,
    ) -> None:
        self.frames, self.radius = frames, radius
        self.scale, self.reach = config.scale, config.neighbours
        self.aligned, self.speeds = config.alignment == "flow", config.speeds
        height, width = (padded_length(s, config.multiple_of) for s in frames.shape[-2:])
        self.size = height, width
        if self.reach:
            if forward is None or backward is None:
                raise ValueError("a network that sees neighbours needs optical flow")
            grid = [side // self.scale for side in self.size]
            self.flows = Flows(forward, backward, grid, self.scale)

    def blocks(self, t: int) -> Tensor:
        """Blocks (B, C, h, w) of pixels of frame t."""
        padded = pad_to(self.frames[:, t], *self.size)
        return padded if self.scale == 1 else F.pixel_unshuffle(padded, self.scale)

    def image(self, t: int) -> Tensor:
        """Frame t (B, 3, h, w)."""
        return F.avg_pool2d(pad_to(self.frames[:, t], *self.size), self.scale)

    def radii(self, t: int) -> list[Tensor]:
        """Radii (B, 1, h, w) of frame t, where there are any."""
        if self.radius is None:
            return []
        padded = pad_to(self.radius[:, t], *self.size)
        return [F.avg_pool2d(padded, self.scale) / FLOW_SCALE]

    def seen(self, t: int) -> Iterator[Tensor]:
        """What is seen of the clip for frame t; zeros where it has no such neighbour.

        Where the way to a neighbour and back does not return, the neighbour is not seen either:
        what lies there is something else, of which the network would draw ghosts.

        Yields:
            The frame's blocks (B, C, h, w). Per neighbour, later ones first: difference
            (B, C, h, w), where it came from (B, 2, h, w), and its own speed there (B, 1, h, w).
            Where guided the radii (B, 1, h, w) of the frame and of the neighbours.
        """
        here = self.blocks(t)
        (B, C, h, w), T = here.shape, self.frames.shape[1]
        yield here
        radii = self.radii(t)
        for step in (1, -1):
            path: Tensor | None = None
            for at in range(t + step, t + step * (self.reach + 1), step):
                if not 0 <= at < T:
                    yield here.new_zeros(B, C + 3, h, w)
                    if radii:
                        radii.append(here.new_zeros(B, 1, h, w))
                    continue
                if self.aligned:
                    onward = self.flows.between(at - step, at)
                    path = onward if path is None else path + warp(onward, path)
                    seen = self.flows.returns(path, at, t)
                else:
                    path, seen = here.new_zeros(B, 2, h, w), here.new_ones(B, 1, h, w)
                yield seen * (warp(self.blocks(at), path) - here)
                yield seen * path / FLOW_SCALE
                speed = warp(self.flows.speed(at), path) / FLOW_SCALE
                yield seen * speed if self.speeds else torch.zeros_like(speed)
                radii += [seen * warp(there, path) for there in self.radii(at)]
        yield from radii


class Flows:
    """Flows of a clip on the working grid."""

    def __init__(self, forward: Tensor, backward: Tensor, size: Sequence[int], scale: int) -> None:
        self.scale, self.ratio = scale, FLOW_STRIDE // scale
        quarter = [side // self.ratio for side in size]
        self.forward = pad_flow(forward, *quarter)  # (B, T-1, 2, h', w')
        self.backward = pad_flow(backward, *quarter)

    def between(self, start: int, end: int) -> Tensor:
        """Flow (B, 2, h, w) that lives on frame `start` and points to `end`, its neighbour."""
        flow = self.forward[:, start] if end > start else self.backward[:, end]
        return enlarge_flow(flow, self.ratio)

    def returns(self, path: Tensor, start: int, end: int) -> Tensor:
        """How far (B, 1, h, w), 0 to 1, the way from `start` to `end` leads back from `path`.

        `path` (B, 2, h, w) lives on frame `end` and points to `start`.
        """
        step = 1 if end > start else -1
        back = self.between(start, start + step)
        for at in range(start + step, end, step):
            back = back + warp(self.between(at, at + step), back)
        found = consistency(path, back, 0.0, FORGIVEN**2)
        length = self.scale * path.norm(dim=1, keepdim=True)
        near = ((FURTHEST - length) / (FURTHEST / 4)).clamp(0, 1)
        return F.avg_pool2d(found * near, BESIDE, 1, BESIDE // 2, count_include_pad=False)

    def speed(self, t: int) -> Tensor:
        """Motion (B, 1, h, w) of frame t to the next frame, or for the last one to that before."""
        last = t == self.forward.shape[1]
        return self.between(t, t - 1 if last else t + 1).norm(dim=1, keepdim=True)


def grown(state: Mapping[str, Tensor], config: AlignedConfig) -> dict[str, Tensor]:
    """Weights of a network that was given less and gave less, as those of `config`'s.

    What it was not given it ignores at first, and what it did not give is zero. Where it saw
    more neighbours, these and the radii are forgotten.

    Args:
        state: of an `Aligned` with the same scale, width and tiles, and no fewer neighbours.
        config: of the network that is to start so.
    """
    own = dict(state)
    first = own["body.inputs.0.weight"]
    if first.shape[1] > config.body.inputs:
        first = first[:, : config.images]
    own["body.inputs.0.weight"] = F.pad(first, (0, 0, 0, 0, 0, config.body.inputs - first.shape[1]))
    for name in ("body.sam.0.picture.weight", "body.sam.0.picture.bias"):
        last = own[name][: config.body.outputs]
        more = last.new_zeros(config.body.outputs - len(last), *last.shape[1:])
        own[name] = torch.cat((last, more))
    return own


def begin_from(state: Mapping[str, Tensor], config: AlignedConfig) -> dict[str, Tensor]:
    """Weights of MAXIM's first stage, or of a smaller network, as those of `config`'s."""
    return from_maxim(state, config) if MAXIM_KEY in state else grown(state, config)


def from_maxim(state: Mapping[str, Tensor], config: AlignedConfig) -> dict[str, Tensor]:
    """Weights with which the network does to blocks what MAXIM's first stage does to pixels.

    Args:
        state: of a `Maxim` with `stages=1` and the same width and tiles.
        config: of the network that is to start so.
    """
    own = {name.replace("stages.0.", "body."): x.float() for name, x in state.items()}
    pixels = config.scale**2
    first = own["body.inputs.0.weight"]  # (width, 3, 3, 3)
    wide = first.new_zeros(first.shape[0], config.body.inputs, *first.shape[2:])
    wide[:, : config.channels] = first.repeat_interleave(pixels, 1) / pixels
    own["body.inputs.0.weight"] = wide
    for kind in ("weight", "bias"):
        name = f"body.sam.0.picture.{kind}"
        own[name] = own[name].repeat_interleave(pixels, 0)
    return grown(own, config)
