"""Outlines of the cut-outs: blobs, islands, boxes, wires, fences, writing and lights.

Each shape is a field of signed distances to its edge, in pixels and approximately, positive
inside; the coverage of a pixel follows from it and from the width of the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.synth.config import SceneConfig
from unblur.synth.draw import Draw, take

BLOB, ISLANDS, BOX, WIRES, FENCE, TEXT, LIGHTS = range(7)
SHARES = [0.3, 0.15, 0.17, 0.13, 0.07, 0.18, 0.0]
LIGHT_SHARES = [0.24, 0.12, 0.14, 0.11, 0.06, 0.15, 0.18]
REACH = 1.5
"""No shape reaches further than this many times its size."""
WAVES = 8
LATTICE = 12
STROKES = 8
ROWS, COLUMNS = 4, 8

# Letters on a grid of 5 x 7 dots: one number a row, the leftmost dot counts 16.
_FONT = """
0E11111F111111 1E11111E11111E 0E11101010110E 1E11111111111E 1F10101E10101F 1F10101E101010
0E11101711110E 1111111F111111 0E04040404040E 0702020202120C 11121418141211 1010101010101F
111B1515111111 11191513111111 0E11111111110E 1E11111E101010 1E11111E141211 0F10100E01011E
1F040404040404 1111111111110E 11111111110A04 11111115151B11 11110A040A1111 11110A04040404
1F01020408101F 0E11131519110E 040C040404040E 0E11010204081F 0E11010601110E 02060A121F0202
1F101E0101110E 0608101E11110E 1F010204080808 0E11110E11110E 0E11110F01020C 00000000000000
"""


@dataclass(frozen=True)
class Shapes:
    """Outlines of a batch: `...` is (B, L) or, after selection, (S,)."""

    kind: Tensor
    """(...) int64, BLOB and so on."""
    size: Tensor
    """(...) radius over the frame's shorter side."""
    edge: Tensor
    """(...) pixels over which the edge goes from 0 to 1."""
    aspect: Tensor
    """(...) width over height, of boxes, writing and fences."""
    waves: Tensor
    """(..., 2, WAVES) size and phase of the waves on a blob's rim."""
    lattice: Tensor
    """(..., LATTICE, LATTICE) smooth noise."""
    strokes: Tensor
    """(..., STROKES, 5) ends (x, y, x, y) over the size, and thickness in pixels."""
    letters: Tensor
    """(..., ROWS, COLUMNS) int64 index into the font."""


def sample_shapes(config: SceneConfig, draw: Draw, B: int, bright: Tensor) -> Shapes:
    """Draws an outline for each layer; `bright` (B,) scenes may hold lights."""
    L = config.layers[1]
    kind = torch.where(bright[:, None], draw.choice(LIGHT_SHARES, B, L), draw.choice(SHARES, B, L))
    order = torch.arange(1, WAVES + 1, device=draw.device)
    waves = torch.stack(
        (
            draw.normal(B, L, WAVES) * 0.3 / order * draw.uniform(0.2, 1.2, B, L, 1),
            draw.uniform(-torch.pi, torch.pi, B, L, WAVES),
        ),
        -2,
    )
    thickness = draw.log_uniform(1, 5, B, L, 1) * draw.uniform(0.7, 1.4, B, L, STROKES)
    strokes = torch.cat((draw.uniform(-1, 1, B, L, STROKES, 4), thickness[..., None]), -1)
    font = len(_FONT.split())
    return Shapes(
        kind=kind,
        size=draw.uniform(*config.object_size, B, L),
        edge=draw.log_uniform(*config.edge, B, L),
        aspect=draw.log_uniform(0.5, 2, B, L),
        waves=waves,
        lattice=draw.normal(B, L, LATTICE, LATTICE),
        strokes=strokes,
        letters=draw.integer(0, font, B, L, ROWS, COLUMNS),
    )


def coverage(shapes: Shapes, x: Tensor, y: Tensor, side: float) -> Tensor:
    """How much of each pixel the shapes cover.

    Args:
        shapes: (S,) of them.
        x: (S, A, A) place on the layer's plane, in pixels from its middle.
        y: the same.
        side: the frame's shorter side in pixels.

    Returns:
        (S, A, A) in [0, 1].
    """
    distance = torch.zeros_like(x)
    for kind, field in enumerate((blob, islands, box, wires, fence, text, lights)):
        chosen = (shapes.kind == kind).nonzero()[:, 0]
        if len(chosen):
            some = take(shapes, chosen)
            size = some.size[:, None, None] * side
            distance[chosen] = field(some, x[chosen], y[chosen], size)
    return (0.5 + distance / shapes.edge[:, None, None]).clamp(0, 1)


def blob(s: Shapes, x: Tensor, y: Tensor, size: Tensor) -> Tensor:
    """A round thing with a wavy rim."""
    angle, radius = torch.atan2(y, x), torch.hypot(x, y)
    rim = torch.ones_like(x)
    for k in range(WAVES):
        high, phase = s.waves[:, 0, k, None, None], s.waves[:, 1, k, None, None]
        rim = rim + high * torch.cos((k + 1) * angle + phase)
    return rim.clamp(0.2, REACH) * size - radius


def islands(s: Shapes, x: Tensor, y: Tensor, size: Tensor) -> Tensor:
    """Where smooth noise is high: holes, tongues and islands."""
    place = torch.stack((x, y), -1) / size[..., None] / (1.2 * REACH)
    noise = F.grid_sample(s.lattice[:, None], place, mode="bicubic", align_corners=True)[:, 0]
    hill = (x * x + y * y) / size**2
    return as_distance(noise + 0.8 - 1.2 * hill, x)


def box(s: Shapes, x: Tensor, y: Tensor, size: Tensor) -> Tensor:
    """A rectangle with round corners."""
    wide = s.aspect[:, None, None].sqrt()
    half_x, half_y = size * wide, size / wide
    corner = torch.minimum(half_x, half_y) * s.waves[:, 1, 0, None, None].abs() / torch.pi
    dx, dy = x.abs() - half_x + corner, y.abs() - half_y + corner
    outside = torch.hypot(dx.clamp_min(0), dy.clamp_min(0))
    return corner - outside - torch.maximum(dx, dy).clamp(max=0)


def wires(s: Shapes, x: Tensor, y: Tensor, size: Tensor) -> Tensor:
    """Straight strokes: twigs, wires, railings."""
    nearest = torch.full_like(x, -torch.inf)
    for k in range(STROKES):
        x0, y0, x1, y1 = (s.strokes[:, k, i, None, None] * size for i in range(4))
        dx, dy = x1 - x0, y1 - y0
        along = ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy).clamp_min(1e-6)
        along = along.clamp(0, 1)
        away = torch.hypot(x - x0 - along * dx, y - y0 - along * dy)
        nearest = torch.maximum(nearest, s.strokes[:, k, 4, None, None] / 2 - away)
    return nearest


def fence(s: Shapes, x: Tensor, y: Tensor, size: Tensor) -> Tensor:
    """Even bars, some crossed by others."""
    bar = s.strokes[:, 0, 4, None, None] * 1.2
    gap = bar * (2 + 2 * s.waves[:, 1, 1, None, None].abs())
    upright = bar / 2 - ((x + gap / 2) % gap - gap / 2).abs()
    across = bar / 2 - ((y + gap / 2) % gap - gap / 2).abs()
    crossed = s.waves[:, 1, 2, None, None] > 0
    bars = torch.where(crossed, torch.maximum(upright, across), upright)
    return torch.minimum(bars, box(s, x, y, size))


def text(s: Shapes, x: Tensor, y: Tensor, size: Tensor) -> Tensor:
    """Rows of letters."""
    letters = font(x.device)[s.letters]  # (S, ROWS, COLUMNS, 9, 7)
    sheet = letters.permute(0, 1, 3, 2, 4).reshape(len(x), 1, ROWS * 9, COLUMNS * 7)
    wide = s.aspect[:, None, None].sqrt()
    place = torch.stack((x / (size * wide), y / (size / wide)), -1)
    drawn = F.grid_sample(sheet, place, mode="bicubic", align_corners=False)[:, 0]
    return as_distance(drawn - 0.45, x)


def lights(s: Shapes, x: Tensor, y: Tensor, size: Tensor) -> Tensor:
    """A handful of small discs."""
    nearest = torch.full_like(x, -torch.inf)
    for k in range(STROKES):
        for i in (0, 2):
            px, py = (s.strokes[:, k, i + j, None, None] * size for j in range(2))
            disc = s.strokes[:, k, 4, None, None] * (0.4 + 0.3 * i) - torch.hypot(x - px, y - py)
            nearest = torch.maximum(nearest, disc)
    return nearest


def as_distance(field: Tensor, x: Tensor) -> Tensor:
    """Distance to where a smooth field is zero, in pixels: the field over its slope."""
    step = (x[:, 0, 1] - x[:, 0, 0])[:, None, None]  # pixels of the plane per sample
    dy, dx = torch.gradient(field, dim=(1, 2))
    slope = (torch.hypot(dx, dy) / step).clamp_min(1e-3)
    return (field / slope).clamp(-10, 10)


def font(device: torch.device) -> Tensor:
    """(letters, 9, 7) dots, 0 or 1, with an empty rim."""
    codes = [[int(word[i : i + 2], 16) for i in range(0, 14, 2)] for word in _FONT.split()]
    rows = torch.tensor(codes, device=device)  # (letters, 7)
    bits = (rows[..., None] >> torch.arange(4, -1, -1, device=device)) & 1
    return F.pad(bits.float(), (1, 1, 1, 1))
