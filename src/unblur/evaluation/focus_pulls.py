"""Rendered pulls of focus, to which the atlas is fitted: their scenes, and clips with truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.evaluation.clip import Clip
from unblur.evaluation.rendered import both_ways
from unblur.synth import Rendered, SceneConfig, held_out, render, sample_scenes
from unblur.synth.scenes import Scenes

CLIPS = {"stream": (5, 2), "garden": (9, 3), "confetti": (8, 2)}
"""Seed and number of layers."""
FRAMES, HEIGHT, WIDTH = 48, 144, 256
SCENES = SceneConfig(
    mode="focus",
    object_size=(0.4, 0.55),
    motion=(1.0, 2.5),
    static=0,
    light=0,
    camera=(0.3, 0.5),
    knots=(0.02, 0.06),
    repeated=0,
    reversed=0,
    coc=(5.0, 7.0),
    in_focus=0,
    pull=1,
    srgb=1,
    shoulder=0,
    gain=(0.8, 1.2),
    highlights=0,
    noise=1,
    read_noise=(0.001, 0.002),
    shot_noise=(0.0001, 0.0003),
    compressed=0,
    frame_step=(1, 1),
    scale=(0.9, 1.2),
    edge=(0.6, 1.2),
    exposure=(0.2, 0.2),
    encoded_average=0,
)
"""At `WIDTH`; lengths grow with the frame."""
GROWN = 5
"""Side of the square that true layers are grown by, as a user would paint them."""


@dataclass(frozen=True)
class FocusPull(Clip):
    """A clip and what a user would paint of its layers."""

    labels: Tensor | None = None
    """(T, H, W) int64 layer that each pixel shows, roughly; 0 = background."""


def focus_pulls() -> list[Callable[[], FocusPull]]:
    """A function for each clip, which renders it."""
    return [partial(focus_pull, name) for name in CLIPS]


def focus_pull(
    name: str, frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH
) -> FocusPull:
    """One clip with its truth, as 8 bits hold it."""
    scenes = scene_of(*CLIPS[name], frames, width)
    made = render(scenes, height, width, frames, truth={"coc", "layers", "flow"})
    assert made.coc is not None  # noqa: S101 rendered with it
    assert made.layers is not None  # noqa: S101
    return FocusPull(
        name=name,
        blurred=(made.blurred[0] * 255).round() / 255,
        sharp=made.sharp[0],
        scored=tuple(range(frames)),
        radius=made.coc[0],
        flow=both_ways(made.flow_forward, made.flow_backward),
        visible=both_ways(made.visible_forward, made.visible_backward),
        labels=rough_labels(made.layers[0]),
    )


def rendered_pull(name: str, frames: int, height: int, width: int) -> Rendered:
    """The same as the renderer gives it."""
    return render(scene_of(*CLIPS[name], frames, width), height, width, frames)


def scene_of(seed: int, layers: int, frames: int, width: int) -> Scenes:
    """The scene of a clip: the focus goes from the nearest layer to the farthest."""
    config = replace(SCENES, layers=(layers, layers))
    if width != WIDTH:
        coc, motion = (
            (a * width / WIDTH, b * width / WIDTH) for a, b in (config.coc, config.motion)
        )
        config = replace(config, coc=coc, motion=motion)
    scenes = sample_scenes(config, held_out(), 1, torch.Generator().manual_seed(seed))
    middles = scenes.lens.slot.mean(-1)
    focus = torch.stack((middles[:, layers - 1], middles[:, 0]), -1)
    way = scenes.motion.times[0, frames - 1] - scenes.motion.times[0, 0]  # may run backwards
    pull = torch.tensor([[0.12, 0.7]]) * frames * way.sign()
    lens = replace(scenes.lens, focus=focus, pull=pull)
    return replace(scenes, lens=lens)


def rough_labels(
    layers: Tensor,  # (T, L, H, W)
) -> Tensor:  # (T, H, W)
    """Labels as a user would paint them: each layer grown by 2 pixels."""
    labels = torch.zeros(layers.shape[0], *layers.shape[-2:], dtype=torch.int64)
    for i in range(1, layers.shape[1]):
        labels[F.max_pool2d(layers[:, i, None], GROWN, 1, GROWN // 2)[:, 0] > 0.5] = i
    return labels
