"""How a clip moves: optical flow over several gaps, and the homographies of its layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unblur.atlas.fitting.mapping import project
from unblur.ops.consistency import consistency

GAPS = (1, 3, 8)
"""Frames from one end of a flow to the other. Long ones keep chains from drifting."""
SMALLEST = 128
"""Shorter side in pixels that frames are enlarged to before flow is looked for."""
POINTS = 400
"""Of each flow that a homography is fitted to."""
INLIER = 1.0
"""Pixels that a point may lie off."""
ENOUGH = 24
"""Points that a homography must have."""
SPARSE = 64
"""Points of each flow when all homographies are brought to agree."""
STEPS = 60

Pair = tuple[int, int]


class Motion(NamedTuple):
    """Flow of a clip."""

    flows: Mapping[Pair, Tensor]
    """(2, H, W) pixels by (start, end), half precision; lives on start, channel 0 is x."""
    valid: Mapping[Pair, Tensor]
    """(1, H, W) bool: there and back again ends where it began."""

    @property
    def pairs(self) -> list[Pair]:
        """All (start, end), in order."""
        return sorted(self.flows)


def find_motion(frames: Tensor, gaps: Iterable[int] = GAPS) -> Motion:
    """Optical flow by DIS (Kroeger et al., ECCV 2016) between frames that are `gaps` apart.

    Args:
        frames: (T, 3, H, W) encoded RGB in [0, 1].
        gaps: both ways each.
    """
    import cv2

    T, _, H, W = frames.shape
    zoom = max(1, -(-SMALLEST // min(H, W)))
    grey = [gray(frame, zoom) for frame in frames]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(1 if min(H, W) * zoom < 400 else 2)

    def flow(a: int, b: int) -> Tensor:
        found = dis.calc(grey[a], grey[b], np.zeros((H * zoom, W * zoom, 2), np.float32))
        small = cv2.resize(found, (W, H), interpolation=cv2.INTER_AREA) if zoom > 1 else found
        return torch.from_numpy(small).permute(2, 0, 1) / zoom

    flows: dict[Pair, Tensor] = {}
    valid: dict[Pair, Tensor] = {}
    for gap in gaps:
        for a in range(T - gap):
            there, back = flow(a, a + gap), flow(a + gap, a)
            for pair, one, other in (((a, a + gap), there, back), ((a + gap, a), back, there)):
                flows[pair] = one.half()
                valid[pair] = consistency(one[None], other[None], 0.01, 0.5)[0] > 0
    return Motion(flows, valid)


def gray(frame: Tensor, zoom: int) -> np.ndarray:
    """A frame (3, H, W) as DIS takes it, enlarged."""
    import cv2

    rgb = frame.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    image = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if zoom == 1:
        return image
    return cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)


class Matches(NamedTuple):
    """Points of one frame and where they are in another, of one layer."""

    start: Tensor
    """(M, 2) x and y."""
    end: Tensor


def matches_of(motion: Motion, pair: Pair, region: Tensor | None) -> Matches:
    """Points of a flow that lie in `region` (H, W) and can be trusted, on a regular grid."""
    flow, valid = motion.flows[pair].float(), motion.valid[pair][0]
    if region is not None:
        valid = valid & region
    H, W = valid.shape
    step = max(1, int((H * W / (4 * POINTS)) ** 0.5))
    inside = torch.zeros_like(valid)
    inside[step // 2 :: step, step // 2 :: step] = True
    y, x = (valid & inside).nonzero(as_tuple=True)
    start = torch.stack((x, y), -1).float()
    return Matches(start, start + flow[:, y, x].T)


def fit_homography(matches: Matches) -> tuple[Tensor, Tensor] | None:
    """The homography most points follow, (3, 3), and which do, (M,); None for too few points."""
    import cv2

    if len(matches.start) < ENOUGH:
        return None
    matrix, inliers = cv2.findHomography(
        matches.start.numpy(), matches.end.numpy(), cv2.USAC_MAGSAC, INLIER, maxIters=2000
    )
    if matrix is None:
        return None
    near = torch.from_numpy(inliers[:, 0].astype(bool))
    found = torch.from_numpy(matrix)
    return (found, near) if int(near.sum()) >= ENOUGH and sane(found) else None


def sane(matrix: Tensor) -> bool:
    """False for what turns an image inside out or blows it up."""
    determinant = float(torch.linalg.det(matrix[:2, :2] / matrix[2, 2]))
    return 0.1 < determinant < 10


def chain(steps: Mapping[Pair, Tensor], frames: int, centre: int) -> Tensor:
    """Homographies (T, 3, 3) from each frame to the frame `centre`, of those to a neighbour.

    Where a step is missing, nothing moves.
    """
    out = torch.eye(3, dtype=torch.float64).repeat(frames, 1, 1)
    still = torch.eye(3, dtype=torch.float64)
    for t in range(centre + 1, frames):
        out[t] = out[t - 1] @ steps.get((t, t - 1), still)
    for t in range(centre - 1, -1, -1):
        out[t] = out[t + 1] @ steps.get((t, t + 1), still)
    return out / out[:, 2:, 2:]


def layer_homographies(
    motion: Motion, regions: Tensor | None, frames: int, size: tuple[int, int], centre: int
) -> Tensor:
    """How one layer moves: (T, 3, 3) from each frame to the frame `centre`.

    Homographies of neighbours are chained, then all are moved until flows over all gaps agree.

    Args:
        motion: of the clip.
        regions: (T, H, W) bool, where the layer is seen; None: wherever most of the frame moves.
        frames: T.
        size: (H, W).
        centre: the frame that stays as it is.
    """
    steps: dict[Pair, Tensor] = {}
    kept: dict[Pair, Matches] = {}
    for pair in motion.pairs:
        matches = matches_of(motion, pair, None if regions is None else regions[pair[0]])
        found = fit_homography(matches)
        if found is None:
            continue
        steps[pair], near = found
        kept[pair] = Matches(matches.start[near], matches.end[near])
    return agree(chain(steps, frames, centre), kept, size, centre)


def agree(
    start: Tensor, matches: Mapping[Pair, Matches], size: tuple[int, int], centre: int
) -> Tensor:
    """Moves homographies (T, 3, 3) so that all matches meet as near as they can.

    Each is the one it starts from times exp of eight small numbers; robust least squares.
    """
    if not matches:
        return start
    pairs = sorted(matches)
    a, b = torch.tensor(pairs).T
    half = max(size) / 2
    middle = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2])
    sides = torch.zeros(2, len(pairs), SPARSE, 2, dtype=torch.float64)
    weight = torch.zeros(len(pairs), SPARSE, dtype=torch.float64)
    for i, pair in enumerate(pairs):
        chosen = torch.linspace(0, len(matches[pair].start) - 1, SPARSE).round().long().unique()
        for side, points in zip(sides, matches[pair], strict=True):
            side[i, : len(chosen)] = (points[chosen] - middle) / half
        weight[i, : len(chosen)] = 1 / (len(chosen) * len(pairs))
    unit = torch.diag(torch.tensor([1 / half, 1 / half, 1.0], dtype=torch.float64))
    shift = torch.eye(3, dtype=torch.float64)
    shift[:2, 2] = -middle.double()
    to_unit = unit @ shift
    base = to_unit @ start @ torch.linalg.inv(to_unit)
    small = torch.zeros(len(start), 8, dtype=torch.float64, requires_grad=True)
    free = torch.ones(len(start), 1, dtype=torch.float64)
    free[centre] = 0
    optimizer = torch.optim.LBFGS([small], max_iter=STEPS, line_search_fn="strong_wolfe")

    def moved() -> Tensor:
        change = torch.cat((small * free, torch.zeros(len(start), 1, dtype=small.dtype)), 1)
        return base @ torch.linalg.matrix_exp(change.view(-1, 3, 3))

    def closure() -> Tensor:
        optimizer.zero_grad()
        matrices = moved()
        gap = (apply(matrices[a], sides[0]) - apply(matrices[b], sides[1])) * half
        loss = (weight * (1 + gap.square().sum(-1)).log()).sum()  # Cauchy's: outliers weigh little
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        out = torch.linalg.inv(to_unit) @ moved() @ to_unit
    return out / out[:, 2:, 2:]


def apply(matrices: Tensor, points: Tensor) -> Tensor:
    """Points (P, M, 2) by the homography of their pair, (P, 3, 3)."""
    out = points @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]  # (P, M, 2)
    return out / (points @ matrices[:, 2:, :2].mT + matrices[:, None, 2:, 2])


def residual(motion: Motion, pair: Pair, to_centre: Tensor) -> Tensor:
    """Pixels (H, W) by which a flow differs from the motion of a layer."""
    flow = motion.flows[pair].float()
    H, W = flow.shape[-2:]
    between = torch.linalg.inv(to_centre[pair[1]]) @ to_centre[pair[0]]
    x, y = torch.arange(W, dtype=torch.float32), torch.arange(H, dtype=torch.float32)
    place = project(between.float()[None], x, y)[0]
    return (place - torch.stack(torch.broadcast_tensors(x, y[:, None])) - flow).norm(dim=0)
