"""A U-net of gated blocks without activation functions, after NAFNet. It sees one frame.

Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, written from the paper's text and
figures. What is ours: the sizes, and that the last layer begins at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.layers import channels_last, conv3x3
from unblur.ops.pad import crop_from, pad_to, padded_length


@dataclass(frozen=True)
class NAFNetConfig:
    """Sizes of the network; the defaults make it cost what the arms of BSSTNet's tables do."""

    width: int = 16
    """Channels at full size; each level has twice those of the one before."""
    down: tuple[int, ...] = (1, 1, 1, 9)
    """Blocks of each level on the way down. The paper has most of them at the last level, too."""
    bottom: int = 1
    """Blocks below the last level."""
    up: tuple[int, ...] = (1, 1, 1, 1)
    """Blocks of each level on the way up, the coarsest first."""

    def __post_init__(self) -> None:
        if len(self.down) != len(self.up):
            raise ValueError(f"as many levels down as up, not {len(self.down)} and {len(self.up)}")

    @property
    def multiple_of(self) -> int:
        """What height and width are padded to multiples of."""
        return int(2 ** len(self.down))


class NAFNet(nn.Module):
    """The whole network. See `NAFNetConfig`."""

    def __init__(self, config: NAFNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NAFNetConfig()
        widths = [config.width * 2**level for level in range(len(config.down) + 1)]
        self.enter = conv3x3(3, config.width)
        self.down = nn.ModuleList(map(blocks, widths, config.down))
        self.shrink = nn.ModuleList(nn.Conv2d(c, 2 * c, 2, 2) for c in widths[:-1])
        self.bottom = blocks(widths[-1], config.bottom)
        self.enlarge = nn.ModuleList(
            # 1 x 1, then four channels become a square of pixels: half the channels in all
            nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2))
            for c in widths[:0:-1]
        )
        self.up = nn.ModuleList(map(blocks, widths[-2::-1], config.up))
        self.leave = conv3x3(config.width, 3)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor) -> Tensor:
        """Restores frames (N, 3, H, W), RGB in [0, 1], each by itself: the same shape, not clipped.

        Height and width are padded to `multiple_of` within.
        """
        height, width = frames.shape[-2:]
        H, W = (padded_length(side, self.config.multiple_of) for side in (height, width))
        x = self.enter(channels_last(pad_to(frames, H, W)))  # (N, C, H, W)
        kept = []
        for level, shrink in zip(self.down, self.shrink, strict=True):
            kept.append(level(x))
            x = shrink(kept[-1])  # (N, 2 C, H / 2, W / 2)
        x = self.bottom(x)
        for enlarge, level in zip(self.enlarge, self.up, strict=True):
            x = level(enlarge(x) + kept.pop())
        return frames + crop_from(self.leave(x), height, width)


class GatedBlock(nn.Module):
    """Mixes pixels near by, then channels, each added by a factor per channel that begins at zero.

    Both begin with a norm over channels and end with a gate: half of the channels times the others.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.norm, self.other_norm = nn.LayerNorm(c, 1e-6), nn.LayerNorm(c, 1e-6)
        self.widen = nn.Conv2d(c, 2 * c, 1)
        self.near = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.attend = nn.Conv2d(c, c, 1)
        self.mix = nn.Conv2d(c, c, 1)
        self.other_widen, self.other_mix = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(c, c, 1)
        self.share = nn.Parameter(torch.zeros(c, 1, 1))
        self.other_share = nn.Parameter(torch.zeros(c, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        y = gated(self.near(self.widen(normed(x, self.norm))))
        y = y * self.attend(y.mean((2, 3), keepdim=True))  # (N, C, 1, 1): channel attention
        x = x + self.share * self.mix(y)
        y = gated(self.other_widen(normed(x, self.other_norm)))
        return x + self.other_share * self.other_mix(y)


def normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """(N, C, h, w), the channels of each pixel normalised."""
    y = F.layer_norm(x.permute(0, 2, 3, 1), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return y.permute(0, 3, 1, 2)


def gated(x: Tensor) -> Tensor:
    """(N, 2 C, h, w) -> (N, C, h, w): one half times the other, in place of an activation."""
    first, second = x.chunk(2, 1)
    return first * second


def blocks(channels: int, count: int) -> nn.Sequential:
    """So many in a row."""
    return nn.Sequential(*(GatedBlock(channels) for _ in range(count)))
