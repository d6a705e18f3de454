"""The network that sees its neighbours (`models.aligned`) as a restorer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from unblur import weights
from unblur.models import fit
from unblur.models.aligned import FLOW_STRIDE, SMALL, Aligned, AlignedConfig
from unblur.ops.pad import padded_length
from unblur.restorers.base import (
    Guidance,
    LoadOptions,
    Precision,
    Preset,
    Priors,
    RestorerInfo,
    SizeRequirements,
    Tiling,
    Window,
)
from unblur.restorers.bsstnet import Flow, choose_flow, overlapping_windows

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
BYTES_PER_PIXEL = {"fp32": 700, "bf16": 420}
"""Measured growth of the process per pixel of one padded frame, rounded up."""
BYTES_PER_HELD_PIXEL = 60
"""Of every frame of the window: as blocks, as a small picture, and its flows."""


class AlignedRestorer:
    """Runs the network over a window of frames, one after the other.

    Args:
        info: the preset.
        network: with its weights, on the device it is to run on, in the dtype to compute in.
        flow: optical flow of frames on the same device.
    """

    def __init__(self, info: RestorerInfo, network: Aligned, flow: Flow) -> None:
        self.info = info
        self.network = network
        self.flow = flow
        self.device = next(network.parameters()).device

    def windows(self, length: int, limit: int | None = None) -> list[Window]:
        """Windows that overlap by the neighbours that their outermost frames need."""
        return overlapping_windows(length, min(self.info.window, limit or self.info.window))

    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """Optical flow both ways."""
        forward, backward = self.flow(frames.to(self.device))
        return {"flow_forward": forward, "flow_backward": backward}

    @torch.no_grad()
    def run(self, frames: Tensor, guidance: Guidance, outputs: Sequence[int]) -> Tensor:
        """The frames at positions `outputs`; they may leave [0, 1]."""
        return self.network(
            frames[None].to(self.device),
            guidance["flow_forward"][None],
            guidance["flow_backward"][None],
            outputs,
        )[0].to(frames.device)

    def peak_bytes(self, frames: int, height: int, width: int) -> int:
        """Measured growth per pixel times the pixels after padding; one frame runs at a time."""
        multiple = self.network.config.multiple_of
        pixels = padded_length(height, multiple) * padded_length(width, multiple)
        half = next(self.network.parameters()).element_size() == 2
        body = BYTES_PER_PIXEL["bf16" if half else "fp32"]
        return (body + BYTES_PER_HELD_PIXEL * frames) * pixels


def _load(info: RestorerInfo, config: AlignedConfig, options: LoadOptions) -> AlignedRestorer:
    path = options.weights or weights.require(info.name, "`unblur train bsstnet-s RUN` trains them")
    network = fit(Aligned(config), weights.load(path), str(path))
    network = network.to(options.device, DTYPES[options.precision])
    return AlignedRestorer(info, network, choose_flow("dis", options.device, info.name))


_SMALL_INFO = RestorerInfo(
    name="bsstnet-s",
    summary="trained on rendered scenes; sees two frames on either side",
    blur="any",
    light="encoded",
    licence="Apache-2.0 (weights), MIT (package)",
    parameters=6_156_844,
    sizes=SizeRequirements(minimum=1, multiple_of=SMALL.multiple_of),
    tiling=Tiling(size=768, overlap=128),
    precisions=frozenset({"fp32", "bf16"}),
    window=16,
    guidance_stride=FLOW_STRIDE,
    ships=True,
)

PRESETS = (Preset(_SMALL_INFO, partial(_load, _SMALL_INFO, SMALL)),)
