"""Blur-aware bidirectional propagation (BBFP): features travel along the flow, sharp ones first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unblur.models.bsstnet.blocks import GatedBlock
from unblur.models.bsstnet.config import AlignmentMode, BSSTNetConfig
from unblur.models.layers import conv3x3, deform_parameters, offset_layers, split_offsets
from unblur.ops.consistency import consistency
from unblur.ops.deform_conv import deform_conv2d
from unblur.ops.warp import compose, warp

SHARPNESS_WEIGHT = 0.1
"""What a sharp and consistent pixel adds to the mask's logit, and a blurred one takes from it."""


class Propagation(nn.Module):
    """All passes through time. Each continues from the features of the one before."""

    def __init__(self, config: BSSTNetConfig) -> None:
        super().__init__()
        self.passes = nn.ModuleDict(
            {
                name: Pass(config.channels, config.deform_groups, i, config.alignment)
                for i, name in enumerate(config.branches)
            }
        )

    def forward(
        self, x: Tensor, flow_forward: Tensor, flow_backward: Tensor, sharp: Tensor
    ) -> list[tuple[Tensor, ...]]:
        """Propagates.

        Args:
            x: (B, T, C, h, w) features of each frame on its own.
            flow_forward: (B, T-1, 2, h, w), flow t lives on frame t and points to t + 1.
            flow_backward: (B, T-1, 2, h, w), flow t lives on frame t + 1 and points to t.
            sharp: (B, T, 1, h, w), 1 sharp to 0 blurred.

        Returns:
            For each frame its features and those that each pass found, (B, C, h, w) each.
        """
        known: list[tuple[Tensor, ...]] = [(frame,) for frame in x.unbind(1)]
        there, back, sharpness = (t.unbind(1) for t in (flow_forward, flow_backward, sharp))
        for name, layer in self.passes.items():
            if name.startswith("forward"):
                found = layer(known, back, there, sharpness)
            else:  # the same, with time running the other way
                found = layer(known[::-1], there[::-1], back[::-1], sharpness[::-1])[::-1]
            known = [(*features, y) for features, y in zip(known, found, strict=True)]
        return known


class Reference(NamedTuple):
    """An earlier step, as viewed from the current frame."""

    feature: Tensor
    """(B, C, h, w) as it was, for the deformable convolution."""
    warped: Tensor
    """(B, C, h, w) moved along the flow, for the layers that find offsets."""
    flow: Tensor
    """(B, 2, h, w) from the current frame to the earlier one."""
    sharp: Tensor
    """(B, 1, h, w) sharpness of the earlier frame, moved along the flow."""
    valid: Tensor
    """(B, 1, h, w), 1 where the flow there and the flow back agree."""
    unmoved: Tensor
    """(B, 1, h, w) sharpness of the earlier frame as it was."""


class Pass(nn.Module):
    """One pass through time, second order: looks back one step and two."""

    def __init__(
        self, channels: int, deform_groups: int, earlier: int, alignment: AlignmentMode
    ) -> None:
        super().__init__()
        self.align: StillConv | GuidedConv
        if alignment == "none":
            self.align = StillConv(channels)
        else:
            self.align = GuidedConv(channels, deform_groups, alignment)
        self.merge = nn.Sequential(
            conv3x3((2 + earlier) * channels, channels),
            nn.LeakyReLU(0.1),
            GatedBlock(channels, 3),
        )

    def forward(
        self,
        known: Sequence[tuple[Tensor, ...]],
        to_last: Sequence[Tensor],
        from_last: Sequence[Tensor],
        sharp: Sequence[Tensor],
    ) -> list[Tensor]:
        """Walks through the frames in the order given.

        Args:
            known: features (B, C, h, w) so far of each of T frames; the last ones are carried on.
            to_last: T-1 flows (B, 2, h, w), flow i lives on frame i + 1 and points to frame i.
            from_last: T-1 flows (B, 2, h, w), flow i lives on frame i and points to frame i + 1.
            sharp: T maps (B, 1, h, w).

        Returns:
            T features (B, C, h, w).
        """
        found: list[Tensor] = []
        for i, features in enumerate(known):
            current = features[-1]
            y = torch.zeros_like(current)
            if i > 0 and isinstance(self.align, StillConv):
                y = self.align(found[i - 1], found[i - 2] if i > 1 else y)
            elif i > 0:
                flow, back = to_last[i - 1], from_last[i - 1]
                first = look_back(found[i - 1], sharp[i - 1], flow, back)
                if i > 1:
                    # The way back ought to start two steps away. It is put together from the last
                    # step as if it lived there, as the published networks are trained.
                    back = compose(back, from_last[i - 2])
                    flow = compose(flow, to_last[i - 2])
                    second = look_back(found[i - 2], sharp[i - 2], flow, back)
                else:
                    second = Reference(*(torch.zeros_like(t) for t in first))
                y = self.align(current, sharp[i], first, second)
            found.append(y + self.merge(torch.cat((*features, y), 1)))
        return found


def look_back(feature: Tensor, sharp: Tensor, flow: Tensor, back: Tensor) -> Reference:
    """An earlier step, moved to the current frame by `flow`."""
    moved = warp(torch.cat((feature, sharp), 1), flow)
    return Reference(feature, moved[:, :-1], flow, moved[:, -1:], consistency(flow, back), sharp)


class StillConv(nn.Module):
    """A convolution of two earlier steps where they were: what alignment is measured against."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(2 * channels, channels)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Features (B, C, h, w) of the previous step and of the one before that -> the same."""
        return self.conv(torch.cat((first, second), 1))


class GuidedConv(nn.Module):
    """Deformable convolution along the flow that prefers sharp pixels (BFA).

    Args:
        channels: features.
        groups: groups of channels that share their offsets.
        mode: `official`, as the released code: offsets are found from the sharpness of all three
            frames, moved along the flow, and from where flows agree; both also push the mask, by a
            tenth. `paper` (Eq. 3): from the sharpness of the two earlier frames as it was, which is
            also added to the mask (before the sigmoid and as it is: the paper does not say).
            `flow`: from neither (SFFA, Table 6).
    """

    def __init__(self, channels: int, groups: int, mode: AlignmentMode = "official") -> None:
        super().__init__()
        self.mode = mode
        self.weight, self.bias = deform_parameters(2 * channels, channels)
        # three sharpness maps and two validity masks; two sharpness maps; nothing
        maps = {"official": 3 + 2, "paper": 2, "flow": 0}[mode]
        # features and warped features, maps, two flows
        self.offset = offset_layers(3 * channels + maps + 4, channels, groups)

    def forward(
        self, current: Tensor, sharp: Tensor, first: Reference, second: Reference
    ) -> Tensor:
        """Aligns two earlier steps with the current frame.

        Args:
            current: (B, C, h, w) features of the current frame.
            sharp: (B, 1, h, w) its sharpness.
            first: the previous step.
            second: the one before that, zeros where there is none.

        Returns:
            (B, C, h, w).
        """
        maps: tuple[Tensor, ...] = ()
        if self.mode == "official":
            maps = first.sharp, sharp, second.sharp, first.valid, second.valid
        elif self.mode == "paper":
            maps = first.unmoved, second.unmoved
        features = first.warped, current, second.warped
        condition = torch.cat((*features, *maps, first.flow, second.flow), 1)
        offset, mask = split_offsets(self.offset(condition))
        # The first half of the channels, so of the groups, comes from the previous step.
        taps = mask.shape[1] // 2
        rows_cols = [r.flow.flip(1).repeat(1, taps, 1, 1) for r in (first, second)]
        offset = offset + torch.cat(rows_cols, 1)
        if self.mode != "flow":
            trust = [self.trust(r).expand(-1, taps, -1, -1) for r in (first, second)]
            mask = mask + torch.cat(trust, 1)
        x = torch.cat((first.feature, second.feature), 1)  # (B, 2C, h, w)
        return deform_conv2d(x, offset, torch.sigmoid(mask), self.weight, self.bias)

    def trust(self, earlier: Reference) -> Tensor:
        """What the mask of an earlier step begins with, (B, 1, h, w)."""
        if self.mode == "paper":
            return earlier.unmoved
        return SHARPNESS_WEIGHT * (2 * earlier.sharp * earlier.valid - 1)
