"""Images of a validation: rows of clips, columns of input, output and truth."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor


def write_grid(path: Path, rows: Sequence[Sequence[Tensor]]) -> None:
    """Writes images `(3, H, W)` of one size in [0, 1] as a PNG, `rows[y][x]` at (x, y)."""
    whole = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    pixels = (whole.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(pixels))


def png(pixels: Tensor) -> bytes:
    """A PNG of (H, W, 3) bytes on the CPU: machines that train may lack OpenCV."""
    height, width = pixels.shape[:2]
    lines = torch.cat((torch.zeros(height, 1, dtype=torch.uint8), pixels.flatten(1)), 1)  # filter 0
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.numpy().tobytes())),
        (b"IEND", b""),
    )
    blocks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(blocks)
