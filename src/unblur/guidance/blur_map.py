"""The blur map of a clip, from its optical flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from unblur.ops.blur_map import BlurOfFlows, spread, squared_motion

Mode = Literal["official", "paper"]


def blur_map(
    flow_forward: Tensor, flow_backward: Tensor, mode: Mode = "official", normalise: bool = True
) -> Tensor:
    """How blurred each pixel is by motion: what moves far within the exposure is smeared far.

    Squared length of the flows that live on a frame (BSSTNet, CVPR 2024, Eq. 1). `official` takes
    the mean of what is there, as the released code; `paper` the sum, so that the first and last
    frame, which have one flow only, weigh half as much.

    Args:
        flow_forward: (T-1, 2, H, W) pixels, `t` lives on frame t and points to t + 1.
        flow_backward: (T-1, 2, H, W) pixels, `t` lives on frame t + 1 and points to t.
        mode: `official` or `paper`.
        normalise: from the least to the most blurred pixel of the clip to 0..1; otherwise squared
            pixels.

    Returns:
        (T, 1, H, W), 0 = sharp, 1 = most blurred; zeros where nothing moves, or everything equally.
    """
    dtype = torch.promote_types(flow_forward.dtype, torch.float32)
    flows = flow_forward.to(dtype), flow_backward.to(dtype)
    motion = squared_motion(*flows, "sum" if mode == "paper" else "mean")  # (T, 1, H, W)
    return spread(motion[None])[0] if normalise else motion


def motion_of_frames(
    images: Iterable[tuple[Tensor, bool]],
    flow: Callable[[Tensor], tuple[Tensor, Tensor]],
    mode: BlurOfFlows,
) -> Iterator[tuple[int, Tensor]]:
    """Squared motion of each frame of a stream, before it is scaled: three frames are held.

    Args:
        images: frames (1, 3, H, W) in the order of time, and whether a scene begins with each.
        flow: finds flow both ways between neighbours, as `flow.dis_flow`.
        mode: `sum` of both flows of a frame (Eq. 1), or their `mean`.

    Yields:
        The number of the scene, from 0, and (1, 1, h, w) squared pixels of the flow's grid.
    """
    scene, last = -1, None
    back: Tensor | None = None  # from the last frame to the one before it

    def ended(image: Tensor) -> Tensor:
        if back is None:
            return torch.zeros_like(flow(torch.cat((image, image)))[0][:, :1])
        return back.square().sum(1, keepdim=True)

    for image, begins in images:
        if last is not None and begins:
            yield scene, ended(last)
        if begins:
            scene, back = scene + 1, None
        elif last is not None:
            forward, backward = flow(torch.cat((last, image)))  # (1, 2, h, w)
            motion = forward.square().sum(1, keepdim=True)
            if back is not None:
                motion = motion + back.square().sum(1, keepdim=True)
                motion = motion / 2 if mode == "mean" else motion
            yield scene, motion
            back = backward
        last = image
    if last is not None:
        yield scene, ended(last)
