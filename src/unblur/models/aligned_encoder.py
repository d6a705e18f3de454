"""The first half of `motion-s`: what a network that makes frames sharp sees in one of them.

Another decoder may stand on it, as that of the circle of confusion stands on the encoder of a
deblurring network in Ruan et al. (Video Defocus Deblurring with Atlas Learning, SIGGRAPH 2024).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.aligned import MOTION_S, begin_from
from unblur.models.maxim import LEVELS, Stage, convolve, layer_norm

BODY = MOTION_S.body
WIDTHS = (*BODY.channels, BODY.channels[-1])
"""Channels of what it gives, from half the frame's size down by halves."""
MULTIPLE = MOTION_S.multiple_of
"""What height and width must be multiples of."""
FIRST = "inputs.0.weight"
REST = "body."
"""Begins the names of the weights of `motion-s`."""


class AlignedEncoder(nn.Module):
    """Each frame by itself, as `motion-s` sees a still clip: no neighbour differs, nothing moves.

    What it sees of neighbours is zero then, so that the weights for it are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        whole = Stage(BODY, 0)
        self.inputs, self.enc, self.bottom = whole.inputs, whole.enc, whole.bottom
        self.inputs[0] = nn.Conv2d(MOTION_S.channels, WIDTHS[0], 3, padding=1)
        self.norms = nn.ModuleList(layer_norm(width) for width in WIDTHS)
        """Its own: what a decoder is given is of one size at all levels."""

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Of encoded RGB (B, 3, H, W), multiples of `MULTIPLE`: (B, C, H / 2^i, W / 2^i), i > 0."""
        blocks = F.pixel_unshuffle(frames, MOTION_S.scale)
        small = F.avg_pool2d(frames, MOTION_S.scale)
        images = (blocks, small[..., 1::2, 1::2], small[..., 2::4, 2::4])
        shallow = [
            convolve(conv, image.permute(0, 2, 3, 1).contiguous())
            for conv, image in zip(self.inputs, images, strict=True)
        ]
        found, x = [], shallow[0]
        for i in LEVELS:
            skip, x = self.enc[i]([x, shallow[i]], None)
            found.append(skip)
        for block in self.bottom:
            x = block(x)
        found.append(x)  # (B, H/16, W/16, C)
        return [norm(x).permute(0, 3, 1, 2) for norm, x in zip(self.norms, found, strict=True)]


def from_motion_s(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What weights of `motion-s` say of it; names as in `AlignedEncoder`."""
    own = {name.removeprefix(REST): x for name, x in state.items()}
    own[FIRST] = own[FIRST][:, : MOTION_S.channels]
    return {name: x for name, x in own.items() if name.startswith(("inputs.", "enc.", "bottom."))}


def beside_motion_s(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of `motion-s`, or of MAXIM's first stage as those, and beside them the `encoder`'s.

    All of it: a file that holds how `motion-s` differs from MAXIM's weights is read by this, too.
    """
    whole = begin_from(state, MOTION_S)
    return whole | {f"encoder.{name}": x for name, x in from_motion_s(whole).items()}
