"""Traces of lossy compression.

`compress` is a stand-in for a video codec on whatever device the frames are: each frame goes
through what codecs share, 4:2:0 chroma, an 8 x 8 cosine transform and quantisation (JPEG, ITU-T
T.81, annexes A and K). `compress_video` adds what a video codec does over time: it codes how a
frame differs from the one before, and copies blocks that differ little.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8
COPIED = 16
"""Side of the blocks that `compress_video` copies."""
SKIP = 1.5
"""Mean difference, of 255 and times the scale of the quantiser, below which a block is copied."""
# Annex K.1 and K.2, halfway to what a video codec does: quantisation that grows with frequency.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""


def compress(frames: Tensor, quality: Tensor) -> Tensor:
    """Frames after a round trip through block quantisation.

    Args:
        frames: (B, T, 3, H, W) encoded RGB in [0, 1].
        quality: (B,) 1 to 100 on JPEG's scale; 0 leaves a clip as it is.

    Returns:
        (B, T, 3, H, W) in [0, 1].
    """
    chosen = (quality > 0).nonzero()[:, 0]
    if len(chosen) == 0:
        return frames
    some = frames[chosen]
    B, T, _, H, W = some.shape
    step = scale(quality[chosen]).repeat_interleave(T)  # (B T,)
    rgb = F.pad(some.flatten(0, 1), (0, -W % 16, 0, -H % 16), mode="replicate")
    y, cb, cr = to_ycbcr(rgb).unbind(1)
    y = quantise(y, table(_LUMA, step))
    small = F.avg_pool2d(torch.stack((cb, cr), 1), 2)  # (B T, 2, H / 2, W / 2)
    chroma = table(_CHROMA, step)
    small = torch.stack([quantise(c, chroma) for c in small.unbind(1)], 1)
    large = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    decoded = to_rgb(torch.cat((y[:, None], large), 1))[..., :H, :W].clamp(0, 1)
    out = frames.clone()
    out[chosen] = decoded.view(B, T, 3, H, W)
    return out


def compress_video(frames: Tensor, quality: Tensor) -> Tensor:
    """As `compress`, with every frame but the first predicted by the decoded frame before it.

    Blocks of 16 x 16 that differ by less than the quantiser's steps are copied, so that fine
    texture stands still, then jumps; errors are carried on, as in a group of predicted frames.

    Args:
        frames: (B, T, 3, H, W) encoded RGB in [0, 1].
        quality: (B,) 1 to 100 on JPEG's scale; 0 leaves a clip as it is.

    Returns:
        (B, T, 3, H, W) in [0, 1].
    """
    H, W = frames.shape[-2:]
    steps = scale(quality.clamp_min(1))[:, None, None, None] * SKIP / 255  # (B, 1, 1, 1)
    decoded = [compress(frames[:, :1], quality)[:, 0]]
    for frame in frames[:, 1:].unbind(1):
        residual = frame - decoded[-1]  # (B, 3, H, W) in [-1, 1]
        shifted = (residual / 2 + 0.5).clamp(0, 1)
        coded = 2 * compress(shifted[:, None], quality)[:, 0] - 1
        size = F.avg_pool2d(residual.abs().mean(1, keepdim=True), COPIED, ceil_mode=True)
        sent = F.interpolate((size > steps).to(frame), scale_factor=COPIED)[..., :H, :W]
        decoded.append((decoded[-1] + coded * sent).clamp(0, 1))
    out = torch.stack(decoded, 1)
    return torch.where((quality > 0)[:, None, None, None, None], out, frames)


def scale(quality: Tensor) -> Tensor:
    """Factor on the tables, as the usual JPEG library has it."""
    q = quality.clamp(1, 100)
    return torch.where(q < 50, 50 / q, 2 - q / 50)


def table(numbers: str, step: Tensor) -> Tensor:
    """(M, 8, 8) widths of the quantiser, in units of a signal from 0 to 1."""
    base = torch.tensor([float(n) for n in numbers.split()], device=step.device)
    return (base.view(BLOCK, BLOCK) * step[:, None, None]).clamp(1, 255) / 255


def quantise(plane: Tensor, width: Tensor) -> Tensor:
    """Rounds the cosine coefficients of each block; plane (M, H, W), width (M, 8, 8)."""
    M, H, W = plane.shape
    dct = cosines(plane.device)
    blocks = plane.view(M, H // BLOCK, BLOCK, W // BLOCK, BLOCK).transpose(2, 3) - 0.5
    step = width[:, None, None]
    coefficients = ((dct @ blocks @ dct.T) / step).round() * step
    back = dct.T @ coefficients @ dct
    return back.transpose(2, 3).reshape(M, H, W) + 0.5


def cosines(device: torch.device) -> Tensor:
    """The orthonormal DCT-II, (8, 8)."""
    k = torch.arange(BLOCK, device=device, dtype=torch.float32)
    m = torch.cos(math.pi / BLOCK * (k + 0.5) * k[:, None]) * math.sqrt(2 / BLOCK)
    m[0] /= math.sqrt(2)
    return m


def to_ycbcr(rgb: Tensor) -> Tensor:
    """BT.601 luma and colour differences around 0.5; (M, 3, H, W)."""
    r, g, b = rgb.unbind(1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return torch.stack((y, 0.5 + (b - y) / 1.772, 0.5 + (r - y) / 1.402), 1)


def to_rgb(ycbcr: Tensor) -> Tensor:
    """Inverse of `to_ycbcr`."""
    y, cb, cr = ycbcr.unbind(1)
    r, b = y + 1.402 * (cr - 0.5), y + 1.772 * (cb - 0.5)
    return torch.stack((r, (y - 0.299 * r - 0.114 * b) / 0.587, b), 1)
