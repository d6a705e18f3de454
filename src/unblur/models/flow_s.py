"""flow-s: optical flow between neighbouring frames, blurred or sharp, at a quarter of their size.

A quick classical flow is the first guess. Where its two directions contradict each other it is
replaced by what lies around. Then features of both frames at 1/16, 1/8 and 1/4 of the size are
compared near where the flow so far leads to, and what is found corrects it, from coarse to fine (as
in PWC-Net, Sun et al., CVPR 2018). Corrections start at zero: a fresh network gives the mended
guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.layers import channels_last
from unblur.ops.pad import pad_to, padded_length
from unblur.ops.warp import warp

STRIDE = 4
"""Frame pixels per element of the flow, and per unit of it."""
SLOPE = 0.1
"""Of the leaky rectifiers below zero."""
STEADY = 0.05
"""Added to a frame's contrast before dividing by it, so that noise in a flat frame stays small."""
BLOCK = 12
"""Elements of a row that are compared by one product of matrices: fewer, and the products are too
small for a processor to be quick; more, and most of what they give lies outside the radius."""


@dataclass(frozen=True)
class FlowConfig:
    """Sizes of the network. Tuples go from coarse to fine: 1/16, 1/8, 1/4 of the frame."""

    features: tuple[int, ...] = (64, 48, 32)
    """Channels that a frame is described by."""
    hidden: tuple[int, ...] = (64, 48, 24)
    """Channels of what corrects the flow."""
    radius: tuple[int, ...] = (4, 3, 2)
    """How far around the flow so far frames are compared, in elements: 64, 24 and 8 pixels."""

    def __post_init__(self) -> None:
        """Takes lists too, as recipes and JSON have them."""
        for name in ("features", "hidden", "radius"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.features) == len(self.hidden) == len(self.radius) > 0:
            raise ValueError("features, hidden and radius must have a value for each level")

    @property
    def multiple(self) -> int:
        """Frames are padded to a multiple of this."""
        return STRIDE * 2 ** (len(self.features) - 1)


class FlowS(nn.Module):
    """Corrects a first guess of the optical flow, both ways between all neighbours of a clip."""

    def __init__(self, config: FlowConfig = FlowConfig()) -> None:
        super().__init__()
        self.config = config
        self.tolerance = nn.Parameter(torch.tensor(0.15))  # elements
        self.encoder = Encoder(config.features)
        told = (0, *config.hidden[:-1])
        self.levels = nn.ModuleList(
            Level(*sizes)
            for sizes in zip(config.features, config.hidden, config.radius, told, strict=True)
        )

    def forward(
        self,
        frames: Tensor,  # (B, T, 3, H, W)
        guess_forward: Tensor,  # (B, T-1, 2, ceil(H/4), ceil(W/4))
        guess_backward: Tensor,  # (B, T-1, 2, ceil(H/4), ceil(W/4))
    ) -> list[tuple[Tensor, Tensor]]:
        """Flows between neighbours, from coarse to fine.

        Args:
            frames: encoded RGB in [0, 1]; any T, H, W from 1 up.
            guess_forward: in elements of its own grid; on frame t, to t + 1.
            guess_backward: the same; on frame t + 1, to t.

        Returns:
            flow_forward and flow_backward of each level, float32, the last ones of the shapes of
            the guesses, each of those before half as large as the next, rounded up; all in
            elements of their own grid.
        """
        B, T = frames.shape[:2]
        full = [padded_length(s, self.config.multiple) for s in frames.shape[-2:]]
        guess = torch.cat((guess_forward.flatten(0, 1), guess_backward.flatten(0, 1))).float()
        guess = pad_to(guess, full[0] // STRIDE, full[1] // STRIDE)  # (2 B (T-1), 2, h, w)
        scales = [2**i for i in reversed(range(len(self.levels)))]
        if len(guess):
            described = self.encoder(pad_to(frames, full[0], full[1]).flatten(0, 1))
            pairs = [neighbours(x.unflatten(0, (B, T))) for x in described]
            flows = self.correct(guess, pairs, scales)
        else:
            flows = [guess[..., ::scale, ::scale] for scale in scales]
        height, width = (-(-s // STRIDE) for s in frames.shape[-2:])
        found = []
        for flow, scale in zip(flows, scales, strict=True):
            flow = flow[..., : -(-height // scale), : -(-width // scale)]
            forward, backward = flow.unflatten(0, (2, B, T - 1))
            found.append((forward, backward))
        return found

    def correct(
        self, guess: Tensor, pairs: list[tuple[Tensor, Tensor]], scales: list[int]
    ) -> list[Tensor]:
        """Flows (2N, 2, h, w) of all levels from a guess and from features of the frames."""
        doubt = disagreement(guess)
        trust = (-(doubt / self.tolerance).square().sum(1, keepdim=True)).exp()
        mended = filled(guess, trust)
        found: list[Tensor] = []
        correction, told = mended, None
        for level, (near, far), scale in zip(self.levels, pairs, scales, strict=True):
            own, raw = (shrunk(x, scale) / scale for x in (mended, guess))
            start, other = own, raw
            if found:  # the guess's own detail with a smooth correction, or all of it smooth
                start, other = own + 2 * doubled(correction), 2 * doubled(found[-1])
            flow, told = level(near, far, start, other, shrunk(doubt, scale) / scale, told)
            correction = flow - own
            found.append(flow)
        return found


class Encoder(nn.Module):
    """A frame to features at 1/4, 1/8, ... of its size."""

    def __init__(self, features: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (3 * STRIDE**2, *reversed(features))
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2 if i else 1, padding=1)
            for i, (a, b) in enumerate(pairwise(sizes))
        )
        self.further = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in sizes[1:])

    def forward(self, frames: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to (N, C, h, w) for each level, coarse to fine."""
        sample = frames[..., ::STRIDE, ::STRIDE]
        mean = sample.mean((1, 2, 3), keepdim=True)
        contrast = sample.std((1, 2, 3), keepdim=True, correction=0)
        x = F.pixel_unshuffle((frames - mean) / (contrast + STEADY), STRIDE)  # (N, 48, H/4, W/4)
        x = channels_last(x)
        found: list[Tensor] = []
        for down, further in zip(self.down, self.further, strict=True):
            x = F.leaky_relu(down(x), SLOPE)
            x = x + F.leaky_relu(further(x), SLOPE)
            found.insert(0, x)
        return found


class Level(nn.Module):
    """Corrects the flow at one size."""

    def __init__(self, features: int, hidden: int, radius: int, told: int) -> None:
        super().__init__()
        self.radius = radius
        known = (2 * radius + 1) ** 2 + features + 3 * 2 + told
        self.gather = nn.Conv2d(known, hidden, 1)
        self.think = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(2))
        self.decide = nn.Conv2d(hidden, 2 + 1, 3, padding=1)
        nn.init.zeros_(self.decide.weight)
        nn.init.zeros_(self.decide.bias)  # type: ignore[arg-type]

    def forward(
        self,
        near: Tensor,  # (N, C, h, w) features of the frames the flow lives on
        far: Tensor,  # (N, C, h, w) features of those it points to
        start: Tensor,  # (N, 2, h, w) flow to correct
        other: Tensor,  # (N, 2, h, w) another that may be better
        doubt: Tensor,  # (N, 2, h, w) by how much the guesses of both directions disagree
        told: Tensor | None,  # (N, C', h/2, w/2) what the coarser level had in mind
    ) -> tuple[Tensor, Tensor]:
        """The corrected flow (N, 2, h, w), and what the next level is told (N, hidden, h, w)."""
        likeness = compare(standard(near), warp(standard(far), start), self.radius)
        change = other - start
        known = [likeness, near, start / 8, (doubt / 4).tanh(), (change / 4).tanh()]
        if told is not None:
            known.append(doubled(told))
        x = F.leaky_relu(self.gather(torch.cat(known, 1)), SLOPE)
        for layer in self.think:
            x = x + F.leaky_relu(layer(x), SLOPE)
        decided = self.decide(x).float()  # (N, 2 + 1, h, w)
        return start + decided[:, :2] + decided[:, 2:] * change, x


def standard(x: Tensor) -> Tensor:
    """Features less their mean over the frame, of length 1."""
    x = x.float()
    return F.normalize(x - x.mean((2, 3), keepdim=True), dim=1)


def neighbours(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of features (B, T, C, h, w) those that flows live on, and those that they point to.

    Returns:
        Two (2 B (T-1), C, h, w): for all flows forward, then for all backward.
    """
    earlier, later = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
    return torch.cat((earlier, later)), torch.cat((later, earlier))


def disagreement(flow: Tensor) -> Tensor:
    """Where one ends who goes along a flow and comes back along the opposite one.

    Args:
        flow: (2 N, 2, h, w): N forward, then the N opposite to them.
    """
    forward, backward = flow.chunk(2)
    return flow + warp(torch.cat((backward, forward)), flow)


def filled(flow: Tensor, trust: Tensor) -> Tensor:
    """A flow (N, 2, h, w) where `trust` (N, 1, h, w) is 1; from around, as near as there is any,
    where it is 0.

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


def shrunk(x: Tensor, scale: int) -> Tensor:
    """Mean of each square of `scale` x `scale` elements."""
    return F.avg_pool2d(x, scale) if scale > 1 else x


def doubled(x: Tensor) -> Tensor:
    """Twice the size, interpolated."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def compare(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """Products of the features of each element of `a` with those of the elements of `b` around it.

    Args:
        a: (N, C, h, w).
        b: (N, C, h, w); zero outside.
        radius: of the square that is compared, in elements.

    Returns:
        (N, (2 radius + 1)^2, h, w), rows of the square first, top left to bottom right.
    """
    h, w = a.shape[-2:]
    side, across = 2 * radius + 1, BLOCK + 2 * radius
    more = -w % BLOCK
    # Rows of the frame come first, so that those of a window lie together in memory.
    a = F.pad(a.permute(2, 0, 3, 1), (0, 0, 0, more)).unflatten(2, (-1, BLOCK))
    a = F.pad(a, (0, 0, 0, 1))  # (h, N, n, BLOCK + 1, C)
    b = F.pad(b.permute(2, 0, 3, 1), (0, 0, radius, more + radius, 0, 0, radius, radius))
    b = b.unfold(2, across, BLOCK).mT.contiguous().mT  # (h + 2 radius, N, n, C, across)
    rows = []
    for y in range(side):
        products = (a @ b[y : y + h]).flatten(-2)  # (h, N, n, (BLOCK + 1) * across)
        # Each element's window begins one further right than that of the element before: in rows
        # that are longer by one, all begin at the left. That takes the extra row of zeros.
        slanted = products[..., : BLOCK * (across + 1)].unflatten(-1, (BLOCK, across + 1))
        rows.append(slanted[..., :side])
    found = torch.cat(rows, -1).flatten(2, 3)[:, :, :w]  # (h, N, w, side^2)
    return found.permute(1, 3, 0, 2)
