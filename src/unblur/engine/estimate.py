"""How long a job will take, from a small piece of it."""

from __future__ import annotations

import time

import torch

from unblur.restorers.base import Restorer

SIDE = 256
"""Of the piece, in pixels."""
NEIGHBOURS = 2
"""Frames on either side of the one that is restored, for a network that sees any."""


def seconds_per_frame(restorer: Restorer, height: int, width: int) -> float:
    """Seconds that the network takes for a frame, guidance included, on its device, here and now.

    A piece of noise is restored twice; the second time counts, and is scaled up by area. Reading
    and writing go on beside the network and are left out.

    Args:
        restorer: the network.
        height: of the frames of the job, in pixels.
        width: of the frames of the job, in pixels.
    """
    piece = (min(SIDE, height), min(SIDE, width))
    frames = 1 if restorer.info.window == 1 else 2 * NEIGHBOURS + 1
    noise = torch.rand(frames, 3, *piece, generator=torch.Generator().manual_seed(0))
    took = 0.0
    with torch.inference_mode():
        for _ in range(2):
            began = time.perf_counter()
            guidance = restorer.guide(noise)
            guided = time.perf_counter()
            restorer.run(noise, guidance, [frames // 2])
            took = (guided - began) / frames + time.perf_counter() - guided
    return took * height * width / (piece[0] * piece[1])
