"""How blurred a frame is, and by what: motion, focus, both or nothing.

Blur takes detail away: motion along one direction only, that of the flow, a lens along all. So each
cell of a frame is described by its detail at three sizes, along the flow and across, by the flow
itself, and by what coc-s sees. A small network, trained on rendered scenes, makes of that how far
things moved while the shutter was open and how large the circle of confusion is; a second one makes
of all cells what the frame is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur import weights
from unblur.guidance.coc import coc_radius, load_coc_s
from unblur.guidance.flow import dis_flow
from unblur.models import load_state
from unblur.models.coc import CocNet

LOOK_WEIGHTS = "look-s"
CELL = 32
"""Side of a cell in pixels."""
SCALES = (1, 2, 4)
"""Sizes of detail, in pixels."""
FLOW_STRIDE = 4
LEAST = 1e-6
"""Energy of gradients, on a range of 1, below which there is no detail to speak of."""
SPEED, SEEN, CONTRAST, NOISE, ALONG = 0, 1, 6, 7, 12
"""Places of features: log(1 + flow), log(1 + radius of coc-s), detail, noise, and how much of the
detail lies along the flow, at the finest size (at the next ones two places further)."""
CELL_FEATURES = 3 * len(SCALES) + 4 + 4
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Quantiles over cells that describe a frame."""
LIMITS = 3.0, 1.5
"""Pixels of motion and of the radius from which a place is called blurred."""
FRAME_FEATURES = 4 * len(LEVELS) + 4 + 4
LUMA = (0.2126, 0.7152, 0.0722)


class Cells(NamedTuple):
    """What is measured of a frame; h x w cells."""

    features: Tensor
    """(CELL_FEATURES, h, w)."""
    detail: Tensor
    """(h, w) weight of a cell: flat ones say nothing."""


class BlurKind(nn.Module):
    """Cells to extents, extents to kinds.

    Args:
        hidden: width of both networks.
    """

    mean: Tensor
    deviation: Tensor
    frame_mean: Tensor
    frame_deviation: Tensor

    def __init__(self, hidden: int = 48) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2 * CELL_FEATURES))
        self.register_buffer("deviation", torch.ones(2 * CELL_FEATURES))
        self.cells = nn.Sequential(
            nn.Linear(2 * CELL_FEATURES, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 4),
        )
        self.register_buffer("frame_mean", torch.zeros(FRAME_FEATURES))
        self.register_buffer("frame_deviation", torch.ones(FRAME_FEATURES))
        self.frame = nn.Sequential(
            nn.Linear(FRAME_FEATURES, hidden // 2), nn.SiLU(), nn.Linear(hidden // 2, 2)
        )

    def extents(self, features: Tensor) -> Tensor:
        """Of cells beside and around each other (2 * CELL_FEATURES, h, w), see `around`.

        Returns:
            (h, w, 4) log(1 + pixels) of motion and of the radius, and logits of being blurred, as
            `LIMITS` say, by each.
        """
        found: Tensor = self.cells(((features.permute(1, 2, 0)) - self.mean) / self.deviation)
        return found

    def kinds(self, frames: Tensor) -> Tensor:
        """(..., FRAME_FEATURES) to (..., 2): logits of motion and of focus."""
        found: Tensor = self.frame((frames - self.frame_mean) / self.frame_deviation)
        return found


def load_look_s(device: torch.device | str = "cpu") -> BlurKind:
    """look-s with the weights that ship."""
    path = weights.require(LOOK_WEIGHTS, "they come with unblur: install it again")
    return load_state(BlurKind(), weights.load(path), str(path)).to(device)


def fits_look(name: str, state: Mapping[str, Tensor], source: str) -> bool:
    """Whether `name` is look-s; its weights are then tried in it. See `models.known.fits_guide`.

    Raises:
        WeightsError: they do not fit.
    """
    if name != LOOK_WEIGHTS:
        return False
    load_state(BlurKind(), state, source)
    return True


def cells_of(frame: Tensor, flow: Tensor, radius: Tensor) -> Cells:
    """Describes the cells of a frame.

    Args:
        frame: (3, H, W) encoded RGB in [0, 1].
        flow: (2, ceil(H/4), ceil(W/4)) to a neighbour, in elements of its own grid.
        radius: (1, H, W) of coc-s, in pixels.

    Returns:
        Of ceil(H/32) x ceil(W/32) cells.
    """
    luma = torch.einsum("chw,c->hw", frame.float(), frame.new_tensor(LUMA).float())[None, None]
    height, width = luma.shape[-2:]
    rows, columns = -(-height // CELL), -(-width // CELL)
    luma = filled(luma, rows * CELL, columns * CELL)
    motion = filled(FLOW_STRIDE * flow[None].float(), rows * CELL // 4, columns * CELL // 4)
    motion = F.avg_pool2d(motion, CELL // FLOW_STRIDE)[0]  # (2, h, w) pixels
    speed = motion.norm(dim=0)
    squares = motion[0] ** 2 - motion[1] ** 2, 2 * motion[0] * motion[1]
    turned = [part / (speed**2 + 0.25) for part in squares]  # cosine and sine of twice the angle
    features: list[Tensor] = []
    energies, whole, detail = [], [], speed
    for scale in SCALES:
        small = F.avg_pool2d(luma, scale)
        dx = F.pad(small[..., 1:] - small[..., :-1], (0, 1))
        dy = F.pad(small[..., 1:, :] - small[..., :-1, :], (0, 0, 0, 1))
        products = torch.cat((dx * dx, dy * dy, dx * dy), 1)
        xx, yy, xy = F.avg_pool2d(products, CELL // scale)[0]  # (h, w) each
        energy = xx + yy + LEAST
        energies.append(energy.log())
        features += [
            ((xx - yy) ** 2 + 4 * xy**2).sqrt() / energy,
            ((xx - yy) * turned[0] + 2 * xy * turned[1]) / energy,
        ]
        detail = energy
        total = xx.sum() + yy.sum() + LEAST
        lean = (xx.sum() - yy.sum()) ** 2 + 4 * xy.sum() ** 2
        whole.append((lean.sqrt() / total).expand_as(speed))
    # Ratios of detail at one size and the next: contrast says nothing of blur.
    falls = [energies[n] - energies[n + 1] for n in range(len(SCALES) - 1)]
    found = filled(radius[None].float().log1p(), rows * CELL, columns * CELL)
    seen = F.avg_pool2d(found, CELL), -F.max_pool2d(-found, CELL), F.max_pool2d(found, CELL)
    described = [speed.log1p(), *(x[0, 0] for x in seen), *falls, energies[-1]]
    described += [noise(luma).log().expand_as(speed), *whole, *features]
    return Cells(torch.stack(described), detail.sqrt())


def around(cells: Cells) -> Tensor:
    """Features of cells and of the nine around each, (2 * CELL_FEATURES, h, w).

    Means count what has detail: a wall tells by what stands before it.
    """
    weight = cells.detail[None] + 1e-3

    def near(x: Tensor) -> Tensor:
        return F.avg_pool2d(x[None], 3, 1, 1, count_include_pad=False)[0]

    local = near(cells.features * weight) / near(weight)
    return torch.cat((cells.features, local))


def filled(x: Tensor, height: int, width: int) -> Tensor:
    """Grows the last two axes by their last values."""
    missing = (0, max(0, width - x.shape[-1]), 0, max(0, height - x.shape[-2]))
    return F.pad(x, missing, mode="replicate")[..., :height, :width]


def noise(luma: Tensor) -> Tensor:
    """Deviation of white noise in an image (1, 1, H, W), by what no edge explains.

    The median of a second difference along both axes, which straight edges leave at zero.
    """
    kernel = luma.new_tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    second = F.conv2d(luma, kernel).abs()
    return second.median() / (6 * 0.6745) + 1e-4


def describe(extents: Tensor, cells: Cells) -> Tensor:
    """What a frame is judged by, (FRAME_FEATURES,).

    Args:
        extents: (h, w, 4) of its cells.
        cells: what was measured.
    """
    weight = cells.detail.flatten()
    speed, seen = (cells.features[n].flatten() for n in (SPEED, SEEN))
    values = [extents[..., 0].flatten(), extents[..., 1].flatten(), speed, seen]
    levels = [quantile for x in values for quantile in weighted_quantiles(x, weight)]
    share = weight / weight.sum()
    blurred = [extents[..., n].flatten().sigmoid() for n in (2, 3)]
    rest = [
        *(x.mean() for x in blurred),
        *((x * share).sum() for x in blurred),
        *((cells.features[n].flatten() * share).sum() for n in (ALONG, ALONG + 2)),
        *(cells.features[n].mean() for n in (4, 5)),
    ]
    return torch.stack([*levels, *rest])


def weighted_quantiles(values: Tensor, weight: Tensor) -> list[Tensor]:
    """Values (n,) at `LEVELS` of their weight."""
    ordered, order = values.sort()
    below = weight[order].cumsum(0) / weight.sum()
    at = torch.searchsorted(below, below.new_tensor(LEVELS)).clamp(max=len(values) - 1)
    return list(ordered[at])


class Looked(NamedTuple):
    """How a frame is blurred."""

    motion: Tensor
    """(h, w) pixels that things in each cell moved while the shutter was open."""
    radius: Tensor
    """(h, w) of the circle of confusion in pixels."""
    chance: tuple[float, float]
    """Of being blurred by motion, and by focus."""
    noise: float
    """Deviation of the noise, on a range of 1."""
    detail: Tensor
    """(h, w) by how much each cell counts."""
    seen: float
    """Radius in pixels that coc-s finds for half of what has detail; it takes motion for focus."""

    def most(self, values: Tensor) -> float:
        """What a tenth of all that has detail reaches."""
        return float(weighted_quantiles(values.flatten(), self.detail.flatten())[-1])


class Looker:
    """Looks at frames with their neighbours."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.coc = load_coc_s(device)
        self.network = load_look_s()

    @torch.no_grad()
    def __call__(self, frame: Tensor, neighbour: Tensor | None) -> Looked:
        """Looks at a frame (3, H, W), encoded RGB in [0, 1], and at one beside it in its shot."""
        cells = measured(self.coc, frame, neighbour)
        extents = self.network.extents(around(cells))
        chance = self.network.kinds(describe(extents, cells)).sigmoid()
        motion, radius = extents[..., :2].clamp_min(0).expm1().unbind(-1)
        return Looked(
            motion,
            radius,
            (float(chance[0]), float(chance[1])),
            float(cells.features[NOISE].mean().exp()),
            cells.detail,
            float(
                weighted_quantiles(cells.features[SEEN].flatten(), cells.detail.flatten())[
                    2
                ].expm1()
            ),
        )


def measured(coc: CocNet, frame: Tensor, neighbour: Tensor | None) -> Cells:
    """The cells of a frame (3, H, W); without a neighbour nothing is known to move."""
    pair = torch.stack((frame, frame if neighbour is None else neighbour))
    forward = dis_flow(pair, FLOW_STRIDE)[0][0]
    return cells_of(frame, forward, coc_radius(coc, frame[None])[0])
