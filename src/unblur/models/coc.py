"""coc-s: the circle of confusion of every pixel, from one frame.

A small U-Net. Blocks of 2 x 2 pixels become one of 12 channels, so that the finest detail, which
separates sharp from blurred, is processed whole at a quarter of the cost; its last level sees some
200 pixels around.

Or the encoder is that of a network which makes frames sharp, as in Ruan et al. (Video Defocus
Deblurring with Atlas Learning, SIGGRAPH 2024): `encoder="motion-s"`. Its own can be taught in the
same way first: `outputs=3`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models import aligned_encoder
from unblur.models.aligned_encoder import REST, AlignedEncoder, beside_motion_s
from unblur.models.layers import channels_last, conv3x3
from unblur.ops.pad import crop_from, pad_to, padded_length

SCALE = 2
"""Pixels of the frame per element of the first level."""
SLOPE = 0.1
"""Of the leaky rectifiers below zero."""
STEADY = 0.05
"""Added to a frame's contrast before dividing by it, so that noise in a flat frame stays small."""
RESIDUAL = 0.1
"""By which a fresh block's result is multiplied."""
USUAL = (1.2, -1.2)
"""What a fresh network says everywhere: logarithms of 1 + radius, and of its error."""
LARGEST = 64.0
"""Radius in pixels beyond which nothing is said."""


@dataclass(frozen=True)
class CocConfig:
    """Sizes of the network."""

    widths: tuple[int, ...] = (16, 40, 64, 64)
    """Channels of each level, from half the frame's size down by halves."""
    deepest: tuple[int, ...] = (1, 2)
    """Dilation of each block of the last level; the others have a block on either way."""
    outputs: int = 2
    """Values for each pixel: log(1 + radius) and the log of its error, or the three of a colour."""
    encoder: Literal["own", "motion-s"] = "own"
    """`motion-s`: that of the network of this name, which has its own widths."""

    def __post_init__(self) -> None:
        """Takes lists too, as recipes and JSON have them."""
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "deepest", tuple(self.deepest))

    @property
    def features(self) -> tuple[int, ...]:
        """Channels of what the encoder gives, level by level."""
        return self.widths if self.encoder == "own" else aligned_encoder.WIDTHS

    @property
    def multiple_of(self) -> int:
        """What height and width are padded to multiples of."""
        return SCALE ** len(self.widths) if self.encoder == "own" else aligned_encoder.MULTIPLE


class CocNet(nn.Module):
    """Says of each pixel how far out of focus it is, and how sure that is."""

    def __init__(self, config: CocConfig = CocConfig()) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config) if config.encoder == "own" else AlignedEncoder()
        self.decoder = Decoder(config)
        self.head = conv3x3(config.features[0], config.outputs * SCALE**2)
        nn.init.zeros_(self.head.weight)
        usual = USUAL if config.outputs == len(USUAL) else (0.0,) * config.outputs
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor(usual).repeat_interleave(SCALE**2))  # type: ignore[union-attr]

    def forward(self, frames: Tensor) -> Tensor:
        """Of encoded RGB (B, 3, H, W) in [0, 1], any size: (B, outputs, H, W), float32.

        The first of two outputs is log(1 + radius in pixels), and may lie a little below 0; the
        second is the log of the error to expect of the first.
        """
        height, width = frames.shape[-2:]
        whole = [padded_length(side, self.config.multiple_of) for side in (height, width)]
        given = standard(frames) if self.config.encoder == "own" else frames.float()
        levels = self.encoder(pad_to(given, whole[0], whole[1]))
        found = F.pixel_shuffle(self.head(self.decoder(levels)).float(), SCALE)
        return crop_from(found, height, width)


class Encoder(nn.Module):
    """(B, 3, H, W) to features of each level, (B, C, H / 2^i, W / 2^i), i > 0."""

    def __init__(self, config: CocConfig) -> None:
        super().__init__()
        widths = (3 * SCALE**2, *config.widths)
        self.enter = nn.ModuleList(
            conv3x3(before, after, stride=2 if i else 1)
            for i, (before, after) in enumerate(zip(widths, config.widths, strict=False))
        )
        dilations = [(1,)] * (len(config.widths) - 1) + [config.deepest]
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Block(width, dilation) for dilation in level))
            for width, level in zip(config.widths, dilations, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        x = channels_last(F.pixel_unshuffle(x, SCALE))
        levels = []
        for enter, blocks in zip(self.enter, self.blocks, strict=True):
            x = blocks(enter(x))
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """Features of each level to those of the first, (B, C, h, w)."""

    def __init__(self, config: CocConfig) -> None:
        super().__init__()
        widths = config.features
        self.narrow = nn.ModuleList(nn.Conv2d(below, width, 1) for width, below in pairwise(widths))
        self.blocks = nn.ModuleList(Block(width) for width in widths[:-1])

    def forward(self, levels: list[Tensor]) -> Tensor:
        """See the class."""
        x = levels[-1]
        for i in reversed(range(len(levels) - 1)):
            x = levels[i] + F.interpolate(self.narrow[i](x), scale_factor=2.0, mode="nearest")
            x = self.blocks[i](x)
        return x


class Block(nn.Module):
    """Two convolutions of normalised features, added to them."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = conv3x3(width, width)
        self.scale = nn.Parameter(torch.full((width, 1, 1), RESIDUAL))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # over the channels of a pixel
        return x + self.scale * self.second(F.leaky_relu(self.first(y), SLOPE))


def with_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of `motion-s` as those of a network on its encoder, whose other tensors are 0."""
    blank = CocNet(CocConfig(encoder="motion-s")).state_dict()
    return {name: torch.zeros_like(x) for name, x in blank.items()} | beside_motion_s(state)


def alone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the rest of `motion-s`, which a file that begins with it may have brought."""
    return {name: x for name, x in state.items() if not name.startswith(REST)}


def standard(frames: Tensor) -> Tensor:
    """Frames (B, 3, H, W) less their mean colour level, of contrast 1: blur knows no brightness."""
    frames = frames.float()
    mean = frames.mean((1, 2, 3), keepdim=True)
    contrast = frames.std((1, 2, 3), keepdim=True, correction=0)
    return (frames - mean) / (contrast + STEADY)


def radius_of(found: Tensor) -> Tensor:
    """Radius in pixels, (B, 1, H, W) float32, of what a network with two outputs gives."""
    return found[:, :1].float().clamp(0, math.log1p(LARGEST)).expm1()
