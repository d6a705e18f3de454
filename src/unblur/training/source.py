"""Where the batches of a recipe come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unblur.data.clips import ClipFolder
from unblur.data.codec import Encoding, through
from unblur.errors import UsageError
from unblur.synth import TextureBank, held_out
from unblur.synth.compression import compress_video
from unblur.training.averages import with_real
from unblur.training.batches import Batch, Cut, Rendered, Source, scene_config
from unblur.training.footage import HAS_ENCODERS, Filmed
from unblur.training.pool import Guess, Pool
from unblur.training.recipe import Recipe

POOL_SEED = 7_000_000
"""Seed of the first clip of a pool."""
VALIDATION_SEED = 2**31 + 11
VALIDATION_SIDE = 256
VALIDATION_ENCODING = Encoding("libx264", {"crf": "26", "preset": "medium"})
"""What every second clip of validation goes through, where those of the training do."""
STAND_IN_QUALITY = 55.0
"""About the same without encoders, on the scale of `synth.compression`."""


def open_source(
    recipe: Recipe,
    textures: str | Path | None,
    device: torch.device,
    flows: bool,
    pool: str | Path,
    guess: Guess | None = None,
    depth: bool = False,
    real: Sequence[str | Path] = (),
) -> Source:
    """The source a recipe names, and what a camera's file makes of its clips.

    Args:
        recipe: `data`, `scenes` and `pool` of it.
        textures: folder of a texture bank, for `scenes`.
        device: where rendered clips are made.
        flows: whether the network needs the true flow.
        pool: folder for the clips of a pool.
        guess: finds the flow that clips of a pool bring beside the true one.
        depth: whether the network needs the true depth.
        real: sharp video at a high frame rate, for the share of real clips.

    Raises:
        UsageError: no textures for scenes, an unknown layout, fields SceneConfig has not, or no
            depth to be had; or nothing to validate on.
    """
    if depth and (recipe.data != "scenes" or recipe.pool):
        raise UsageError(
            f"recipe: {recipe.network} needs depth, which rendered scenes have: take data: scenes, "
            "without a pool"
        )
    if recipe.validate_on != "scenes":
        if depth:
            raise UsageError(
                f"recipe: {recipe.network} needs depth, which rendered scenes have: take "
                "validate_on: scenes"
            )
        long_enough(recipe)  # says now, not after hours, that there is nothing to validate on
    clean = clean_source(recipe, textures, device, flows, pool, guess, depth)
    source = with_real(clean, recipe, real)
    return Filmed(source, recipe.filmed) if recipe.filmed else source


def clean_source(
    recipe: Recipe,
    textures: str | Path | None,
    device: torch.device,
    flows: bool,
    pool: str | Path,
    guess: Guess | None,
    depth: bool,
) -> Source:
    """Rendered clips, or those of a data set, as they are."""
    if recipe.data != "scenes":
        return Cut(ClipFolder.find(recipe.data), recipe.frames, recipe.crop)
    if textures is None:
        raise UsageError(
            "scenes need textures: make a bank with `unblur data textures PHOTOS BANK`, "
            "then add --textures BANK"
        )
    bank = TextureBank.load(textures)
    config, frames = scene_config(recipe.scenes), recipe.frames
    if not recipe.pool:
        return Rendered(config, bank, frames, recipe.crop, device, flows, depth)
    rendered = Rendered(config, bank, frames, recipe.pool_side, device)
    return Pool(rendered, Path(pool), recipe.pool, recipe.crop, POOL_SEED + recipe.seed, guess)


def held_out_clips(
    recipe: Recipe, device: torch.device, flows: bool, depth: bool = False
) -> list[Batch]:
    """Clips for validation, rendered of textures that no training sees, or from a data set.

    They are the same ones at each call. Where training sees clips from encoders, every second
    rendered one of these went through one.
    """
    if recipe.validate_on != "scenes":
        return middles(long_enough(recipe), recipe, device)
    config = scene_config({**recipe.scenes, "compressed": 0.0})
    source = Rendered(config, held_out(), recipe.frames, VALIDATION_SIDE, device, flows, depth)
    clips = [source.batch(1, VALIDATION_SEED + i) for i in range(recipe.validation_clips)]
    if not recipe.filmed:
        return clips
    return [encoded(clip) if i % 2 else clip for i, clip in enumerate(clips)]


def encoded(clip: Batch) -> Batch:
    """A batch of one clip after an encoder, or what stands in for it."""
    if not HAS_ENCODERS:
        quality = clip.blurred.new_tensor([STAND_IN_QUALITY])
        return replace(clip, blurred=compress_video(clip.blurred, quality))
    blurred = through(clip.blurred[0], VALIDATION_ENCODING)
    return replace(clip, blurred=blurred[None].to(clip.blurred))


def long_enough(recipe: Recipe) -> list[ClipFolder]:
    """Clips of the data set that a recipe validates on.

    Raises:
        UsageError: no clip is long enough, or an unknown layout.
        MediaError: no such data set.
    """
    clips = [clip for clip in ClipFolder.find(recipe.validate_on) if len(clip) >= recipe.frames]
    if not clips:
        raise UsageError(
            f"no clip of {recipe.validate_on} has {recipe.frames} frames: lower `frames`"
        )
    return clips


def middles(clips: Sequence[ClipFolder], recipe: Recipe, device: torch.device) -> list[Batch]:
    """Frames from the middle of clips of a data set, and the middle of these frames.

    As many clips as the recipe requests, or all there are, evenly over the folders.
    """
    count = min(recipe.validation_clips, len(clips))
    found = []
    for clip in (clips[i * len(clips) // count] for i in range(count)):
        start = (len(clip) - recipe.frames) // 2
        pair = clip.read(start, start + recipe.frames)  # 2 x (T, 3, H, W)
        blurred, sharp = (center(x, VALIDATION_SIDE)[None].to(device) for x in pair)
        found.append(Batch(blurred, sharp))
    return found


def center(x: Tensor, side: int) -> Tensor:
    """The middle of images (..., H, W), at most `side` pixels each way, in whole fours."""
    height, width = (min(side, n) // 4 * 4 for n in x.shape[-2:])
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]
