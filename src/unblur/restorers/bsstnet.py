"""BSSTNet: motion deblurring from up to 48 frames at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from unblur import weights
from unblur.errors import UnblurWarning
from unblur.guidance.flow import (
    RAFT_WEIGHTS,
    bidirectional_flow,
    dis_flow,
    flow_s,
    load_flow_s,
    load_raft,
)
from unblur.models import load_state
from unblur.models.bsstnet import OFFICIAL, PAPER, SMALL, TINY, BSSTNet
from unblur.models.bsstnet.net import FLOW_STRIDE, MULTIPLE
from unblur.models.layers import FRAMES_AT_ONCE
from unblur.models.raft import RaftConfig
from unblur.ops.blur_map import squared_motion
from unblur.ops.pad import padded_length
from unblur.restorers.base import (
    Guidance,
    LoadOptions,
    Precision,
    Preset,
    Priors,
    Restorer,
    RestorerInfo,
    Tiling,
    Window,
)
from unblur.weights.switches import load_as, switches_of

DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
MARGIN = 2
"""Frames at an inner end of a window that are left to the neighbouring window."""
LEAST_MOTION = 0.25
"""Squared motion, in flow elements, below which a shot's fastest pixel is not called blurred:
half an element is two pixels from frame to frame."""

FlowEstimator = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Frames (T, 3, H, W) -> flow_forward, flow_backward (T-1, 2, h, w), each ceil(side / stride)."""


@dataclass(frozen=True)
class Memory:
    """What a network adds at its peak: bytes at least, and per pixel of all frames."""

    fixed: int
    per_pixel: int


# Measured on a CPU, fp32, MiB added by `run` on 256 x 256 pixels:
#   official: 8 frames 770, 16 frames 1099 (RAFT in `guide`: 526 for 4 frames of 1280 x 720)
#   small: 4 frames 242, 12 frames 285, 24 frames 450; 12 frames of 512 x 512: 818
#   tiny: 4 frames 118, 12 frames 136
# Layers that take a few frames at a time count as if the clip had FRAMES_AT_ONCE more.
MEMORY = {
    "official": Memory(fixed=600 * 2**20, per_pixel=660),
    "small": Memory(fixed=150 * 2**20, per_pixel=220),
    "tiny": Memory(fixed=110 * 2**20, per_pixel=40),
}


class BSSTNetRestorer:
    """A BSSTNet with the optical flow that guides it.

    Args:
        info: the preset.
        net: on the device it is to run on, in eval mode.
        flow: optical flow of whole frames on the same device.
        memory: measured need, for `peak_bytes`.
        precision: what the network computes in. Flow and positions stay float32.
        blur_per_shot: blur maps are scaled by the motion of the whole frame, so that tiles agree;
            by default by that of each tile, as in the published code.
    """

    def __init__(
        self,
        info: RestorerInfo,
        net: BSSTNet,
        flow: FlowEstimator,
        memory: Memory,
        precision: Precision = "fp32",
        blur_per_shot: bool = False,
    ) -> None:
        self.info = info
        self.net = net
        self.flow = flow
        self.memory = memory
        self.precision = precision
        self.blur_per_shot = blur_per_shot
        self.device = next(net.parameters()).device

    def windows(self, length: int, limit: int | None = None) -> list[Window]:
        """Windows that overlap; in each overlap one half comes from either window."""
        return overlapping_windows(length, min(self.info.window, limit or self.info.window))

    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """Optical flow both ways, and the range of motion where blur is judged by the shot."""
        forward, backward = self.flow(frames.to(self.device))
        guidance = {"flow_forward": forward, "flow_backward": backward}
        if self.blur_per_shot:
            motion = squared_motion(forward, backward, self.net.config.blur)  # (T, 1, h, w)
            limits = torch.stack((motion.amin(), motion.amax().clamp_min(LEAST_MOTION)))
            guidance["blur_limits"] = limits[None, :, None, None].expand(1, 2, *motion.shape[2:])
        return guidance

    def run(self, frames: Tensor, guidance: Guidance, outputs: Sequence[int]) -> Tensor:
        """All frames at once; those requested are handed out."""
        limits = guidance.get("blur_limits")
        dtype = DTYPES.get(self.precision)
        with torch.inference_mode(), torch.autocast(self.device.type, dtype, dtype is not None):
            restored = self.net(
                frames[None].to(self.device),
                guidance["flow_forward"][None],
                guidance["flow_backward"][None],
                None if limits is None else limits[:, :, 0, 0],
            )[0]
        return restored[list(outputs)].float().to(frames.device)

    def peak_bytes(self, frames: int, height: int, width: int) -> int:
        """From the figures in `MEMORY`."""
        pixels = padded_length(height, MULTIPLE) * padded_length(width, MULTIPLE)
        return self.memory.fixed + self.memory.per_pixel * (frames + FRAMES_AT_ONCE) * pixels


def overlapping_windows(
    length: int, size: int, margin: int = MARGIN, after: int | None = None
) -> list[Window]:
    """Windows of `size` frames that start `margin` + `after` frames before the last one ends.

    The last one ends with the shot, and so overlaps more. Every frame is put out once: by the
    first window in which it is not among the last `after` frames, by default `margin`.

    >>> [(w.inputs[0], w.inputs[-1], w.outputs[0], w.outputs[-1])
    ...  for w in overlapping_windows(100, 48)]
    [(0, 47, 0, 45), (44, 91, 46, 89), (52, 99, 90, 99)]
    """
    size = min(size, length)
    margin = min(margin, (size - 1) // 2)
    after = margin if after is None else min(after, size - 1 - margin)
    starts = [*range(0, length - size, size - margin - after), length - size]
    found = []
    done = 0
    for start in starts:
        stop = length if start + size == length else start + size - after
        found.append(Window(tuple(range(start, start + size)), tuple(range(done, stop))))
        done = stop
    return found


def choose_flow(
    kind: Literal["raft", "dis"],
    device: torch.device,
    name: str,
    stride: int = FLOW_STRIDE,
    config: RaftConfig | None = None,
) -> FlowEstimator:
    """The flow of that name. Without RAFT's weights flow-s takes its place, which is
    made for motion blur and gives a quarter of the frame; at other strides DIS does.
    """
    dis = partial(dis_flow, stride=stride)
    raft = load_raft(device, config) if kind == "raft" else None
    if raft is not None:
        return partial(bidirectional_flow, raft, stride=stride)
    if kind == "dis":
        return dis
    quarter = stride == FLOW_STRIDE
    instead = "flow-s" if quarter else "DIS flow"
    warnings.warn(
        f"no weights for '{RAFT_WEIGHTS}': {name} is guided by {instead} instead, which is less "
        "exact than what it was trained with; get raft-things.pth from "
        "https://github.com/princeton-vl/RAFT and run `unblur weights convert raft-things.pth`",
        UnblurWarning,
        stacklevel=4,
    )
    return partial(flow_s, load_flow_s(device), stride=stride) if quarter else dis


def load_official(options: LoadOptions, info: RestorerInfo, checkpoint: str) -> Restorer:
    """A published network from the weights that the user converted."""
    path = options.weights or weights.require(
        info.name,
        f"get {checkpoint} from https://github.com/huicongzhang/BSSTNet and run "
        f"`unblur weights convert {checkpoint}`",
    )
    state = load_as(path, info.name, switches_of(OFFICIAL))
    net = load_state(BSSTNet(OFFICIAL), state, str(path)).to(options.device)
    flow = choose_flow("raft", options.device, info.name)
    return BSSTNetRestorer(info, net, flow, MEMORY["official"], options.precision)


def load_paper(options: LoadOptions, info: RestorerInfo) -> Restorer:
    """The network that the paper describes, from weights that the user trained."""
    path = options.weights or weights.require(
        info.name, "none were published; `unblur train bsstnet-paper RUN` trains them on GoPro"
    )
    state = load_as(path, info.name, switches_of(PAPER))
    net = load_state(BSSTNet(PAPER), state, str(path)).to(options.device)
    flow = choose_flow("raft", options.device, info.name)
    return BSSTNetRestorer(info, net, flow, MEMORY["official"], options.precision)


def load_narrow(options: LoadOptions, info: RestorerInfo) -> Restorer:
    """The network for CPUs, from weights in the store."""
    path = options.weights or weights.require(
        info.name,
        "`unblur train bsstnet-narrow RUN` trains them; use --model motion-s, whose weights ship",
    )
    state = load_as(path, info.name, switches_of(SMALL))
    net = load_state(BSSTNet(SMALL), state, str(path)).to(options.device)
    flow = choose_flow("dis", options.device, info.name)
    return BSSTNetRestorer(info, net, flow, MEMORY["small"], options.precision, blur_per_shot=True)


def load_tiny(options: LoadOptions, info: RestorerInfo) -> Restorer:
    """A network that has learned nothing: random weights, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = BSSTNet(TINY)
    if options.weights is not None:
        load_state(net, load_as(options.weights, info.name, switches_of(TINY)), options.weights)
    net = net.eval().to(options.device)
    flow = choose_flow("dis", options.device, info.name)
    return BSSTNetRestorer(info, net, flow, MEMORY["tiny"], options.precision, blur_per_shot=True)


_OFFICIAL_INFO = RestorerInfo(
    name="bsstnet-gopro",
    summary="published BSSTNet, trained on GoPro; convert its weights first",
    blur="motion",
    light="encoded",
    licence="weights by the authors of BSSTNet, no licence stated",
    parameters=38_463_754,
    tiling=Tiling(size=256, overlap=64, merge="hard", always=True),
    # Against fp32, official size with random weights whose correction has an RMS of 0.085:
    # bf16 differs by an RMS of 7e-4 (at most 4e-3), fp16 by 8e-5.
    precisions=frozenset({"fp32", "bf16", "fp16"}),
    window=48,
    guidance_stride=FLOW_STRIDE,
)
_DVD_INFO = replace(
    _OFFICIAL_INFO,
    name="bsstnet-dvd",
    summary="published BSSTNet, trained on DVD; convert its weights first",
)
_PAPER_INFO = replace(
    _OFFICIAL_INFO,
    name="bsstnet-paper",
    summary="BSSTNet as its paper describes it; there are no published weights",
    licence="Apache-2.0",
    parameters=38_443_018,
)
_NARROW_INFO = replace(
    _OFFICIAL_INFO,
    name="bsstnet-narrow",
    summary="BSSTNet narrow enough for a CPU; train its weights yourself",
    licence="Apache-2.0",
    parameters=2_525_022,
    tiling=Tiling(size=512, overlap=64, merge="feather"),
)
_TINY_INFO = replace(
    _NARROW_INFO,
    name="bsstnet-tiny",
    summary="random weights, for tests only: restores nothing",
    parameters=156_270,
    tiling=Tiling(size=256, overlap=64, merge="feather"),
    window=12,
    ships=True,
    for_tests=True,
)

PRESETS = (
    Preset(
        _OFFICIAL_INFO,
        partial(load_official, info=_OFFICIAL_INFO, checkpoint="BSST_gopro.pth"),
    ),
    Preset(_DVD_INFO, partial(load_official, info=_DVD_INFO, checkpoint="BSST_dvd.pth")),
    Preset(_PAPER_INFO, partial(load_paper, info=_PAPER_INFO)),
    Preset(_NARROW_INFO, partial(load_narrow, info=_NARROW_INFO)),
    Preset(_TINY_INFO, partial(load_tiny, info=_TINY_INFO)),
)
