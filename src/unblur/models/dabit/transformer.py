"""Map-guided sparse transformer: blurred windows look across frames, sharp ones at themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.dabit.config import DabitConfig
from unblur.models.patches import FusionFeedForward, Patches, SoftComposition, SoftSplit
from unblur.ops.pad import padded_length

PATCHES = Patches(side=7, stride=3)
"""The patches that become tokens, in elements of the features."""
WINDOW = (5, 9)
"""Rows and columns of a window, in tokens."""
SURROUND = (3, 5)
"""Rows and columns around a window whose tokens are keys too."""
POOL = 4
"""Side of the squares that become the coarse keys, common to all windows of a frame."""
VALUES_AT_ONCE = 2**24
"""Numbers of gathered keys that are in memory at the same time (64 MiB in float32)."""


class Windows(NamedTuple):
    """How a grid of tokens is cut into W windows, and which of them look across frames."""

    own: Tensor
    """(W, 45) tokens of each window: positions in the flattened grid."""
    around: Tensor
    """(W, 193) those and their neighbours."""
    blurred: Tensor
    """(B, W) bool."""


class SparseTransformer(nn.Module):
    """Features to tokens, transformer blocks, and tokens back to features."""

    def __init__(self, config: DabitConfig) -> None:
        super().__init__()
        self.threshold = config.threshold
        self.stride = config.temporal_stride
        self.split = SoftSplit(config.channels, config.token_channels, PATCHES)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.token_blocks))
        self.compose = SoftComposition(config.channels, config.token_channels, PATCHES)

    def forward(self, x: Tensor, blur: Tensor, outputs: int) -> Tensor:
        """Runs all blocks.

        Args:
            x: (B, T, C, h, w).
            blur: (B, T, 1, h, w) blur map, 0 = sharp.
            outputs: number of frames, from the first, that are wanted.

        Returns:
            (B, outputs, C, h, w).
        """
        h, w = x.shape[-2:]
        windows = find_windows(blur, self.threshold)
        tokens = self.split(x)  # (B, T, M, N, D)
        length = tokens.shape[1]
        for i, block in enumerate(self.blocks):
            first = min(i % self.stride, length - 1)
            key_frames = range(first, length, self.stride)
            # the last block's result for the other frames is not used
            wanted = outputs if i == len(self.blocks) - 1 else length
            tokens = block(tokens, windows, key_frames, wanted, h, w)
        return self.compose(tokens[:, :outputs], h, w)


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each normalised before and added after."""

    def __init__(self, config: DabitConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.token_channels)
        self.attention = SparseAttention(config.token_channels, config.token_heads)
        self.norm2 = nn.LayerNorm(config.token_channels)
        self.mlp = FusionFeedForward(config.token_channels, config.token_hidden, PATCHES)

    def forward(
        self, x: Tensor, windows: Windows, key_frames: range, wanted: int, h: int, w: int
    ) -> Tensor:
        """(B, T, M, N, D) -> (B, wanted, M, N, D), tokens of features of h x w."""
        x = x[:, :wanted] + self.attention(self.norm1(x), windows, key_frames, wanted)
        return x + self.mlp(self.norm2(x), h, w)


class SparseAttention(nn.Module):
    """Attention of blurred windows across frames, and of the others within their own frame."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.pool = nn.Conv2d(dim, dim, POOL, POOL, groups=dim)
        nn.init.constant_(self.pool.weight, 1 / POOL**2)
        nn.init.zeros_(self.pool.bias)  # type: ignore[arg-type]
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor, windows: Windows, key_frames: range, wanted: int) -> Tensor:
        """Attends.

        Args:
            x: (B, T, M, N, D) normalised tokens.
            windows: how they are cut.
            key_frames: the frames whose tokens are keys of blurred windows.
            wanted: number of frames, from the first, that ask.

        Returns:
            (B, wanted, M, N, D).
        """
        M, N, D = x.shape[2:]
        rows, cols = padded_grid(M, N)
        x = F.pad(x, (0, 0, 0, cols - N, 0, rows - M))  # zeros, which become keys as well
        frames = slice(key_frames.start, None, key_frames.step)
        tokens = x.flatten(2, 3)  # (B, T, L, D)
        coarse = self._pool(x[:, frames])  # (B, t, P, D)
        query, key, value = self.query(tokens[:, :wanted]), self.key(tokens), self.value(tokens)
        coarse_key, coarse_value = self.key(coarse), self.value(coarse)
        out = torch.empty_like(query)  # (B, wanted, L, D)

        keys = len(key_frames) * (windows.around.shape[1] + coarse.shape[2])
        for batch, window in jobs(windows.blurred, keys * D):
            own, around = windows.own[window], windows.around[window]  # (n, 45), (n, 193)
            q = gather(query, batch, own).flatten(1, 2)  # (n, wanted * 45, D)
            k, v = (
                torch.cat((gather(fine[:, frames], batch, around), far[batch]), 2).flatten(1, 2)
                for fine, far in ((key, coarse_key), (value, coarse_value))
            )  # (n, t * (193 + P), D)
            y = self._attend(q, k, v).unflatten(1, (wanted, -1))
            out[place(batch, wanted, own)] = y.to(out.dtype)
        for batch, window in jobs(~windows.blurred, wanted * windows.own.shape[1] * D):
            own = windows.own[window]
            q, k, v = (
                gather(x[:, :wanted], batch, own).flatten(0, 1) for x in (query, key, value)
            )  # (n * wanted, 45, D)
            y = self._attend(q, k, v).unflatten(0, (-1, wanted))
            out[place(batch, wanted, own)] = y.to(out.dtype)
        return self.project(out.unflatten(2, (rows, cols))[:, :, :M, :N])

    def _pool(self, x: Tensor) -> Tensor:
        """(B, t, M, N, D) -> (B, t, P, D)."""
        y = self.pool(x.flatten(0, 1).permute(0, 3, 1, 2))  # (B*t, D, M/4, N/4)
        return y.flatten(2).transpose(1, 2).unflatten(0, x.shape[:2])

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(n, Q, D), (n, K, D), (n, K, D) -> (n, Q, D)."""
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def padded_grid(rows: int, cols: int) -> tuple[int, int]:
    """Size of a grid of tokens that whole windows cover."""
    return padded_length(rows, WINDOW[0]), padded_length(cols, WINDOW[1])


def find_windows(blur: Tensor, threshold: float) -> Windows:
    """Cuts frames into windows, and finds the blurred ones.

    Args:
        blur: (B, T, 1, h, w), 0 = sharp.
        threshold: a window with more blur than this anywhere, in any frame, is a blurred one.
    """
    batch, length, _, h, w = blur.shape
    rows, cols = padded_grid(PATCHES.count(h), PATCHES.count(w))
    own, around = token_tables(rows, cols)
    most = F.max_pool2d(
        blur.flatten(0, 1), PATCHES.side, PATCHES.stride, PATCHES.side // 2
    )  # (B*T, 1, M, N)
    most = F.pad(most, (0, cols - most.shape[-1], 0, rows - most.shape[-2]))
    most = F.max_pool2d(most, WINDOW).view(batch, length, -1)  # (B, T, W)
    device = blur.device
    return Windows(own.to(device), around.to(device), (most > threshold).any(1))


def token_tables(rows: int, cols: int) -> tuple[Tensor, Tensor]:
    """Tokens of each window, and those with their neighbours; the grid is a ring both ways.

    The published network takes the neighbours as four copies of the grid, moved diagonally by
    `SURROUND` and cut into windows. That leaves a cross out: the middle row and the middle column
    of the window, outside of it.

    Returns:
        (W, 45) and (W, 193) positions in the flattened grid.
    """
    (high, wide), (up, left) = WINDOW, SURROUND
    dy = torch.arange(-up, high + up)[:, None].expand(-1, wide + 2 * left)
    dx = torch.arange(-left, wide + left)[None].expand(high + 2 * up, -1)
    inside = (dy >= 0) & (dy < high) & (dx >= 0) & (dx < wide)
    cross = (dy == high // 2) | (dx == wide // 2)
    top = torch.arange(0, rows, high).repeat_interleave(cols // wide)[:, None]  # (W, 1)
    start = torch.arange(0, cols, wide).repeat(rows // high)[:, None]

    def positions(chosen: Tensor) -> Tensor:
        return (top + dy[chosen]) % rows * cols + (start + dx[chosen]) % cols

    return positions(inside), positions(inside | ~cross)


def jobs(chosen: Tensor, values: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Chosen windows (B, W), as many at a time as memory allows.

    Args:
        chosen: (B, W) bool.
        values: numbers that a window gathers.

    Yields:
        Batch elements (n,) and windows (n,).
    """
    count = max(1, VALUES_AT_ONCE // values)
    for at in chosen.nonzero().split(count):  # a split of nothing is one empty part
        if len(at):
            yield at[:, 0], at[:, 1]


def place(batch: Tensor, frames: int, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Index of tokens (n, K) in each of the first frames of batch elements (n,)."""
    return batch[:, None, None], torch.arange(frames, device=batch.device)[:, None], tokens[:, None]


def gather(x: Tensor, batch: Tensor, tokens: Tensor) -> Tensor:
    """Tokens (n, K) of all frames of `x` (B, T, L, D) -> (n, T, K, D)."""
    return x[place(batch, x.shape[1], tokens)]
