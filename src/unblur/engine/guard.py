"""How much is taken of what a network made: less or nothing where it cannot know better."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unblur.engine.rendition import Rendition
from unblur.ops.resize import bicubic
from unblur.ops.shots import FrameLike
from unblur.ops.standing import BEYOND, REACH, standing
from unblur.ops.trust import Encoded, trust

ROWS = 96
"""Rows in which is looked at once for what stands still: of whole frames that takes 170 bytes
a pixel, more than small tiles of a network do."""


def trusted(
    frames: Sequence[FrameLike],
    images: Tensor,  # (n, 3, H, W)
    restored: Tensor,  # (n, 3, scale * H, scale * W)
) -> Tensor:  # (n, 3, scale * H, scale * W)
    """What was made of frames, by as much as their encoder left to make something of; in place."""
    for n, frame in enumerate(frames):
        quantizers = frame.quantizers() if isinstance(frame, Encoded) else None
        share = None if quantizers is None else trust(quantizers, *images.shape[-2:])
        if share is not None:
            restored[n] = mixed(images[n], restored[n], share)
    return restored


def standing_in(
    images: Tensor,  # (T, 3, H, W)
    numbers: Sequence[int],
    number: int,
    look: Rendition,
    lens: bool = False,
) -> Tensor | None:  # (1, H, W) bytes
    """Where an image of a window stands still before what moves, 0 to 255; None: nowhere.

    Args:
        images: of the window.
        numbers: of its images, in their shot: not all windows hold frames in a row.
        number: of the image.
        look: how images are encoded.
        lens: whether a lens may have blurred what stands still.
    """
    first, last = number, number
    while first - 1 in numbers and number - first < 2:
        first -= 1
    while last + 1 in numbers and last - number < 2:
        last += 1
    if first == last:
        return None
    near = [images[numbers.index(n)] for n in range(first, last + 1)]
    height, width = images.shape[-2:]
    whole = torch.zeros(1, height, width, dtype=torch.uint8)
    anywhere = False
    for top in range(0, height, ROWS):
        stop = min(height, top + ROWS)
        start = max(0, top - REACH) // BEYOND * BEYOND  # cells begin where they do in the whole
        rows = [look.encoded(image[:, start : stop + REACH].clamp(0, 1)) for image in near]
        found = standing(torch.stack(rows), number - first, lens)
        if found is not None:
            anywhere = True
            whole[:, top:stop] = (255 * found[:, top - start : stop - start]).round_().byte()
    return whole if anywhere else None


def as_before(
    image: Tensor,  # (3, H, W)
    restored: Tensor,  # (3, scale * H, scale * W)
    standing: Tensor | None,  # (1, H, W) bytes
) -> Tensor:  # (3, scale * H, scale * W)
    """What was made of an image, but for what stands still there: motion did not blur that."""
    return restored if standing is None else mixed(image, restored, 1 - standing.float() / 255)


def mixed(image: Tensor, restored: Tensor, share: Tensor) -> Tensor:
    """So much (1, H, W) of what was made of an image, each (3, ...), and the rest of the image."""
    before, part = (bicubic(x[None], restored.shape[-2:])[0] for x in (image, share))
    return torch.lerp(before.clamp(0, 1), restored, part.to(restored.device))
