"""How much of a restoration is to be trusted, place by place: a small network beside a large one.

A network that makes blurred frames sharp is sometimes wrong: where a codec has left nothing to go
by, on noise, on drawings and letters. This one sees the frame and what was changed in it, and says
which part of the change makes the frame better. It can only take away: at worst the frame stays as
it came.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.ops.pad import crop_from, pad_to, padded_length

SCALE = 4
"""Pixels of the frame per element of the grid it works on, along each side."""
AT_FIRST = 3.0
"""Logit of the trust before training: .95."""
STRENGTHENED = 8.0
"""Changes are small numbers: they are shown this much larger."""


@dataclass(frozen=True)
class TrustConfig:
    """Sizes of the network."""

    width: int = 32
    """Channels of every layer."""
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    """Of the layers between the first and the last: 36 elements, 144 pixels, are seen."""


class Trust(nn.Module):
    """The whole network. See `TrustConfig`."""

    def __init__(self, config: TrustConfig | None = None) -> None:
        super().__init__()
        self.config = config or TrustConfig()
        width = self.config.width
        # Luma of the frame and of the change, and the mean colour of both.
        self.first = nn.Conv2d(2 * SCALE**2 + 6, width, 3, padding=1)
        self.between = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in self.config.dilations
        )
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.constant_(self.last.bias, AT_FIRST)

    def forward(self, frames: Tensor, change: Tensor) -> Tensor:
        """The part of a change to keep.

        Args:
            frames: (N, 3, H, W) encoded RGB in [0, 1], any size.
            change: (N, 3, H, W) of the same frames.

        Returns:
            (N, 1, H, W) in [0, 1].
        """
        height, width = frames.shape[-2:]
        size = (padded_length(height, SCALE), padded_length(width, SCALE))
        seen = []
        for x in (frames - 0.5, STRENGTHENED * change):
            whole = pad_to(x, *size)
            seen += [F.pixel_unshuffle(whole.mean(1, keepdim=True), SCALE)]
            seen += [F.avg_pool2d(whole, SCALE)]
        x = F.gelu(self.first(torch.cat(seen, 1)))
        for layer in self.between:
            x = x + F.gelu(layer(x))
        trust = torch.sigmoid(self.last(x))
        trust = F.interpolate(trust, scale_factor=SCALE, mode="bilinear", align_corners=False)
        return crop_from(trust, height, width)
