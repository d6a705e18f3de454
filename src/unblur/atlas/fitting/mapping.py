"""Where each pixel of each frame lies in the atlas of a layer.

Two forms: a homography for each frame with cubic splines on top, quick and right from the start;
and the networks of Layered Neural Atlases (Kasten et al., 2021) that the paper takes. Places are
pixels of the atlas, centres whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.atlas.fitting.canvas import Canvas


def spline_basis(at: Tensor, length: float, knots: int) -> Tensor:
    """Cubic B-splines over [0, length], as many as `knots`.

    Args:
        at: (M,) positions in pixels; beyond the ends the values there go on.
        length: pixels from the first inner knot to the last.
        knots: at least 1; a single one is a constant.

    Returns:
        (M, knots), rows sum to 1.
    """
    if knots == 1:
        return torch.ones_like(at)[:, None]
    inner = max(1, knots - 3)
    place = (at / length * inner).clamp(0, inner) + 1  # in knots
    offset = (place[:, None] - torch.arange(knots, device=at.device)).abs()
    wide, narrow = (2 - offset).clamp_min(0), (1 - offset).clamp_min(0)
    return wide**3 / 6 - narrow**3 * (2 / 3)


def knots_for(length: int, distance: float) -> int:
    """Knots along a side for splines that are about `distance` pixels apart."""
    return max(1, round(length / distance)) + 3


class Lattice(nn.Module):
    """Smooth fields over the frames: (T, C, h, w) knots, sums of splines in between."""

    def __init__(
        self, frames: int, channels: int, height: int, width: int, shape: tuple[int, int]
    ) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.knots = nn.Parameter(torch.zeros(frames, channels, *shape))
        self._bases: dict[Canvas, tuple[Tensor, Tensor]] = {}

    def forward(self, canvas: Canvas, frames: Sequence[int] | Tensor) -> Tensor:
        """(B, C, rows, columns) of the canvas."""
        knots = self.knots[frames]
        if knots.shape[-2:] == (1, 1):
            return knots.expand(-1, -1, *canvas.outer)
        down, across = self.bases(canvas)
        return down @ knots @ across.T

    def bases(self, canvas: Canvas) -> tuple[Tensor, Tensor]:
        """Splines at the rows and at the columns."""
        device = self.knots.device
        if canvas not in self._bases or self._bases[canvas][0].device != device:
            x, y = canvas.axes(device)
            h, w = self.knots.shape[-2:]
            self._bases[canvas] = (
                spline_basis(y, self.height, h),
                spline_basis(x, self.width, w),
            )
        return self._bases[canvas]

    def bending(self, frames: Sequence[int] | Tensor) -> Tensor:
        """Mean square of the second differences of the knots."""
        knots = self.knots[frames]
        total = knots.new_zeros(())
        for axis in (-1, -2):
            if knots.shape[axis] > 2:
                total = total + knots.diff(n=2, dim=axis).square().mean()
        if min(knots.shape[-2:]) > 1:
            total = total + 2 * knots.diff(dim=-1).diff(dim=-2).square().mean()
        return total


class LatticeMapping(nn.Module):
    """A homography for each frame, and what the image says on top of it."""

    def __init__(
        self, homographies: Tensor, height: int, width: int, distances: Sequence[float]
    ) -> None:
        """Starts at the homographies.

        Args:
            homographies: (T, 3, 3) from pixels of a frame to pixels of the atlas.
            height: of the frames.
            width: of the frames.
            distances: between knots, for each set of splines.
        """
        super().__init__()
        self.homographies: Tensor
        self.register_buffer("homographies", homographies.float())
        self.lattices = nn.ModuleList(
            Lattice(
                len(homographies),
                2,
                height,
                width,
                (knots_for(height, distance), knots_for(width, distance)),
            )
            for distance in distances
        )

    def forward(self, canvas: Canvas, frames: Sequence[int] | Tensor) -> Tensor:
        """(B, 2, rows, columns) pixels of the atlas."""
        place = project(self.homographies[frames], *canvas.axes(self.homographies.device))
        for lattice in self.lattices:
            place = place + lattice(canvas, frames)
        return place

    def bending(self, frames: Sequence[int] | Tensor) -> Tensor:
        """How little the correction is like an affine one."""
        return torch.stack([m.bending(frames) for m in self.lattices]).sum()  # type: ignore[operator]


def project(homographies: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Maps a raster: (B, 3, 3), (columns,), (rows,) to (B, 2, rows, columns)."""
    m = homographies[..., None, None]  # (B, 3, 3, 1, 1)
    grid_y = y[:, None]
    w = m[:, 2, 0] * x + m[:, 2, 1] * grid_y + m[:, 2, 2]
    u = m[:, 0, 0] * x + m[:, 0, 1] * grid_y + m[:, 0, 2]
    v = m[:, 1, 0] * x + m[:, 1, 1] * grid_y + m[:, 1, 2]
    return torch.stack((u / w, v / w), 1)


@dataclass(frozen=True)
class MlpConfig:
    """A network of Layered Neural Atlases: linear layers, the last one included, and ReLU."""

    layers: int
    outputs: int
    width: int = 256
    octaves: int = 0
    """Of the positional encoding; 0: coordinates as they are."""


FOREGROUND_MLP = MlpConfig(6, 2)
BACKGROUND_MLP = MlpConfig(4, 2)
ALPHA_MLP = MlpConfig(8, 1, octaves=5)
SPREAD = 0.8
"""Places of the frame's pixels in the atlas, in units of its half, where a network starts."""


class Mlp(nn.Module):
    """(M, 3) x, y and t in [-1, 1] to (M, outputs) in [-1, 1]."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.config = config
        inputs = 6 * config.octaves or 3
        sizes = [inputs, *[config.width] * (config.layers - 1), config.outputs]
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, points: Tensor) -> Tensor:
        """As the class says."""
        x = encoded(points, self.config.octaves) if self.config.octaves else points
        for i, layer in enumerate(self.linear):
            x = layer(F.relu(x) if i else x)
        return torch.tanh(x)


def encoded(points: Tensor, octaves: int) -> Tensor:
    """Sines and cosines of 2^j pi x for j below `octaves`: (M, D) to (M, 2 D octaves)."""
    waves = 2.0 ** torch.arange(octaves, device=points.device) * math.pi
    phases = (points[..., None] * waves).flatten(-2)
    return torch.cat((phases.sin(), phases.cos()), -1)


class MlpMapping(nn.Module):
    """Coordinates of a pixel to its place in the atlas, by a network.

    The atlas spans [-1, 1] of the output in both axes; the frame is to fill `SPREAD` of it.
    """

    def __init__(
        self, config: MlpConfig, frames: int, height: int, width: int, atlas: tuple[int, int]
    ) -> None:
        super().__init__()
        self.frames, self.height, self.width, self.atlas = frames, height, width, atlas
        self.net = Mlp(config)

    def forward(self, canvas: Canvas, frames: Sequence[int] | Tensor) -> Tensor:
        """(B, 2, rows, columns) pixels of the atlas."""
        points = raster_points(self.frames, self.height, self.width, canvas, frames, self.device)
        return self.places(points).permute(0, 3, 1, 2)

    def places(self, points: Tensor) -> Tensor:
        """Pixels of the atlas (..., 2) of normalised points (..., 3)."""
        size = torch.tensor([self.atlas[1], self.atlas[0]], device=self.device)
        return (self.net(points) + 1) / 2 * size - 0.5

    def identity(self, points: Tensor) -> Tensor:
        """Where the network is made to start: the frame in the middle of the atlas, (..., 2)."""
        long = max(self.height, self.width)
        size = torch.tensor([self.atlas[1], self.atlas[0]], device=self.device)
        frame = torch.tensor([self.width, self.height], device=self.device)
        unit = points[..., :2] * (long / frame) * SPREAD  # -1 to 1
        return (unit + 1) / 2 * size - 0.5

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.net.parameters()).device


def normalised(frames: int, height: int, width: int, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
    """Pixels and frames as the networks take them: centred, the longer side in [-1, 1]."""
    half = max(height, width) / 2
    return torch.stack(
        (
            (x + 0.5 - width / 2) / half,
            (y + 0.5 - height / 2) / half,
            (t + 0.5) / (frames / 2) - 1,
        ),
        -1,
    )


def raster_points(
    frames: int,
    height: int,
    width: int,
    canvas: Canvas,
    chosen: Sequence[int] | Tensor,
    device: torch.device,
) -> Tensor:
    """(B, rows, columns, 3) normalised points of a canvas."""
    x, y = canvas.axes(device)
    t = torch.as_tensor(chosen, device=device, dtype=torch.float32)
    grid = torch.broadcast_tensors(x[None, None], y[None, :, None], t[:, None, None])
    return normalised(frames, height, width, *grid)
