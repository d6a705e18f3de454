"""Rendered clips with a misfocus, their flow between any two frames, and their own layers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from unblur.atlas import Layer, Project
from unblur.atlas.fitting.take import layer_names
from unblur.atlas.project.store import dilate
from unblur.evaluation.focus_pulls import CLIPS, scene_of
from unblur.ops.color import from_linear
from unblur.synth import Rendered, render
from unblur.synth.frames import Stage, covers, follow, inside, occluded, set_stage
from unblur.synth.paths import apply, inverse

RATE = Fraction(24)


@dataclass(frozen=True)
class Clip:
    """A rendered clip and the stage that it was rendered on."""

    made: Rendered
    stage: Stage


def rendered(name: str, frames: int = 48, height: int = 144, width: int = 256) -> Clip:
    """A clip of `focus_pulls.CLIPS`."""
    scenes = scene_of(*CLIPS[name], frames, width)
    return Clip(
        render(scenes, height, width, frames, truth={"coc", "layers"}),
        set_stage(scenes, height, width, frames),
    )


@torch.no_grad()
def true_flow(stage: Stage, start: int, end: int) -> tuple[Tensor, Tensor]:
    """Flow (2, H, W) from frame to frame, and 1 where its end is seen (1, H, W)."""
    matrices = stage.matrices(slice(None), stage.times[:, [start, end]])  # (1, L, 2, 3, 3)
    rows = torch.zeros(1, dtype=torch.int64)
    front = torch.zeros(1, 1, stage.height, stage.width, dtype=torch.int64)
    for layer, _, cover in covers(stage, rows, stage.times[:, [start]]):
        front = torch.where(cover >= 0.5, torch.tensor(layer), front)
    step = matrices[:, :, 1:] @ inverse(matrices[:, :, :1])
    ends, flow = follow(stage, step, front)
    seen = inside(stage, ends) & ~occluded(stage, ends, front, matrices[:, :, 1:])
    return flow[0, 0], seen[0].float()


@torch.no_grad()
def true_project(clip: Clip) -> Project:
    """The clip's own layers: what a perfect fit would find."""
    stage = clip.stage
    T, H, W = stage.frames, stage.height, stage.width
    matrices = stage.matrices(slice(None), stage.times)[0]  # (L, T, 3, 3)
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    points = torch.stack((x + 0.5 - W / 2, y + 0.5 - H / 2), -1)  # (H, W, 2)
    count = int(stage.scenes.count[0])
    layers = []
    for number in reversed(range(count)):
        row = int(stage.atlas.row[0, number])
        rgba, scale = stage.atlas.rgba[row], stage.atlas.scale[row]
        size = rgba.shape[-1]
        plane = apply(inverse(matrices[number])[:, None, None], points)  # (T, H, W, 2)
        uv = (plane * scale + size / 2 - 0.5).permute(0, 3, 1, 2).contiguous()
        cover = rgba[3:]
        colour = from_linear((rgba[:3] / cover.clamp_min(1e-4)).clamp(0, 1))
        grid = ((uv + 0.5) / size * 2 - 1).permute(0, 2, 3, 1)
        sheet = cover[None].expand(T, -1, -1, -1)
        alpha = torch.nn.functional.grid_sample(sheet, grid, align_corners=False)
        radius = torch.zeros(T) if stage.radius is None else stage.radius[0, number]
        layers.append(
            Layer(
                layer_names(count)[number],
                dilate(colour, cover),
                (cover > 0).float(),
                uv,
                alpha.clamp(0, 1) if number else torch.ones(T, 1, H, W),
                radius.view(T, 1, 1, 1).expand(T, 1, H, W),
            )
        )
    return Project(tuple(layers), clip.made.blurred[0], times_of(T), RATE)


def times_of(frames: int) -> tuple[Fraction, ...]:
    """Seconds of each frame."""
    return tuple(Fraction(t) / RATE for t in range(frames))
