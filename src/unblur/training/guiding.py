"""The optical flow that a network is given in training."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import UnblurWarning, UsageError
from unblur.training.batches import Batch
from unblur.training.recipe import FlowSource


def guided(batch: Batch, flow: FlowSource, seed: int | None) -> Batch:
    """The batch with the flows that the network gets to see.

    Args:
        batch: encoded frames.
        flow: `truth` with errors, or what finds flow in the frames; DIS where there is no truth.
        seed: of the errors; None where the truth may not be used: then what the batch brings as
            found in its frames, if it does.

    Raises:
        UsageError: `refocused`, which DaBiT alone knows how to make.
    """
    if flow == "refocused":
        raise UsageError("recipe: flow refocused is for DaBiT, take truth, raft or dis")
    if flow == "truth" and seed is not None and batch.flow_forward is not None:
        generator = torch.Generator(batch.blurred.device).manual_seed(seed)
        return batch.mapped(lambda x: x, lambda x: roughen(x, generator))
    if seed is None and batch.guess_forward is not None:
        return dataclasses.replace(
            batch, flow_forward=batch.guess_forward, flow_backward=batch.guess_backward
        )
    find = flow_finder("raft" if flow == "raft" else "dis", batch.blurred.device)
    both = [find(clip) for clip in batch.blurred]
    forward, backward = (torch.stack(x).to(batch.blurred) for x in zip(*both, strict=True))
    return dataclasses.replace(batch, flow_forward=forward, flow_backward=backward)


@cache
def flow_finder(
    kind: Literal["raft", "dis"], device: torch.device
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What finds flow in frames (T, 3, H, W), see `guidance.flow`; flow-s for RAFT not converted.

    It says so once.
    """
    # Needs OpenCV, which machines that train by the true flow may lack.
    from unblur.guidance.flow import RAFT_WEIGHTS, dis_flow, raft_or_flow_s

    if kind == "dis":
        return dis_flow
    name, find = raft_or_flow_s(device)
    if name != RAFT_WEIGHTS:
        warnings.warn(
            f"no weights for '{RAFT_WEIGHTS}': this training is guided by {name} instead; get "
            "raft-things.pth from RAFT's authors and run `unblur weights convert raft-things.pth`",
            UnblurWarning,
            stacklevel=2,
        )
    return find


def roughen(flow: Tensor, generator: torch.Generator) -> Tensor:
    """Adds smooth errors as flow networks make them on blurred frames: a fifth of the motion."""
    B, T, _, h, w = flow.shape
    scale = flow.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt() * 0.2 + 0.05
    coarse = torch.randn(B * T, 2, h // 8 + 2, w // 8 + 2, generator=generator, device=flow.device)
    errors = F.interpolate(coarse, (h, w), mode="bilinear").unflatten(0, (B, T))
    return flow + scale * errors
