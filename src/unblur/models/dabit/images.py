"""From images to features and back: encoder, decoder, and the head that enlarges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.dabit.config import MERGE_GROUPS, DabitConfig
from unblur.models.layers import channels_last, conv3x3, double

INPUTS = 6
"""Red, green, blue, blur map, mask, depth."""


class Encoder(nn.Module):
    """Frames with their guidance to features at quarter resolution."""

    def __init__(self, config: DabitConfig) -> None:
        super().__init__()
        a, b, c, d, e, f, g = config.encoder
        self.down = nn.ModuleList(
            (conv3x3(INPUTS, a, 2), conv3x3(a, a), conv3x3(a, b, 2), conv3x3(b, c))
        )
        self.widen = conv3x3(c, d)
        self.merges = nn.ModuleList(
            nn.Conv2d(c + width, out, 3, padding=1, groups=groups)
            for groups, width, out in zip(
                MERGE_GROUPS, (d, e, f, g), (e, f, g, config.channels), strict=True
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, 4h, 4w) -> (N, C, h, w)."""
        x = channels_last(x)
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.2)
        middle = x
        x = F.leaky_relu(self.widen(x), 0.2)
        for groups, layer in zip(MERGE_GROUPS, self.merges, strict=True):
            x = F.leaky_relu(layer(channels_last(interleave(middle, x, groups))), 0.2)
        return x


def interleave(a: Tensor, b: Tensor, groups: int) -> Tensor:
    """Joins channels so that each of `groups` parts holds its share of `a`, then of `b`.

    Args:
        a: (N, C, h, w).
        b: (N, D, h, w).
        groups: divides C and D.

    Returns:
        (N, C + D, h, w).
    """
    parts = [x.unflatten(1, (groups, -1)) for x in (a, b)]
    return torch.cat(parts, 2).flatten(1, 2)


class Decoder(nn.Module):
    """Features to an image of the input's size, or to its correction."""

    def __init__(self, config: DabitConfig) -> None:
        super().__init__()
        c, d = config.channels, config.decoder_channels
        self.at_half = nn.ModuleList((conv3x3(c, c), conv3x3(c, d)))
        self.at_full = conv3x3(d, d)
        self.to_rgb = conv3x3(d, 3)
        if config.residual:
            clear(self.to_rgb)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 3, 4h, 4w)."""
        x = double(channels_last(x))  # (N, C, 2h, 2w)
        for layer in self.at_half:
            x = F.leaky_relu(layer(x), 0.2, inplace=True)
        x = F.leaky_relu(self.at_full(double(x)), 0.2, inplace=True)  # (N, D, 4h, 4w)
        return self.to_rgb(x)


class Head(nn.Module):
    """Features to what is missing in an image that was enlarged to twice the input's size."""

    def __init__(self, config: DabitConfig) -> None:
        super().__init__()
        c = config.head_channels
        self.narrow = conv3x3(config.channels, c)
        self.blocks = nn.ModuleList(ResidualBlock(c) for _ in range(config.head_blocks))
        self.enlarge = nn.ModuleList(conv3x3(c, 4 * c) for _ in range(3))
        self.smooth = conv3x3(c, c)
        self.to_rgb = conv3x3(c, 3)
        if config.residual:
            clear(self.to_rgb)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 3, 8h, 8w)."""
        x = F.leaky_relu(self.narrow(channels_last(x)), 0.1)
        for block in self.blocks:
            x = block(x)
        for layer in self.enlarge:
            x = F.leaky_relu(F.pixel_shuffle(layer(x), 2), 0.1, inplace=True)
        return self.to_rgb(F.leaky_relu(self.smooth(x), 0.1, inplace=True))


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added; begins small."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight)
            with torch.no_grad():
                layer.weight *= 0.1
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        return x + self.conv2(F.relu(self.conv1(x)))


def clear(layer: nn.Conv2d) -> None:
    """Lets a layer begin with zero: a correction that changes nothing yet."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
