"""The network that sees its neighbours (`models.aligned`) as a restorer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import weights
from unblur.guidance.coc import BLUREST, DefocusMap
from unblur.models import load_state
from unblur.models.aligned import (
    ENLARGED,
    FLOW_STRIDE,
    FOCUS_M,
    FOCUS_S,
    MOTION_M,
    MOTION_S,
    Aligned,
    AlignedConfig,
    begin_from,
    out_of_focus,
)
from unblur.ops.pad import crop_from, pad_to, padded_length
from unblur.restorers.base import (
    ABLATIONS,
    NO_BLUR_MAP,
    NOT_PROPAGATED,
    Ablation,
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
from unblur.restorers.bsstnet import FlowEstimator, choose_flow, overlapping_windows
from unblur.weights.difference import load_whole
from unblur.weights.switches import check_switches, switches_of

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
BYTES = 130 << 20
"""Measured growth of the process, whatever the frame: what is worked on at once."""
BYTES_PER_PIXEL = {1: {"fp32": 850, "bf16": 570}, 2: {"fp32": 260, "bf16": 190}}
"""Measured growth of the process per pixel of one padded frame, rounded up, by the scale of the
network: at half size (2) it is less."""
BYTES_TO_ENLARGE = 200
"""More of it where the output is larger."""
NEIGHBOURS = MOTION_S.neighbours
AFTER = NEIGHBOURS + 1
"""Frames after a frame that matter to it: the last neighbour's speed is that to the next one."""
BYTES_PER_HELD_PIXEL = 24
"""Of every frame of the window: as it came out, and its flows."""


class AlignedRestorer:
    """Runs the network over a window of frames, one after the other.

    Args:
        info: the preset.
        network: with its weights, on the device it is to run on, in the dtype to compute in.
        flow: optical flow of frames on the same device.
    """

    def __init__(self, info: RestorerInfo, network: Aligned, flow: FlowEstimator) -> None:
        self.info = info
        self.network = network
        self.flow = flow
        self.device = next(network.parameters()).device
        self.tell: Callable[[float], None] | None = None

    def windows(self, length: int, limit: int | None = None) -> list[Window]:
        """Windows that overlap by what their outermost frames need: neighbours and their speed."""
        size = min(self.info.window, limit or self.info.window)
        return overlapping_windows(length, size, NEIGHBOURS, AFTER)

    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """Optical flow both ways; none for a network that sees no neighbours."""
        if not self.network.config.neighbours:
            return {}
        forward, backward = self.flow(frames.to(self.device))
        return {"flow_forward": forward, "flow_backward": backward}

    @torch.no_grad()
    def run(self, frames: Tensor, guidance: Guidance, outputs: Sequence[int]) -> Tensor:
        """The frames at positions `outputs`; they may leave [0, 1]."""
        return self.network(
            frames[None].to(self.device),
            *flows(guidance),
            outputs,
            tell=self.tell,
        )[0].to(frames.device)

    def peak_bytes(self, frames: int, height: int, width: int) -> int:
        """Measured growth per pixel times the pixels after padding; one frame runs at a time."""
        multiple = self.network.config.multiple_of
        pixels = padded_length(height, multiple) * padded_length(width, multiple)
        half = next(self.network.parameters()).element_size() == 2
        body = BYTES_PER_PIXEL[self.network.config.scale]["bf16" if half else "fp32"]
        body += BYTES_TO_ENLARGE * (self.info.scale > 1)
        return BYTES + (body + BYTES_PER_HELD_PIXEL * frames) * pixels


class FocalRestorer(AlignedRestorer):
    """The network that is given how far out of focus each pixel is."""

    lacks: Ablation | None = None

    @property
    def ablations(self) -> Sequence[Ablation]:
        """Nothing is propagated in the first place to a network that sees no neighbours."""
        seen = self.network.config.neighbours > 0
        return [name for name in ABLATIONS if seen or name not in NOT_PROPAGATED]

    def ablated(self, name: Ablation) -> FocalRestorer:
        """See `base.Ablatable`; without propagation each frame is restored from itself alone."""
        other = copy.copy(self)
        other.lacks = name
        return other

    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """As of `AlignedRestorer`, and the radius of the circle of confusion of each pixel.

        Radii come packed, `(T, 16, ceil(H/4), ceil(W/4))`, so that they are cut as the flow is.
        """
        blur = DefocusMap(self.device)(frames) if priors is None else priors.blur
        radius = blur.to(self.device, frames.dtype) * BLUREST  # (T, 1, H, W)
        height, width = (padded_length(s, FLOW_STRIDE) for s in radius.shape[-2:])
        packed = F.pixel_unshuffle(pad_to(radius, height, width), FLOW_STRIDE)
        return {**super().guide(frames), "radius": packed}

    @torch.no_grad()
    def run(self, frames: Tensor, guidance: Guidance, outputs: Sequence[int]) -> Tensor:
        """The frames at positions `outputs`, in `info.scale` times their size."""
        radius = F.pixel_shuffle(guidance["radius"], FLOW_STRIDE)
        radius = crop_from(radius, *frames.shape[-2:])
        mask = out_of_focus(radius)
        if self.lacks in NO_BLUR_MAP:
            radius = torch.full_like(radius, BLUREST)
            mask = mask if self.lacks == "V1b" else torch.ones_like(mask)
        seen = frames.to(self.device), radius, mask
        enlarge = self.info.scale == ENLARGED

        def restore(
            part: slice, wanted: Sequence[int], tell: Callable[[float], None] | None = None
        ) -> Tensor:
            x, r, m = (tensor[None, part] for tensor in seen)
            between = flows(guidance, slice(part.start, part.stop - 1))
            return self.network(x, *between, wanted, r, enlarge, m, tell)[0].to(frames.device)

        if self.lacks in NOT_PROPAGATED:
            return torch.cat([restore(slice(t, t + 1), [0]) for t in outputs])
        return restore(slice(0, len(frames)), outputs, self.tell)


def flows(guidance: Guidance, part: slice = slice(None)) -> list[Tensor | None]:
    """Flow to the next frames and back, `(1, T-1, 2, h, w)` each, or that of a part of the clip."""
    found = (guidance.get(name) for name in ("flow_forward", "flow_backward"))
    return [None if flow is None else flow[None, part] for flow in found]


def _load(
    info: RestorerInfo,
    config: AlignedConfig,
    kind: type[AlignedRestorer],
    options: LoadOptions,
) -> AlignedRestorer:
    path = options.weights or weights.require(
        info.name, f"`unblur train {info.name} RUN` trains them"
    )
    state = load_whole(path, partial(begin_from, config=config))
    check_switches(path, info.name, switches_of(config))
    network = load_state(Aligned(config), state, str(path))
    network = network.to(options.device, DTYPES[options.precision])
    wanted = replace(info, scale=options.scale or info.scale)
    return kind(wanted, network, choose_flow("dis", options.device, info.name))


_MOTION_S_INFO = RestorerInfo(
    name="motion-s",
    summary="trained on rendered scenes; sees two frames on either side",
    blur="any",
    light="encoded",
    licence="Apache-2.0 (weights), MIT (package)",
    parameters=6_156_844,
    sizes=SizeRequirements(minimum=1, multiple_of=MOTION_S.multiple_of),
    tiling=Tiling(size=768, overlap=128, larger=True),
    precisions=frozenset({"fp32", "bf16"}),
    window=10,
    same_from=NEIGHBOURS + 1 + AFTER,
    guidance_stride=FLOW_STRIDE,
    fuse=2,
    ships=True,
)
_MOTION_M_INFO = replace(
    _MOTION_S_INFO,
    name="motion-m",
    summary="as motion-s at full size: better and four times slower",
    parameters=6_141_283,
    sizes=SizeRequirements(minimum=1, multiple_of=MOTION_M.multiple_of),
    tiling=Tiling(size=512, overlap=128, larger=True),
)
_FOCUS_S_INFO = replace(
    _MOTION_S_INFO,
    name="focus-s",
    summary="for focus; sees two frames on either side, also twice the size",
    blur="focal",
    parameters=6_172_156,
    scales=(1, ENLARGED),
    needs_depth=True,
    guidance_bytes=4 * (1 + 4 // FLOW_STRIDE**2),
)
_FOCUS_M_INFO = replace(
    _FOCUS_S_INFO,
    name="focus-m",
    summary="for focus, one frame at a time at full size: better than focus-s, and slower",
    parameters=6_138_127,
    sizes=_MOTION_M_INFO.sizes,
    tiling=_MOTION_M_INFO.tiling,
    window=1,
    same_from=None,
)

PRESETS = tuple(
    Preset(info, partial(_load, info, config, kind))
    for info, config, kind in (
        (_MOTION_S_INFO, MOTION_S, AlignedRestorer),
        (_MOTION_M_INFO, MOTION_M, AlignedRestorer),
        (_FOCUS_S_INFO, FOCUS_S, FocalRestorer),
        (_FOCUS_M_INFO, FOCUS_M, FocalRestorer),
    )
)
