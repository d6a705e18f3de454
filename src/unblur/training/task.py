"""What the training loop knows of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from unblur.training.batches import Batch


class Task(Protocol):
    """How a network is built, fed, scored by losses, and validated.

    Where it has them, the loop also takes `switches`, what the network is trained as (see
    `weights.switches`), into its weights, and `needs_depth`, whether batches must bring depth.
    """

    needs_flow: bool
    """True where batches must bring the true flow."""
    takes_turns: bool
    """True where a step may leave parts of the network out."""

    def network(self) -> nn.Module:
        """A network with fresh weights."""
        ...

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights to start from, of this network or of one that it can begin as."""
        ...

    def loss(self, network: nn.Module, batch: Batch, seed: int) -> Tensor:
        """Loss of one batch; `seed` for anything random in it."""
        ...

    def validate(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """Metrics on held-out clips; `gain` among them, higher is better. An image to `folder`."""
        ...
