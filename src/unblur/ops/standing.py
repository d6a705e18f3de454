"""What stands still before something that moves: letters, logos and marks laid over a film.

Motion did not blur it, but networks take it for a part of what moves, and drag it along.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 0.03
"""Least gradient, of the range for each pixel, of what counts as drawn."""
ACROSS, SMALLEST = 0.35, 0.6
"""Parts of a gradient: by which it may turn aside in frames in which it stands still; to which it
may shrink, or grow by the inverse, as what shines through changes."""
AROUND = 4
"""Side in pixels of the cells, of which three by three or so are the surroundings in which edges of
all directions must stand still."""
CORNER = 0.12
"""Least part of the weaker direction in what stands still there: along its own direction an edge
looks the same wherever it moves."""
FEW = 0.05 * EDGE**2
"""Least square of a gradient, in the mean over its surroundings, in the weaker direction."""
MOVED, BEYOND, MANY = 0.015, 8, 0.3
"""Change of the range from frame to frame that is motion, in the mean over cells: grain and rain
change all that stands still, too; side in pixels of these, and part of the surroundings that moves
where something stands still before them."""
SHARP, STROKE = 0.35, 3
"""Part of the range of its surroundings that a sharp edge rises by in a pixel, and how far these
reach, in pixels."""
GROWN, CLOSED = 1, 2
"""Pixels by which what stands still is grown, since its rim blends with what is behind it; by which
gaps in it are closed."""
REACH = 48
"""Pixels beyond which nothing changes what is found in a place; a multiple of `BEYOND`."""


def standing(images: Tensor, t: int, lens: bool = False) -> Tensor | None:
    """Where an image stands still before something that moves.

    There gradients of it, of the images beside it and of the next one on either side point the same
    way, in all directions, while much around it changes. How large they are may change with what is
    behind: a logo lets much of that through. A pan leaves edges along itself as they are, but
    those alone. Where nothing moves, nothing stands before another.

    Args:
        images: (T, 3, H, W), encoded RGB in [0, 1], a row of frames of one shot.
        t: which of them.
        lens: whether a lens may have blurred what stands still; then its edges have to be sharp.

    Returns:
        (1, H, W), 0 to 1 with soft borders; None where nothing does, and of fewer than 3 images.
    """
    near, far = ([n for n in (t - d, t + d) if 0 <= n < len(images)] for d in (1, 2))
    if len(near) + len(far) < 2:  # what moves looks alike by chance in two images
        return None
    gray = {n: images[n].mean(0) for n in (t, *near, *far)}  # (H, W) each
    edges = gradient(torch.stack([*gray.values()]).mean(0))  # (2, H, W): their mean
    square = edges.square().sum(0)

    def alike(n: int) -> Tensor:
        found = gradient(gray[n])
        along = (found * edges).sum(0)
        across = found[0] * edges[1] - found[1] * edges[0]
        ahead = (along > SMALLEST * square) & (along < square / SMALLEST)
        return ahead & (across.abs() < ACROSS * square)

    still = square > EDGE**2
    if lens:
        still &= sharp(gray[t], gradient(gray[t]).square().sum(0))
    for n in (t, *near):
        still &= alike(n)
    if far:
        still &= torch.stack([alike(n) for n in far]).any(0)
    if not still.any():
        return None
    still &= moving_around(torch.stack([gray[n] - gray[t] for n in near])) > MANY
    dx, dy = edges
    xx, yy, xy = in_cells(torch.stack((dx * dx, dy * dy, dx * dy)) * still, AROUND)
    apart = ((xx - yy).square() + 4 * xy.square()).sqrt()
    weak, strong = (xx + yy - apart) / 2, (xx + yy + apart) / 2
    still &= (weak > CORNER * strong) & (weak > FEW)
    if not still.any():
        return None
    # Strokes are closed, their insides have no edges.
    wide = F.max_pool2d(still[None].float(), 2 * (GROWN + CLOSED) + 1, 1, GROWN + CLOSED)
    whole = -F.max_pool2d(-wide, 2 * CLOSED + 1, 1, CLOSED)
    return F.avg_pool2d(whole, 3, 1, 1, count_include_pad=False)


def gradient(gray: Tensor) -> Tensor:
    """Of an image (H, W): (2, H, W), of the range for each pixel."""
    wide = F.pad(gray[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    dx = wide[1:-1, 2:] - wide[1:-1, :-2]
    dy = wide[2:, 1:-1] - wide[:-2, 1:-1]
    return torch.stack((dx, dy)) / 2


def sharp(gray: Tensor, square: Tensor) -> Tensor:
    """Where an image (H, W) with such squares of gradients (H, W) is no lens' blur: bool."""
    side = 2 * STROKE + 1
    most = F.max_pool2d(gray[None], side, 1, STROKE)
    least = -F.max_pool2d(-gray[None], side, 1, STROKE)
    return square > (SHARP * (most - least)[0]).square()


def moving_around(changes: Tensor) -> Tensor:
    """Part of the surroundings that moves, (H, W), by changes (n, H, W) to images beside it."""
    cells = F.avg_pool2d(changes, BEYOND, ceil_mode=True).abs().amax(0, keepdim=True) > MOVED
    return spread(cells.float(), BEYOND, changes.shape[-2:])[0]


def in_cells(values: Tensor, side: int) -> Tensor:
    """Means (C, H, W) of values (C, H, W) over a cell and those around it, the same within it."""
    return spread(F.avg_pool2d(values, side, ceil_mode=True), side, values.shape[-2:])


def spread(cells: Tensor, side: int, size: torch.Size) -> Tensor:
    """Means (C, *size) of cells (C, h, w) and those around them, the same within each."""
    for _ in range(2):
        cells = F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)
    return F.interpolate(cells[None], scale_factor=side)[0, :, : size[0], : size[1]]
