"""Four passes through time that look back one step and two along the flow, after BasicVSR++.

Chan et al., "BasicVSR++: Improving Video Super-Resolution with Enhanced Propagation and Alignment",
CVPR 2022, written from the paper's text and equations. What is ours: the sizes; optical flow comes
from outside, as for all networks here, where the paper trains one along; frames come out at the
size at which they went in; all passes are merged; random weights keep the size of values; the last
layer begins at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.layers import (
    channels_last,
    conv3x3,
    deform_parameters,
    keep_size,
    offset_layers,
    split_offsets,
)
from unblur.ops.deform_conv import deform_conv2d
from unblur.ops.pad import crop_from, pad_to, padded_length
from unblur.ops.warp import compose, warp

STRIDE = 4
"""Pixels of the frame per element of flow and features."""
LARGEST = 10.0
"""Elements that offsets may add to the flow."""
RESIDUAL = 0.1
"""What a block's change counts at first."""
PASSES = ("backward", "forward", "backward", "forward")


@dataclass(frozen=True)
class BasicVSRPPConfig:
    """Sizes of the network; the defaults make it cost what the arms of BSSTNet's tables do."""

    stem: int = 8
    """Channels at full and half size."""
    channels: int = 24
    """Channels at a quarter of the size, where passes work."""
    groups: int = 4
    """Groups of channels that share the offsets of a deformable convolution."""
    before: int = 2
    """Residual blocks on each frame, before the passes."""
    within: int = 5
    """Residual blocks in a step of a pass."""
    after: int = 2
    """Residual blocks on what the passes found."""

    def __post_init__(self) -> None:
        if self.groups < 2 or self.groups % 2 or 2 * self.channels % self.groups:
            raise ValueError("groups must be even, and divide twice the channels")


class BasicVSRPP(nn.Module):
    """The whole network. See `BasicVSRPPConfig`."""

    def __init__(self, config: BasicVSRPPConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BasicVSRPPConfig()
        a, c = config.stem, config.channels
        self.enter = nn.Sequential(
            conv3x3(3, a, 2), nn.LeakyReLU(0.1), conv3x3(a, c, 2), blocks(c, config.before)
        )
        self.passes = nn.ModuleList(Pass(c, config.groups, config.within) for _ in PASSES)
        self.merge = nn.Sequential(conv3x3((1 + len(PASSES)) * c, c), blocks(c, config.after))
        self.leave = nn.Sequential(
            conv3x3(c, 4 * a),
            nn.PixelShuffle(2),
            nn.LeakyReLU(0.1),
            conv3x3(a, 4 * a),
            nn.PixelShuffle(2),
            nn.LeakyReLU(0.1),
            conv3x3(a, a),
            nn.LeakyReLU(0.1),
        )
        self.apply(begin)
        self.picture = conv3x3(a, 3)
        nn.init.zeros_(self.picture.weight)
        nn.init.zeros_(self.picture.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """Restores a clip.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1]; any size, T >= 1.
            flow_forward: (B, T-1, 2, ceil(H/4), ceil(W/4)) in elements of its own grid; flow t
                lives on frame t and points to t + 1.
            flow_backward: likewise, flow t lives on frame t + 1 and points to t.

        Returns:
            (B, T, 3, H, W), not clipped.

        Raises:
            ValueError: the flows do not fit the frames.
        """
        B, T, _, height, width = frames.shape
        H, W = (padded_length(side, STRIDE) for side in (height, width))
        grid = H // STRIDE, W // STRIDE
        if flow_forward.shape != (B, T - 1, 2, *grid) or flow_backward.shape != flow_forward.shape:
            raise ValueError(
                f"frames {tuple(frames.shape)} need flows {(B, T - 1, 2, *grid)} both ways, "
                f"got {tuple(flow_forward.shape)} and {tuple(flow_backward.shape)}"
            )
        x = pad_to(frames.flatten(0, 1), H, W)  # (B*T, 3, H, W)
        x = self.enter(channels_last(x)).unflatten(0, (B, T))  # (B, T, C, h, w)
        found = [x.unbind(1)]
        there, back = flow_forward.unbind(1), flow_backward.unbind(1)
        for name, layer in zip(PASSES, self.passes, strict=True):
            if name == "forward":
                found.append(layer(found[-1], back))
            else:  # the same, with time running the other way
                found.append(layer(found[-1][::-1], there[::-1])[::-1])
        every = torch.cat([torch.stack(each, 1) for each in found], 2)  # (B, T, 5 C, h, w)
        y = self.picture(self.leave(self.merge(channels_last(every.flatten(0, 1)))))
        return frames + crop_from(y, height, width).unflatten(0, (B, T))


class Pass(nn.Module):
    """One pass through time: each step goes on from the two steps before it."""

    def __init__(self, channels: int, groups: int, count: int) -> None:
        super().__init__()
        self.align = GuidedConv(channels, groups)
        self.refine = nn.Sequential(conv3x3(2 * channels, channels), blocks(channels, count))

    def forward(self, known: Sequence[Tensor], to_last: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Walks through the frames in the order given.

        Args:
            known: T features (B, C, h, w), of the pass before.
            to_last: T-1 flows (B, 2, h, w), flow i lives on frame i + 1 and points to frame i.

        Returns:
            T features (B, C, h, w).
        """
        found: list[Tensor] = []
        for i, current in enumerate(known):
            y = torch.zeros_like(current)
            if i > 0:
                first = found[i - 1], to_last[i - 1]
                second = y, torch.zeros_like(to_last[0])
                if i > 1:
                    second = found[i - 2], compose(to_last[i - 1], to_last[i - 2])
                y = self.align(current, first, second)
            found.append(y + self.refine(channels_last(torch.cat((current, y), 1))))
        return tuple(found)


class GuidedConv(nn.Module):
    """Deformable convolution over two earlier steps: offsets are the flow and a correction."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.weight, self.bias = deform_parameters(2 * channels, channels)
        self.offset = offset_layers(3 * channels + 4, channels, groups)

    def forward(
        self, current: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Aligns two earlier steps with the current frame.

        Args:
            current: (B, C, h, w) features of the current frame.
            first: features (B, C, h, w) of the step before, and the flow (B, 2, h, w) from the
                current frame to it.
            second: those of the step before that.

        Returns:
            (B, C, h, w).
        """
        flows = [flow for _, flow in (first, second)]
        warped = [warp(feature, flow) for feature, flow in (first, second)]
        seen = channels_last(torch.cat((current, *warped, *flows), 1))
        offset, mask = split_offsets(self.offset(seen), LARGEST)
        # The first half of the channels, so of the groups, comes from the step before.
        taps = mask.shape[1] // 2
        offset = offset + torch.cat([flow.flip(1).repeat(1, taps, 1, 1) for flow in flows], 1)
        both = torch.cat((first[0], second[0]), 1)  # (B, 2 C, h, w)
        return deform_conv2d(both, offset, torch.sigmoid(mask), self.weight, self.bias)


class Residual(nn.Module):
    """Two convolutions, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv3x3(channels, channels), conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        return x + self.second(F.relu(self.first(x)))


def begin(layer: nn.Module) -> None:
    """Random weights that keep the size of values; blocks that add little."""
    keep_size(layer)
    if isinstance(layer, Residual):
        layer.second.weight.data *= RESIDUAL


def blocks(channels: int, count: int) -> nn.Sequential:
    """So many in a row."""
    return nn.Sequential(*(Residual(channels) for _ in range(count)))
