"""What a fit starts with."""

from __future__ import annotations

import math

import pytest
import torch

from unblur.atlas.fitting.initial import filled, least_blur, lowest


def test_gaps_of_a_series() -> None:
    nan = math.nan
    torch.testing.assert_close(
        filled(torch.tensor([nan, 1.0, nan, nan, 4.0, nan])),
        torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0, 4.0]),
    )
    assert float(lowest(torch.tensor([0.0, 1, 3]), torch.tensor([4.0, 1, 1]))) == pytest.approx(2)


def test_sharpest_frames_are_taken_for_sharp_unless_all_say_otherwise() -> None:
    blurred, sharp = torch.tensor([6.0, 5.0, 5.0, 5.0]), torch.tensor([3.0, 2.0, 0.9, 0.5])
    assert least_blur(blurred, sharp) == 0
    assert least_blur(blurred, blurred - 1) == pytest.approx(15**0.5)
