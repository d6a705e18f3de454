"""How much is taken of what a network made: less or nothing where it cannot know better."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unblur.engine.rendition import Rendition
from unblur.ops.resize import bicubic
from unblur.ops.shots import FrameLike
from unblur.ops.standing import standing
from unblur.ops.trust import Encoded, trust


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
    t: int,
    look: Rendition,
) -> Tensor | None:  # (1, H, W) bytes
    """Where image `t` of a window stands still before what moves, 0 to 255; None: nowhere."""
    if len(images) == 1:
        return None
    near = slice(max(0, t - 2), t + 3)
    found = standing(look.encoded(images[near].clamp(0, 1)), t - near.start)
    return None if found is None else (255 * found).round().byte()


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
