"""Optical flow corrected where a lens has blurred: `flow-refocus-s`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import weights
from unblur.models import fit
from unblur.models.flow_refocus import SMALL, FlowRefocus
from unblur.ops.pad import crop_from
from unblur.ops.resize import enlarge_flow

REFOCUS_S_WEIGHTS = "flow-refocus-s"
RADIUS = 1.0
"""Radius of the circle of confusion, in pixels, above which flow is corrected."""


def load_refocus_s(
    device: torch.device | str = "cpu", path: str | Path | None = None
) -> FlowRefocus:
    """The network with the weights that ship, or with those of a file; recurrent if they are."""
    path = path or weights.require(REFOCUS_S_WEIGHTS, "they come with unblur: install it again")
    state = weights.load(path)
    config = replace(SMALL, recurrent=any(name.startswith("propagate.") for name in state))
    return fit(FlowRefocus(config), state, str(path)).to(device)


def refocused(
    net: FlowRefocus,
    frames: Tensor,  # (T, 3, H, W)
    flow_forward: Tensor,  # (T-1, 2, h, w)
    flow_backward: Tensor,  # (T-1, 2, h, w)
    blurred: Tensor,  # (T, 1, H, W)
    threshold: float = RADIUS,
    stride: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Corrects the flows of a clip where it is blurred.

    Args:
        net: on the device of the frames.
        frames: encoded RGB in [0, 1], any T, H, W from 1 up.
        flow_forward: of ceil(H / s) x ceil(W / s) elements and in units of them, for a stride s, as
            `dis_flow` and `flow_s` make it. Lives on frame t, points to t + 1.
        flow_backward: alike; lives on frame t + 1, points to t.
        blurred: radius of the circle of confusion in pixels, as `coc.coc_radius` finds it. Of a
            mask or a blur map say from which value on it counts.
        threshold: above it a pixel is blurred.
        stride: s, where it is not the network's own (4 of `flow-refocus-s`) but 1.

    Returns:
        Both, float32; as given at elements without any blurred pixel.
    """
    own = net.config.stride
    if stride in (None, own):
        mask = mask_for(blurred[None], threshold, own)
        flows = flow_forward.float()[None], flow_backward.float()[None]
        with torch.no_grad(), torch.autocast(frames.device.type, enabled=False):
            forward, backward = net(*flows, frames.float()[None], mask)
        return forward[0], backward[0]
    if stride != 1:
        raise ValueError(f"flows of stride {stride}: the network takes 1 or {own}")
    if len(frames) == 1:
        return flow_forward, flow_backward
    # What the network changes at its own size is put on top of what was given.
    large = flow_forward.float(), flow_backward.float()
    small = [F.avg_pool2d(flow, own, ceil_mode=True) / own for flow in large]
    changed = refocused(net, frames, small[0], small[1], blurred, threshold)
    mask = mask_for(blurred[None], threshold, 1)[0]  # (T, 1, H, W)
    forward, backward = (
        flow + crop_from(enlarge_flow(new - old, own), *flow.shape[-2:]) * where
        for flow, new, old, where in zip(large, changed, small, (mask[:-1], mask[1:]), strict=True)
    )
    return forward, backward


def mask_for(blurred: Tensor, threshold: float, stride: int) -> Tensor:
    """1 at elements that hold a pixel above the threshold, else 0.

    Args:
        blurred: (B, T, 1, H, W).
        threshold: of its values.
        stride: pixels per element.

    Returns:
        (B, T, 1, ceil(H / stride), ceil(W / stride)) float32.
    """
    most = F.max_pool2d(blurred.float().flatten(0, 1), stride, ceil_mode=True)
    return (most > threshold).float().unflatten(0, blurred.shape[:2])
