"""Building blocks that several parts of the network share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.layers import conv3x3, framewise


class ChannelAttention(nn.Module):
    """Scales each channel by a factor computed from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.scale = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        mean = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return x * torch.sigmoid(self.scale(F.relu(self.mix(mean))))


class AttentionBlock(nn.Module):
    """Residual block of two convolutions and channel attention (CAB)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels, bias=False)
        self.conv2 = conv3x3(channels, channels, bias=False)
        self.attention = ChannelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y = self.conv2(F.leaky_relu(self.conv1(x), 0.1))
        return x + self.attention(y)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y = x.float()
        y = y - y.mean(1, keepdim=True)
        y = y * torch.rsqrt(y.square().mean(1, keepdim=True) + self.eps)
        return (y * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class ParallelDepthwise(nn.Module):
    """Depthwise convolutions of several sizes and the identity, added up (RepConv).

    Being linear, they are one convolution; its kernel is put together on each call.
    """

    def __init__(self, channels: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = channels
        self.kernels = nn.ParameterList(
            nn.Parameter(nn.init.kaiming_uniform_(torch.empty(channels, 1, k, k), a=5**0.5))
            for k in kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        size = max(k.shape[-1] for k in self.kernels)
        kernel = sum(F.pad(k, [(size - k.shape[-1]) // 2] * 4) for k in self.kernels)
        assert isinstance(kernel, Tensor)  # noqa: S101 there is at least one kernel
        identity = F.pad(kernel.new_ones(1, 1, 1, 1), [size // 2] * 4)
        return F.conv2d(x, kernel + identity, padding=size // 2, groups=self.channels)


class GatedBlock(nn.Module):
    """Residual block with two gates, depthwise convolutions and channel attention (CAB1, CAB2).

    Args:
        channels: features of input and output.
        kernel: size of the larger depthwise convolution.
        extra: further input channels (features of a neighbour) that only guide the block (CAB2).
    """

    def __init__(self, channels: int, kernel: int, extra: int = 0) -> None:
        super().__init__()
        self.channels = channels
        self.guide = (
            nn.Conv2d(extra, extra, 3, padding=1, groups=extra, bias=False) if extra else None
        )
        self.norm = ChannelNorm(channels + extra)
        self.widen = nn.Conv2d(channels + extra, 2 * channels, 1, bias=False)
        self.spread = ParallelDepthwise(2 * channels, (3,))
        self.gather = ParallelDepthwise(channels, (kernel, 3))
        self.gate = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.attention = ChannelAttention(channels)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels + extra, H, W) -> (N, channels, H, W)."""
        return framewise(self._frames, x)

    def _frames(self, x: Tensor) -> Tensor:
        shortcut = x[:, : self.channels]
        if self.guide is not None:
            x = torch.cat((shortcut, self.guide(x[:, self.channels :])), 1)
        first, second = self.spread(self.widen(self.norm(x))).chunk(2, 1)
        y = self.gather(first * second)
        first, second = self.gate(y).chunk(2, 1)
        y = self.project(self.attention(first * torch.sigmoid(second)))
        return shortcut + y * self.beta
