"""The fit step by step."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.atlas import focus_pull
from unblur.atlas.fitting.fit import Fitter, Targets
from unblur.atlas.fitting.initial import masks_of
from unblur.atlas.fitting.motion import find_motion
from unblur.atlas.fitting.presets import PAPER
from unblur.atlas.fitting.take import layers_of, paper_model

PULL = focus_pull.clip()


def test_a_few_steps_of_the_paper_preset() -> None:
    config = replace(
        PAPER, widths=(8, 8, 8, 8), samples=64, network_rate=1e-2, upright=30, bootstrap=0
    )
    frames = PULL.blurred[:4, :, 8:40, 16:56]
    radii = torch.full((4, 1, 32, 40), 1.0)
    model = paper_model(frames, ["background", "foreground"], radii, config)
    motion = find_motion(frames, (1,))
    targets = Targets(frames, motion, masks_of(PULL.labels[:4, 8:40, 16:56], 2), config)
    fitter = Fitter(model, targets, config)
    while fitter.upright < 30:
        fitter.upright_step()
        fitter.upright += 1
    seen = []
    for _ in range(8):
        fitter.one_step(0.0)
        fitter.step += 1
        seen.append(fitter.psnr)
    assert seen[-1] > seen[0]
    layers = layers_of(model)
    assert layers[0].uv.shape == (4, 2, 32, 40)
    assert 0 < float(layers[0].alpha.min()) < float(layers[0].alpha.max()) < 1
