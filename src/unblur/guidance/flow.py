"""Optical flow between neighbouring frames of a clip, both ways."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import weights
from unblur.models import load_state
from unblur.models.flow_s import STRIDE as FLOW_S_STRIDE
from unblur.models.flow_s import FlowS
from unblur.models.raft import Raft, RaftConfig
from unblur.ops.pad import pad_to, padded_length

RAFT_WEIGHTS = "raft-things"
"""What the weights store calls the published RAFT, trained on FlyingThings3D."""
FLOW_S_WEIGHTS = "flow-s"
FLOW_S_PIXELS = 2**20
"""Pixels of a frame, times pairs, that flow-s corrects at once: 300 MiB."""
DIS_SCALE = 0.5
"""Size of the frames that DIS sees, relative to the video: that of RAFT in BSSTNet."""
DIS_MINIMUM = 64
"""Smallest side DIS is given: its own patches and pyramid need about this."""


def load_raft(device: torch.device | str = "cpu", config: RaftConfig | None = None) -> Raft | None:
    """The published RAFT, by default as BSSTNet sets it; None where it was not converted."""
    path = weights.find(RAFT_WEIGHTS)
    if path is None:
        return None
    return load_state(Raft(config or RaftConfig()), weights.load(path), str(path)).to(device)


def bidirectional_flow(raft: Raft, frames: Tensor, stride: int = 4) -> tuple[Tensor, Tensor]:
    """Flows by RAFT at `1 / stride` of the frame size, as BSSTNet's released code makes them.

    Frames are scaled to what the network's config says (half size for BSSTNet), the flows to
    `1 / stride`, in pixels of that size. Always float32, without gradients.

    Args:
        raft: the network, on the device the frames are on.
        frames: (T, 3, H, W) RGB in [0, 1]; any T, H, W from 1 up.
        stride: frame pixels per flow element and unit.

    Returns:
        flow_forward and flow_backward, (T-1, 2, ceil(H / stride), ceil(W / stride)) each;
        `flow_forward[t]` lives on frame t and points to t + 1, `flow_backward[t]` lives on frame
        t + 1 and points to t.
    """
    with torch.no_grad(), torch.autocast(frames.device.type, enabled=False):
        full, small, out = working_sizes(frames, raft.config.scale, stride)
        flows = raft.between_neighbours(resize(pad_to(frames.float(), *full), small))
        ratio = 1 / (stride * raft.config.scale)
        forward, backward = (resize(flow, out) * ratio for flow in flows)
        return forward, backward


HALF = 0.501


def dis_flow(frames: Tensor, stride: int = 4) -> tuple[Tensor, Tensor]:
    """Flows by OpenCV's DIS (Kroeger et al., ECCV 2016) where no RAFT weights are available.

    Same arguments, names, sizes and units as `bidirectional_flow`; less exact, on the CPU.
    """
    between = DisBetween(frames, stride)
    grey = between.grey
    return between.flows(grey[:-1], grey[1:]), between.flows(grey[1:], grey[:-1])


def dis_flow_ahead(frames: Tensor, stride: int = 4) -> Tensor:
    """The first of the two that `dis_flow` finds, in half of the time."""
    between = DisBetween(frames, stride)
    return between.flows(between.grey[:-1], between.grey[1:])


class DisBetween:
    """DIS between frames (T, 3, H, W), at half of their size.

    Attributes:
        grey: T images of bytes, as DIS is given them.
    """

    def __init__(self, frames: Tensor, stride: int) -> None:
        full, self._small, self._out = working_sizes(frames, DIS_SCALE, stride)
        self._large = (max(self._small[0], DIS_MINIMUM), max(self._small[1], DIS_MINIMUM))
        self._ratio = 1 / (stride * DIS_SCALE)
        self._device = frames.device
        import cv2  # only this flow needs it

        self.grey: list[np.ndarray] = []
        for frame in frames.detach().split(1):
            image = pad_to(resize(pad_to(frame.float(), *full), self._small), *self._large)[0]
            # Means of bytes often end in a half, which rounding errors would decide: the next
            # integer.
            levels = image.clamp(0, 1).mul(255).add(HALF).floor().clamp(max=255)
            rgb = levels.byte().permute(1, 2, 0).cpu().numpy()
            self.grey.append(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def flows(self, starts: list[np.ndarray], targets: list[np.ndarray]) -> Tensor:
        """From each of n images to the one that belongs to it, (n, 2, h, w)."""
        height, width = self._small
        found = torch.zeros(len(starts), 2, height, width)
        still = np.zeros((*self._large, 2), np.float32)
        for t, (start, target) in enumerate(zip(starts, targets, strict=True)):
            flow = torch.from_numpy(self._dis.calc(start, target, still.copy()))  # (h, w, 2)
            found[t] = flow[:height, :width].permute(2, 0, 1)
        return (resize(found, self._out) * self._ratio).to(self._device)


def load_flow_s(device: torch.device | str = "cpu") -> FlowS:
    """flow-s with the weights that ship."""
    path = weights.require(FLOW_S_WEIGHTS, "they come with unblur: install it again")
    return load_state(FlowS(), weights.load(path), str(path)).to(device)


def flow_s(network: FlowS, frames: Tensor, stride: int = 4) -> tuple[Tensor, Tensor]:
    """Flows by flow-s, made for frames that motion has blurred: DIS flow, corrected.

    Same arguments, names, sizes and units as `bidirectional_flow`. Frames are best encoded, as
    they were in training: of linear light DIS sees little in the dark.
    """
    guesses = dis_flow(frames, FLOW_S_STRIDE)
    pairs = max(1, FLOW_S_PIXELS // (frames.shape[-2] * frames.shape[-1]))
    parts: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad(), torch.autocast(frames.device.type, enabled=False):
        for first in range(0, max(1, len(frames) - 1), pairs):
            clip = frames[None, first : first + pairs + 1].float()
            guess = (x[None, first : first + pairs] for x in guesses)
            parts.append(network(clip, *guess))
    _, _, out = working_sizes(frames, 1.0, stride)
    forward, backward = (torch.cat(part, 1)[0] for part in zip(*parts, strict=True))
    ratio = FLOW_S_STRIDE / stride
    return resize(forward, out) * ratio, resize(backward, out) * ratio


def raft_or_flow_s(
    device: torch.device | str = "cpu", stride: int = 4
) -> tuple[str, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """RAFT where its weights were converted, else flow-s: its name, and what finds flow by it.

    On frames that motion has blurred flow-s was measured nearer the truth than DIS, on every clip
    (`unblur evaluate flow`).
    """
    raft = load_raft(device)
    if raft is None:
        return FLOW_S_WEIGHTS, partial(flow_s, load_flow_s(device), stride=stride)
    return RAFT_WEIGHTS, partial(bidirectional_flow, raft, stride=stride)


Size = tuple[int, int]


def working_sizes(frames: Tensor, scale: float, stride: int) -> tuple[Size, Size, Size]:
    """Sizes of the frames padded to a multiple of `stride`, as the network sees them, and of flows.

    The padding is kept in the flows: a rounded-up size.
    """
    height, width = (padded_length(s, stride) for s in frames.shape[-2:])
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    return (height, width), small, (height // stride, width // stride)


def resize(x: Tensor, size: Size) -> Tensor:
    """Bilinear without smoothing, as the published code: to the half it is the mean of 2 x 2."""
    if tuple(x.shape[-2:]) == size:
        return x
    if not len(x):
        return x.new_zeros(*x.shape[:2], *size)
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
