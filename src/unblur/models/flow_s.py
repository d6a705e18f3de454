"""flow-s: optical flow between neighbouring frames, blurred or sharp, at a quarter of their size.

A quick classical flow is the first guess. On blurred frames it fails in places, and says so: there
its two directions contradict each other. So four flows are made of it: the guess; one that is
mended from around where it is in doubt; the affine motion of the frame as a whole; and what the
opposite direction says. A small network looks how well each explains the frames, and mixes them
place by place (in the spirit of FusionFlow, Lempitsky et al., CVPR 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.layers import channels_last, conv3x3
from unblur.ops.warp import warp

STRIDE = 4
"""Frame pixels per element of the flow, and per unit of it."""
CANDIDATES = 4
SLOPE = 0.1
"""Of the leaky rectifiers below zero."""
STEADY = 0.05
"""Added to a frame's contrast before dividing by it, so that noise in a flat frame stays small."""
PREFERENCE = 4.0
"""By how much a fresh network prefers the mended guess, as a logarithm."""
OFF = 0.3
"""Elements from an affine motion beyond which a place counts little for it."""
FITS = 4
"""Times that the affine motion is fitted, each without more of what is off."""


@dataclass(frozen=True)
class FlowConfig:
    """Sizes of the network."""

    features: int = 16
    """Channels that a frame is described by."""
    hidden: int = 24
    """Channels of what judges the candidates."""
    reach: tuple[int, ...] = (1, 2, 4, 8)
    """Dilation of each layer that judges: together they see 31 elements, 124 pixels, around."""

    def __post_init__(self) -> None:
        """Takes a list too, as recipes and JSON have it."""
        object.__setattr__(self, "reach", tuple(self.reach))


class FlowS(nn.Module):
    """Makes a better optical flow of a first guess, both ways between all neighbours of a clip."""

    def __init__(self, config: FlowConfig = FlowConfig()) -> None:
        super().__init__()
        self.config = config
        self.tolerance = nn.Parameter(torch.tensor(0.1))
        """Elements by which both directions may contradict each other and still be believed."""
        self.encoder = Encoder(config.features)
        known = config.features + 2 * CANDIDATES + 1
        self.gather = nn.Conv2d(known, config.hidden, 1)
        self.judge = nn.ModuleList(
            nn.Conv2d(config.hidden, config.hidden, 3, padding=reach, dilation=reach)
            for reach in config.reach
        )
        self.decide = conv3x3(config.hidden, CANDIDATES)
        nn.init.zeros_(self.decide.weight)
        with torch.no_grad():
            self.decide.bias.copy_(torch.tensor([PREFERENCE, 0, 0, 0]))  # type: ignore[union-attr]

    def forward(
        self,
        frames: Tensor,  # (B, T, 3, H, W)
        guess_forward: Tensor,  # (B, T-1, 2, ceil(H/4), ceil(W/4))
        guess_backward: Tensor,  # (B, T-1, 2, ceil(H/4), ceil(W/4))
    ) -> tuple[Tensor, Tensor]:
        """Flows between neighbours.

        Args:
            frames: encoded RGB in [0, 1]; any T, H, W from 1 up.
            guess_forward: in elements of its own grid; on frame t, to t + 1.
            guess_backward: the same; on frame t + 1, to t.

        Returns:
            flow_forward and flow_backward, of the shapes and units of the guesses, float32.
        """
        B, T = frames.shape[:2]
        guess = torch.cat((guess_forward.flatten(0, 1), guess_backward.flatten(0, 1))).float()
        if not len(guess):
            return guess_forward.float(), guess_backward.float()
        described = self.encoder(frames.flatten(0, 1))
        near, _ = neighbours(described.unflatten(0, (B, T)))  # (2 B (T-1), C, h, w)
        here, there = neighbours(standard(described).unflatten(0, (B, T)))
        flow = self.mix(near, here, there, guess)
        forward, backward = flow.unflatten(0, (2, B, T - 1))
        return forward, backward

    def mix(
        self,
        near: Tensor,  # (2N, C, h, w) features of the frames that flows live on
        here: Tensor,  # (2N, C, h, w) the same, to be compared with
        there: Tensor,  # (2N, C, h, w) those of the frames that flows point to
        guess: Tensor,  # (2N, 2, h, w) N forward, then the N opposite to them
    ) -> Tensor:
        """The candidates, weighted place by place: (2N, 2, h, w)."""
        doubt = length(disagreement(guess))  # (2N, 1, h, w)
        trust = (-(doubt / self.tolerance).square()).exp()
        camera = affine(guess, trust.detach())
        mended = camera + filled(guess - camera, trust)
        candidates = (mended, camera, guess, reverse(mended))
        known = [near, doubt.log1p(), length(mended).log1p()]
        for i, flow in enumerate(candidates):
            known.append((here * warp(there, flow)).sum(1, keepdim=True))
            if i:
                known.append(length(flow - mended).log1p())
        x = F.leaky_relu(self.gather(channels_last(torch.cat(known, 1))), SLOPE)
        for layer in self.judge:
            x = x + F.leaky_relu(layer(x), SLOPE)
        share = self.decide(x).float().softmax(1)  # (2N, 4, h, w)
        return (torch.stack(candidates, 1) * share[:, :, None]).sum(1)


class Encoder(nn.Module):
    """A frame to features at a quarter of its size."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = conv3x3(3 * STRIDE**2, features)
        self.second = conv3x3(features, features)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, C, ceil(H / 4), ceil(W / 4))."""
        height, width = frames.shape[-2:]
        frames = F.pad(frames, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        sample = frames[..., ::STRIDE, ::STRIDE]
        mean = sample.mean((1, 2, 3), keepdim=True)
        contrast = sample.std((1, 2, 3), keepdim=True, correction=0)
        x = F.pixel_unshuffle((frames - mean) / (contrast + STEADY), STRIDE)  # (N, 48, h, w)
        x = F.leaky_relu(self.first(channels_last(x)), SLOPE)
        return x + F.leaky_relu(self.second(x), SLOPE)


def neighbours(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of features (B, T, C, h, w) those that flows live on, and those that they point to.

    Returns:
        Two (2 B (T-1), C, h, w): for all flows forward, then for all backward.
    """
    earlier, later = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
    return torch.cat((earlier, later)), torch.cat((later, earlier))


def standard(x: Tensor) -> Tensor:
    """Features less their mean over the frame, of length 1."""
    x = x.float()
    x = x - x.mean((2, 3), keepdim=True)
    return x / length(x)


def length(x: Tensor) -> Tensor:
    """Of vectors (N, C, h, w): (N, 1, h, w), never quite 0. Quicker on a CPU than `norm`."""
    return (x.square().sum(1, keepdim=True) + 1e-12).sqrt()


def opposite(flow: Tensor) -> Tensor:
    """Of (2N, 2, h, w), N forward and the N opposite to them, each one's opposite."""
    forward, backward = flow.chunk(2)
    return torch.cat((backward, forward))


def disagreement(flow: Tensor) -> Tensor:
    """Where one ends who goes along a flow and comes back along its opposite: (2N, 2, h, w)."""
    return flow + warp(opposite(flow), flow)


def reverse(flow: Tensor) -> Tensor:
    """The flow (2N, 2, h, w) as its opposite has it; itself where that lies outside the frame."""
    inside = warp(torch.ones_like(flow[:, :1]), flow) > 0.99
    return torch.where(inside, -warp(opposite(flow), flow), flow)


@torch.no_grad()
def affine(flow: Tensor, trust: Tensor) -> Tensor:
    """The affine motion that most of a flow follows, as a flow.

    Least squares, weighted by trust and again by how well each place fits (Cauchy's weights).

    Args:
        flow: (N, 2, h, w).
        trust: (N, 1, h, w), 0 to 1.

    Returns:
        (N, 2, h, w).
    """
    h, w = flow.shape[-2:]
    with torch.autocast(flow.device.type, enabled=False):
        rows = torch.linspace(-1, 1, h, device=flow.device)[:, None].expand(h, w)
        cols = torch.linspace(-1, 1, w, device=flow.device).expand(h, w)
        place = torch.stack((torch.ones_like(rows), cols, rows), -1).flatten(0, 1)  # (hw, 3)
        wanted, sure = flow.flatten(2).mT, trust.flatten(2).mT + 1e-3  # (N, hw, 2), (N, hw, 1)
        weight, steady = sure, 1e-4 * torch.eye(3, device=flow.device)
        for _ in range(FITS):
            weighted = (place * weight / weight.sum(1, keepdim=True)).mT  # (N, 3, hw)
            factors = torch.linalg.solve(weighted @ place + steady, weighted @ wanted)  # (N, 3, 2)
            fitted = place @ factors
            weight = sure / (1 + (wanted - fitted).square().sum(2, keepdim=True) / OFF**2)
        return fitted.mT.unflatten(2, (h, w))


def filled(flow: Tensor, trust: Tensor) -> Tensor:
    """A flow (N, 2, h, w) where `trust` (N, 1, h, w) is 1; where it is 0, what lies nearest around.

    Means over ever larger squares, weighted by trust (pull), then put in where trust is missing
    (push): Gortler et al., The Lumigraph, SIGGRAPH 1996.
    """
    size = flow.shape[-2:]
    if max(size) == 1:
        return flow
    share = halved(trust)
    coarse = filled(halved(flow * trust) / (share + 1e-6), (4 * share).clamp(max=1))
    around = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    return trust * flow + (1 - trust) * around


def halved(x: Tensor) -> Tensor:
    """Means of 2 x 2, of what there is of them at the edges."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
