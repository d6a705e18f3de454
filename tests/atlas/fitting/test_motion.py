"""The motion of each layer."""

from __future__ import annotations

import torch

from tests.atlas import focus_pull
from unblur.atlas.fitting.initial import masks_of
from unblur.atlas.fitting.motion import find_motion, layer_homographies

PULL = focus_pull.clip()


def test_motion_of_both_layers_is_found() -> None:
    motion = find_motion(PULL.blurred, (1, 3))
    masks = masks_of(PULL.labels, 2)
    back, front = (
        layer_homographies(motion, mask, focus_pull.T, (focus_pull.H, focus_pull.W), 5)
        for mask in masks
    )
    t = torch.arange(focus_pull.T) - 5
    for found, step in ((back, (0.7, 0.3)), (front, (-1.5, -0.2))):
        middle = torch.tensor([30.0, 24, 1], dtype=torch.float64)
        at = found @ middle
        moved = at[:, :2] / at[:, 2:] - middle[:2]
        expected = t[:, None] * torch.tensor(step)
        assert (moved - expected).abs().mean() < 0.5
