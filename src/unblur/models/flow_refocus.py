"""Flow refocusing: optical flow of blurred regions, from the frames and the flow around them.

The recurrent network of DaBiT (arXiv 2407.01230, section 3.3), built like the flow completion of
ProPainter (ICCV 2023): flow is taken out where a frame is blurred and filled in again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.bsstnet.refine import FeaturePropagation, SpaceTimeConv
from unblur.models.layers import channels_last, conv3x3, double
from unblur.ops.pad import crop_from, pad_flow, pad_to, padded_length
from unblur.ops.warp import warp

MULTIPLE = 8
"""Elements of the flow per element at the network's middle."""
DETAIL = 2
"""Pixels across, of frames that are shrunk to that, per element of a flow of fewer elements."""
CLUES = 6
"""Channels that tell how far a flow can be believed."""
PRIOR = (6.0, 60.0)
"""Per element that a flow does not lead back by, and per unit of colour, as logarithms."""
STEPS = (2, 6)
"""Elements that the flows of other places, in eight directions, are taken from."""


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
    """The network sees the whole flow, how far it contradicts its opposite and the frames, and
    corrects it; else it fills in what was taken out."""
    stride: int = 1
    """Frame pixels per element of flow and mask, and per unit of the flow."""
    recurrent: bool = True
    """It looks at other times and far around. Without, only what chooses among flows near by is
    left: that learns ten times as fast, and the whole network may start from it."""
    edges: bool = True
    """With the layers that find edges of flow, which only the published training uses."""

    @property
    def folds(self) -> int:
        """Pixels across, of the frames that the network looks at, per element of the flow."""
        return min(self.stride, DETAIL)

    def __post_init__(self) -> None:
        if self.stride % self.folds:
            raise ValueError(f"stride {self.stride} must be 1 or a multiple of {DETAIL}")
        if not self.recurrent and not self.residual:
            raise ValueError("recurrent: false needs residual: true")
        if 8 * self.channels % self.deform_groups:
            raise ValueError(f"cannot divide 8 * {self.channels} by {self.deform_groups}")


OFFICIAL = FlowRefocusConfig(flip_frames=False)
"""As the published code computes."""

SMALL = FlowRefocusConfig(channels=8, deform_groups=8, residual=True, stride=4, edges=False)
"""For CPUs."""


def small_config(state: Mapping[str, Tensor]) -> FlowRefocusConfig:
    """`SMALL`, with or without its recurrent part, as weights have it."""
    return replace(SMALL, recurrent=any(name.startswith("propagate.") for name in state))


class FlowRefocus(nn.Module):
    """Corrects the flows of a clip where it is blurred."""

    def __init__(self, config: FlowRefocusConfig = FlowRefocusConfig()) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        if config.recurrent:
            self._build_recurrent()
        self.to_flow = Correction(c, config.recurrent) if config.residual else UpLayers(c, 2)
        self.edges = EdgeLayers() if config.edges else None

    def _build_recurrent(self) -> None:
        config, c = self.config, self.config.channels
        # flow, mask and frame
        inputs = 2 + 1 + 3 * config.folds**2 + (CLUES if config.residual else 0)
        self.down = nn.Conv2d(
            inputs, c, 5, 2, 2, padding_mode="zeros" if config.residual else "replicate"
        )
        self.encode1 = nn.ModuleList((SpaceTimeConv(c, c, 1), SpaceTimeConv(c, 2 * c, 2)))
        self.encode2 = nn.ModuleList(
            (SpaceTimeConv(2 * c, 2 * c, 1), SpaceTimeConv(2 * c, 4 * c, 2))
        )
        self.context = nn.ModuleList(
            nn.Conv2d(4 * c, 4 * c, 3, padding=d, dilation=d) for d in (3, 2, 1)
        )
        self.propagate = FeaturePropagation(4 * c, config.deform_groups)
        self.decode2 = UpLayers(4 * c, 2 * c)
        self.decode1 = UpLayers(2 * c, c)

    def forward(
        self,
        flow_forward: Tensor,
        flow_backward: Tensor,
        frames: Tensor,
        mask: Tensor,
        merge: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Replaces the flows that start at blurred pixels.

        Args:
            flow_forward: (B, T-1, 2, H, W) pixels, flow t lives on frame t and points to t + 1.
            flow_backward: (B, T-1, 2, H, W), flow t lives on frame t + 1 and points to t.
            frames: (B, T, 3, H, W) RGB in [0, 1]. With a `stride` s, flows and mask are of
                ceil(H / s) x ceil(W / s) elements.
            mask: (B, T, 1, H, W), 1 where a pixel is blurred, else 0.
            merge: without it, the network's own flows everywhere, as training requests.

        Returns:
            Both, of the same shape; unchanged where the mask is 0.
        """
        found = self.predict(flow_forward, flow_backward, frames, mask)
        if not merge:
            return found
        given = (flow_forward, mask[:, :-1]), (flow_backward, mask[:, 1:])
        forward, backward = (
            new * m + flow * (1 - m) for new, (flow, m) in zip(found, given, strict=True)
        )
        return forward, backward

    def predict(
        self, flow_forward: Tensor, flow_backward: Tensor, frames: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The network's own flows, everywhere; arguments and shapes as in `forward`."""
        size = flow_forward.shape[-2:]
        if frames.shape[1] == 1:
            return flow_forward, flow_backward
        H, W = (padded_length(n, MULTIPLE) for n in size)
        frames = folded(frames, self.config.stride, self.config.folds)
        frames, mask = pad_to(frames, H, W), pad_to(mask, H, W)
        flow_forward, flow_backward = (pad_flow(f, H, W) for f in (flow_forward, flow_backward))
        early, late = frames[:, :-1], frames[:, 1:]
        ahead = flow_forward, flow_backward, mask[:, :-1], early, late
        turned = [x.flip(1) for x in (flow_backward, flow_forward, mask[:, 1:])]
        images = (late.flip(1), early.flip(1)) if self.config.flip_frames else (late, early)
        both = (torch.cat(pair) for pair in zip(ahead, (*turned, *images), strict=True))
        forward, backward = self._refocus(*both).chunk(2)
        return crop_from(forward, *size), crop_from(backward.flip(1), *size)

    def _refocus(
        self,
        flow: Tensor,  # (B, t, 2, H, W)
        opposite: Tensor,  # (B, t, 2, H, W) the way back
        mask: Tensor,  # (B, t, 1, H, W) of the frames that flows live on
        frames: Tensor,  # (B, t, 3 f f, H, W) those frames, folded
        targets: Tensor,  # (B, t, 3 f f, H, W) the frames that flows point to
    ) -> Tensor:
        """One direction, in the order given: (B, t, 2, H, W)."""
        batch = flow.shape[:2]
        flow, opposite, mask, frames, targets = (
            x.flatten(0, 1) for x in (flow, opposite, mask, frames, targets)
        )
        parts = [flow if self.config.residual else flow * (1 - mask), mask, frames]
        evidence: list[Tensor] = []
        if self.config.residual:
            colours = [x.unflatten(1, (3, -1)).mean(2) for x in (frames, targets)]
            evidence = [flow, mask, opposite, *colours]
            parts.append(clues(flow, opposite, *colours))
        given = channels_last(torch.cat(parts, 1))  # (B*t, inputs, H, W)
        features = self._features(given, batch) if self.config.recurrent else None
        return self.to_flow(features, *evidence).unflatten(0, batch)

    def _features(self, given: Tensor, batch: torch.Size) -> Tensor:
        """(B*t, inputs, H, W) -> (B*t, C, H / 2, W / 2), from all frames of `batch` (B, t)."""
        x = F.leaky_relu(self.down(given), 0.2)  # (B*t, C, H/2, W/2)
        for layer in self.encode1:
            x = layer(x, batch)
        quarter = x  # (B*t, 2C, H/4, W/4)
        for layer in self.encode2:
            x = layer(x, batch)
        for layer in self.context:
            x = F.leaky_relu(layer(x), 0.2)  # (B*t, 4C, H/8, W/8)
        x = self.propagate(x.unflatten(0, batch)).flatten(0, 1)
        x = F.leaky_relu(self.decode2(x), 0.2) + quarter
        return F.leaky_relu(self.decode1(x), 0.2)


def folded(frames: Tensor, stride: int, folds: int) -> Tensor:
    """Frames (B, T, 3, H, W), shrunk, as (B, T, 3 folds folds, ceil(H / stride), ceil(W / stride)).

    Each element holds the `folds` x `folds` means of its square.
    """
    x = frames.flatten(0, 1)
    if stride > 1:
        x = F.pad(x, (0, -x.shape[3] % stride, 0, -x.shape[2] % stride), mode="replicate")
        x = F.pixel_unshuffle(F.avg_pool2d(x, stride // folds), folds)
    return x.unflatten(0, frames.shape[:2])


def clues(flow: Tensor, opposite: Tensor, frames: Tensor, targets: Tensor) -> Tensor:
    """How far a flow contradicts the way back, and the colours where it leads.

    Args:
        flow: (N, 2, H, W).
        opposite: (N, 2, H, W), the way back.
        frames: (N, 3, H, W) that the flow lives on.
        targets: (N, 3, H, W) that it points to.

    Returns:
        (N, 6, H, W): both differences, and 1 where it leads to a place inside, else 0.
    """
    there = warp(torch.cat((opposite, targets, torch.ones_like(flow[:, :1])), 1), flow)
    inside = there[:, 5:]
    return torch.cat((inside * flow + there[:, :2], there[:, 2:5] - inside * frames, inside), 1)


class Correction(nn.Module):
    """Mixes in flows from places near by, where they are better known.

    At the edge of a thing that moves, flow is seldom wrong on both sides: to choose is easier than
    to make. Each flow from elsewhere is tried: does it lead to the same colours, and back? What
    speaks for it is weighed up by a soft maximum, with a prior that trusts those that lead back.
    Fresh, nothing is mixed in, and the flow stays as it is.
    """

    def __init__(self, channels: int, recurrent: bool) -> None:
        super().__init__()
        others = 8 * len(STEPS)
        self.doubt = nn.Parameter(torch.tensor(PRIOR))
        """How much it counts against a flow that it does not lead back, or to other colours."""
        self.join = conv3x3(3 + 2 + 3 * others, 2 * channels)
        self.listen = conv3x3(channels, 2 * channels) if recurrent else None
        if self.listen is not None:
            nn.init.zeros_(self.listen.weight)
        self.around = nn.Conv2d(2 * channels, 2 * channels, 3, padding=3, dilation=3)
        # a score for each flow, its own first, and how much of the mixture is taken
        self.last = conv3x3(2 * channels, 1 + others + 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(
        self,
        features: Tensor | None,  # (N, C, H / 2, W / 2)
        flow: Tensor,  # (N, 2, H, W)
        mask: Tensor,  # (N, 1, H, W)
        opposite: Tensor,  # (N, 2, H, W)
        frames: Tensor,  # (N, 3, H, W)
        targets: Tensor,  # (N, 3, H, W)
    ) -> Tensor:
        """The flow, corrected: (N, 2, H, W)."""
        small = [F.avg_pool2d(x, 2) for x in (flow, opposite, frames, targets)]
        way, colours, change = doubts(*small)  # (N, 1 + K, H / 2, W / 2) each
        hints = (small[0], F.avg_pool2d(mask, 2), way, colours, change[:, 1:])
        x = self.join(channels_last(torch.cat(hints, 1)))
        if self.listen is not None:
            x = x + self.listen(features)
        x = F.leaky_relu(x, 0.2)
        x = self.last(x + F.leaky_relu(self.around(x), 0.2))
        score = x[:, :-1] - self.doubt[0] * way - self.doubt[1] * colours
        share = double(torch.cat((score.float().softmax(1)[:, 1:], x[:, -1:]), 1))
        mixed = (share[:, :-1, None] * (elsewhere(flow) - flow[:, None])).sum(1)
        return flow + share[:, -1:] * mixed


def elsewhere(flow: Tensor, scale: int = 1) -> Tensor:
    """Flows (N, 2, H, W) of places near by, in eight directions: (N, K, 2, H, W).

    `scale`: how many elements of `STEPS` one element here is.
    """
    h, w = flow.shape[-2:]
    far = max(STEPS) // scale
    wide = F.pad(flow, (far,) * 4, mode="replicate")
    steps = [step // scale for step in STEPS]
    return torch.stack(
        [
            wide[..., far + step * v : far + step * v + h, far + step * u : far + step * u + w]
            for step in steps
            for v in (-1, 0, 1)
            for u in (-1, 0, 1)
            if u or v
        ],
        1,
    )


def doubts(
    flow: Tensor, opposite: Tensor, frames: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What speaks against a flow and against those near by, and how unlike they are.

    Args:
        flow: (N, 2, H / 2, W / 2), in units of the full size.
        opposite: the way back.
        frames: (N, 3, H / 2, W / 2) that flows live on.
        targets: (N, 3, H / 2, W / 2) that they point to.

    Returns:
        Three (N, 1 + K, H / 2, W / 2), of the flow itself and of the others: by how much it does
        not lead back, how unlike the colours are that it leads to, and its distance from the flow
        itself. 0.01 is none.
    """
    there = torch.cat((opposite, targets), 1)
    offers = torch.cat((flow[:, None], elsewhere(flow, 2)), 1)  # (N, 1 + K, 2, h, w)
    seen = torch.stack([warp(there, offer / 2) for offer in offers.unbind(1)], 1)
    way = (seen[:, :, :2] + offers).square().sum(2)
    colours = (seen[:, :, 2:] - frames[:, None]).square().mean(2)
    change = (offers - flow[:, None]).square().sum(2)
    way, colours, change = ((x + 1e-4).sqrt() for x in (way, colours, change))
    return way, colours, change


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
