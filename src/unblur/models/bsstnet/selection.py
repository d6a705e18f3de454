"""Which tokens attend to which: the blur-aware sparsity of BSSTNet, in time and in space.

A window is 8 x 8 tokens (64 x 64 pixels). In windows that are blurred somewhere in time, the most
blurred frames ask (queries) and the sharpest frames answer (keys); all other tokens attend within
their own window only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.models.bsstnet.config import SelectionMode
from unblur.models.patches import Patches

PATCHES = Patches(side=5, stride=2)
"""Side and distance of the patches that become tokens, in elements of the blur map."""
WINDOW = 8
"""Side of a window in tokens."""


class Selection(NamedTuple):
    """What one transformer block attends to. Frames are in ascending order."""

    windows: Tensor
    """(B, Wy, Wx) bool: windows whose blurred frames look elsewhere in time."""
    queries: Tensor
    """(B, Kq, Wy, Wx) frames whose tokens are queries, in the windows above."""
    keys: Tensor
    """(B, Kk, Wy, Wx) frames whose tokens are keys."""


def select(
    blur: Tensor,
    mode: SelectionMode,
    blocks: int,
    keep: float = 0.25,
    threshold: float = 0.3,
    generator: torch.Generator | None = None,
) -> list[Selection]:
    """Selections of all transformer blocks.

    Args:
        blur: (B, T, 1, h, w), 0 sharp to 1 blurred; h and w are multiples of 16.
        mode: `official` as the released code computes, `paper` as the paper says, `random` for
            frames drawn by lot in the windows of `paper` (Table 7), `dense` for everything (the
            paper's SST, which BSST is compared with).
        blocks: number of transformer blocks.
        keep: share of the frames that are queries, and keys, in a selected window; 1 takes all.
        threshold: blur from which a window is selected.
        generator: on the CPU, draws the lots of `random`.

    Returns:
        One selection for each block.
    """
    if mode == "dense":
        return [select_all(window_blur(blur, "mean"))] * blocks
    if mode == "official":
        return select_official(window_blur(blur, "mean"), blocks, keep, threshold)
    u = window_blur(blur, "max")
    if mode == "random":
        return select_random(u, blocks, keep, threshold, generator)
    return select_paper(u, blocks, keep, threshold)


def window_blur(blur: Tensor, pooling: str) -> Tensor:
    """Blur of each window: the mean over the patch of each token, pooled over the window's tokens.

    Args:
        blur: (B, T, 1, h, w).
        pooling: of the tokens: `mean` (released code, where zeros around the map count at its
            borders) or `max` (paper; there they do not).

    Returns:
        (B, T, h / 16, w / 16).
    """
    x = blur.flatten(0, 1)  # (B*T, 1, h, w)
    pool = F.avg_pool2d if pooling == "mean" else F.max_pool2d
    patch = PATCHES.side, PATCHES.stride, PATCHES.side // 2
    tokens = F.avg_pool2d(x, *patch, count_include_pad=pooling == "mean")  # (B*T, 1, h/2, w/2)
    return pool(tokens, WINDOW, WINDOW).reshape(*blur.shape[:2], *[n // 16 for n in blur.shape[3:]])


def select_official(u: Tensor, blocks: int, keep: float, threshold: float) -> list[Selection]:
    """The frames the released code takes, for ties in frame order.

    Blocks use even and odd frames in turn. The code clears the scores of the other frames in the
    very tensor that the later blocks rank, so nothing is left of them after the first block: there
    queries are the K blurriest even frames and keys the K sharpest even ones, but from the second
    block on every score is a tie, and queries are always the first K frames, keys the first K of
    the block's parity. Which windows are selected is decided before that, and stays blur-aware.

    Args:
        u: (B, T, Wy, Wx) blur of each window.
        blocks: number of transformer blocks.
        keep: share of the frames to take.
        threshold: windows above it in any frame of the block's parity are selected.
    """
    blurred = u > threshold
    scores = u.clone()
    frames = torch.arange(u.shape[1], device=u.device)
    count = frames_kept(u.shape[1], keep)
    selections = []
    for block in range(blocks):
        mine = (frames % 2 == block % 2)[:, None, None]  # (T, 1, 1)
        scores = scores * mine  # never restored: see above
        sharpness = (1 - scores) * mine
        selections.append(
            Selection(
                windows=(blurred & mine).any(1),
                queries=top_frames(scores, count),
                keys=top_frames(sharpness, count),
            )
        )
    return selections


def select_paper(u: Tensor, blocks: int, keep: float, threshold: float) -> list[Selection]:
    """The frames the paper describes (section 3.3).

    A window is selected in every block if it is blurred in any frame. Queries are its K most
    blurred frames; keys are its K sharpest frames of one parity, even frames in the first block,
    odd ones in the second, and so on. Where K exceeds a parity the other one fills up.

    Args:
        u: (B, T, Wy, Wx) blur of each window.
        blocks: number of transformer blocks.
        keep: share of the frames to take; the paper takes half.
        threshold: windows that reach it in any frame are selected.
    """
    frames = torch.arange(u.shape[1], device=u.device)
    count = frames_kept(u.shape[1], keep)
    windows = (u >= threshold).any(1)
    queries = top_frames(u, count)
    selections = []
    for block in range(blocks):
        mine = (frames % 2 == block % 2)[:, None, None]
        keys = top_frames(torch.where(mine, 1 - u, -u), count)
        selections.append(Selection(windows, queries, keys))
    return selections


def select_random(
    u: Tensor, blocks: int, keep: float, threshold: float, generator: torch.Generator | None
) -> list[Selection]:
    """As `select_paper`, but its frames are drawn by lot: what blur is worth as a guide (Table 7).

    Args:
        u: (B, T, Wy, Wx) blur of each window.
        blocks: number of transformer blocks.
        keep: share of the frames to take.
        threshold: windows that reach it in any frame are selected.
        generator: on the CPU.
    """
    count = frames_kept(u.shape[1], keep)
    windows = (u >= threshold).any(1)

    def drawn() -> Tensor:
        return top_frames(torch.rand(u.shape, generator=generator).to(u.device), count)

    return [Selection(windows, drawn(), drawn()) for _ in range(blocks)]


def select_all(u: Tensor) -> Selection:
    """Every frame of every window, as query and as key."""
    frames = torch.arange(u.shape[1], device=u.device)[None, :, None, None].expand(u.shape)
    return Selection(torch.ones_like(u[:, 0], dtype=torch.bool), frames, frames)


def frames_kept(length: int, keep: float) -> int:
    """K: the share `keep` of `length` frames, at least one."""
    return max(1, int(length * keep))


def top_frames(scores: Tensor, count: int) -> Tensor:
    """Frames of the highest scores, the earlier of equals first, then sorted by time.

    Args:
        scores: (B, T, Wy, Wx).
        count: how many to take.

    Returns:
        (B, count, Wy, Wx) frame indices, ascending along the second axis.
    """
    order = scores.sort(dim=1, descending=True, stable=True).indices
    return order[:, :count].sort(dim=1).values
