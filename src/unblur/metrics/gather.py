"""Gathering a metric over many pictures."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


class Mean:
    """Mean of a metric over all pictures given to `update`, each picture counting once.

    >>> import torch
    >>> from unblur.metrics import psnr
    >>> mean = Mean(psnr)
    >>> mean.update(torch.full((2, 3, 4, 4), 0.6), torch.full((2, 3, 4, 4), 0.5))
    >>> round(mean.compute()), mean.count
    (20, 2)
    """

    def __init__(self, metric: Callable[..., Tensor]) -> None:
        self.metric = metric
        self.total = 0.0
        self.count = 0

    def update(self, *pictures: Tensor) -> None:
        """Takes pictures `(..., C, H, W)` with what the metric compares them to."""
        values = self.metric(*pictures)
        self.total += float(values.double().sum())
        self.count += values.numel()

    def compute(self) -> float:
        """The mean so far; NaN before the first picture."""
        return self.total / self.count if self.count else float("nan")
