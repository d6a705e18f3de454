"""Flow refiner: corrects optical flow where blur has misled it.

A recurrent network over the flows of a clip, of the kind that video inpainting completes flow with
(ProPainter), fed with the blur of the frame that each flow points to.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.layers import (
    conv3x3,
    deform_parameters,
    double,
    offset_layers,
    split_offsets,
)
from unblur.ops.deform_conv import deform_conv2d


class FlowRefiner(nn.Module):
    """Adds a learned correction to the flows of one direction."""

    def __init__(self, channels: int, deform_groups: int) -> None:
        super().__init__()
        half = channels // 2
        self.down = nn.Conv2d(3, half, 5, 2, 2, padding_mode="replicate")
        self.encode1 = SpaceTimeConv(half, half, stride=1)
        self.encode2 = SpaceTimeConv(half, channels, stride=2)
        self.context = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in (3, 2, 1)
        )
        self.propagate = FeaturePropagation(channels, deform_groups)
        self.decode1 = conv3x3(channels, channels)
        self.decode2 = conv3x3(channels, half)
        self.up1 = conv3x3(half, half)
        self.up2 = conv3x3(half, 2)
        nn.init.zeros_(self.up2.weight)
        nn.init.zeros_(self.up2.bias)  # type: ignore[arg-type]

    def forward(self, flow: Tensor, blur: Tensor) -> Tensor:
        """Refines flows in the order in which they are given.

        Args:
            flow: (B, t, 2, h, w) with t >= 1, h and w multiples of 4.
            blur: (B, t, 1, h, w) blur of the frames the flows point to.

        Returns:
            (B, t, 2, h, w).
        """
        batch = flow.shape[:2]
        x = torch.cat((blur, flow), 2).flatten(0, 1)  # (B*t, 3, h, w)
        x = F.leaky_relu(self.down(x), 0.2)  # (B*t, C/2, h/2, w/2)
        x = self.encode2(self.encode1(x, batch), batch)  # (B*t, C, h/4, w/4)
        y = x
        for layer in self.context:
            y = F.leaky_relu(layer(y), 0.2)
        x = x + self.propagate(y.unflatten(0, batch)).flatten(0, 1)
        x = double(F.leaky_relu(self.decode1(x), 0.2))
        x = F.leaky_relu(self.decode2(x), 0.2)  # (B*t, C/2, h/2, w/2)
        x = self.up2(double(F.leaky_relu(self.up1(x), 0.2)))  # (B*t, 2, h, w)
        return flow + x.unflatten(0, batch)


class SpaceTimeConv(nn.Module):
    """A convolution in space and one in time, each with its activation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.space = conv3x3(inputs, outputs, stride)
        self.time = nn.Conv2d(outputs, outputs, (3, 1), padding=(2, 0), dilation=(2, 1))

    def forward(self, x: Tensor, batch: torch.Size) -> Tensor:
        """(B*t, C, h, w) -> (B*t, C', h / stride, w / stride), for `batch` (B, t)."""
        x = F.leaky_relu(self.space(x), 0.2)
        h, w = x.shape[-2:]
        x = x.unflatten(0, batch).transpose(1, 2).flatten(3)  # (B, C', t, h*w)
        x = F.leaky_relu(self.time(x), 0.2)
        return x.transpose(1, 2).unflatten(3, (h, w)).flatten(0, 1)


class FeaturePropagation(nn.Module):
    """Passes features back and forth in time, aligned by learned offsets alone.

    Args:
        channels: features.
        deform_groups: groups of channels that share their offsets.
    """

    def __init__(self, channels: int, deform_groups: int) -> None:
        super().__init__()
        directions = ("backwards", "forwards")
        self.align = nn.ModuleDict({d: OffsetConv(channels, deform_groups) for d in directions})
        self.merge = nn.ModuleDict(
            {
                d: nn.Sequential(
                    conv3x3((2 + i) * channels, channels),
                    nn.LeakyReLU(0.1),
                    conv3x3(channels, channels),
                )
                for i, d in enumerate(directions)
            }
        )
        self.fuse = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, t, C, h, w) -> (B, t, C, h, w)."""
        current = list(x.unbind(1))
        backward = self._pass("backwards", [(c,) for c in current[::-1]])[::-1]
        # the forward pass continues from what the backward pass found at each frame
        forward = self._pass("forwards", list(zip(current, backward, strict=True)))
        pairs = zip(backward, forward, strict=True)
        return x + torch.stack([self.fuse(torch.cat(pair, 1)) for pair in pairs], 1)

    def _pass(self, direction: str, inputs: list[tuple[Tensor, ...]]) -> list[Tensor]:
        zero = torch.zeros_like(inputs[0][0])  # (B, C, h, w)
        last, second_last = zero, zero
        features: list[Tensor] = []
        for step, given in enumerate(inputs):
            # offsets are found from the frame's own features in both passes
            y = self.align[direction](last, given[0], second_last) if step else zero
            y = y + self.merge[direction](torch.cat((*given, y), 1))
            last, second_last = y, (last if step else zero)
            features.append(y)
        return features


class OffsetConv(nn.Module):
    """Deformable convolution over the features of the two previous steps."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.weight, self.bias = deform_parameters(2 * channels, channels)
        self.offset = offset_layers(3 * channels, channels, groups)

    def forward(self, last: Tensor, current: Tensor, second_last: Tensor) -> Tensor:
        """Three times (B, C, h, w) -> (B, C, h, w)."""
        offset, mask = split_offsets(self.offset(torch.cat((last, current, second_last), 1)))
        x = torch.cat((last, second_last), 1)
        return deform_conv2d(x, offset, torch.sigmoid(mask), self.weight, self.bias)
