"""What stands still before something that moves: letters, logos and marks laid over a film.

Motion did not blur it, but networks take it for a part of what moves, and drag it along.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.ops.gaussian import gaussian_blur

EDGE = 0.03
"""Least gradient, of the range for each pixel, of what counts as drawn."""
ALIKE = 0.3
"""Part of a gradient by which it may differ in frames in which it stands still."""
AROUND = 4.0
"""Deviation in pixels of the surroundings in which edges of all directions must stand still."""
CORNER = 0.12
"""Least part of the weaker direction in what stands still there: along its own direction an edge
looks the same wherever it moves."""
FEW = 0.05 * EDGE**2
"""Least square of a gradient, in the mean over its surroundings, in the weaker direction."""
MOVED, SURROUNDINGS, MANY = 0.015, 8.0, 0.3
"""Change of the range from frame to frame that is motion; deviation in pixels of the surroundings,
and their part that moves, where something stands still before them."""
GRAIN = 2.0
"""Deviation in pixels by which changes are smoothed first: grain and rain change all that stands
still, and are not motion."""
GROWN, CLOSED, SOFT = 2, 2, 1.0
"""Pixels by which what stands still is grown, since its rim blends with what is behind it; by which
gaps in it are closed; deviation of its border."""
SHARP, STROKE = 0.35, 3
"""Part of the range of its surroundings that a sharp edge rises by in a pixel, and how far these
reach, in pixels."""
REACH = int(4 * (GRAIN + max(AROUND, SURROUNDINGS) + SOFT) + 1.5) + GROWN + 2 * CLOSED
"""Pixels from a place beyond which nothing changes what is found there."""


def gradient(image: Tensor) -> Tensor:
    """Of the mean over colours of an image (3, H, W): (2, H, W), of the range for each pixel."""
    mean = F.pad(image.mean(0)[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    dx = mean[1:-1, 2:] - mean[1:-1, :-2]
    dy = mean[2:, 1:-1] - mean[:-2, 1:-1]
    return torch.stack((dx, dy)) / 2


def sharp(image: Tensor, length: Tensor) -> Tensor:
    """Where an image (3, H, W) with gradients of such a length (H, W) is no lens' blur: bool."""
    mean, side = image.mean(0)[None, None], 2 * STROKE + 1
    most = F.max_pool2d(mean, side, 1, STROKE)
    least = -F.max_pool2d(-mean, side, 1, STROKE)
    return length > SHARP * (most - least)[0, 0]


def standing(images: Tensor, t: int, lens: bool = False) -> Tensor | None:
    """Where an image stands still before something that moves.

    There its gradients are those of the images beside it, and of the next one on either side, in
    all directions, while much around it changes. A pan leaves edges along itself as they are, but
    those alone. Where nothing moves, nothing stands before another.

    Args:
        images: (T, 3, H, W), encoded RGB in [0, 1], a row of frames of one shot.
        t: which of them.
        lens: whether a lens may have blurred what stands still; then its edges have to be sharp.

    Returns:
        (1, H, W), 0 to 1 with soft borders; None where nothing does.
    """
    near, far = ([n for n in (t - d, t + d) if 0 <= n < len(images)] for d in (1, 2))
    if not near:
        return None
    here = images[t]
    edges = gradient(here)  # (2, H, W)
    length = edges.norm(dim=0)

    def alike(n: int) -> Tensor:
        return (gradient(images[n]) - edges).norm(dim=0) < ALIKE * length

    still = length > EDGE
    if lens:
        still &= sharp(here, length)
    for n in near:
        still &= alike(n)
    if far:
        still &= torch.stack([alike(n) for n in far]).any(0)
    if not still.any():
        return None
    dx, dy = edges
    products = torch.stack((dx * dx, dy * dy, dx * dy)) * still
    xx, yy, xy = gaussian_blur(products[None], AROUND)[0]
    apart = ((xx - yy).square() + 4 * xy.square()).sqrt()
    weak, strong = (xx + yy - apart) / 2, (xx + yy + apart) / 2
    found = still & (weak > CORNER * strong) & (weak > FEW)
    if not found.any():
        return None
    changes = [gaussian_blur(images[n] - here, GRAIN).abs_().mean(0) for n in near]
    moved = torch.stack(changes).amax(0) > MOVED
    found &= gaussian_blur(moved[None, None].float(), SURROUNDINGS)[0, 0] > MANY
    if not found.any():
        return None
    # Strokes are closed, their insides have no edges.
    wide = F.max_pool2d(found[None].float(), 2 * (GROWN + CLOSED) + 1, 1, GROWN + CLOSED)
    whole = -F.max_pool2d(-wide, 2 * CLOSED + 1, 1, CLOSED)
    return gaussian_blur(whole[None], SOFT)[0]
