"""How much a network would change a piece of a frame: the surest sign of blur.

A restorer leaves what is sharp nearly as it is, and adds detail to what is blurred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unblur.restorers.base import Restorer

STILL = 1e-8
"""Mean squared change that counts as none."""


def change(
    restorer: Restorer, pieces: Sequence[Tensor], tick: Callable[[], None] = lambda: None
) -> float:
    """PSNR in dB between pieces and what a restorer makes of them; the lower, the more is changed.

    Args:
        restorer: for encoded RGB; it sees each piece by itself.
        pieces: (3, h, w) encoded RGB in [0, 1] each.
        tick: called after each.
    """
    squares = []
    with torch.inference_mode():
        for piece in pieces:
            given = piece[None].float()
            after = restorer.run(given, restorer.guide(given), [0]).float().clamp(0, 1)
            squares.append((after - given).square().mean())
            tick()
    return float(-10 * torch.stack(squares).mean().clamp_min(STILL).log10())
