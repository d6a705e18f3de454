"""Where the batches of a recipe come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from unblur.data.clips import ClipFolder
from unblur.data.codec import Encoding, through
from unblur.errors import UsageError
from unblur.synth import TextureBank, held_out
from unblur.train.averages import with_real
from unblur.train.batches import Batch, Cut, Rendered, Source, scene_config
from unblur.train.footage import Filmed
from unblur.train.pool import Guess, Pool
from unblur.train.recipe import Recipe

POOL_SEED = 7_000_000
"""Seed of the first clip of a pool."""
VALIDATION_SEED = 2**31 + 11
VALIDATION_SIDE = 256
VALIDATION_ENCODING = Encoding("libx264", {"crf": "26", "preset": "medium"})
"""What every second clip of validation goes through, where those of the training do."""


def open_source(
    recipe: Recipe,
    textures: str | Path | None,
    device: torch.device,
    flows: bool,
    pool: str | Path,
    guess: Guess | None = None,
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
        real: sharp video at a high frame rate, for the share of real clips.

    Raises:
        UsageError: no textures for scenes, an unknown layout, or fields SceneConfig has not.
    """
    clean = clean_source(recipe, textures, device, flows, pool, guess)
    source = with_real(clean, recipe, real)
    return Filmed(source, recipe.filmed) if recipe.filmed else source


def clean_source(
    recipe: Recipe,
    textures: str | Path | None,
    device: torch.device,
    flows: bool,
    pool: str | Path,
    guess: Guess | None,
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
        return Rendered(config, bank, frames, recipe.crop, device, flows)
    rendered = Rendered(config, bank, frames, recipe.pool_side, device)
    return Pool(rendered, Path(pool), recipe.pool, recipe.crop, POOL_SEED + recipe.seed, guess)


def held_out_clips(recipe: Recipe, device: torch.device, flows: bool) -> list[Batch]:
    """Clips for validation, of textures that no training sees: the same ones at each call.

    Where training sees clips from encoders, every second one of these went through one.
    """
    config = scene_config({**recipe.scenes, "compressed": 0.0})
    source = Rendered(config, held_out(), recipe.frames, VALIDATION_SIDE, device, flows)
    clips = [source.batch(1, VALIDATION_SEED + i) for i in range(recipe.validation_clips)]
    if not recipe.filmed:
        return clips
    return [encoded(clip) if i % 2 else clip for i, clip in enumerate(clips)]


def encoded(clip: Batch) -> Batch:
    """A batch of one clip after an encoder."""
    blurred = through(clip.blurred[0], VALIDATION_ENCODING)
    return replace(clip, blurred=blurred[None].to(clip.blurred))
