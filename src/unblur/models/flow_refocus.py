"""Flow refocusing: optical flow of blurred regions, from the frames and the flow around them.

The recurrent network of DaBiT (arXiv 2407.01230, section 3.3), built like the flow completion of
ProPainter (ICCV 2023): flow is taken out where a frame is blurred and filled in again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.bsstnet.refine import FeaturePropagation, SpaceTimeConv
from unblur.models.layers import conv3x3, double
from unblur.ops.pad import crop_from, pad_flow, pad_to, padded_length

MULTIPLE = 8
"""Pixels per element at the network's middle."""


@dataclass(frozen=True)
class FlowRefocusConfig:
    """Sizes and choices; the default sizes are those of the published code."""

    channels: int = 32
    """Features at half resolution; twice and four times as many at a quarter and an eighth."""
    deform_groups: int = 16
    """Groups of channels that share the offsets of a deformable convolution."""
    flip_frames: bool = True
    """Backward in time, the frames are read backward too. The published code forgets to."""
    residual: bool = False
    """The network sees the whole flow and corrects it; else it fills in what was taken out."""
    edges: bool = True
    """With the layers that find edges of flow, which only the published training uses."""

    def __post_init__(self) -> None:
        if 8 * self.channels % self.deform_groups:
            raise ValueError(f"cannot divide 8 * {self.channels} by {self.deform_groups}")


OFFICIAL = FlowRefocusConfig(flip_frames=False)
"""As the published code computes."""

SMALL = FlowRefocusConfig(channels=12, deform_groups=8, residual=True, edges=False)
"""For processors."""


class FlowRefocus(nn.Module):
    """Corrects the flows of a clip where it is blurred."""

    def __init__(self, config: FlowRefocusConfig = FlowRefocusConfig()) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        # flow, mask and frame
        self.down = nn.Conv2d(6, c, 5, 2, 2, padding_mode="replicate")
        self.encode1 = nn.ModuleList((SpaceTimeConv(c, c, 1), SpaceTimeConv(c, 2 * c, 2)))
        self.encode2 = nn.ModuleList(
            (SpaceTimeConv(2 * c, 2 * c, 1), SpaceTimeConv(2 * c, 4 * c, 2))
        )
        self.context = nn.ModuleList(
            nn.Conv2d(4 * c, 4 * c, 3, padding=d, dilation=d) for d in (3, 2, 1)
        )
        self.propagate = FeaturePropagation(4 * c, config.deform_groups, guide=0)
        self.decode2 = UpLayers(4 * c, 2 * c)
        self.decode1 = UpLayers(2 * c, c)
        self.to_flow = UpLayers(c, 2)
        if config.residual:
            nn.init.zeros_(self.to_flow.up.weight)
            nn.init.zeros_(self.to_flow.up.bias)  # type: ignore[arg-type]
        self.edges = EdgeLayers() if config.edges else None

    def forward(
        self, flow_forward: Tensor, flow_backward: Tensor, frames: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Replaces the flows that start at blurred pixels.

        Args:
            flow_forward: (B, T-1, 2, H, W) pixels, flow t lives on frame t and points to t + 1.
            flow_backward: (B, T-1, 2, H, W), flow t lives on frame t + 1 and points to t.
            frames: (B, T, 3, H, W) RGB in [0, 1].
            mask: (B, T, 1, H, W), 1 where a pixel is blurred, else 0.

        Returns:
            Both, of the same shape; unchanged where the mask is 0.
        """
        found = self.predict(flow_forward, flow_backward, frames, mask)
        given = (flow_forward, mask[:, :-1]), (flow_backward, mask[:, 1:])
        forward, backward = (
            new * m + flow * (1 - m) for new, (flow, m) in zip(found, given, strict=True)
        )
        return forward, backward

    def predict(
        self, flow_forward: Tensor, flow_backward: Tensor, frames: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The network's own flows, everywhere; arguments and shapes as in `forward`."""
        size = frames.shape[-2:]
        if frames.shape[1] == 1:
            return flow_forward, flow_backward
        H, W = (padded_length(n, MULTIPLE) for n in size)
        frames, mask = pad_to(frames, H, W), pad_to(mask, H, W)
        flow_forward, flow_backward = (pad_flow(f, H, W) for f in (flow_forward, flow_backward))
        forward = self._refocus(flow_forward, mask[:, :-1], frames[:, :-1])
        seen = frames[:, 1:].flip(1) if self.config.flip_frames else frames[:, 1:]
        backward = self._refocus(flow_backward.flip(1), mask[:, 1:].flip(1), seen).flip(1)
        return crop_from(forward, *size), crop_from(backward, *size)

    def _refocus(self, flow: Tensor, mask: Tensor, frames: Tensor) -> Tensor:
        """One direction, in the order given: (B, t, 2, H, W) -> the same."""
        batch = flow.shape[:2]
        shown = flow if self.config.residual else flow * (1 - mask)
        x = torch.cat((shown, mask, frames), 2).flatten(0, 1)  # (B*t, 6, H, W)
        x = F.leaky_relu(self.down(x), 0.2)  # (B*t, C, H/2, W/2)
        for layer in self.encode1:
            x = layer(x, batch)
        quarter = x  # (B*t, 2C, H/4, W/4)
        for layer in self.encode2:
            x = layer(x, batch)
        for layer in self.context:
            x = F.leaky_relu(layer(x), 0.2)  # (B*t, 4C, H/8, W/8)
        x = self.propagate(x.unflatten(0, batch)).flatten(0, 1)
        x = F.leaky_relu(self.decode2(x), 0.2) + quarter
        x = F.leaky_relu(self.decode1(x), 0.2)  # (B*t, C, H/2, W/2)
        found = self.to_flow(x).unflatten(0, batch)
        return flow + found if self.config.residual else found


class UpLayers(nn.Module):
    """A convolution, and one at twice the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv3x3(inputs, inputs)
        self.up = conv3x3(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', 2h, 2w)."""
        return self.up(double(F.leaky_relu(self.conv(x), 0.2)))


class EdgeLayers(nn.Module):
    """Where a flow has edges: compared with true edges, it sharpens the flow in training."""

    def __init__(self) -> None:
        super().__init__()
        self.project = conv3x3(2, 16)
        self.middle1 = conv3x3(16, 16)
        self.middle2 = conv3x3(16, 16)
        self.last = nn.Conv2d(16, 1, 1)

    def forward(self, flow: Tensor) -> Tensor:
        """(N, 2, H, W) -> (N, 1, H, W) in 0..1."""
        x = F.leaky_relu(self.project(flow), 0.2)
        y = self.middle2(F.leaky_relu(self.middle1(x), 0.2))
        return torch.sigmoid(self.last(F.leaky_relu(x + y, 0.01)))
