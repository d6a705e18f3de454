"""What a network does to letters over a moving film is not taken; what it does beside them is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.ops.test_standing import lettered, pan, strokes
from unblur.engine import guard
from unblur.engine.fusion import choose_fusion
from unblur.engine.plan import MemoryPlan
from unblur.engine.rendition import Rendition
from unblur.engine.run import Runner
from unblur.ops.color import SRGB
from unblur.ops.shots import Shot
from unblur.ops.standing import standing
from unblur.restorers.base import Window
from unblur.restorers.none import Untouched


@dataclasses.dataclass(frozen=True)
class Given:
    """A frame of a clip."""

    image: Tensor

    def rgb(self) -> Tensor:
        return self.image


class Darker(Untouched):
    """Makes all half as bright, of frames with the two on either side."""

    info = dataclasses.replace(Untouched.info, window=5, fuse=2)

    def windows(self, length, limit=None):
        return [
            Window(tuple(range(max(0, t - 2), min(length, t + 3))), (t,)) for t in range(length)
        ]

    def run(self, frames, guidance, outputs):
        return super().run(frames, guidance, outputs) / 2


@pytest.mark.parametrize("fuse", ["off", 2])
@pytest.mark.parametrize("live", [False, True])
def test_letters_stay_as_they_are(fuse: str | int, live: bool) -> None:
    frames = lettered(pan(6))
    restorer = Darker()
    fusion = choose_fusion(fuse, restorer.info, torch.device("cpu"))
    runner = Runner(restorer, Rendition("encoded", SRGB), MemoryPlan(None, None), fusion=fusion)
    given = [Given(frame) for frame in frames]
    done = runner.restore_live(given) if live else runner.restore(given, [Shot(0, 6)])
    restored = torch.stack([image for _, image in done])
    ink = strokes()[0] > 0
    away = F.max_pool2d(strokes()[None], 41, 1, 20)[0, 0] == 0
    assert (restored - frames).abs()[:, :, ink].mean() < 0.02
    assert (restored - frames / 2).abs()[:, :, away].mean() < 0.01


def test_tall_frames_are_looked_at_in_rows_with_the_same_result(monkeypatch) -> None:
    frames = lettered(pan())
    tall = torch.cat((frames, frames.roll(20, 3), frames.flip(2)), 2)
    look = Rendition("encoded", SRGB)
    whole = standing(tall, 2)
    assert whole is not None
    assert len(tall[0, 0]) > 2 * guard.ROWS
    found = guard.standing_in(tall, range(5), 2, look)
    assert torch.equal(found, (255 * whole).round().byte())
    for rows in (1, 50):
        monkeypatch.setattr(guard, "ROWS", rows)
        assert torch.equal(guard.standing_in(tall, range(5), 2, look), found)


def test_only_frames_in_a_row_are_compared() -> None:
    """Some windows hold frames from further away, too."""
    frames = lettered(pan(8))
    look = Rendition("encoded", SRGB)
    numbers = (3, 4, 5, 0)
    found = guard.standing_in(frames[list(numbers)], numbers, 5, look)
    expected = guard.standing_in(frames[3:6], (3, 4, 5), 5, look)
    assert torch.equal(found, expected)
    assert guard.standing_in(frames[[2, 5, 7]], (2, 5, 7), 5, look) is None
