"""Blur-aware sparse transformer (BSST): restores blurred windows from sharp frames far away."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.bsstnet.config import BSSTNetConfig
from unblur.models.bsstnet.selection import PATCHES, WINDOW, Selection
from unblur.models.patches import FusionFeedForward, SoftComposition, SoftSplit

MARGIN = 4
"""Tokens around a window that are keys as well: 16 x 16 for a window of 8 x 8."""
POOL = 4
"""Side of the squares that become the coarse keys, common to all windows of a frame."""
VALUES_AT_ONCE = 2**24
"""Numbers of gathered keys that are in memory at the same time (64 MiB in float32)."""


class SparseTransformer(nn.Module):
    """Features to tokens, transformer blocks, and tokens back to features."""

    def __init__(self, config: BSSTNetConfig) -> None:
        super().__init__()
        self.split = SoftSplit(config.channels, config.token_channels, PATCHES)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.token_blocks))
        self.compose = SoftComposition(config.channels, config.token_channels, PATCHES)

    def forward(self, x: Tensor, selections: list[Selection]) -> Tensor:
        """Runs all blocks.

        Args:
            x: (B, T, C, h, w), h and w multiples of 16.
            selections: one for each block.

        Returns:
            (B, T, C, h, w).
        """
        h, w = x.shape[-2:]
        tokens = self.split(x)  # (B, T, h/2, w/2, D)
        for block, selection in zip(self.blocks, selections, strict=True):
            tokens = block(tokens, selection, h, w)
        return self.compose(tokens, h, w)


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each normalised before and added after."""

    def __init__(self, config: BSSTNetConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.token_channels)
        self.attention = SparseAttention(config.token_channels, config.token_heads)
        self.norm2 = nn.LayerNorm(config.token_channels)
        self.mlp = FusionFeedForward(config.token_channels, config.token_hidden, PATCHES)

    def forward(self, x: Tensor, selection: Selection, h: int, w: int) -> Tensor:
        """(B, T, M, N, D) -> (B, T, M, N, D), tokens of features of h x w."""
        x = x + self.attention(self.norm1(x), selection)
        return x + self.mlp(self.norm2(x), h, w)


class SparseAttention(nn.Module):
    """Attention of selected windows across time, and of all other tokens within their window."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.pool = nn.Conv2d(dim, dim, POOL, POOL, groups=dim)
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor, selection: Selection) -> Tensor:
        """Attends.

        Args:
            x: (B, T, M, N, D) normalised tokens, M and N multiples of 8.
            selection: the windows, and the frames in them, that look across time.

        Returns:
            (B, T, M, N, D).
        """
        B, T, M, N, D = x.shape
        coarse = self.pool(x.flatten(0, 1).permute(0, 3, 1, 2))  # (B*T, D, M/4, N/4)
        coarse = coarse.flatten(2).transpose(1, 2).unflatten(0, (B, T))  # (B, T, L, D)
        query = windows_of(self.query(x))  # (B, T, M/8, N/8, D, 8, 8)
        # Tokens outside the image are zero after the bias, and still take part: as trained.
        framed = [F.pad(layer(x), (0, 0, *[MARGIN] * 4)) for layer in (self.key, self.value)]
        around = [windows_of(t, MARGIN) for t in framed]  # (B, T, M/8, N/8, D, 16, 16)
        own = [windows_of(t[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]) for t in framed]
        pooled = self.key(coarse), self.value(coarse)
        out = torch.empty_like(query, memory_format=torch.contiguous_format)

        for at, query_frames, key_frames in jobs_across_time(selection, D, pooled[0].shape[2]):
            q = gather(query, at, query_frames)  # (n, Kq*64, D)
            k, v = (
                torch.cat((gather(near, at, key_frames), gather_coarse(far, at, key_frames)), 1)
                for near, far in zip(around, pooled, strict=True)
            )  # (n, Kk*(256+L), D)
            out = self._attend(out, at, query_frames, q, k, v)
        for at, frames in jobs_within(selection, T, D):
            q, k, v = (gather(t, at, frames) for t in (query, *own))  # (n, F*64, D)
            out = self._attend(out, at, frames, q, k, v)
        return self.project(out.permute(0, 1, 2, 5, 3, 6, 4).reshape(B, T, M, N, D))

    def _attend(
        self, out: Tensor, at: Tensor, frames: Tensor, q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        """Writes the answers to `q` (n, L, D) into the windows they belong to."""
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v)  # (n, heads, L, D/heads)
        y = y.transpose(1, 2).flatten(2).reshape(*frames.shape, WINDOW, WINDOW, -1)
        out[index(at, frames)] = y.permute(0, 1, 4, 2, 3).to(out.dtype)  # (n, F, D, 8, 8)
        return out


def windows_of(x: Tensor, margin: int = 0) -> Tensor:
    """Cuts (B, T, M, N, D) into windows (B, T, M/8, N/8, D, side, side), a view.

    With a margin the windows are larger by it on each side, and so must `x` be.
    """
    side = WINDOW + 2 * margin
    return x.unfold(2, side, WINDOW).unfold(3, side, WINDOW)


def index(at: Tensor, frames: Tensor) -> tuple[Tensor, ...]:
    """Index of frames (n, F) of windows `at` (n, 3), each (batch, row, column)."""
    sample, row, col = at[:, :, None].unbind(1)  # (n, 1) each
    return sample, frames, row, col


def gather(windows: Tensor, at: Tensor, frames: Tensor) -> Tensor:
    """Tokens of some frames of some windows, (n, F*side*side, D)."""
    return windows[index(at, frames)].permute(0, 1, 3, 4, 2).flatten(1, 3)


def gather_coarse(coarse: Tensor, at: Tensor, frames: Tensor) -> Tensor:
    """Coarse tokens of whole frames, (n, F*L, D)."""
    return coarse[at[:, :1], frames].flatten(1, 2)


def jobs_across_time(
    selection: Selection, dim: int, coarse: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Selected windows, as many at a time as memory allows.

    Yields:
        Windows (n, 3) as (batch, row, column), their query frames (n, Kq) and key frames (n, Kk).
    """
    at = selection.windows.nonzero()  # (S, 3)
    sample, row, col = at.unbind(1)
    queries, keys = (f[sample, :, row, col] for f in (selection.queries, selection.keys))
    per_window = keys.shape[1] * ((WINDOW + 2 * MARGIN) ** 2 + coarse) * dim
    count = max(1, VALUES_AT_ONCE // per_window)
    if len(at):
        yield from zip(at.split(count), queries.split(count), keys.split(count), strict=True)


def jobs_within(selection: Selection, length: int, dim: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All frames that look nowhere else, in groups of a quarter of the clip within one window.

    A quarter is rounded down, as the released code does; the last group of a window may be shorter.

    Yields:
        Windows (n, 3) as (batch, row, column) and their frames (n, F).
    """
    group = max(1, length // 4)
    batch, rows, cols = selection.windows.shape
    device = selection.windows.device
    frames = torch.arange(length, device=device)
    asks = torch.zeros(batch, length, rows, cols, dtype=torch.bool, device=device)
    asks.scatter_(1, selection.queries, selection.windows[:, None].expand_as(selection.queries))
    for chosen in (True, False):  # selected windows have fewer frames left than the others
        at = (selection.windows == chosen).nonzero()
        if not len(at):
            continue
        sample, row, col = at.unbind(1)
        left = ~asks[sample, :, row, col]  # (n, T), the same number of frames in each row
        rest = frames.expand(len(at), -1)[left].reshape(len(at), -1)  # (n, R)
        for part in rest.split(group, 1) if rest.shape[1] else ():
            count = max(1, VALUES_AT_ONCE // (part.shape[1] * WINDOW**2 * dim))
            yield from zip(at.split(count), part.split(count), strict=True)
