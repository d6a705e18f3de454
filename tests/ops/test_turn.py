"""Mirrored and turned images keep their flow."""

from __future__ import annotations

import pytest
import torch

from unblur.ops.turn import turned, turned_flow
from unblur.ops.warp import warp


def test_all_turns_differ():
    x = torch.arange(9.0).view(3, 3)
    assert len({tuple(turned(x, turn).flatten().tolist()) for turn in range(8)}) == 8


@pytest.mark.parametrize("turn", range(8))
def test_warping_and_turning_commute(turn):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 12, 16, generator=generator, dtype=torch.float64)
    flow = 3 * torch.randn(2, 2, 12, 16, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        warp(turned(x, turn), turned_flow(flow, turn)), turned(warp(x, flow), turn)
    )
