"""Merges what all passes found: attention in small windows of two frames (Swin, as in RVRT)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.bsstnet.config import BSSTNetConfig
from unblur.models.layers import framewise
from unblur.ops.pad import padded_length

WINDOW = (2, 8, 8)
"""Frames, rows and columns of a window."""
LAYERS = 2
"""Pairs of plain and shifted layers per group, and number of groups."""


class Reconstruction(nn.Module):
    """Convolution over all features of a frame, then two residual groups of window attention."""

    def __init__(self, config: BSSTNetConfig) -> None:
        super().__init__()
        c = config.channels
        inputs = (1 + len(config.branches)) * c
        self.merge = nn.Conv2d(inputs, c, 3, padding=1, groups=config.reconstruction_groups)
        self.norm_in = nn.LayerNorm(c)
        self.groups = nn.ModuleList(SwinGroup(c, config.swin_heads) for _ in range(LAYERS))
        self.norm_out = nn.LayerNorm(c)

    def forward(self, frames: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """T tuples of features (B, C, h, w) -> (B, T, C, h, w)."""
        x = torch.stack([self.merge(torch.cat(f, 1)) for f in frames], 1)  # (B, T, C, h, w)
        x = self.norm_in(x.permute(0, 1, 3, 4, 2))  # (B, T, h, w, C)
        for group in self.groups:
            x = group(x)
        return self.norm_out(x).permute(0, 1, 4, 2, 3)


class SwinGroup(nn.Module):
    """Two attention layers, the second with shifted windows, and a residual around both."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            SwinLayer(channels, heads, shifted=i % 2 == 1) for i in range(LAYERS)
        )
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, h, w, C) -> (B, T, h, w, C)."""
        y = x
        for layer in self.layers:
            y = layer(y)
        return x + self.project(y)


class SwinLayer(nn.Module):
    """Window attention and feed-forward, each normalised before and added after."""

    def __init__(self, channels: int, heads: int, shifted: bool) -> None:
        super().__init__()
        self.heads = heads
        self.shift = WINDOW[1] // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias_table = nn.Parameter(torch.zeros(3 * 15 * 15, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.project = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )
        self.bias_index: Tensor
        self.register_buffer("bias_index", relative_positions(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, h, w, C) -> (B, T, h, w, C)."""
        length = x.shape[1]
        depth = min(WINDOW[0], length)  # a single frame is a window of its own
        shift = 1 if self.shift and length > depth else 0
        y = self.norm1(x)
        y = F.pad(y, (0, 0, 0, 0, 0, 0, 0, padded_length(length, depth) - length))
        pairs = y.roll(-shift, 1).split(depth, 1)
        # the shift puts the last frame beside the first: these two do not see each other
        parts = [self._attend(p, apart=shift > 0 and p is pairs[-1]) for p in pairs]
        x = x + torch.cat(parts, 1).roll(shift, 1)[:, :length]
        return x + framewise(lambda f: self.mlp(self.norm2(f)), x.flatten(0, 1)).reshape(x.shape)

    def _attend(self, x: Tensor, apart: bool) -> Tensor:
        """Attention in the windows of one or two frames, (B, F, h, w, C) -> the same."""
        _, frames, h, w, _ = x.shape
        rows, cols = (padded_length(n, side) for n, side in zip((h, w), WINDOW[1:], strict=True))
        x = F.pad(x, (0, 0, 0, cols - w, 0, rows - h))
        windows = into_windows(x.roll((-self.shift, -self.shift), (2, 3)))  # (B, W, L, C)
        count = windows.shape[:2]
        q, k, v = (
            t.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for t in self.qkv(windows.flatten(0, 1)).chunk(3, -1)
        )  # (B*W, heads, L, C/heads)
        bias = self.bias_table[self.bias_index[: q.shape[2], : q.shape[2]]]  # (L, L, heads)
        bias = bias.permute(2, 0, 1)[None]  # (1, heads, L, L)
        if self.shift:
            walls = borders(frames, rows, cols, self.shift, apart, x.device)  # (W, L, L)
            bias = (bias + walls[:, None]).repeat(count[0], 1, 1, 1)  # (B*W, heads, L, L)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        y = self.project(y.transpose(1, 2).flatten(2)).unflatten(0, count)  # (B, W, L, C)
        return paste(y, frames, rows, cols).roll((self.shift, self.shift), (2, 3))[:, :, :h, :w]


def into_windows(x: Tensor) -> Tensor:
    """(B, F, h, w, C) -> windows (B, h/8 * w/8, F*8*8, C)."""
    x = x.unflatten(3, (-1, WINDOW[2])).unflatten(2, (-1, WINDOW[1]))  # (B, F, m, 8, n, 8, C)
    return x.permute(0, 2, 4, 1, 3, 5, 6).flatten(3, 5).flatten(1, 2)


def paste(windows: Tensor, frames: int, rows: int, cols: int) -> Tensor:
    """Inverse of `into_windows`."""
    m, n = rows // WINDOW[1], cols // WINDOW[2]
    x = windows.unflatten(2, (frames, *WINDOW[1:])).unflatten(1, (m, n))  # (B, m, n, F, 8, 8, C)
    return x.permute(0, 3, 1, 4, 2, 5, 6).flatten(4, 5).flatten(2, 3)


def borders(
    frames: int, rows: int, cols: int, shift: int, apart: bool, device: torch.device
) -> Tensor:
    """-100 between tokens that only the shift has brought together, else 0; (W, L, L)."""

    def regions(length: int) -> Tensor:
        at = torch.arange(length, device=device)
        return (at >= length - WINDOW[1]).long() + (at >= length - shift)

    region = regions(rows)[:, None] * 3 + regions(cols)  # (rows, cols)
    time = torch.arange(frames, device=device) * 9 * apart  # (F,)
    region = time[:, None, None] + region  # (F, rows, cols)
    region = into_windows(region[None, ..., None])[0, :, :, 0]  # (W, L)
    return -100.0 * (region[:, :, None] != region[:, None])


def relative_positions() -> Tensor:
    """Row of the bias table for each pair of tokens of a window, (128, 128).

    The first 64 rows and columns are the pairs within one frame.
    """
    at = torch.cartesian_prod(*(torch.arange(n) for n in WINDOW))  # (128, 3)
    distance = at[:, None] - at[None] + at.new_tensor(WINDOW) - 1  # (128, 128, 3)
    return (distance * at.new_tensor((15 * 15, 15, 1))).sum(-1)
