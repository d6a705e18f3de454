"""Random numbers of a generator, and tensors grouped in dataclasses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

Grouped = TypeVar("Grouped")


class Draw:
    """Draws from one `torch.Generator`, on the generator's own device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.device = generator.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform in [low, high)."""
        u = torch.rand(shape, generator=self.generator, device=self.device)
        return low + (high - low) * u

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform on a logarithmic scale."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        """True with probability `share`."""
        return self.uniform(0, 1, *shape) < share

    def integer(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers in [low, high), int64."""
        return torch.randint(low, high, shape, generator=self.generator, device=self.device)

    def choice(self, weights: list[float], *shape: int) -> Tensor:
        """Index of one of the weights, int64."""
        edges = torch.tensor(weights, device=self.device).cumsum(0)
        return torch.bucketize(self.uniform(0, 1, *shape) * edges[-1], edges[:-1])


def take(group: Grouped, rows: Tensor | slice) -> Grouped:
    """A copy of a dataclass with some rows of each tensor."""
    return map_tensors(group, lambda x: x[rows])


def map_tensors(group: Grouped, change: Callable[[Tensor], Tensor]) -> Grouped:
    """A copy of a dataclass with `change` applied to each tensor in it and in its dataclasses."""
    changed: dict[str, Any] = {}
    for field in fields(group):  # type: ignore[arg-type]
        value = getattr(group, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = change(value)
        elif is_dataclass(value) and not isinstance(value, type):
            changed[field.name] = map_tensors(value, change)
    return replace(group, **changed)  # type: ignore[type-var]
