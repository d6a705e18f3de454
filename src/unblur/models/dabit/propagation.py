"""Features travel along the flow, backward in time and then forward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unblur.models.dabit.config import DabitConfig
from unblur.models.layers import (
    channels_last,
    conv3x3,
    deform_parameters,
    offset_layers,
    split_offsets,
)
from unblur.ops.deform_conv import deform_conv2d
from unblur.ops.propagation import agreement
from unblur.ops.warp import warp

LARGEST_OFFSET = 3.0
"""Bound of a learned offset from the flow, in elements of the feature grid."""
GUIDES = 2
"""Blur map and mask, which every layer sees beside the features."""


class Propagation(nn.Module):
    """A pass backward in time, a pass forward over what it found, and both together."""

    def __init__(self, config: DabitConfig) -> None:
        super().__init__()
        c = config.channels
        self.backwards = Pass(c, config.deform_groups)
        self.forwards = Pass(c, config.deform_groups)
        self.fuse = merge_layers(c)

    def forward(
        self, x: Tensor, flow_forward: Tensor, flow_backward: Tensor, guides: Tensor
    ) -> Tensor:
        """Propagates along the first frames; frames past the flows keep to themselves.

        Args:
            x: (B, T, C, h, w) features of each frame on its own.
            flow_forward: (B, t, 2, h, w), t < T; flow i lives on frame i and points to i + 1.
            flow_backward: (B, t, 2, h, w), flow i lives on frame i + 1 and points to i.
            guides: (B, T, 2, h, w) blur map and mask.

        Returns:
            (B, T, C, h, w).
        """
        joined = flow_forward.shape[1] + 1
        forward_valid = agreement(flow_forward, flow_backward, dilated=True)
        backward_valid = agreement(flow_backward, flow_forward, dilated=True)
        frames, masks = list(x.unbind(1)), guides.unbind(1)
        to_next, to_previous = flow_forward.unbind(1), flow_backward.unbind(1)

        found = self.backwards(
            frames[joined - 1 :: -1],
            to_next[::-1],
            forward_valid.unbind(1)[::-1],
            masks[joined - 1 :: -1],
        )[::-1]
        found += self.backwards.alone(frames[joined:], masks[joined:])
        again = self.forwards(found[:joined], to_previous, backward_valid.unbind(1), masks[:joined])
        again += self.forwards.alone(found[joined:], masks[joined:])
        fused = [self.fuse(torch.cat(p, 1)) for p in zip(found, again, masks, strict=True)]
        return x + torch.stack(fused, 1)


class Pass(nn.Module):
    """One pass through time: aligns the previous step with the frame, and merges both."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.weight, self.bias = deform_parameters(channels, channels)
        # features, those of the previous step, flow, agreement
        self.offset = offset_layers(2 * channels + 2 + 1 + GUIDES, channels, groups)
        self.merge = merge_layers(channels)

    def forward(
        self,
        frames: Sequence[Tensor],
        to_last: Sequence[Tensor],
        valid: Sequence[Tensor],
        guides: Sequence[Tensor],
    ) -> list[Tensor]:
        """Walks through the frames in the order given.

        Args:
            frames: t features (B, C, h, w).
            to_last: t-1 flows (B, 2, h, w), flow i lives on frame i + 1 and points to frame i.
            valid: t-1 maps (B, 1, h, w), 1 where the flow there and the flow back agree.
            guides: t maps (B, 2, h, w).

        Returns:
            t features (B, C, h, w).
        """
        found: list[Tensor] = []
        for i, (current, guide) in enumerate(zip(frames, guides, strict=True)):
            y = current
            if i > 0:
                y = self.align(found[-1], current, to_last[i - 1], valid[i - 1], guide)
            found.append(y + self.merge(torch.cat((current, y, guide), 1)))
        return found

    def alone(self, frames: Sequence[Tensor], guides: Sequence[Tensor]) -> list[Tensor]:
        """Frames that nothing comes to, each the first of its own walk."""
        pairs = zip(frames, guides, strict=True)
        return [self([frame], (), (), [guide])[0] for frame, guide in pairs]

    def align(
        self, last: Tensor, current: Tensor, flow: Tensor, valid: Tensor, guide: Tensor
    ) -> Tensor:
        """The previous step (B, C, h, w), as seen from the frame with features `current`."""
        condition = torch.cat((current, warp(last, flow), flow, valid, guide), 1)
        offset, mask = split_offsets(self.offset(channels_last(condition)), LARGEST_OFFSET)
        offset = offset + flow.flip(1).repeat(1, mask.shape[1], 1, 1)  # rows, columns
        return deform_conv2d(last, offset, torch.sigmoid(mask), self.weight, self.bias)


def merge_layers(channels: int) -> nn.Sequential:
    """Two features and the guides to one feature."""
    return nn.Sequential(
        conv3x3(2 * channels + GUIDES, channels), nn.LeakyReLU(0.2), conv3x3(channels, channels)
    )
