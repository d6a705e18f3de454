"""MAXIM's first stage at half size, with neighbouring frames laid over each frame by optical flow.

Half size: a 2 x 2 block of pixels becomes one of 12 channels, so that nothing is lost, a blur is
half as long, and a frame costs a quarter. Each frame is restored from itself and from up to
`neighbours` frames on either side. Of these the network sees how they differ from the frame once
warped onto it, where the flow came from, and how fast they move there: their blur map, which
BSSTNet (CVPR 2024) derives from the same motion. It starts as MAXIM that sees one frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.maxim import MaximConfig, Stage
from unblur.ops.pad import crop_from, pad_flow, pad_to, padded_length
from unblur.ops.warp import warp

FLOW_STRIDE = 4
"""Pixels of the frame per element of the flows that come in."""
REACH = 16.0
"""Motion, in elements of the working grid, that counts as 1."""


@dataclass(frozen=True)
class AlignedConfig:
    """Sizes of the network."""

    scale: int = 2
    """Pixels of the frame per element of the working grid, along each side."""
    neighbours: int = 2
    """Frames on either side that a frame is restored from."""
    width: int = 32
    """As in `MaximConfig`."""
    tiles: tuple[int, int, int] = (16, 16, 8)
    """As in `MaximConfig`."""

    @property
    def channels(self) -> int:
        """Values in a block of pixels."""
        return 3 * self.scale**2

    @property
    def body(self) -> MaximConfig:
        """The network that does the work."""
        return MaximConfig(
            width=self.width,
            tiles=self.tiles,
            inputs=self.channels + 2 * self.neighbours * (self.channels + 3),
            outputs=self.channels,
        )

    @property
    def multiple_of(self) -> int:
        """What height and width are padded to multiples of."""
        return self.scale * self.body.multiple_of


SMALL = AlignedConfig()
"""`bsstnet-s`."""


class Aligned(nn.Module):
    """The whole network. See `AlignedConfig`."""

    def __init__(self, config: AlignedConfig = SMALL) -> None:
        super().__init__()
        self.config = config
        self.body = Stage(config.body, 0)

    def forward(
        self,
        frames: Tensor,
        flow_forward: Tensor,
        flow_backward: Tensor,
        outputs: Sequence[int] | None = None,
    ) -> Tensor:
        """Restores some frames of a clip.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], any size, T >= 1.
            flow_forward: (B, T-1, 2, ceil(H/4), ceil(W/4)) in elements of its own grid; flow t
                lives on frame t and points to t + 1.
            flow_backward: alike, flow t lives on frame t + 1 and points to t.
            outputs: which frames; None for all.

        Returns:
            (B, len(outputs), 3, H, W), input plus residual, not clipped, in the input's dtype.
        """
        B, T, _, height, width = frames.shape
        scale, multiple = self.config.scale, self.config.multiple_of
        wanted = range(T) if outputs is None else outputs
        H, W = padded_length(height, multiple), padded_length(width, multiple)
        padded = pad_to(frames.flatten(0, 1), H, W)  # (B*T, 3, H, W)
        blocks = F.pixel_unshuffle(padded, scale).unflatten(0, (B, T))  # (B, T, C, h, w)
        flows = Flows(flow_forward, flow_backward, blocks.shape[-2:], scale)
        pictures = F.avg_pool2d(padded, scale).unflatten(0, (B, T))  # (B, T, 3, h, w)
        restored = []
        for t in wanted:
            seen = torch.cat([blocks[:, t], *self.neighbours(blocks, flows, t)], 1)
            residual = self.residual(seen, pictures[:, t])  # (B, C, h, w)
            correction = F.pixel_shuffle(residual, scale).to(frames.dtype)
            restored.append(frames[:, t] + crop_from(correction, height, width))
        return torch.stack(restored, 1)

    def neighbours(self, blocks: Tensor, flows: Flows, t: int) -> Iterator[Tensor]:
        """What is seen of the frames around frame t; zeros where the clip has none.

        Args:
            blocks: (B, T, C, h, w).
            flows: of the clip.
            t: index of the frame.

        Yields:
            Per neighbour, later ones first: difference (B, C, h, w), where it came from
            (B, 2, h, w), and its own speed there (B, 1, h, w).
        """
        B, T, C, h, w = blocks.shape
        here = blocks[:, t]
        for step in (1, -1):
            path: Tensor | None = None
            for at in range(t + step, t + step * (self.config.neighbours + 1), step):
                if not 0 <= at < T:
                    yield here.new_zeros(B, C + 3, h, w)
                    continue
                onward = flows.between(at - step, at)
                path = onward if path is None else path + warp(onward, path)
                yield warp(blocks[:, at], path) - here
                yield path / REACH
                yield warp(flows.speed(at), path) / REACH

    def residual(self, seen: Tensor, picture: Tensor) -> Tensor:
        """Runs the body.

        Args:
            seen: (B, inputs, h, w).
            picture: (B, 3, h, w), for the lower levels.

        Returns:
            (B, C, h, w).
        """
        dtype = next(self.body.parameters()).dtype
        x, small = (p.permute(0, 2, 3, 1).contiguous().to(dtype) for p in (seen, picture))
        residual, _ = self.body([x, small[:, 1::2, 1::2], small[:, 2::4, 2::4]], None)
        return residual.permute(0, 3, 1, 2)


class Flows:
    """Flows of a clip on the working grid."""

    def __init__(self, forward: Tensor, backward: Tensor, size: Sequence[int], scale: int) -> None:
        self.ratio = FLOW_STRIDE // scale
        quarter = [side // self.ratio for side in size]
        self.forward = pad_flow(forward, *quarter)  # (B, T-1, 2, h', w')
        self.backward = pad_flow(backward, *quarter)
        self.known: dict[tuple[int, int], Tensor] = {}

    def between(self, start: int, end: int) -> Tensor:
        """Flow (B, 2, h, w) that lives on frame `start` and points to `end`, its neighbour."""
        if (start, end) not in self.known:
            flow = self.forward[:, start] if end > start else self.backward[:, end]
            larger = F.interpolate(flow.float(), scale_factor=self.ratio, mode="bilinear")
            self.known[start, end] = larger * self.ratio
        return self.known[start, end]

    def speed(self, t: int) -> Tensor:
        """Motion (B, 1, h, w) of frame t to the next frame, or for the last one to that before."""
        last = t == self.forward.shape[1]
        return self.between(t, t - 1 if last else t + 1).norm(dim=1, keepdim=True)


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
    return own
