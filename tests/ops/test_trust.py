"""Trust in what is made of pixels, from how coarsely they were encoded."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.ops.trust import BLOCK, COARSE, FINE, LEAST, trust


def test_fine_blocks_are_trusted_wholly() -> None:
    assert trust(torch.full((3, 4), FINE), 40, 60) is None


def test_the_coarsest_are_trusted_least() -> None:
    share = trust(torch.full((3, 4), 51.0), 40, 60)
    assert share is not None
    torch.testing.assert_close(share, torch.full((1, 40, 60), LEAST))


@given(st.integers(0, 5), st.integers(0, 5))
def test_one_coarse_block_is_distrusted_where_it_lies(row: int, column: int) -> None:
    quantizers = torch.full((6, 6), 20.0)
    quantizers[row, column] = COARSE
    share = trust(quantizers, 6 * BLOCK, 6 * BLOCK)
    assert share is not None
    assert LEAST <= float(share.min()) < 1
    centre = slice(row * BLOCK, (row + 1) * BLOCK), slice(column * BLOCK, (column + 1) * BLOCK)
    assert float(share[0][centre].mean()) < 0.95
    far = torch.ones(6 * BLOCK, 6 * BLOCK, dtype=torch.bool)
    top, left = max(0, row - 2) * BLOCK, max(0, column - 2) * BLOCK
    far[top : (row + 3) * BLOCK, left : (column + 3) * BLOCK] = False
    assert bool((share[0][far] == 1).all())
