"""Only what is as fine as pixels counts as such a pattern."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unblur.ops.finest import finest_patterns

ROWS, COLUMNS = torch.arange(90)[:, None], torch.arange(110)
PATTERNS = {
    "checkerboard": (ROWS + COLUMNS) % 2,
    "rows": ROWS % 2 + 0 * COLUMNS,
    "columns": COLUMNS % 2 + 0 * ROWS,
}


def image(pattern: Tensor) -> Tensor:
    return pattern.float().expand(1, 3, -1, -1)


@pytest.mark.parametrize("kind", PATTERNS)
def test_what_changes_from_pixel_to_pixel_is_found_where_it_is(kind: str) -> None:
    share = finest_patterns(image(PATTERNS[kind]))
    assert share is not None
    assert share.min() == 1
    half = image(PATTERNS[kind]).clone()
    half[..., 55:] = 0.5
    share = finest_patterns(half)
    assert share is not None
    assert share[..., :50].min() == 1
    assert share[..., 72:].max() == 0


@pytest.mark.parametrize(
    "pattern",
    [
        (ROWS // 2 + COLUMNS // 2) % 2,
        (ROWS // 3 + COLUMNS // 3) % 2,
        ROWS / 90 + 0 * COLUMNS,
        (COLUMNS > 54) + 0 * ROWS,
        ((COLUMNS > 54) & (ROWS > 31)).float(),
        0.5 + 0.19 * ((ROWS + COLUMNS) % 2),
    ],
)
def test_coarser_and_fainter_things_are_none(pattern: Tensor) -> None:
    assert finest_patterns(image(pattern)) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 70))
def test_noise_is_none(seed: int, height: int, width: int) -> None:
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    assert finest_patterns(noise) is None
