"""Features as tokens: overlapping square patches, and back (FuseFormer, ICCV 2021)."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.layers import conv3x3, framewise


class Patches(NamedTuple):
    """Squares of `side` elements (odd), `stride` apart, the first centred on the first element."""

    side: int
    stride: int

    def count(self, length: int) -> int:
        """Tokens along an axis of that length."""
        return (length - 1) // self.stride + 1

    def unfold(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C * side * side, tokens)."""
        return F.unfold(x, self.side, padding=self.side // 2, stride=self.stride)

    def fold(self, patches: Tensor, h: int, w: int) -> Tensor:
        """Adds patches (N, C * side * side, tokens) up to features (N, C, h, w)."""
        return F.fold(patches, (h, w), self.side, padding=self.side // 2, stride=self.stride)


class SoftSplit(nn.Module):
    """Overlapping patches become tokens."""

    def __init__(self, channels: int, dim: int, patches: Patches) -> None:
        super().__init__()
        self.patches = patches
        self.embed = nn.Linear(channels * patches.side**2, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, h, w) -> (B, T, M, N, D)."""
        rows, cols = (self.patches.count(n) for n in x.shape[-2:])
        tokens = framewise(self._frames, x.flatten(0, 1))  # (B*T, M*N, D)
        return tokens.unflatten(1, (rows, cols)).unflatten(0, x.shape[:2])

    def _frames(self, x: Tensor) -> Tensor:
        return self.embed(self.patches.unfold(x).transpose(1, 2))


class SoftComposition(nn.Module):
    """Tokens become patches, which add up where they overlap."""

    def __init__(self, channels: int, dim: int, patches: Patches) -> None:
        super().__init__()
        self.patches = patches
        self.embed = nn.Linear(dim, channels * patches.side**2)
        self.smooth = conv3x3(channels, channels)

    def forward(self, tokens: Tensor, h: int, w: int) -> Tensor:
        """(B, T, M, N, D) -> (B, T, C, h, w)."""

        def frames(part: Tensor) -> Tensor:  # (F, M, N, D)
            patches = self.embed(part.flatten(1, 2)).transpose(1, 2)  # (F, C * side^2, M*N)
            return self.smooth(self.patches.fold(patches, h, w))

        return framewise(frames, tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])


class FusionFeedForward(nn.Module):
    """Feed-forward layer whose hidden patches are blended where they overlap (F3N).

    Args:
        dim: features of a token.
        hidden: hidden features per element of a patch.
        patches: the patches that the tokens were made of.
    """

    def __init__(self, dim: int, hidden: int, patches: Patches) -> None:
        super().__init__()
        self.patches = patches
        self.widen = nn.Linear(dim, hidden * patches.side**2)
        self.narrow = nn.Linear(hidden * patches.side**2, dim)

    def forward(self, x: Tensor, h: int, w: int) -> Tensor:
        """(B, T, M, N, D) -> (B, T, M, N, D), tokens of features of h x w."""

        def frames(part: Tensor) -> Tensor:  # (F, M, N, D)
            hidden = self.widen(part.flatten(1, 2)).transpose(1, 2)  # (F, hidden * side^2, M*N)
            ones = hidden.new_ones(1, self.patches.side**2, hidden.shape[2])
            blended = self.patches.fold(hidden, h, w) / self.patches.fold(ones, h, w)
            return self.narrow(F.gelu(self.patches.unfold(blended).transpose(1, 2)))

        return framewise(frames, x.flatten(0, 1)).reshape(x.shape)
