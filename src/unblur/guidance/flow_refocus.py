"""Optical flow corrected where a lens has blurred: `flow-refocus-m` and `flow-refocus-s`."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import weights
from unblur.models import load_state
from unblur.models.flow_refocus import OFFICIAL, FlowRefocus, FlowRefocusConfig, small_config
from unblur.ops.pad import crop_from
from unblur.ops.resize import enlarge_flow
from unblur.weights.switches import read_switches

FLOW_REFOCUS_S_WEIGHTS = "flow-refocus-s"
FLOW_REFOCUS_M_WEIGHTS = "flow-refocus-m"
FLOW_REFOCUS_WEIGHTS = "flow-refocus"
RADIUS = 1.0
"""Radius of the circle of confusion, in pixels, above which flow is corrected."""


def load_flow_refocus_s(
    device: torch.device | str = "cpu", path: str | Path | None = None
) -> FlowRefocus:
    """What chooses among flows near by, or the network of a file, as that was trained.

    Args:
        device: to run on.
        path: of weights of the network `SMALL`, with or without its recurrent part.
    """
    return _load(FLOW_REFOCUS_S_WEIGHTS, device, path)


def load_flow_refocus_m(device: torch.device | str = "cpu") -> FlowRefocus:
    """The recurrent network before it as well: closer to the truth, and slower."""
    return _load(FLOW_REFOCUS_M_WEIGHTS, device)


def _load(
    name: str, device: torch.device | str = "cpu", path: str | Path | None = None
) -> FlowRefocus:
    """A network of the sizes `SMALL`, whole or without its recurrent part, as its weights tell."""
    path = path or weights.require(name, "they come with unblur: install it again")
    state = weights.load(path)
    config = trained_as(path, small_config(state))
    return load_state(FlowRefocus(config), state, str(path)).to(device)


def load_flow_refocus(device: torch.device | str = "cpu") -> FlowRefocus:
    """The network `flow-refocus`: the published one where it was converted, or a trained one that
    was put in its place, run as it was trained; else `flow-refocus-m`, which ships.
    """
    path = weights.find(FLOW_REFOCUS_WEIGHTS)
    if path is None:
        return load_flow_refocus_m(device)
    config = trained_as(path, OFFICIAL)
    return load_state(FlowRefocus(config), weights.load(path), str(path)).to(device)


def trained_as(path: str | Path, otherwise: FlowRefocusConfig) -> FlowRefocusConfig:
    """The config that weights say they were trained with; `otherwise` where they do not say.

    The published network reads frames forward in time for both directions, ours backward for one:
    nothing in the tensors shows which.
    """
    found = read_switches(path) or {}
    known = {field.name for field in fields(FlowRefocusConfig)}
    return replace(otherwise, **{name: x for name, x in found.items() if name in known})


def refocused_flow(
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
        flow_backward: the other way; lives on frame t + 1, points to t.
        blurred: radius of the circle of confusion in pixels, as `coc.coc_radius` finds it. Of a
            mask or a blur map say from which value on it counts.
        threshold: above it a pixel is blurred.
        stride: s, where it is not the network's own (4 of those that ship) but 1.

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
    changed = refocused_flow(net, frames, small[0], small[1], blurred, threshold)
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
