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


def guarded(
    frames: Sequence[FrameLike],
    images: Tensor,  # (T, 3, H, W), of a window
    outputs: Sequence[int],
    restored: Tensor,  # (n, 3, scale * H, scale * W)
    look: Rendition,
) -> Tensor:  # (n, 3, scale * H, scale * W)
    """What was made of some images of a window, as far as it is taken; in place.

    Where the frames of the outputs are given, how they were encoded counts.
    """
    restored = trusted(frames, images[outputs], restored)
    return without_standing(images, outputs, restored, look)


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


def without_standing(
    images: Tensor,  # (T, 3, H, W)
    outputs: Sequence[int],
    restored: Tensor,  # (n, 3, scale * H, scale * W)
    look: Rendition,
) -> Tensor:  # (n, 3, scale * H, scale * W)
    """The same, but for letters and marks over what moves, which motion did not blur; in place."""
    if len(images) == 1:
        return restored
    shown = look.encoded(images.clamp(0, 1))
    for n, t in enumerate(outputs):
        still = standing(shown, t)
        if still is not None:
            restored[n] = mixed(images[t], restored[n], 1 - still)
    return restored


def mixed(image: Tensor, restored: Tensor, share: Tensor) -> Tensor:
    """So much (1, H, W) of what was made of an image, each (3, ...), and the rest of the image."""
    before, part = (bicubic(x[None], restored.shape[-2:])[0] for x in (image, share))
    return torch.lerp(before.clamp(0, 1), restored, part.to(restored.device))
