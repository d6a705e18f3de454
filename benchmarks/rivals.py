"""Plain networks that `architectures.py` measures the shipped one against. They do not ship."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.layers import channels_last, conv3x3
from unblur.ops.pad import crop_from, pad_to, padded_length

SCALE = 2
"""Pixels of the frame per element of the finest grid: 2 x 2 pixels become 12 channels."""
BLOCK = 3 * SCALE**2
RESIDUAL = 0.1
"""What a block's change counts at first: with more of it such networks do not begin to learn."""


class UNet(nn.Module):
    """A U-net at half size over a few frames side by side, which corrects the one in the middle.

    Args:
        frames: how many it sees, an odd number.
        widths: channels at 1/2, 1/4 and 1/8 of the size.
        depths: residual blocks on the way down, at the bottom, and on the way up.
    """

    def __init__(
        self,
        frames: int,
        widths: tuple[int, int, int] = (48, 96, 160),
        depths: tuple[int, int, int, int, int] = (2, 3, 5, 3, 2),
    ) -> None:
        super().__init__()
        a, b, c = widths
        self.frames = frames
        self.enter = conv3x3(BLOCK * frames, a)
        self.down = nn.ModuleList((nn.Conv2d(a, b, 2, 2), nn.Conv2d(b, c, 2, 2)))
        self.up = nn.ModuleList((nn.ConvTranspose2d(c, b, 2, 2), nn.ConvTranspose2d(b, a, 2, 2)))
        levels = zip((a, b, c, b, a), depths, strict=True)
        self.levels = nn.ModuleList(blocks(width, depth) for width, depth in levels)
        self.leave = silent(a)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, 3, H, W), T at least `frames` -> (B, 1, 3, H, W), the middle one restored."""
        first = (frames.shape[1] - self.frames) // 2
        frames = frames[:, first : first + self.frames]
        middle = frames[:, self.frames // 2]
        x = self.enter(channels_last(unshuffled(frames, 8).flatten(1, 2)))  # (B, a, H/2, W/2)
        fine = self.levels[0](x)
        coarse = self.levels[1](self.down[0](fine))
        x = self.levels[2](self.down[1](coarse))
        x = self.levels[3](self.up[0](x) + coarse)
        x = self.levels[4](self.up[1](x) + fine)
        return corrected(middle[:, None], self.leave(x)[:, None])


class Recurrent(nn.Module):
    """Two passes through time at a quarter of the size, each with a memory, without alignment.

    Args:
        widths: channels at 1/2 and 1/4 of the size.
        depths: residual blocks before the passes, in a step of a pass, and after them.
    """

    def __init__(
        self, widths: tuple[int, int] = (48, 96), depths: tuple[int, int, int] = (2, 3, 2)
    ) -> None:
        super().__init__()
        a, b = widths
        before, within, after = depths
        self.enter = nn.Sequential(conv3x3(BLOCK, a), blocks(a, before))
        self.down = nn.Conv2d(a, b, 2, 2)
        self.passes = nn.ModuleList(
            nn.Sequential(conv3x3(2 * b, b), blocks(b, within)) for _ in range(2)
        )
        self.join = conv3x3(3 * b, b)
        self.up = nn.ConvTranspose2d(b, a, 2, 2)
        self.leave = nn.Sequential(blocks(a, after), silent(a))

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, T, 3, H, W), all restored."""
        B, T = frames.shape[:2]
        fine = self.enter(channels_last(unshuffled(frames, 4).flatten(0, 1)))  # (B*T, a, h, w)
        seen = self.down(fine).unflatten(0, (B, T)).unbind(1)  # T of (B, b, h/2, w/2)
        late = self.walk(self.passes[0], seen)
        early = self.walk(self.passes[1], seen[::-1])[::-1]
        joined = torch.cat([torch.stack(x, 1) for x in (seen, late, early)], 2).flatten(0, 1)
        x = self.up(self.join(channels_last(joined))) + fine
        return corrected(frames, self.leave(x).unflatten(0, (B, T)))

    @staticmethod
    def walk(step: nn.Module, seen: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The memory (B, b, h/2, w/2) after each of the frames, in the order given."""
        memory, kept = torch.zeros_like(seen[0]), []
        for x in seen:
            memory = step(channels_last(torch.cat((x, memory), 1)))
            kept.append(memory)
        return tuple(kept)


class Block(nn.Module):
    """Two convolutions over normalised channels, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.first, self.second = conv3x3(channels, channels), conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + RESIDUAL * self.second(F.leaky_relu(self.first(y), 0.1))


def blocks(channels: int, count: int) -> nn.Sequential:
    """So many in a row."""
    return nn.Sequential(*(Block(channels) for _ in range(count)))


def silent(channels: int) -> nn.Conv2d:
    """The last layer, at zero: what goes in comes out until something is learned."""
    layer = conv3x3(channels, BLOCK)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def unshuffled(frames: Tensor, multiple: int) -> Tensor:
    """(B, T, 3, H, W) -> (B, T, 12, h, w), h and w multiples of `multiple`."""
    height, width = (padded_length(n, SCALE * multiple) for n in frames.shape[-2:])
    padded = pad_to(frames.flatten(0, 1), height, width)
    return F.pixel_unshuffle(padded, SCALE).unflatten(0, frames.shape[:2])


def corrected(frames: Tensor, residual: Tensor) -> Tensor:
    """Frames (B, T, 3, H, W) plus a residual (B, T, 12, h, w)."""
    height, width = frames.shape[-2:]
    pixels = F.pixel_shuffle(residual.float(), SCALE)
    return frames + crop_from(pixels, height, width)
