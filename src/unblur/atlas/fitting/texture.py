"""The atlases: pixels on several scales, or what a small network makes of noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PyramidTexture(nn.Module):
    """An image as the sum of its scales.

    A step then changes coarse and fine structure equally: light that one frame misses is found many
    times faster than pixel by pixel.
    """

    def __init__(self, start: Tensor, levels: int) -> None:
        """Starts as `start` (C, Ha, Wa)."""
        super().__init__()
        self.size = (start.shape[-2], start.shape[-1])
        self.finest = nn.Parameter(start.clone())
        self.coarse = nn.ParameterList(
            torch.zeros(start.shape[0], -(-self.size[0] >> k) + 1, -(-self.size[1] >> k) + 1)
            for k in range(levels - 1, 0, -1)
        )

    def forward(self) -> Tensor:
        """(C, Ha, Wa)."""
        image: Tensor = self.finest
        if len(self.coarse):
            rough = self.coarse[0][None]
            for finer in list(self.coarse)[1:]:
                rough = F.interpolate(rough, size=finer.shape[-2:], mode="bilinear") + finer
            image = image + F.interpolate(rough, size=self.size, mode="bilinear")[0]
        return image


class CnnTexture(nn.Module):
    """One network that makes the atlases of all layers, each from noise of its own.

    The paper's atlas network: a decoder alone, pixel shuffle, weights shared by all layers
    (Ulyanov et al., Deep Image Prior, 2018). What it leaves open is decided here: no
    normalisation, that would tie the layers together; leaky ReLU; a sigmoid at the end; borders
    repeated. It starts flat, in the mean colour of the clip.
    """

    CHANNELS = 32

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        widths: Sequence[int],
        mean: Tensor,
        generator: torch.Generator,
    ) -> None:
        """Atlases of the given (Ha, Wa); `mean` (3,) in (0, 1)."""
        super().__init__()
        self.sizes = list(sizes)
        factor = 2 ** (len(widths) - 1)
        for i, (height, width) in enumerate(sizes):
            rows, cols = -(-height // factor), -(-width // factor)
            # As wide as what the layers give each other: of a tenth of it little was learned.
            noise = 2 * torch.rand(1, self.CHANNELS, rows, cols, generator=generator) - 1
            self.register_buffer(f"noise{i}", noise)
        self.first = conv(self.CHANNELS, widths[0])
        self.stages = nn.ModuleList(
            nn.ModuleList((conv(a, a), conv(a, 4 * b))) for a, b in itertools.pairwise(widths)
        )
        self.last = nn.ModuleList((conv(widths[-1], widths[-1]), conv(widths[-1], 3)))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=0.2, generator=generator)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        for stage in self.stages:
            equal_filters(stage[1])  # type: ignore[index]
        end = self.last[1]
        nn.init.zeros_(end.weight)  # type: ignore[arg-type]
        with torch.no_grad():
            end.bias.copy_(torch.logit(mean.clamp(0.02, 0.98)))  # type: ignore[operator]

    def forward(self) -> list[Tensor]:
        """(3, Ha, Wa) of each layer, in (0, 1)."""
        return [self.make(i) for i in range(len(self.sizes))]

    def make(self, layer: int) -> Tensor:
        """(3, Ha, Wa) of one layer."""
        x = leaky(self.first(getattr(self, f"noise{layer}")))
        for stage in self.stages:
            before, after = stage.children()
            x = leaky(F.pixel_shuffle(after(leaky(before(x))), 2))
        height, width = self.sizes[layer]
        return torch.sigmoid(self.last[1](leaky(self.last[0](x))))[0, :, :height, :width]


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3, the border repeated."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")


def leaky(x: Tensor) -> Tensor:
    """ReLU with a slope of 0.2 below zero."""
    return F.leaky_relu(x, 0.2)


def equal_filters(layer: nn.Conv2d) -> None:
    """Gives the four pixels that a shuffle makes of one the same weights: no checkerboard."""
    with torch.no_grad():
        weight = layer.weight[::4].repeat_interleave(4, 0)
        layer.weight.copy_(weight)


def look_up(texture: Tensor, place: Tensor) -> Tensor:
    """What an atlas shows: bilinear, beyond its rim as it ends.

    Args:
        texture: (C, Ha, Wa).
        place: (B, 2, H, W) pixels of the atlas.

    Returns:
        (B, C, H, W).
    """
    Ha, Wa = texture.shape[-2:]
    unit = place.new_tensor([2 / Wa, 2 / Ha])[:, None, None]
    grid = ((place + 0.5) * unit - 1).permute(0, 2, 3, 1)  # (B, H, W, 2)
    return F.grid_sample(
        texture.expand(len(place), -1, -1, -1),
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )


def variation(texture: Tensor) -> Tensor:
    """Mean length of the slopes of an image (C, H, W), all channels together."""
    across = texture[:, :-1, 1:] - texture[:, :-1, :-1]
    down = texture[:, 1:, :-1] - texture[:, :-1, :-1]
    return ((across.square() + down.square()).sum(0) + 1e-4).sqrt().mean()
