"""MAXIM: multi-axis MLP for image processing, one frame at a time.

Tu et al., "MAXIM: Multi-Axis MLP for Image Processing", CVPR 2022. A U-net whose blocks mix pixels
along two axes: inside blocks of `tile` x `tile` pixels, and over a lattice of as many pixels
spread over the frame, so each output pixel depends on all of the frame. One to three such U-nets
("stages") follow each other; each puts out a residual to the input image.

Inside, images are `(B, H, W, C)`: almost all the work is dense layers over the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.ops.dense import dense_gelu, dense_of_concat, piecewise
from unblur.ops.memory import give_back_heap
from unblur.ops.pad import crop_from, pad_to, padded_length
from unblur.ops.resize import enlarge, shrink
from unblur.ops.tokens import Axis, strips

LEVELS = (0, 1, 2)
CONVOLVED = 1 << 22
"""Values that a convolution takes at once on the CPU (16 MB)."""


@dataclass(frozen=True)
class MaximConfig:
    """Sizes of a MAXIM network. The defaults are those of the published deblurring weights."""

    stages: int = 1
    """U-nets that follow each other, 1 to 3."""
    width: int = 32
    """Channels at full size; level 1 has twice, level 2 and the bottleneck four times as many."""
    tiles: tuple[int, int, int] = (16, 16, 8)
    """Side of a tile at levels 0, 1, 2; the bottleneck takes that of level 2."""
    inputs: int = 3
    """Channels of the full-size input of the first stage."""
    outputs: int = 3
    """Channels of the residual of the last stage."""

    def __post_init__(self) -> None:
        if not 1 <= self.stages <= 3 or self.width % 4:
            raise ValueError("MAXIM has 1 to 3 stages and a width that 4 divides")

    @property
    def channels(self) -> tuple[int, int, int]:
        """Channels of levels 0, 1, 2."""
        return self.width, 2 * self.width, 4 * self.width

    @property
    def multiple_of(self) -> int:
        """What height and width are padded to multiples of."""
        a, b, c = self.tiles
        return math.lcm(a, 2 * b, 8 * c)


class Features(NamedTuple):
    """What a stage hands to the next one: per level `(B, H / 2^i, W / 2^i, C_i)`."""

    encoder: Sequence[Tensor]
    decoder: Sequence[Tensor]
    attended: Sequence[Tensor]


class Maxim(nn.Module):
    """The whole network. See `MaximConfig`."""

    def __init__(self, config: MaximConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MaximConfig()
        self.stages = nn.ModuleList(Stage(config, index) for index in range(config.stages))

    def forward(self, frames: Tensor) -> Tensor:
        """Sharpens each frame on its own.

        Args:
            frames: `(B, 3, H, W)`, RGB in [0, 1], any size.

        Returns:
            `(B, 3, H, W)`, input plus residual, not clipped, in the input's dtype. The work is done
            in the dtype of the weights.
        """
        height, width = frames.shape[-2:]
        multiple = self.config.multiple_of
        size = padded_length(height, multiple), padded_length(width, multiple)
        x = pad_to(frames, *size, centered=True).to(next(self.parameters()).dtype)
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, H', W', 3)
        # Nearest pixel with half-pixel centres, each time from the full size.
        images = [x, x[:, 1::2, 1::2], x[:, 2::4, 2::4]]
        features = None
        for stage in self.stages:
            residual, features = stage(images, features)
        residual = crop_from(residual.permute(0, 3, 1, 2), height, width, centered=True)
        return frames + residual.to(frames.dtype)


class Stage(nn.Module):
    """One U-net: encoder, bottleneck, cross gating of the skips, decoder, image."""

    def __init__(self, config: MaximConfig, index: int) -> None:
        super().__init__()
        widths, tiles = config.channels, config.tiles
        above = (widths[0], widths[0], widths[1])  # channels that arrive from the level above
        below = (widths[1], widths[2], widths[2])  # channels that arrive from the level below
        later, last = index > 0, index == config.stages - 1
        channels = (3 if later else config.inputs, 3, 3)
        self.inputs = nn.ModuleList(
            nn.Conv2d(n, c, 3, padding=1) for n, c in zip(channels, widths, strict=True)
        )
        if later:
            self.fuse_sam = nn.ModuleList(CrossGate(widths[i], widths[i], tiles[i]) for i in LEVELS)
        self.enc = nn.ModuleList(
            Encoder((above[i], widths[i]), widths[i], tiles[i], later) for i in LEVELS
        )
        self.bottom = nn.ModuleList(Bottleneck(widths[2], tiles[2]) for _ in range(2))
        self.skip_resize = nn.ModuleList(
            Resizes(Resize(widths[j], widths[i], j - i) for j in LEVELS) for i in LEVELS
        )
        self.cross = nn.ModuleList(
            CrossGate(3 * widths[i], widths[i], tiles[i], up_from=below[i]) for i in LEVELS
        )
        self.dec_resize = nn.ModuleList(
            Resizes(Resize(widths[j], widths[i], j - i) for j in reversed(LEVELS)) for i in LEVELS
        )
        self.dec_up = nn.ModuleList(nn.ConvTranspose2d(below[i], widths[i], 2, 2) for i in LEVELS)
        self.dec = nn.ModuleList(UnetBlock(4 * widths[i], widths[i], tiles[i]) for i in LEVELS)
        # The last stage only makes the full-size image.
        self.sam = nn.ModuleList(
            SupervisedAttention(widths[i], config.outputs if last else 3, image_only=last)
            for i in LEVELS
            if not last or i == 0
        )

    def forward(
        self, images: list[Tensor], previous: Features | None
    ) -> tuple[Tensor, Features | None]:
        """Residual `(B, H, W, outputs)` to the first image, and what the next stage needs.

        The last stage gives up what it used, and empties `images`: that halves its memory.
        """
        only = len(self.sam) == 1  # no stage comes after this one
        shallow = [convolve(conv, x) for conv, x in zip(self.inputs, images, strict=True)]
        if only:
            images.clear()
        if previous is not None:
            shallow = [
                self.fuse_sam[i]([shallow[i]], previous.attended[i])[0] for i in LEVELS
            ]  # fmt: skip

        skips: list[Tensor] = []
        x = shallow[0]
        for i in LEVELS:
            other = None if previous is None else previous.encoder[i] + previous.decoder[i]
            inputs = [x, shallow.pop(0)]
            del x
            skip, x = self.enc[i](used_up(inputs), other)
            skips.append(skip)
        del skip
        for block in self.bottom:
            x = block(x)  # (B, H/8, W/8, C2)

        fused: list[Tensor] = []  # deepest first
        y = x
        for i in reversed(LEVELS):
            last = only and i == 0
            give_back(x)
            parts = self.skip_resize[i](used_up(skips) if last else skips)
            fusion, y = self.cross[i](parts, y)
            fused.append(fusion)
        del y, fusion
        decoded: list[Tensor] = []
        for i in reversed(LEVELS):
            last = only and i == 0
            give_back(x)
            resized = self.dec_resize[i](used_up(fused) if last else fused)
            x = self.dec[i](chain([convolve(self.dec_up[i], x)], resized))
            decoded.insert(0, x)

        if only:
            return self.sam[0](x, None)
        made = [sam(d, p) for sam, d, p in zip(self.sam, decoded, images, strict=True)]
        residuals, attended = zip(*made, strict=True)
        return residuals[0], None if attended[0] is None else Features(skips, decoded, attended)


class UnetBlock(nn.Module):
    """Brings its inputs to one width, then mixes pixels and channels twice."""

    def __init__(self, inputs: int, channels: int, tile: int) -> None:
        super().__init__()
        self.fuse = nn.Linear(inputs, channels)
        self.gmlp = nn.ModuleList(SplitHeadGmlp(channels, tile) for _ in range(2))
        self.rcab = nn.ModuleList(ResidualAttention(channels) for _ in range(2))

    def forward(self, parts: Iterable[Tensor]) -> Tensor:
        """Features `(B, H, W, C)` of maps that together have `inputs` channels."""
        start = dense_of_concat(self.fuse, parts)
        x = start
        for gmlp, rcab in zip(self.gmlp, self.rcab, strict=True):
            x = rcab(gmlp(x))
        return x.add_(start)


class Encoder(UnetBlock):
    """A block that also fuses the stage before, and halves the size."""

    def __init__(self, inputs: tuple[int, int], channels: int, tile: int, later: bool) -> None:
        super().__init__(sum(inputs), channels, tile)
        if later:
            self.cross = CrossGate(channels, channels, tile)
        self.down = nn.Conv2d(channels, channels, 4, 2, 1)

    def forward(  # type: ignore[override]
        self, parts: Iterable[Tensor], other: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The skip at full size and the features at half size."""
        x = super().forward(parts)
        if other is not None:
            x, _ = self.cross([x], other)
        return x, convolve(self.down, x)


class Bottleneck(nn.Module):
    """The deepest block: dense layers in place of 3x3 convolutions."""

    def __init__(self, channels: int, tile: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, channels)
        self.gmlp = nn.ModuleList(SplitHeadGmlp(channels, tile) for _ in range(2))
        self.rdcab = nn.ModuleList(ResidualDenseAttention(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Features `(B, H, W, C)` like `x`."""
        start = self.proj(x)
        x = start
        for gmlp, rdcab in zip(self.gmlp, self.rdcab, strict=True):
            x = rdcab(gmlp(x))
        return x.add_(start)


# Mixing pixels along two axes ------------------------------------------------------------------


class TwoAxisMixer(nn.Module):
    """Half of the channels mixed over the lattice, the other half inside blocks.

    Both halves are made, mixed and projected strip by strip: a strip is a set of whole tiles (or
    whole lattices) small enough to stay in the cache, and no tensor wider than the input is kept.
    """

    def __init__(self, channels: int, tile: int, grid: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.tile = tile
        self.norm = layer_norm(channels)
        self.inp = nn.Linear(channels, 2 * channels)
        self.grid = grid
        self.block = block
        self.out = nn.Linear(2 * channels, channels)

    def add_mixed(
        self, y: Tensor, x: Tensor, before: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Adds the mixed features of `x`, or of `before(x)`, to `y`, all but the output bias."""
        w_in, b_in, w_out = self.inp.weight, self.inp.bias, self.out.weight
        branches: tuple[tuple[Axis, nn.Module], ...] = (("grid", self.grid), ("block", self.block))
        for half, (axis, branch) in enumerate(branches):
            w, b, project = w_in.chunk(2)[half], b_in.chunk(2)[half], w_out.chunk(2, dim=1)[half]
            for source, target in zip(
                strips(x, self.tile, axis), strips(y, self.tile, axis), strict=True
            ):
                tokens = source.reshape(self.tile**2, -1, x.shape[-1])  # (Q, P, C)
                tokens = tokens if before is None else before(tokens)
                tokens = branch(dense_gelu(self.norm(tokens), w, b))
                target += F.linear(tokens, project).view(target.shape)


class SplitHeadGmlp(TwoAxisMixer):
    """Gated MLP along both axes, with a residual."""

    def __init__(self, channels: int, tile: int) -> None:
        super().__init__(
            channels, tile, GatedTokens(channels, tile * tile), GatedTokens(channels, tile * tile)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features `(B, H, W, C)` like `x`."""
        y = x + self.out.bias
        self.add_mixed(y, x)
        return y


class GateWeights(TwoAxisMixer):
    """Mixed features that gate the other path of a `CrossGate`."""

    def __init__(self, channels: int, tile: int) -> None:
        super().__init__(channels, tile, TokenDense(tile * tile), TokenDense(tile * tile))

    def forward(self, x: Tensor, before: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Mixed features without a residual, `(B, H, W, C)` like `x`.

        What is mixed is `before(x)`, pixel by pixel, where that is given.
        """
        y = self.out.bias.expand_as(x).contiguous()
        self.add_mixed(y, x, before)
        return y


class GatedTokens(nn.Module):
    """gMLP block: half of the features, mixed over the tokens, gates the other half."""

    def __init__(self, channels: int, tokens: int) -> None:
        super().__init__()
        self.norm = layer_norm(channels)
        self.inp = nn.Linear(channels, 2 * channels)
        self.gate_norm = layer_norm(channels)
        self.gate = TokenDense(tokens)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:  # (Q, P, C), mixes Q
        """Mixes the `Q` tokens of each of `P` groups."""
        x = self.norm(tokens)
        w, b = self.inp.weight.chunk(2), self.inp.bias.chunk(2)
        kept = dense_gelu(x, w[0], b[0])
        gate = dense_gelu(x, w[1], b[1])
        gate = self.gate(self.gate_norm(gate))
        return self.out(gate.add_(1).mul_(kept)).add_(tokens)


class TokenDense(nn.Linear):
    """Dense layer over the first axis, the same for all channels."""

    def __init__(self, tokens: int) -> None:
        super().__init__(tokens, tokens)

    def forward(self, tokens: Tensor) -> Tensor:  # (Q, P, C)
        """Mixes the `Q` tokens of each of `P` groups."""
        mixed = torch.addmm(self.bias[:, None], self.weight, tokens.flatten(1))
        return mixed.view(tokens.shape)


class CrossGate(nn.Module):
    """Two feature maps that gate each other."""

    def __init__(self, inputs: int, channels: int, tile: int, up_from: int | None = None) -> None:
        super().__init__()
        if up_from is not None:
            self.up = nn.ConvTranspose2d(up_from, channels, 2, 2)
        self.reduce_x = nn.Linear(inputs, channels)
        self.reduce_y = nn.Linear(channels, channels)
        self.norm_x = layer_norm(channels)
        self.norm_y = layer_norm(channels)
        self.inp_x = nn.Linear(channels, channels)
        self.inp_y = nn.Linear(channels, channels)
        self.gate_x = GateWeights(channels, tile)
        self.gate_y = GateWeights(channels, tile)
        self.out_x = nn.Linear(channels, channels)
        self.out_y = nn.Linear(channels, channels)

    def forward(self, parts: Iterable[Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
        """Fused features, and the gated `y`; both `(B, H, W, C)`.

        Args:
            parts: feature maps that together have `inputs` channels.
            y: the other path, at half size where the module was made with `up_from`.
        """
        if hasattr(self, "up"):
            y = convolve(self.up, y)
        x, y = dense_of_concat(self.reduce_x, parts), self.reduce_y(y)
        if torch.is_grad_enabled():
            inner_x, inner_y = self.inner_x(x), self.inner_y(y)
            y = self.out_y(self.gate_x(inner_x) * inner_y) + y
            return self.out_x(self.gate_y(inner_y) * inner_x) + x + y, y
        # Inner features are made anew wherever they are needed, so that four maps are all there is.
        gated_y, gated_x = self.gate_x(x, self.inner_x), self.gate_y(y, self.inner_y)

        def out_x(gate: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return self.out_x(gate.mul_(self.inner_x(x))).add_(x).add_(y)

        def out_y(gate: Tensor, y: Tensor) -> Tensor:
            return self.out_y(gate.mul_(self.inner_y(y))).add_(y)

        piecewise(out_y, gated_y, y, out=y)
        return piecewise(out_x, gated_x, x, y, out=x), y

    def inner_x(self, x: Tensor) -> Tensor:
        """What gates of `x`."""
        return dense_gelu(self.norm_x(x), self.inp_x.weight, self.inp_x.bias)

    def inner_y(self, y: Tensor) -> Tensor:
        """What gates of `y`."""
        return dense_gelu(self.norm_y(y), self.inp_y.weight, self.inp_y.bias)


# Small parts -----------------------------------------------------------------------------------


class ResidualAttention(nn.Module):
    """Two 3x3 convolutions, weighted by channel, added to the input (RCAB)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = layer_norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = ChannelWeights(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(B, H, W, C)` like `x`."""
        y = in_strips(self.convolved, x)
        return weighted_sum(x, y, self.attention(y))

    def convolved(self, x: Tensor, top: int, bottom: int) -> Tensor:
        """What the convolutions make of some rows of `x`, which all others surround."""
        height = x.shape[1]
        first, last = max(top - 1, 0), min(bottom + 1, height)
        y = self.norm(x[:, max(first - 1, 0) : min(last + 1, height)])
        y = F.leaky_relu(of_rows(self.conv1, y, first == 0, last == height), 0.2, inplace=True)
        return of_rows(self.conv2, y, top == 0, bottom == height)


class ResidualDenseAttention(nn.Module):
    """Two dense layers, weighted by channel, added to the input (RDCAB)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = layer_norm(channels)
        self.dense1 = nn.Linear(channels, channels)
        self.dense2 = nn.Linear(channels, channels)
        self.attention = ChannelWeights(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(B, H, W, C)` like `x`."""
        y = self.dense2(dense_gelu(self.norm(x), self.dense1.weight, self.dense1.bias))
        return weighted_sum(x, y, self.attention(y))


class ChannelWeights(nn.Module):
    """A weight per channel, from the channels' means over the frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 4)
        self.excite = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, 1, 1, C)
        """Weights in 0..1."""
        mean = x.mean((1, 2), keepdim=True)
        return torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class SupervisedAttention(nn.Module):
    """Features weighted by the image they make (SAM)."""

    def __init__(self, channels: int, outputs: int, image_only: bool) -> None:
        super().__init__()
        self.picture = nn.Conv2d(channels, outputs, 3, padding=1)
        if not image_only:
            self.feature = nn.Conv2d(channels, channels, 3, padding=1)
            self.mask = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Residual `(B, H, W, outputs)` to `image`; weighted features if made for them."""
        residual = convolve(self.picture, x)
        if image is None or not hasattr(self, "mask"):
            return residual, None
        mask = torch.sigmoid(convolve(self.mask, residual + image))
        return residual, torch.addcmul(x, convolve(self.feature, x), mask)


class Resize(nn.Module):
    """Linear resize by 2^power, antialiased when it shrinks, and a dense layer over the channels.

    The two commute, so the dense layer goes first where that is the smaller size.
    """

    def __init__(self, inputs: int, outputs: int, power: int) -> None:
        super().__init__()
        self.power = power
        self.conv = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, inputs) -> (B, 2^p H, 2^p W, outputs)
        """Resizes and changes the channels."""
        if self.power < 0:
            return self.conv(shrink(x, 2**-self.power))
        return enlarge(self.conv(x), 2**self.power)


class Resizes(nn.ModuleList):
    """One resize for each of several feature maps."""

    def forward(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """All of `parts` at one size, made one by one as they are requested."""
        return (resize(part) for resize, part in zip(self, parts, strict=True))


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """Runs a convolution over `(B, H, W, C)`: one of 2 x 2 that enlarges, or one that adds one
    pixel on every side.
    """
    if isinstance(conv, nn.ConvTranspose2d):
        return in_strips(
            lambda x, top, bottom: conv(x[:, top:bottom].permute(0, 3, 1, 2)).permute(0, 2, 3, 1), x
        )
    assert isinstance(conv, nn.Conv2d)  # noqa: S101

    def convolved(x: Tensor, top: int, bottom: int) -> Tensor:
        height = x.shape[1]
        seen = x[:, max(top - 1, 0) : min(bottom + 1, height)]
        return of_rows(conv, seen, top == 0, bottom == height)

    return in_strips(convolved, x)


def in_strips(function: Callable[[Tensor, int, int], Tensor], x: Tensor) -> Tensor:
    """`function(x, 0, height)`, on the CPU strip by strip.

    There a convolution copies its input and its output into another order, which doubles the memory
    that a frame takes.

    Args:
        function: what is made of the rows of `x`, `(B, H, W, C)`, from one up to before another.
        x: of even height.
    """
    height = x.shape[1]
    rows = max(2, CONVOLVED // (x.shape[2] * x.shape[3]) // 2 * 2)
    if x.device.type != "cpu" or torch.is_grad_enabled() or rows >= height:
        return function(x, 0, height).contiguous()
    y, done = x, 0
    for top in range(0, height, rows):
        part = function(x, top, min(top + rows, height))
        if not top:
            batch, made, width, channels = part.shape
            y = part.new_empty(batch, height * made // rows, width, channels)
        y[:, done : done + part.shape[1]] = part
        done += part.shape[1]
    return y


def of_rows(conv: nn.Conv2d, x: Tensor, above: bool, below: bool) -> Tensor:  # (B, h, W', C')
    """A convolution of rows that stand with one more on each side, or at the frame's border."""
    x = F.pad(x, (0, 0, 0, 0, above, below)) if above or below else x
    y = F.conv2d(x.permute(0, 3, 1, 2), conv.weight, conv.bias, conv.stride, (0, 1))
    return y.permute(0, 2, 3, 1)


def give_back(like: Tensor) -> None:
    """Returns memory that is free, before much of it is needed on the CPU."""
    if like.device.type == "cpu" and not torch.is_grad_enabled():
        give_back_heap()


def used_up(parts: list[Tensor]) -> Iterator[Tensor]:
    """The parts of a list, which gives each up."""
    while parts:
        yield parts.pop(0)


def weighted_sum(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """`x + weights * y`, in the memory of `y` where nothing is to be learned."""
    if torch.is_grad_enabled():
        return torch.addcmul(x, y, weights)
    return y.mul_(weights).add_(x)


def layer_norm(channels: int) -> nn.LayerNorm:
    """Normalisation over the channels with the epsilon of the published network."""
    return nn.LayerNorm(channels, eps=1e-6)
