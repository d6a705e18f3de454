"""The eight ways to mirror and turn a square, for images and for flow.

A turn is a number from 0 to 7: bit 0 mirrors left and right, bit 1 top and bottom, and bit 2 then
swaps the axes.
"""

from __future__ import annotations

from torch import Tensor


def turned(x: Tensor, turn: int) -> Tensor:
    """Mirrors and turns images.

    Args:
        x: (..., H, W).
        turn: 0 to 7.

    Returns:
        (..., H, W), or (..., W, H) for turns from 4 on.
    """
    x = x.flip(-1) if turn & 1 else x
    x = x.flip(-2) if turn & 2 else x
    return x.mT if turn & 4 else x


def turned_flow(flow: Tensor, turn: int) -> Tensor:
    """Flow between turned images.

    Args:
        flow: (..., 2, H, W); channel 0 is x.
        turn: 0 to 7.

    Returns:
        (..., 2, H, W), or (..., 2, W, H) for turns from 4 on.
    """
    signs = flow.new_tensor([-1.0 if turn & 1 else 1.0, -1.0 if turn & 2 else 1.0])
    flow = turned(flow, turn) * signs[:, None, None]
    return flow.flip(-3) if turn & 4 else flow
