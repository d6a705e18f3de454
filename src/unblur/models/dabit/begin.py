"""Random weights with which a narrow DaBiT begins to learn within some hundred steps."""

from __future__ import annotations

from torch import nn

from unblur.models.dabit.net import Dabit
from unblur.models.layers import keep_size

PART = 0.1
"""What the features of other frames count at first, beside a frame's own."""


def begin(network: Dabit) -> None:
    """Lets values keep their size from layer to layer; what other frames give begins small.

    As PyTorch begins, each of a dozen convolutions in a row halves what differs from place to
    place, and tokens, which are normalised, come out twenty times as large as the features that
    they are added to: of what reaches the last layer 1 to 5 % depends on the image. That layer is
    left as it is. docs/log/dabit.md has what was measured.
    """
    parts: list[nn.Module] = [network.encoder, network.decoder.at_half, network.decoder.at_full]
    if network.head is not None:  # its blocks begin small already
        parts += [network.head.narrow, network.head.enlarge, network.head.smooth]
    last: list[nn.Module] = [network.transformer.compose.smooth]
    if network.propagation is not None:
        ways = network.propagation.backwards, network.propagation.forwards
        parts.append(network.propagation)
        last += [way.merge[-1] for way in ways] + [network.propagation.fuse[-1]]
    for part in parts:
        part.apply(keep_size)
    for layer in last:
        layer.get_parameter("weight").data *= PART
