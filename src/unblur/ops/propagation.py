"""Sharp pixels travel along the flow into frames where they are blurred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.ops.consistency import consistency
from unblur.ops.warp import Mode, warp

BLURRED = 0.1
"""Share of a pixel from which it counts as blurred."""
SIMILARITY = 0.02
"""Largest difference of means, in any channel, between what replaces a pixel and what was there."""
SURROUNDINGS = 9
"""Side of the square that those means are taken of: blurred and sharp differ little in them."""


def propagate_pixels(
    frames: Tensor,
    mask: Tensor,
    flow_forward: Tensor,
    flow_backward: Tensor,
    mode: Mode = "bilinear",
    official: bool = False,
    similarity: float | None = SIMILARITY,
) -> tuple[Tensor, Tensor]:
    """Fills blurred pixels with sharp ones of other frames (ProPainter; DaBiT, section 3.2).

    Backward in time, then forward over what that found. A pixel is filled where it is blurred, the
    flow there and the flow back agree, the flow leads to a sharp pixel none of whose eight
    neighbours is blurred, and the two places are similar but for the blur.

    Args:
        frames: (B, T, C, H, W) values in [0, 1].
        mask: (B, T, 1, H, W), 1 where a pixel is blurred, else 0.
        flow_forward: (B, T-1, 2, H, W) pixels, flow t lives on frame t and points to t + 1.
        flow_backward: (B, T-1, 2, H, W), flow t lives on frame t + 1 and points to t.
        mode: how pixels are taken. The release: `nearest`. On rendered scenes `bilinear` is closer
            to the truth, with true flow as with estimated flow.
        official: as the released code computes. There, what lies outside the frame is sharp (and
            black), flows are trusted one pixel past where they agree, and any place will do.
        similarity: largest difference between the means around both places; None: any.

    Returns:
        Frames and mask with the shapes given; the mask is 1 where a pixel is still blurred.
    """
    if frames.shape[1] == 1:
        return frames, mask
    images, masks = list(frames.unbind(1)), list(mask.unbind(1))
    passes = (flow_forward, flow_backward, -1), (flow_backward, flow_forward, 1)
    for flow, back, direction in passes:
        walked = slice(None, None, direction)
        to_last, valid = flow.unbind(1)[walked], agreement(flow, back, official).unbind(1)[walked]
        images, masks = walk(
            images[walked], masks[walked], to_last, valid, mode, official, similarity
        )
        images, masks = images[walked], masks[walked]
    return torch.stack(images, 1), torch.stack(masks, 1)


def propagate_by(
    rule: Literal["released", "similar"],
    frames: Tensor,
    mask: Tensor,
    flow_forward: Tensor,
    flow_backward: Tensor,
) -> tuple[Tensor, Tensor]:
    """`propagate_pixels` by a named rule: `released`, nearest pixels and all; `similar`, ours."""
    flows = flow_forward, flow_backward
    if rule == "released":
        return propagate_pixels(frames, mask, *flows, "nearest", official=True)
    return propagate_pixels(frames, mask, *flows)


def agreement(flow: Tensor, back: Tensor, dilated: bool) -> Tensor:
    """Where flow and flow back agree.

    Args:
        flow: (B, t, 2, H, W).
        back: (B, t, 2, H, W) between the same frames, the other way.
        dilated: with the 8 neighbours of each such pixel, as DaBiT's released code takes it.

    Returns:
        (B, t, 1, H, W), 0 or 1.
    """
    valid = consistency(flow.flatten(0, 1), back.flatten(0, 1))
    return (dilate(valid) if dilated else valid).unflatten(0, flow.shape[:2])


def walk(
    frames: Sequence[Tensor],
    masks: Sequence[Tensor],
    to_last: Sequence[Tensor],
    valid: Sequence[Tensor],
    mode: Mode,
    official: bool,
    similarity: float | None,
) -> tuple[list[Tensor], list[Tensor]]:
    """One pass, in the order given.

    Args:
        frames: T frames (B, C, H, W).
        masks: T masks (B, 1, H, W).
        to_last: T-1 flows (B, 2, H, W), flow i lives on frame i + 1 and points to frame i.
        valid: T-1 maps (B, 1, H, W), 1 where flows agree.
        mode: see above.
        official: see above.
        similarity: see above.

    Returns:
        The frames and the masks.
    """
    images, left = [frames[0]], [masks[0]]
    for frame, mask, flow, good in zip(frames[1:], masks[1:], to_last, valid, strict=True):
        # what is warped is zero outside of the frame: there nothing is sharp
        there = warp(left[-1], flow) if official else 1 - warp(1 - left[-1], flow)
        usable = good * (1 - dilate(step(there)))  # (B, 1, H, W)
        candidate = warp(images[-1], flow, mode)
        if similarity is not None and not official:
            # means of whole frames, moved: what comes from outside would darken those of the other
            difference = (warp(surroundings(images[-1]), flow) - surroundings(frame)).abs()
            usable = usable * (difference.amax(1, keepdim=True) <= similarity)
        fill = step(mask * usable)
        images.append(fill * candidate + (1 - fill) * frame)
        left.append(step(mask * (1 - usable)))
    return images, left


def step(x: Tensor) -> Tensor:
    """1 where something is blurred by more than a trace, else 0."""
    return (x > BLURRED).to(x.dtype)


def surroundings(x: Tensor) -> Tensor:
    """Mean around each pixel, of what lies within the frame; (N, C, H, W)."""
    side = SURROUNDINGS
    return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)


def dilate(x: Tensor) -> Tensor:
    """Largest value of the 3 x 3 pixels around each; (N, 1, H, W)."""
    return F.max_pool2d(x, 3, 1, 1)
