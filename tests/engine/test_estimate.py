"""The estimate of a job's time grows with the frame, and does not count what happens once."""

from __future__ import annotations

import dataclasses
import time

import pytest
import torch

from unblur.engine.estimate import cost_per_frame
from unblur.restorers.none import PRESETS


class Slow:
    """Takes a second per 256 x 256 pixels, five frames' guidance five, and ten more at first."""

    def __init__(self, clock, window):
        self.clock = clock
        self.info = dataclasses.replace(PRESETS[0].info, window=window)
        self.runs = 0

    def guide(self, frames):
        self.clock[0] += len(frames)
        return {}

    def run(self, frames, guidance, outputs):
        self.runs += 1
        assert len(outputs) == 1
        self.clock[0] += frames[0, 0].numel() / 256**2 + (10 if self.runs == 1 else 0)
        return torch.zeros(1, *frames.shape[1:])


@pytest.mark.parametrize("window", [1, 16])
def test_seconds_grow_with_the_frame(monkeypatch, window):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert sum(cost_per_frame(Slow(clock, window), 512, 1024)) == pytest.approx(8 * (1 + 1))
    assert sum(cost_per_frame(Slow(clock, window), 128, 256)) == pytest.approx(0.5 + 1)
