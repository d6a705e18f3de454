"""Optical flow between any two frames, from where the layers' maps say the same point lies.

A pixel of the first frame shows a place of an atlas; the flow leads to where the second frame shows
that place, which takes the inverse of the second frame's map. Section 10 of the method: the nearest
pixel, and from there the inverse of the Jacobian (eqs. 5 and 6), which is one step of Newton's
method. Here Newton goes on, on the map as it lies in the project, from the nearest place of a
coarse lattice. So no triangulation is needed, and the front layer never mixes with what is behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.atlas.project.clip import LayeredClip
from unblur.atlas.project.render import opacities, shares
from unblur.errors import UsageError
from unblur.ops.warp import sample

LATTICE = 2048
"""Places of the coarse lattice at most."""
STEPS = 8
LEAST_DET = 0.05
"""Area of the atlas that a pixel shows, below which the map is taken to fold."""
CLOSE = 0.1
"""Pixels by which the flow may miss what the map says."""
SAME = 0.5
"""Change of a layer's share of the pixel from which on it is hidden, or comes out."""


@dataclass(frozen=True, eq=False)
class AtlasFlow:
    """Optical flow from one frame to another."""

    flow: Tensor
    """(2, H, W) pixels, channel 0 is x; lives on the first frame."""
    valid: Tensor
    """(1, H, W) 1 where the point is seen in the second frame, else 0. There the flow is what the
    layer's map says of the hidden point, and beyond the frame goes on straight; where the map has
    no inverse it is that of the nearest place that was found."""
    layer: Tensor
    """(1, H, W) int64, number of the layer that the pixel shows most of, 0 in front."""


@torch.no_grad()
def flow(project: LayeredClip, start: int, end: int) -> AtlasFlow:
    """Optical flow from frame `start` to frame `end`, of what each pixel shows most of.

    Raises:
        UsageError: a frame that is not there.
    """
    start, end = project.frame_at(start), project.frame_at(end)
    parts = torch.stack(shares(opacities(project, start)))  # (L, 1, H, W)
    parts_end = torch.stack(shares(opacities(project, end)))
    share, front = parts.max(0)  # (1, H, W)
    H, W = project.size
    pixels = pixel_grid(H, W).to(parts)  # (2, H, W)
    target = pixels.clone()
    valid = torch.zeros_like(share)
    for number, layer in enumerate(project.layers):
        here = (front == number)[0]  # (H, W)
        if not bool(here.any()):
            continue
        uv, uv_end = layer.uv[start], layer.uv[end]
        moved = nearest(uv, uv_end, layer.alpha[end])  # (2, H, W)
        guess = (pixels + moved)[:, here]  # (2, N)
        found, sure = invert(uv_end, uv[:, here], guess)
        sure &= determinant(jacobian(uv))[here] > LEAST_DET
        at = sample(parts_end[number][None], found[None, :1], found[None, 1:])[0, 0, 0]
        sure &= (at - share[0, here]).abs() < SAME
        sure &= inside(found, H, W)
        target[:, here] = found
        valid[0, here] = sure.to(valid)
    return AtlasFlow(target - pixels, valid, front)


def pixel_grid(height: int, width: int) -> Tensor:
    """(2, H, W) x and y of each pixel."""
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((cols, rows))


def inside(places: Tensor, height: int, width: int) -> Tensor:
    """Whether places (2, ...) lie in the frame, its outermost half pixels included."""
    x, y = places
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def nearest(uv: Tensor, uv_end: Tensor, alpha_end: Tensor) -> Tensor:
    """Motion (2, H, W) to about where the other frame shows the same, constant in square cells.

    Args:
        uv: (2, H, W) of the first frame.
        uv_end: (2, H, W) of the second.
        alpha_end: (1, H, W) the layer's opacity in the second: where it is transparent its map may
            be anything, so that other places are preferred.
    """
    H, W = uv.shape[-2:]
    cell = max(1, round((H * W / LATTICE) ** 0.5))
    offset = cell // 2
    rows = torch.arange(min(offset, H - 1), H, cell)
    cols = torch.arange(min(offset, W - 1), W, cell)
    lattice = pixel_grid(H, W)[:, rows][:, :, cols].to(uv)  # (2, h, w)
    wanted, candidates = (x[:, rows][:, :, cols].flatten(1).T for x in (uv, uv_end))  # (n, 2)
    unlikely = 2 * cell * (1 - alpha_end[:, rows][:, :, cols].flatten())
    best = (torch.cdist(wanted, candidates) + unlikely).argmin(1)
    places = lattice.flatten(1)
    moved = (places[:, best] - places).view_as(lattice)
    row_of = (torch.arange(H) // cell).clamp_max(len(rows) - 1)
    col_of = (torch.arange(W) // cell).clamp_max(len(cols) - 1)
    return moved[:, row_of][:, :, col_of]


def invert(uv: Tensor, wanted: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
    """Where a map has given values, by damped Newton steps; beyond its rim it goes on straight.

    Args:
        uv: (2, H, W).
        wanted: (2, N) values.
        guess: (2, N) places to begin at.

    Returns:
        Places (2, N), and whether they are right (N,): `guess` stays where no place was found.
    """
    H, W = uv.shape[-2:]
    slopes = jacobian(uv)  # (2, 2, H, W)
    stacked = torch.cat((uv, slopes.flatten(0, 1)))[None]  # (1, 6, H, W)
    limit = uv.new_tensor([W - 1, H - 1])[:, None]
    longest = max(16.0, max(H, W) / 4)
    place = guess
    for step in range(STEPS + 1):
        rim = place.clamp(min=torch.zeros_like(limit), max=limit)
        values = sample(stacked, rim[None, :1], rim[None, 1:])[0, :, 0]  # (6, N)
        slope = values[2:].view(2, 2, -1)
        value = values[:2] + (slope * (place - rim)[None]).sum(1)
        det = determinant(slope)
        safe = torch.where(det.abs() < LEAST_DET, LEAST_DET, det)
        error = wanted - value
        change = (
            torch.stack(
                (
                    slope[1, 1] * error[0] - slope[0, 1] * error[1],
                    slope[0, 0] * error[1] - slope[1, 0] * error[0],
                )
            )
            / safe
        )
        length = change.norm(dim=0)
        if step < STEPS:
            place = place + change * (longest / length.clamp_min(longest))
    right = (length < CLOSE) & (det > LEAST_DET)
    away = length > 1  # it went astray
    return torch.where(away, guess, place), right


def jacobian(uv: Tensor) -> Tensor:
    """(2, 2, H, W): [i, j] is how `uv[i]` grows along axis j, x first, per pixel."""
    padded = F.pad(uv[None], (1, 1, 1, 1), mode="replicate")[0]
    along = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    along[..., [0, -1]] *= 2  # one-sided at the rim
    down[..., [0, -1], :] *= 2
    return torch.stack((along, down), 1)


def determinant(slope: Tensor) -> Tensor:
    """Of (2, 2, ...)."""
    return slope[0, 0] * slope[1, 1] - slope[0, 1] * slope[1, 0]


def follow(project: LayeredClip, point: tuple[float, float], at: int) -> tuple[int, Tensor, Tensor]:
    """Tracks a point of a frame through all others.

    Args:
        project: where.
        point: x and y in pixels.
        at: number of the frame.

    Returns:
        Number of the layer it lies on; its places (T, 2); whether it is seen there (T,).

    Raises:
        UsageError: it lies outside the frame.
    """
    H, W = project.size
    place = torch.tensor(point, dtype=torch.float32)[:, None]  # (2, 1)
    if not bool(inside(place, H, W).all()):
        raise UsageError(f"{point[0]:g},{point[1]:g} lies outside the frames of {W}x{H}")
    col, row = (round(float(x)) for x in place[:, 0].clamp(min=0))
    col, row = min(col, W - 1), min(row, H - 1)
    parts = torch.stack(shares(opacities(project, at)))[:, 0, row, col]
    number = int(parts.argmax())
    layer = project.layers[number]
    rim = place.clamp(min=0)
    rim = torch.stack((rim[0].clamp(max=W - 1), rim[1].clamp(max=H - 1)))
    wanted = sample(layer.uv[at][None], rim[None, :1], rim[None, 1:])[0, :, 0]  # (2, 1)
    places, seen = torch.empty(len(project), 2), torch.zeros(len(project), dtype=torch.bool)
    # From the frame outwards, so that each begins where its neighbour found it.
    for frames in (range(at, len(project)), range(at - 1, -1, -1)):
        last = place
        for t in frames:
            last, sure = invert(layer.uv[t], wanted, last)
            share = torch.stack(shares(opacities(project, t)))[number]
            part = sample(share[None], last[None, :1], last[None, 1:])[0, 0, 0]
            places[t] = last[:, 0]
            seen[t] = bool(sure & (part > SAME) & inside(last, H, W))
    return number, places, seen
