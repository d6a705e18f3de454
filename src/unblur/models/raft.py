"""RAFT, the large network (Teed and Deng, ECCV 2020): optical flow by repeated lookups.

Features of both frames at 1/8 size are compared all with all; a recurrent unit looks up the
comparison around its present guess, corrects the guess, and repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.ops.pad import padded_length
from unblur.ops.warp import sample

STRIDE = 8
"""Pixels per feature."""
WORKING_BYTES_PER_PIXEL = 400
"""Measured: what encoding a frame, or refining the flow of a pair, holds at its peak."""

LOOKUP_BYTES = 32 * 2**20
"""What a lookup without the comparison in memory interpolates at once; more is slower on a CPU."""


@dataclass(frozen=True)
class RaftConfig:
    """How the published weights are to be used, and how much memory they may take."""

    input_range: tuple[float, float] = (-1.0, 1.0)
    """What [0, 1] becomes at the input. BSSTNet: (-1, 1); DaBiT: (0, 1)."""
    scale: float = 0.5
    """Size of the frames it is given, relative to the video: 0.5 for BSSTNet, 1 for DaBiT."""
    iterations: int = 20
    levels: int = 4
    """Levels of the comparison's pyramid, each half the size of the one before."""
    radius: int = 4
    """The lookup window has 2 * radius + 1 positions a side, on each level."""
    memory: int = 512 * 2**20
    """Bytes the comparison may hold. Pairs are chunked to fit; where a single pair does not, the
    comparison is computed at each lookup: slower, and the same result."""

    @property
    def minimum(self) -> int:
        """Smallest side, in pixels, whose coarsest level is 2 wide. Smaller frames are padded."""
        return STRIDE * 2**self.levels


class Raft(nn.Module):
    """Optical flow between two frames. 5,257,536 parameters as published."""

    def __init__(self, config: RaftConfig = RaftConfig()) -> None:
        super().__init__()
        self.config = config
        self.features = Encoder(256, nn.InstanceNorm2d)
        self.context = Encoder(256, nn.BatchNorm2d)
        self.update = UpdateBlock(config.levels * (2 * config.radius + 1) ** 2)
        self.upsampling = nn.Sequential(
            nn.Conv2d(128, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 9 * STRIDE**2, 1)
        )

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Flow from `image1` to `image2`, at the size of the images.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1], any H and W.
            image2: (B, 3, H, W).

        Returns:
            (B, 2, H, W) pixels, living on `image1`; channel 0 is x.
        """
        first, second = self.prepare(image1), self.prepare(image2)
        flow = self.match(
            self.encode(self.features, first),
            self.encode(self.features, second),
            self.encode(self.context, first),
        )
        return flow[..., : image1.shape[-2], : image1.shape[-1]]

    def between_neighbours(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Flows between the frames of a clip, both ways; each frame is encoded once.

        Args:
            frames: (T, 3, H, W) RGB in [0, 1].

        Returns:
            flow_forward and flow_backward, (T-1, 2, H, W) pixels each: from t to t + 1, living on
            t, and from t + 1 to t, living on t + 1.
        """
        height, width = frames.shape[-2:]
        if len(frames) < 2:
            none = frames.new_zeros(0, 2, height, width)
            return none, none
        x = self.prepare(frames)
        features = self.encode(self.features, x)
        context = self.encode(self.context, x)
        forward = self.match(features[:-1], features[1:], context[:-1])
        backward = self.match(features[1:], features[:-1], context[1:])
        return forward[..., :height, :width], backward[..., :height, :width]

    def prepare(self, image: Tensor) -> Tensor:
        """Scales to the input range and repeats the edge up to a size the network takes."""
        low, high = self.config.input_range
        x = (high - low) * image + low
        height, width = (padded_length(s, STRIDE, self.config.minimum) for s in x.shape[-2:])
        if (height, width) == tuple(x.shape[-2:]):
            return x
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]), mode="replicate")

    def encode(self, encoder: nn.Module, x: Tensor) -> Tensor:
        """Runs an encoder over as many frames at once as the memory takes."""
        size = max(1, self.config.memory // (WORKING_BYTES_PER_PIXEL * x.shape[-2] * x.shape[-1]))
        return torch.cat([encoder(part) for part in x.split(size)])

    def match(self, features1: Tensor, features2: Tensor, context: Tensor) -> Tensor:
        """Flow at full size from features (B, 256, h, w) and context (B, 256, h, w)."""
        h, w = features1.shape[-2:]
        per_pair = all_pairs_bytes(h, w) + WORKING_BYTES_PER_PIXEL * STRIDE**2 * h * w
        size = max(1, self.config.memory // per_pair)
        parts = zip(features1.split(size), features2.split(size), context.split(size), strict=True)
        return torch.cat([self.refine(*part) for part in parts])

    def refine(self, features1: Tensor, features2: Tensor, context: Tensor) -> Tensor:
        """Starts from no motion and corrects the flow as often as the config says."""
        hidden, context = context.split(128, dim=1)
        hidden, context = hidden.tanh(), context.relu()
        B, _, h, w = features1.shape
        compare = self.comparison(features1, features2)
        rows = torch.arange(h, device=context.device, dtype=context.dtype)[:, None].expand(h, w)
        cols = torch.arange(w, device=context.device, dtype=context.dtype).expand(h, w)
        start = torch.stack((cols, rows))  # (2, h, w): x, y
        flow = start.new_zeros(B, 2, h, w)
        for _ in range(self.config.iterations):
            flow = flow.detach()
            hidden, step = self.update(hidden, context, compare(start + flow), flow)
            flow = flow + step
        return upsample_convex(flow, 0.25 * self.upsampling(hidden))

    def comparison(self, features1: Tensor, features2: Tensor) -> Callable[[Tensor], Tensor]:
        """The lookup: positions (B, 2, h, w) to (B, levels * window, h, w) similarities."""
        levels, radius = self.config.levels, self.config.radius
        features1 = features1 / features1.shape[1] ** 0.5
        if all_pairs_bytes(*features1.shape[-2:]) <= self.config.memory:
            pyramid = all_pairs(features1, features2, levels)
            return lambda positions: look_up(pyramid, positions, radius)
        pooled = average_pyramid(features2, levels)
        return lambda positions: compare_near(features1, pooled, positions, radius)


class Encoder(nn.Module):
    """A frame to features of 1/8 of its size."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, stride=2, padding=3), norm(64), nn.ReLU())
        self.stages = nn.Sequential(
            nn.Sequential(ResidualBlock(64, 64, 1, norm), ResidualBlock(64, 64, 1, norm)),
            nn.Sequential(ResidualBlock(64, 96, 2, norm), ResidualBlock(96, 96, 1, norm)),
            nn.Sequential(ResidualBlock(96, 128, 2, norm), ResidualBlock(128, 128, 1, norm)),
        )
        self.head = nn.Conv2d(128, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, channels, H / 8, W / 8)."""
        return self.head(self.stages(self.stem(x)))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(
        self, channels_in: int, channels: int, stride: int, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.norm1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = norm(channels)
        self.shortcut = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride=stride), norm(channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) to (B, channels, H / stride, W / stride)."""
        y = self.norm1(self.conv1(x)).relu()
        y = self.norm2(self.conv2(y)).relu()
        return (self.shortcut(x) + y).relu()


class UpdateBlock(nn.Module):
    """One correction of the flow: what the lookup found, through a recurrent unit, to a step."""

    def __init__(self, similarities: int) -> None:
        super().__init__()
        self.found1 = nn.Conv2d(similarities, 256, 1)
        self.found2 = nn.Conv2d(256, 192, 3, padding=1)
        self.flow1 = nn.Conv2d(2, 128, 7, padding=3)
        self.flow2 = nn.Conv2d(128, 64, 3, padding=1)
        self.merge = nn.Conv2d(192 + 64, 126, 3, padding=1)
        self.gru_across = GatedUnit((1, 5))
        self.gru_down = GatedUnit((5, 1))
        self.step = nn.Sequential(
            nn.Conv2d(128, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 2, 3, padding=1)
        )

    def forward(
        self,
        hidden: Tensor,  # (B, 128, h, w)
        context: Tensor,  # (B, 128, h, w)
        similarities: Tensor,  # (B, levels * window, h, w)
        flow: Tensor,  # (B, 2, h, w)
    ) -> tuple[Tensor, Tensor]:
        """New hidden state (B, 128, h, w) and change of the flow (B, 2, h, w)."""
        found = self.found2(self.found1(similarities).relu()).relu()  # (B, 192, h, w)
        moved = self.flow2(self.flow1(flow).relu()).relu()  # (B, 64, h, w)
        motion = self.merge(torch.cat((found, moved), 1)).relu()  # (B, 126, h, w)
        x = torch.cat((context, motion, flow), 1)  # (B, 256, h, w)
        hidden = self.gru_down(self.gru_across(hidden, x), x)
        return hidden, self.step(hidden)


class GatedUnit(nn.Module):
    """A convolutional gated recurrent unit along one direction of the image."""

    def __init__(self, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.update = nn.Conv2d(128 + 256, 128, kernel, padding=padding)
        self.reset = nn.Conv2d(128 + 256, 128, kernel, padding=padding)
        self.candidate = nn.Conv2d(128 + 256, 128, kernel, padding=padding)

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        """New hidden state (B, 128, h, w) from the old one and input `x` (B, 256, h, w)."""
        both = torch.cat((hidden, x), 1)
        update, reset = self.update(both).sigmoid(), self.reset(both).sigmoid()
        candidate = self.candidate(torch.cat((reset * hidden, x), 1)).tanh()
        return (1 - update) * hidden + update * candidate


def all_pairs_bytes(h: int, w: int) -> int:
    """Memory of the comparison of two frames: all pairs, and a third more for coarser levels."""
    return (h * w) ** 2 * 4 * 4 // 3


def average_pyramid(x: Tensor, levels: int) -> list[Tensor]:
    """`x` (B, C, h, w) and its halves, quarters, ... by averaging 2 x 2."""
    pyramid = [x]
    for _ in range(levels - 1):
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    return pyramid


def all_pairs(features1: Tensor, features2: Tensor, levels: int) -> list[Tensor]:
    """Similarity of every position of frame 1 to every position of frame 2.

    Returns:
        One (B * h * w, 1, h', w') per level; the first axis is the position in frame 1.
    """
    B, _, h, w = features1.shape
    volume = features1.flatten(2).transpose(1, 2) @ features2.flatten(2)  # (B, h * w, h * w)
    return average_pyramid(volume.reshape(B * h * w, 1, h, w), levels)


def window_around(positions: Tensor, level: int, radius: int) -> tuple[Tensor, Tensor]:
    """Columns and rows of the lookup window around `positions` (N, 2), in pixels of a level.

    Returns:
        Two (N, side, side). The published weights want x along the first axis and y along the
        second.
    """
    offsets = torch.arange(-radius, radius + 1, device=positions.device, dtype=positions.dtype)
    x, y = (positions / 2**level).unbind(-1)  # (N,) each
    shape = (len(positions), len(offsets), len(offsets))
    cols = (x[:, None] + offsets)[:, :, None].expand(shape)
    rows = (y[:, None] + offsets)[:, None, :].expand(shape)
    return cols, rows


def look_up(pyramid: list[Tensor], positions: Tensor, radius: int) -> Tensor:
    """Reads the comparison around `positions` (B, 2, h, w), bilinearly, on every level.

    Returns:
        (B, levels * side * side, h, w), levels first.
    """
    B, _, h, w = positions.shape
    flat = positions.permute(0, 2, 3, 1).reshape(B * h * w, 2)
    found = [
        sample(volume, *window_around(flat, level, radius)).flatten(1)  # (B * h * w, side * side)
        for level, volume in enumerate(pyramid)
    ]
    return torch.cat(found, 1).reshape(B, h, w, -1).permute(0, 3, 1, 2)


def compare_near(features1: Tensor, pooled: list[Tensor], positions: Tensor, radius: int) -> Tensor:
    """`look_up` without the comparison in memory: compares only inside the window.

    Averaging and interpolating are linear, so the features of frame 2 can be pooled and
    interpolated instead of their similarities.

    Args:
        features1: (B, C, h, w), divided by sqrt(C).
        pooled: features of frame 2, (B, C, h', w') per level.
        positions: (B, 2, h, w).
        radius: of the window.
    """
    B, C, h, w = features1.shape
    side = 2 * radius + 1
    size = max(1, LOOKUP_BYTES // (C * side * side * 4))
    out = []
    for b in range(B):
        vectors = features1[b].flatten(1)  # (C, h * w)
        flat = positions[b].flatten(1).t()  # (h * w, 2)
        for near, at in zip(vectors.split(size, 1), flat.split(size), strict=True):
            found = []
            for level, features in enumerate(pooled):
                cols, rows = window_around(at, level, radius)  # (n, side, side)
                values = sample(features[b, None], cols.flatten(1)[None], rows.flatten(1)[None])
                found.append(torch.einsum("cn,cnk->nk", near, values[0]))  # values (1, C, n, k)
            out.append(torch.cat(found, 1))
    return torch.cat(out).reshape(B, h, w, -1).permute(0, 3, 1, 2)


def upsample_convex(flow: Tensor, weights: Tensor) -> Tensor:
    """Flow at 8 times the size: each fine pixel is a weighted mean of its 3 x 3 coarse neighbours.

    Args:
        flow: (B, 2, h, w) in coarse pixels.
        weights: (B, 9 * 8 * 8, h, w), softmaxed over the 9.

    Returns:
        (B, 2, 8 * h, 8 * w) in fine pixels.
    """
    B, _, h, w = flow.shape
    weights = weights.reshape(B, 1, 9, STRIDE, STRIDE, h, w).softmax(2)
    near = F.unfold(STRIDE * flow, 3, padding=1).reshape(B, 2, 9, 1, 1, h, w)
    fine = (weights * near).sum(2)  # (B, 2, 8, 8, h, w)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(B, 2, STRIDE * h, STRIDE * w)
