"""The rendered suites: scenes from held-out textures, frozen by seeds and strengths of blur."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.evaluation.clip import Blur, Clip
from unblur.synth import Mode, SceneConfig, Scenes, TextureBank, render, sample_scenes
from unblur.synth.compression import compress
from unblur.synth.frames import circles
from unblur.synth.paths import inverse, layer_to_frame

SIDE = 256
FRAMES = 7
SCORED = (2, 4)
WATCHED = (2, 3, 4)
MOMENTS = 63
"""Moments of an exposure that the truth about a path holds."""
MOTION_SEED, FOCUS_SEED = 410_000, 420_000
"""Of the first clip of `synth-motion` and of `synth-focus`."""

Range = tuple[float, float]
Histogram = tuple[tuple[int, Range], ...]
"""Numbers of clips, and the range that their strength of blur is drawn from."""

MOTION: Histogram = ((1, (0, 0)), (2, (6, 12)), (9, (12, 26)), (12, (26, 40)))
"""Pixels that the quickest thing moves from frame to frame."""
CAMERA: Range = (0.7, 1)
"""Part of the camera in the motion: with less of it most of a frame stands still."""
EXPOSURE: Range = (0.6, 1)
"""Time the shutter is open, of that between frames: weak blur has strata of its own."""
FOCUS: Histogram = ((2, (0, 0)), (2, (1, 2)), (8, (2, 5)), (8, (5, 9)), (4, (9, 14)))
"""Radius in pixels of the largest circle of confusion."""

STRIDE = 7
DAYLIGHT = SceneConfig(
    layers=(1, 5),
    gain=(0.5, 1.1),
    highlights=0.2,
    highlight=(2, 6),
    noise=0.5,
    read_noise=(0.0003, 0.001),
    shot_noise=(0.00002, 0.0002),
    quality=(80, 95),
)
"""Scenes as a camera sees them outdoors: little noise, few lights. The rest as in training."""

Maker = Callable[[], Clip]


@dataclass(frozen=True)
class Making:
    """How clips are made of scenes, the same for all clips of a suite."""

    textures: TextureBank
    scale: int = 1
    """Size of the truth in multiples of the input's: frames are shrunk after they were blurred."""
    denoise: Callable[[Tensor], Tensor] | None = None
    """From noisy frames (T, 3, H, W) to what a camera makes of them before it compresses."""
    flow: bool = False
    """Whether clips hold the true optical flow; only at scale 1."""


def motion_clips(making: Making, seed: int) -> list[Maker]:
    """Clips of `synth-motion`: camera and objects move, nothing is out of focus."""
    return makers(making, seed, [moving("motion", r) for r in spread(MOTION)])


def focus_clips(making: Making, seed: int, light: SceneConfig = DAYLIGHT) -> list[Maker]:
    """Clips of `synth-focus`: a lens blurs, the exposure is too short for motion to."""
    base = replace(light, mode="focus")
    return makers(making, seed, [unfocused(base, r) for r in spread(FOCUS)])


def joint_clips(making: Making, seed: int) -> list[Maker]:
    """Clips of `synth-joint`: both at once, the strengths of the one beside all of the other."""
    radii = spread(FOCUS)
    # A stride without a common factor with their number pairs weak with strong.
    strengths = [(m, radii[i * STRIDE % len(radii)]) for i, m in enumerate(spread(MOTION))]
    return makers(making, seed, [unfocused(moving("joint", m), f) for m, f in strengths])


def spread(histogram: Histogram) -> list[Range]:
    """The ranges of a histogram, each evenly over the list, so that any part of it is a mixture.

    >>> spread(((1, (0, 0)), (2, (1, 2))))
    [(1, 2), (0, 0), (1, 2)]
    """
    places = [((i + 0.5) / many, strength) for many, strength in histogram for i in range(many)]
    return [strength for _, strength in sorted(places, key=lambda place: place[0])]


def moving(mode: Mode, speed: Range) -> SceneConfig:
    """Scenes with a speed out of this range; (0, 0) for such in which nothing moves."""
    config = replace(DAYLIGHT, mode=mode, camera=CAMERA, exposure=EXPOSURE)
    if speed[1] == 0:
        return replace(config, static=1.0, light=0.0)
    return replace(config, static=0.0, light=0.0, motion=speed)


def unfocused(config: SceneConfig, radius: Range) -> SceneConfig:
    """With a largest circle of confusion out of this range; (0, 0) for scenes all in focus."""
    if radius[1] == 0:
        return replace(config, in_focus=1.0)
    return replace(config, in_focus=0.0, coc=radius)


def makers(making: Making, seed: int, configs: Sequence[SceneConfig]) -> list[Maker]:
    """Functions that render a clip each, when called; clip i has a seed of its own.

    Every second clip goes through lossy compression.
    """
    return [
        partial(
            make_clip,
            f"{i:02}",
            replace(config, compressed=float(i % 2)),
            making,
            seed + i,
        )
        for i, config in enumerate(configs)
    ]


def make_clip(name: str, config: SceneConfig, making: Making, seed: int) -> Clip:
    """Renders one clip with what is known of its blur, always on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    scenes = sample_scenes(config, making.textures, 1, generator)
    quality = scenes.response.quality
    later = making.scale > 1 or making.denoise is not None  # compression is what comes last
    if later:
        scenes = replace(scenes, response=replace(scenes.response, quality=0 * quality))
    truth = {"layers", "extent", "coc", "depth"} | ({"flow"} if making.flow else set())
    made = render(scenes, SIDE, SIDE, FRAMES, truth=truth)
    if made.layers is None or made.extent is None or made.coc is None or made.depth is None:
        raise ValueError("the renderer left out a truth it was requested")
    blurred = made.blurred[0]
    if making.denoise is not None:
        blurred = making.denoise(blurred)
    if making.scale > 1:
        blurred = F.avg_pool2d(blurred, making.scale)
    if later:
        blurred = compress(blurred[None], quality)[0]
    scored, frames = list(SCORED), sorted({*SCORED, *WATCHED})
    return Clip(
        name=name,
        # A video has 8 bits, and what is rounded away is lost to every method.
        blurred=(blurred * 255).round() / 255,
        sharp=made.sharp[0],
        scored=SCORED,
        watched=WATCHED,
        blur=known_blur(scenes, made.layers[0, frames], frames),
        depth=made.depth[0, :, :, :: making.scale, :: making.scale],
        radius=made.coc[0, :, :, :: making.scale, :: making.scale] / making.scale,
        flow=both_ways(made.flow_forward, made.flow_backward),
        visible=both_ways(made.visible_forward, made.visible_backward),
        facts={
            "motion_px": float(made.extent[0, scored].mean()),
            "coc_px": float(made.coc[0, scored].mean()),
            "layers": float(scenes.count[0]),
            "exposure": float(scenes.motion.exposure[0]),
            "quality": float(quality[0]),
        },
    )


def both_ways(forward: Tensor | None, backward: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Of the only clip of a batch."""
    return None if forward is None or backward is None else (forward[0], backward[0])


def known_blur(
    scenes: Scenes,
    share: Tensor,  # (S, L, H, W)
    frames: list[int],
) -> Blur:
    """The exact blur of some frames of one scene."""
    height, width = share.shape[-2:]
    half = (width / 2, height / 2)
    middle = scenes.motion.times[:, frames]  # (1, S)
    offsets = ((torch.arange(MOMENTS) + 0.5) / MOMENTS - 0.5) * scenes.motion.exposure  # (N,)
    moments = (middle[..., None] + offsets).flatten(1)  # (1, S N)
    there = layer_to_frame(scenes.motion, moments, half)[0]  # (L, S N, 3, 3)
    here = layer_to_frame(scenes.motion, middle, half)[0]  # (L, S, 3, 3)
    paths = there.unflatten(1, (len(frames), MOMENTS)) @ inverse(here)[:, :, None]
    return Blur(
        paths=paths.transpose(0, 1),  # (S, L, N, 3, 3)
        radius=circles(scenes, middle)[0].T,  # (S, L)
        share=share,
    )
