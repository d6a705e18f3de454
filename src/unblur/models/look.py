"""look-s: how blurred a frame is, by motion and by focus, place by place and as a whole.

A convolutional network over one frame, its neighbour, and the flow between them. Under motion blur
detail is lost along the flow and no further than it reaches, out of focus along all directions; so
the flow goes in beside the images, as a length and a direction without a sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4
"""Pixels per element of the flow; the network begins with patches of that side."""
CELL = 32
"""Side of a cell in pixels: what the network says is of cells."""
STEADY = 0.02
"""Added to a frame's contrast before dividing by it, so that noise in a flat frame stays small."""
SLOW = 0.25
"""Squared pixels of flow below which its direction counts little."""
MAPS, ABOUT_FLOW, JUDGED = 4, 5, 64


@dataclass(frozen=True)
class LookConfig:
    """Sizes of the network."""

    widths: tuple[int, ...] = (32, 64, 96, 136)
    """Channels at a quarter of the frame's size, an eighth, ..., and of cells."""

    def __post_init__(self) -> None:
        """Takes a list too, as JSON has it."""
        object.__setattr__(self, "widths", tuple(self.widths))


class Looks(NamedTuple):
    """What the network says of B frames, in h x w cells."""

    cells: Tensor
    """(B, 4, h, w): log(1 + pixels) that things moved while the shutter was open, log(1 + radius)
    of the circle of confusion, and logits of being blurred by each."""
    kinds: Tensor
    """(B, 2) logits of the frame being blurred by motion, and by focus."""


class Look(nn.Module):
    """Looks at frames."""

    def __init__(self, config: LookConfig = LookConfig()) -> None:
        super().__init__()
        first, second, third, last = config.widths
        self.frame = normed(PATCH**2, first)
        self.neighbour = normed(PATCH**2, first // 2)
        self.flow = normed(ABOUT_FLOW, first // 2)
        self.body = nn.Sequential(
            *smaller(2 * first, second),
            Block(second),
            *smaller(second, third),
            Block(third),
            Block(third),
            *smaller(third, last),
            Block(last),
        )
        self.cells = nn.Conv2d(last, MAPS + 1, 1)
        self.kinds = nn.Sequential(
            nn.Linear(2 * last + 4, JUDGED), nn.SiLU(), nn.Dropout(0.2), nn.Linear(JUDGED, 2)
        )

    def forward(self, frame: Tensor, neighbour: Tensor, flow: Tensor) -> Looks:
        """Of frames with one beside each.

        Args:
            frame: (B, 1, H, W) luma in [0, 1], encoded; sides are multiples of `CELL`.
            neighbour: (B, 1, H, W) likewise.
            flow: (B, 2, H/4, W/4) from `frame` to `neighbour`, in elements of its own grid.
        """
        mean = frame.mean((1, 2, 3), keepdim=True)
        contrast = frame.std((1, 2, 3), keepdim=True) + STEADY
        patches = (F.pixel_unshuffle((x - mean) / contrast, PATCH) for x in (frame, neighbour))
        shown, beside = patches
        parts = self.frame(shown), self.neighbour(beside), self.flow(about(flow))
        features = self.body(F.relu(torch.cat(parts, 1)))  # (B, C, h, w)
        found = self.cells(features)
        weight = found[:, MAPS:].flatten(2).softmax(-1)  # (B, 1, h w)
        each, blurred = features.flatten(2), found[:, 2:MAPS].sigmoid().flatten(2)
        pooled = (
            (each * weight).sum(-1),
            each.mean(-1),
            blurred.mean(-1),
            (blurred * weight).sum(-1),
        )
        return Looks(found[:, :MAPS], self.kinds(torch.cat(pooled, 1)))


def about(flow: Tensor) -> Tensor:
    """Length, direction without a sign, and direction of a flow (B, 2, h, w): (B, 5, h, w)."""
    motion = PATCH * flow  # pixels
    x, y = motion[:, :1], motion[:, 1:]
    speed = motion.norm(dim=1, keepdim=True)
    twice = torch.cat((x**2 - y**2, 2 * x * y), 1) / (speed**2 + SLOW)
    return torch.cat((speed.log1p(), twice, motion / (1 + speed)), 1)


class Block(nn.Module):
    """Two convolutions added to what came in, (B, C, h, w) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = normed(width, width), normed(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.relu(x + self.second(F.relu(self.first(x))))


def normed(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """A convolution with its normalisation over the batch."""
    convolution = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after))


def smaller(before: int, after: int) -> tuple[nn.Module, nn.Module]:
    """To half the size."""
    return normed(before, after, stride=2), nn.ReLU()
