"""Exponential moving average of weights: what is validated and shipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averages the parameters of a network over the last steps; buffers are copied."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: x.detach().clone() for name, x in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Takes the weights after step `step` (from 1) in; early steps count for more."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, x in network.state_dict().items():
            if x.is_floating_point():
                self.state[name].lerp_(x, 1 - decay)
            else:
                self.state[name].copy_(x)

    @contextmanager
    def within(self, network: nn.Module) -> Iterator[None]:
        """Inside, the network has the averaged weights."""
        own = {name: x.detach().clone() for name, x in network.state_dict().items()}
        network.load_state_dict(self.state)
        try:
            yield
        finally:
            network.load_state_dict(own)

    def half(self) -> dict[str, Tensor]:
        """The averaged weights in half precision, on the CPU."""
        return {
            name: (x.half() if x.is_floating_point() else x).cpu() for name, x in self.state.items()
        }
