"""What a network does to letters over a moving film is not taken; what it does beside them is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.ops.test_standing import lettered, pan, strokes
from unblur.engine.fusion import choose_fusion
from unblur.engine.plan import MemoryPlan
from unblur.engine.rendition import Rendition
from unblur.engine.run import Runner
from unblur.ops.color import SRGB
from unblur.ops.shots import Shot
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
