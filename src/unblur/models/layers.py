"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FRAMES_AT_ONCE = 4
"""Frames that pass a wide layer together: enough to fill a CPU, few enough for its memory."""


def framewise(
    function: Callable[..., Tensor], *tensors: Tensor, at_once: int = FRAMES_AT_ONCE
) -> Tensor:
    """Applies a function that treats frames independently to a few frames at a time.

    Args:
        function: takes tensors (N, ...), gives (N, ...).
        tensors: of the same length along the first axis.
        at_once: how many frames.
    """
    parts = zip(*(t.split(at_once) for t in tensors), strict=True)
    return torch.cat([function(*part) for part in parts])


def conv3x3(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """3 x 3 convolution with padding 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)


def channels_last(x: Tensor) -> Tensor:
    """The same tensor, each pixel's channels together: convolutions of few channels run twice as
    fast so on a CPU, with the same result.
    """
    return x.contiguous(memory_format=torch.channels_last)


def double(x: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, C, 2h, 2w); corners stay corners."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def deform_parameters(inputs: int, outputs: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight (outputs, inputs, 3, 3) and bias (outputs,) of a deformable convolution."""
    bound = (inputs * 9) ** -0.5
    weight = torch.empty(outputs, inputs, 3, 3).uniform_(-bound, bound)
    return nn.Parameter(weight), nn.Parameter(torch.zeros(outputs))


def offset_layers(inputs: int, channels: int, groups: int) -> nn.Sequential:
    """Convolutions that give 2 offsets and 1 mask value for each of 9 taps of each group."""
    last = conv3x3(channels, 27 * groups)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(
        conv3x3(inputs, channels),
        nn.LeakyReLU(0.1),
        conv3x3(channels, channels),
        nn.LeakyReLU(0.1),
        conv3x3(channels, channels),
        nn.LeakyReLU(0.1),
        last,
    )


def split_offsets(y: Tensor, largest: float = 5.0) -> tuple[Tensor, Tensor]:
    """Output of `offset_layers` as offsets of at most `largest` elements and logits of the mask."""
    taps = y.shape[1] // 3
    return largest * torch.tanh(y[:, : 2 * taps]), y[:, 2 * taps :]


def keep_size(layer: nn.Module) -> None:
    """Gives a convolution random weights that keep the size of values; zeros stay.

    As PyTorch begins, values shrink with each layer, and such networks take long to begin to learn.
    """
    if isinstance(layer, nn.Conv2d) and layer.weight.any():
        nn.init.kaiming_normal_(layer.weight)
