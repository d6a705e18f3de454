"""Values that are fitted become colours again."""

from __future__ import annotations

import torch

from unblur.atlas.fitting.model import from_working, to_working


def test_working_values_come_back() -> None:
    x = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(from_working(to_working(x, True), True), x)
    torch.testing.assert_close(from_working(to_working(x, False), False), x)
