"""DaBiT: focal deblurring, guided by depth and by how blurred each pixel is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from unblur import weights
from unblur.errors import UsageError
from unblur.guidance.coc import DefocusMap
from unblur.guidance.defocus import above_least, blur_mask
from unblur.guidance.flow_refocus import load_flow_refocus, refocused_flow
from unblur.models import load_state
from unblur.models.dabit import OFFICIAL, PAPER, SMALL, Dabit, DabitConfig
from unblur.models.dabit.net import STRIDE
from unblur.models.dabit.windows import LOCAL, REFERENCES, references
from unblur.models.dabit.windows import windows as released_windows
from unblur.models.raft import RaftConfig
from unblur.ops.pad import padded_length
from unblur.ops.propagation import propagate_by
from unblur.ops.wavelet import blur_of_depths
from unblur.restorers.base import (
    ABLATIONS,
    NO_BLUR_MAP,
    NO_STAND_IN,
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
from unblur.restorers.bsstnet import DTYPES, FlowEstimator, Memory, choose_flow, overlapping_windows
from unblur.weights.switches import load_as, read_switches, switches_of

RAFT = RaftConfig(input_range=(0.0, 1.0), scale=1.0)
"""As DaBiT's released code uses it."""
FlowRefocusing = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Of frames (T, 3, H, W), their flows (T-1, 2, H, W) and where they are blurred (T, 1, H, W)."""
MARGIN = 1
"""Frames at an inner end of a window of `dabit-narrow` that are left to the neighbouring window."""

# From benchmarks/results/dabit.md, 16 frames: small 199 and 720 MB (256 x 256 and 854 x 480), at
# twice the size 270 and 935 MB; official 654 MB and paper 552 MB (256 x 256).
MEMORY = {"official": Memory(150 * 2**20, 500), "paper": Memory(150 * 2**20, 400)}
SMALL_MEMORY = {1: Memory(110 * 2**20, 100), 2: Memory(150 * 2**20, 125)}


class DabitRestorer:
    """A DaBiT with the optical flow, masks and propagated pixels that guide it.

    Args:
        info: the preset, with the scale that is wanted.
        net: on the device it is to run on, in eval mode.
        flow: optical flow of whole frames, at full size, on the same device.
        memory: measured need, for `peak_bytes`.
        precision: what the network computes in. Flow and what is made with it stay float32.
        released: as the released code does: the blur map by the sum of details at each depth, no
            pixel called sharp, flow from frame to frame in the order of the window, also where it
            jumps in time. Else the network's config says which blur map it gets, and whether
            blurred pixels are replaced by sharp ones of other frames before.
        refocus_flow: corrects the flow where frames are blurred: of frames, both flows and the mask
            makes both flows.
    """

    ablations: Sequence[Ablation] = ABLATIONS

    def __init__(
        self,
        info: RestorerInfo,
        net: Dabit,
        flow: FlowEstimator,
        memory: Memory,
        precision: Precision = "fp32",
        released: bool = False,
        refocus_flow: FlowRefocusing | None = None,
    ) -> None:
        self.info = info
        self.net = net
        self.flow = flow
        self.memory = memory
        self.precision = precision
        self.released = released
        self.pixels = net.config.pixels
        self.refocus_flow = refocus_flow
        self.device = next(net.parameters()).device
        self.lacks: Ablation | None = None

    def ablated(self, name: Ablation) -> DabitRestorer:
        """See `base.Ablatable`; V2 propagates neither pixels nor, where it is learned, features."""
        other = copy.copy(self)
        other.lacks = name
        other.pixels = "kept" if name in NOT_PROPAGATED else self.pixels
        return other

    def windows(self, length: int, limit: int | None = None) -> list[Window]:
        """Frames in a row, then references from further away.

        Where there is no `reach` they are those of the release: ten and six, and every frame in
        two windows. A lower `limit` takes fewer of both, and references from nearer by in
        proportion.
        """
        size = min(limit or self.info.window, self.info.window)
        if self.info.reach is None and size == self.info.window:
            cut = released_windows(length, self.info.reach)
            return [Window((*local, *far), tuple(local)) for local, far in cut]
        count = round(REFERENCES * size / self.info.window)
        reach = self.info.reach
        if reach is not None:
            reach = reach * size // self.info.window
        found = []
        for local, outputs in overlapping_windows(length, size - count, MARGIN):
            far: list[int] = []
            if count and reach != 0 and len(local) < length:
                far = references(length, local[0], len(local), count, reach)
            found.append(Window((*local, *dict.fromkeys(far)), outputs))
        return found

    @torch.inference_mode()
    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """Depth, blur map, mask and flow; the frames themselves where pixels were replaced.

        Without `priors` the frames follow each other, and what is sharp in them is near.

        Raises:
            UsageError: no `priors`, for a network to which depth is no stand-in.
        """
        frames = frames.to(self.device)
        if priors is None and self.info.real_depth:
            raise UsageError(NO_STAND_IN.format(name=self.info.name))
        if priors is None:
            depth = DefocusMap(self.device)(frames)
            priors = Priors(tuple(range(len(frames))), depth, depth)
        depth, blur = (x.to(self.device, frames.dtype) for x in (priors.depth, priors.blur))
        if self.net.config.depth == "none":
            depth = torch.zeros_like(depth)
        if self.released:
            blur = self.known(blur_of_depths(frames, depth))
            forward, backward = self.flow(frames)
            return {
                "depth": depth,
                "blur": blur,
                "mask": torch.ones_like(blur),
                "flow_forward": forward,
                "flow_backward": backward,
            }
        wavelet = self.net.config.blur == "wavelet"
        if wavelet:
            blur = blur_of_depths(frames, depth)
        blurred = above_least if wavelet else blur_mask
        given = self.known(blur)
        all_blurred = given is not blur and self.lacks != "V1b"
        mask = torch.ones_like(blur) if all_blurred else blurred(blur)  # (T, 1, H, W)
        blur = given
        near = in_a_row(priors.indices)
        images, left = frames[None, :near], mask[None, :near]
        flows = self.flow(frames[:near])
        if self.refocus_flow is not None:
            flows = self.refocus_flow(frames[:near], *flows, mask[:near])
        forward, backward = (flow[None] for flow in flows)
        if self.pixels != "kept":
            images, left = propagate_by(self.pixels, images, left, forward, backward)
        return {
            "frames": torch.cat((images[0], frames[near:])),
            "depth": depth,
            "blur": blur,
            "mask": torch.cat((left[0], mask[near:])),
            "flow_forward": forward[0],
            "flow_backward": backward[0],
        }

    @torch.inference_mode()
    def run(self, frames: Tensor, guidance: Guidance, outputs: Sequence[int]) -> Tensor:
        """The frames at positions `outputs`, all of which come before any reference."""
        positions = list(outputs)
        images = guidance.get("frames", frames).to(self.device)[None]
        depth, blur, mask = (guidance[name][None] for name in ("depth", "blur", "mask"))
        flows = guidance["flow_forward"][None], guidance["flow_backward"][None]
        scale, dtype = self.info.scale, DTYPES.get(self.precision)
        with torch.autocast(self.device.type, dtype, dtype is not None):
            features = self.net.encode(images, depth, blur, mask)
            propagate = self.lacks not in NOT_PROPAGATED
            features = self.net.mix(features, blur, mask, *flows, max(positions) + 1, propagate)
            restored = self.net.decode(features[:, positions], images[:, positions], (scale,))
        return restored[scale][0].float().to(frames.device)

    def known(self, blur: Tensor) -> Tensor:
        """What the network gets to know of a blur map."""
        missing = self.lacks in NO_BLUR_MAP or self.net.config.blur == "none"
        return torch.ones_like(blur) if missing else blur

    def peak_bytes(self, frames: int, height: int, width: int) -> int:
        """From the figures in `MEMORY`."""
        pixels = padded_length(height, STRIDE) * padded_length(width, STRIDE)
        return self.memory.fixed + self.memory.per_pixel * frames * pixels


def in_a_row(indices: Sequence[int]) -> int:
    """How many frames, from the first, follow each other in time.

    >>> in_a_row((4, 5, 6, 0, 9))
    3
    """
    steps = (later - earlier for earlier, later in pairwise(indices))
    return next((i for i, step in enumerate(steps, 1) if step != 1), len(indices))


def load_official(options: LoadOptions, info: RestorerInfo) -> DabitRestorer:
    """The published network from the weights that the user converted."""
    path = options.weights or weights.require(
        info.name,
        "get dabit.pth from https://github.com/crispianm/DaBiT and run "
        "`unblur weights convert dabit.pth`",
    )
    state = load_as(path, info.name, switches_of(OFFICIAL))
    net = load_state(Dabit(OFFICIAL), state, str(path)).to(options.device)
    flow = choose_flow("raft", options.device, info.name, 1, RAFT)
    return DabitRestorer(info, net, flow, MEMORY["official"], options.precision, released=True)


def load_paper(options: LoadOptions, info: RestorerInfo) -> DabitRestorer:
    """The network that the paper describes, from weights of the user's own."""
    path = options.weights or weights.require(
        info.name,
        "none were published; give your own by --weights FILE, or convert those of the released "
        "network by `unblur weights convert dabit.pth` and use --model dabit",
    )
    expected = switches_of(PAPER)
    own = (read_switches(path) or {}).get("pixels", PAPER.pixels)
    if own in ("released", "similar"):  # either rule is run, whichever it was trained with
        expected["pixels"] = own
    state = load_as(path, info.name, expected)
    net = load_state(Dabit(replace(PAPER, pixels=expected["pixels"])), state, str(path))
    net = net.to(options.device)
    flow = choose_flow("raft", options.device, info.name, 1, RAFT)
    refocus_flow = partial(
        refocused_flow, load_flow_refocus(options.device), threshold=0.5, stride=1
    )
    return DabitRestorer(
        info, net, flow, MEMORY["paper"], options.precision, refocus_flow=refocus_flow
    )


def load_small(options: LoadOptions, info: RestorerInfo) -> DabitRestorer:
    """The network for CPUs."""
    path = options.weights or weights.require(
        info.name,
        "a recipe with `network: dabit-narrow` trains them; give your own by --weights FILE",
    )
    scale = options.scale or info.scale
    expected = switches_of(SMALL)
    del expected["scales"]  # as the weights have them, and as is requested
    state = load_as(path, info.name, expected)
    net = load_state(Dabit(fitting(SMALL, state, scale, str(path))), state, str(path)).to(
        options.device
    )
    flow = choose_flow("dis", options.device, info.name, 1)
    wanted = replace(info, scale=scale)
    return DabitRestorer(wanted, net, flow, SMALL_MEMORY[scale], options.precision)


def fitting(config: DabitConfig, state: Mapping[str, Tensor], scale: int, path: str) -> DabitConfig:
    """The config with the scales that weights are made for.

    Raises:
        UsageError: `scale` is none of them.
    """
    enlarges = any(name.startswith("head.") for name in state)
    scales = config.scales if enlarges else (1,)
    if scale not in scales:
        raise UsageError(f"the weights in {path} give scale 1 only, not {scale}: leave --scale out")
    return replace(config, scales=scales)


_OFFICIAL_INFO = RestorerInfo(
    name="dabit",
    summary="published DaBiT, twice the size; convert its weights first",
    blur="focal",
    light="encoded",
    licence="S-Lab 1.0, not for commercial use",
    parameters=40_355_110,
    sizes=SizeRequirements(minimum=1, multiple_of=STRIDE),
    tiling=Tiling(size=512, overlap=64),
    scale=2,
    scales=(2,),
    window=LOCAL + REFERENCES,
    reach=None,  # as in the release
    needs_depth=True,
    # depth, blur map, mask, two flows, and the frames once more
    guidance_bytes=4 * (3 + 4 + 3),
)
_PAPER_INFO = replace(
    _OFFICIAL_INFO,
    name="dabit-paper",
    summary="DaBiT as its paper describes it, twice the size; there are no published weights",
    licence="Apache-2.0",
    parameters=36_537_030,
    real_depth=True,
)
_SMALL_INFO = replace(
    _OFFICIAL_INFO,
    name="dabit-narrow",
    summary="DaBiT in a tenth of its size, for training; has no trained weights",
    licence="Apache-2.0",
    parameters=2_648_814,
    scale=1,
    scales=(1, 2),
    window=LOCAL + 2 * MARGIN + REFERENCES,
    reach=SMALL.reach,
)

PRESETS = (
    Preset(_OFFICIAL_INFO, partial(load_official, info=_OFFICIAL_INFO)),
    Preset(_PAPER_INFO, partial(load_paper, info=_PAPER_INFO)),
    Preset(_SMALL_INFO, partial(load_small, info=_SMALL_INFO)),
)
