"""By how much what a network makes of a pixel is trusted, from how coarsely it was encoded.

Where an encoder left next to nothing, a network sharpens what the encoder drew.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor

BLOCK = 16
"""Pixels along each side that have one quantizer."""
FINE, COARSE = 40.0, 48.0
"""Quantizers of H.264 up to which all is trusted, and from which on least is."""
LEAST = 0.4
"""Best part of the change by least squares in blocks of COARSE and more: `benchmarks/trust.py`."""


@runtime_checkable
class Encoded(Protocol):
    """A frame that may know how it was encoded."""

    def quantizers(self) -> Tensor | None:
        """(ceil(H/16), ceil(W/16)) of H.264, 0 to 51; None where they are not known."""
        ...


def trust(quantizers: Tensor, height: int, width: int) -> Tensor | None:
    """How much of a change to take, for each pixel.

    Args:
        quantizers: (ceil(H/16), ceil(W/16)), 0 to 51.
        height: H in pixels.
        width: W in pixels.

    Returns:
        (1, H, W), `LEAST` to 1, smooth across blocks; None where all is trusted.
    """
    coarse = ((quantizers - FINE) / (COARSE - FINE)).clamp(0, 1)
    if not coarse.any():
        return None
    blocks = F.pad((1 - (1 - LEAST) * coarse)[None, None], (1, 1, 1, 1), mode="replicate")
    smooth = F.avg_pool2d(blocks, 3, 1)  # (1, 1, h, w)
    whole = F.interpolate(smooth, scale_factor=BLOCK, mode="bilinear")
    return whole[0, :, :height, :width]
