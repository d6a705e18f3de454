"""How long a job will take, from a small piece of it."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from unblur.engine.fusion import Fusion, fuse
from unblur.restorers.base import Restorer

SIDE = 256
"""Of the piece, in pixels."""
NEIGHBOURS = 2
"""Frames on either side of the one that is restored, for a network that sees any."""


SMALL_SIDE = 128
"""Of the piece for a short job, which is not worth a longer trial."""
SHORT = 25
"""Pieces of `SIDE` that a job holds at least, to be called long."""


def side_for(frames: int, height: int, width: int) -> int | None:
    """Side of the piece to try a job of that size with; None where a trial costs too much of it."""
    pixels = frames * height * width
    if pixels >= SHORT * SIDE**2:
        return SIDE
    return SMALL_SIDE if pixels >= SHORT * SMALL_SIDE**2 else None


class Cost(NamedTuple):
    """Seconds that a frame takes."""

    guide: float = 0.0
    run: float = 0.0
    fuse: float = 0.0

    @property
    def guided(self) -> float:
        """Share of the guidance in what happens before frames are fused."""
        return self.guide / (self.guide + self.run) if self.guide else 0.0

    @property
    def fused(self) -> float:
        """Share of the fusion."""
        return self.fuse / sum(self) if self.fuse else 0.0


def cost_per_frame(
    restorer: Restorer, height: int, width: int, side: int = SIDE, fusion: Fusion | None = None
) -> Cost:
    """Seconds that guidance, network and fusion take for a frame, on their device, here and now.

    A piece of noise is restored, after a small one that does not count, and its time scaled up by
    area: small pieces take more for each of their pixels. Fusion takes as much for pixels of small
    ones. Reading and writing go on beside the network and are left out.

    Args:
        restorer: the network.
        height: of the frames of the job, in pixels.
        width: of the frames of the job, in pixels.
        side: of the piece, in pixels.
        fusion: of the restored frames, if there is one.
    """
    frames = 1 if restorer.info.window == 1 else 2 * NEIGHBOURS + 1
    generator = torch.Generator().manual_seed(0)
    cost = Cost(0, 0)
    with torch.inference_mode():
        for length in (min(side, SMALL_SIDE), side):
            piece = (min(length, height), min(length, width))
            noise = torch.rand(frames, 3, *piece, generator=generator)
            grow = height * width / (piece[0] * piece[1])
            began = time.perf_counter()
            guidance = restorer.guide(noise)
            guided = time.perf_counter()
            restorer.run(noise, guidance, [frames // 2])
            ended = time.perf_counter()
            cost = Cost(grow * (guided - began) / frames, grow * (ended - guided))
        if fusion is None:
            return cost
        scale = restorer.info.scale
        noise = noise[..., :SMALL_SIDE, :SMALL_SIDE]
        grow = height * width / noise[0, 0].numel()
        restored = noise[:1].repeat_interleave(scale, -1).repeat_interleave(scale, -2)[0]
        count = 2 * fusion.reach + 2
        began = time.perf_counter()
        before = 0.9 * restored  # what was not changed would not be fused
        for _ in fuse(((None, before, restored) for _ in range(count)), fusion):
            pass
        return cost._replace(fuse=grow * (time.perf_counter() - began) / count)
