"""Encoder of single frames, and the decoder with temporal shift (Shift-Net)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.bsstnet.blocks import AttentionBlock, GatedBlock
from unblur.models.layers import conv3x3, framewise

FAR_SHIFTS = (
    *((8, 8), (8, 4), (8, 0), (8, -4), (8, -8), (-8, 8), (-8, 4), (-8, 0), (-8, -4), (-8, -8)),
    *((4, 8), (4, -8), (0, 8), (0, -8), (-4, 8), (-4, -8)),
)
NEAR_SHIFTS = ((4, 4), (4, 0), (4, -4), (0, 4), (0, -4), (-4, 4), (-4, 0), (-4, -4))
"""Rows and columns by which channels of a neighbouring frame move; near ones get two shares."""


class Encoder(nn.Module):
    """Frames to features at full, half and quarter resolution."""

    def __init__(self, stem: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv3x3(3, stem, bias=False), nn.LeakyReLU(0.1), AttentionBlock(stem)
        )
        self.to_half = nn.Sequential(conv3x3(stem, stem, 2, bias=False), nn.LeakyReLU(0.1))
        self.at_half = nn.Sequential(AttentionBlock(stem), AttentionBlock(stem))
        self.to_quarter = nn.Sequential(conv3x3(stem, channels, 2, bias=False), nn.LeakyReLU(0.1))
        self.at_quarter = nn.Sequential(AttentionBlock(channels), AttentionBlock(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (N, 3, H, W) -> (N, S, H/2, W/2) and (N, C, H/4, W/4)."""
        half = framewise(lambda frames: self.at_half(self.to_half(self.stem(frames))), x)
        return half, framewise(lambda frames: self.at_quarter(self.to_quarter(frames)), half)


class Decoder(nn.Module):
    """Features to the correction that is added to the frames."""

    def __init__(self, stem: int, channels: int, rounds: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, stem, 1, bias=False)
        self.skip_half = AttentionBlock(stem)
        self.shift1 = ShiftStage(stem, rounds)
        self.shift2 = ShiftStage(stem, rounds)
        self.to_full = nn.Sequential(conv3x3(stem, 4 * stem), nn.PixelShuffle(2), nn.LeakyReLU(0.1))
        self.full = conv3x3(stem, stem, bias=False)
        self.skip_full = AttentionBlock(stem)
        self.last = AttentionBlock(stem)
        self.to_rgb = conv3x3(stem, 3, bias=False)

    def to_half(self, x: Tensor, half: Tensor) -> Tensor:
        """(N, C, h, w) and the encoder's (N, S, 2h, 2w) -> (N, S, 2h, 2w)."""
        # a 1 x 1 convolution and a resize may trade places: cheaper before
        x = F.interpolate(self.narrow(x), scale_factor=2, mode="bilinear", align_corners=False)
        return x + self.skip_half(half)

    def shift(self, x: Tensor) -> Tensor:
        """Exchange with neighbouring frames, (B, T, S, H/2, W/2) -> the same."""
        return self.shift2(self.shift1(x))

    def to_image(self, x: Tensor, full: Tensor) -> Tensor:
        """(N, S, H/2, W/2) and the stem's (N, S, H, W) -> (N, 3, H, W)."""
        x = self.full(self.to_full(x)) + self.skip_full(full)
        return self.to_rgb(self.last(x))


class ShiftStage(nn.Module):
    """Rounds in which frames swap half of their channels with the previous or the next frame."""

    def __init__(self, channels: int, rounds: int) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(
            nn.Sequential(GatedBlock(channels, 5, extra=channels // 2), GatedBlock(channels, 5))
            for _ in range(rounds)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, h, w) -> (B, T, C, h, w)."""
        batch = x.shape[:2]
        for i, layers in enumerate(self.rounds):
            y, received = swap(x, to_next=i % 2 == 0)
            y = torch.cat((y, scatter(received)), 2).flatten(0, 1)
            x = layers(y).unflatten(0, batch)
        return x


def swap(x: Tensor, to_next: bool) -> tuple[Tensor, Tensor]:
    """Hands the second half of the channels to the next frame, or the first half to the previous.

    The clip is a ring: the last frame's next is the first.

    Args:
        x: (B, T, C, h, w).
        to_next: the direction.

    Returns:
        (B, T, C, h, w), and the part of it that came from a neighbour, (B, T, C/2, h, w).
    """
    first, second = x.chunk(2, 2)
    if to_next:
        received = second.roll(1, 1)
        return torch.cat((received, first), 2), received
    received = first.roll(-1, 1)
    return torch.cat((second, received), 2), received


def scatter(x: Tensor) -> Tensor:
    """Moves each channel in its own direction, zeros come in at the border.

    Args:
        x: (B, T, C, h, w).

    Returns:
        The same shape; so a neighbour's pixels within 8 elements come within reach.
    """
    shifts = [*FAR_SHIFTS, *(s for s in NEAR_SHIFTS for _ in range(2))]  # for 32 channels
    out = torch.zeros_like(x)
    h, w = x.shape[-2:]
    for channel in range(x.shape[2]):
        dy, dx = shifts[channel * len(shifts) // x.shape[2]]
        if abs(dy) < h and abs(dx) < w:
            rows, cols = slice(max(0, -dy), h - max(0, dy)), slice(max(0, -dx), w - max(0, dx))
            into = slice(max(0, dy), h - max(0, -dy)), slice(max(0, dx), w - max(0, -dx))
            out[:, :, channel, into[0], into[1]] = x[:, :, channel, rows, cols]
    return out
