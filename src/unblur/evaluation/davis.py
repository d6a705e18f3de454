"""`davis-blur`: real sequences put out of focus as DaBiT's test sets are, from DAVIS on disk.

Blur, focus and sizes are those of `unblur.data.davis_blur`, which writes the sets as files. Where
no depth maps are available, a stand-in is drawn: the ground rises from near at the bottom of the
frame to far at its top, and each object stands upright on it. It is no one's depth, but it has what
matters: depth that changes slowly, steps at the outlines of what moves, and moves with it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.data import davis_blur
from unblur.data.davis_blur import GT_SIZE, SIZE, BlurRecipe, focus_path
from unblur.errors import MediaError, UsageError
from unblur.evaluation.averaged import find_clips
from unblur.evaluation.clip import Clip
from unblur.optics.focal import TOP

SETS = {"paper": "paper-50", "release": "release-90"}
"""Parameters of the blur: one setting for all as in the paper, or a row of the release's table."""
Array = NDArray[Any]


def truth_size(scale: int) -> tuple[int, int]:
    """Width and height of the truth: full, or shrunk for models that leave the size alone."""
    return GT_SIZE if scale == 2 else SIZE


def davis_clips(
    data: Path, blur: str, depth: Path | None, frames: int | None, scale: int
) -> list[Callable[[], Clip]]:
    """One clip for each sequence in a folder that belongs to the set, made when called.

    Args:
        data: DAVIS as it is unpacked, or a folder of its sequences.
        blur: one of `SETS`.
        depth: a folder of depth maps for each sequence, dark = near; None: the stand-in.
        frames: that many from the middle of each sequence; None: all. The focus moves as through
            the whole sequence.
        scale: 1 or 2.

    Raises:
        UsageError: there is no such set, or `frames` is below 1.
        MediaError: sequences or depth maps are missing.
    """
    if blur not in SETS:
        raise UsageError(f"no blur called '{blur}': there are {', '.join(SETS)}")
    if frames is not None and frames < 1:
        raise UsageError(f"frames {frames}: take at least 1 of each sequence")
    root = sequences_root(data)
    recipes = {recipe.name: recipe for recipe in davis_blur.recipes(SETS[blur])}
    found = [(name, paths) for name, paths in find_clips(root, 1) if name in recipes]
    if not found:
        raise MediaError(
            f"{root} holds no sequence of DAVIS: expected folders such as {min(recipes)}"
        )
    makers: list[Callable[[], Clip]] = []
    for name, paths in found:
        maps = None
        if depth is not None:
            maps = list(davis_blur.find_sequence(paths[0].parent, depth / name).depths)
        masks = [mask_of(root, path) for path in paths]
        makers.append(partial(make_clip, recipes[name], paths, maps, masks, frames, scale))
    return makers


def sequences_root(data: Path) -> Path:
    """Where the folders of the sequences lie."""
    places = (data / place for place in davis_blur.FRAMES)
    return next((place for place in places if place.is_dir()), data)


def mask_of(root: Path, frame: Path) -> Path | None:
    """The mask of a frame's objects: below `Annotations`, or in a folder with `_masks` behind."""
    below = Path(frame.parent.name) / f"{frame.stem}.png"
    annotations = Path(*("Annotations" if part == "JPEGImages" else part for part in root.parts))
    beside = root.resolve()
    for folder in (annotations, beside.with_name(beside.name + "_masks")):
        if folder != root and (folder / below).is_file():
            return folder / below
    return None


def describe(data: Path, depth: Path | None) -> str:
    """Which depth sequences are blurred by, in words."""
    if depth is not None:
        return str(depth)
    root = sequences_root(data)
    with_masks = any(mask_of(root, path) for _, paths in find_clips(root, 1) for path in paths[:1])
    return "stand-in (ground plane" + (", objects by their masks)" if with_masks else ")")


def make_clip(
    recipe: BlurRecipe,
    frames: list[Path],
    depths: list[Path] | None,
    masks: list[Path | None],
    count: int | None,
    scale: int,
) -> Clip:
    """Blurs one sequence, or the middle of it."""
    far = None
    if depths is not None:
        far = [davis_blur.read_depth(*pair, False) for pair in zip(frames, depths, strict=True)]
    deepest = TOP if far is None else max(float(depth.max()) for depth in far)
    rate = deepest / len(frames) if recipe.rate is None else recipe.rate
    path = focus_path(recipe.focus, rate, len(frames))
    make = davis_blur.paper_frame if recipe.blur.mode == "paper" else davis_blur.release_frame
    count = min(count or len(frames), len(frames))
    first = (len(frames) - count) // 2
    blurred, sharp, known, maps = [], [], [], []
    for i in range(first, first + count):
        rgb = davis_blur.read_rgb(frames[i])
        depth = proxy_depth(rgb.shape[:2], masks[i]) if far is None else far[i]
        truth, low, blur = make(rgb, depth, path[i], recipe.blur)
        blurred.append(image(low))
        sharp.append(image(truth if scale == 2 else davis_blur.resized(truth, SIZE)))
        known.append(davis_blur.to_tensor(davis_blur.resized(depth, SIZE)) / TOP)
        maps.append(float(np.mean(blur)))
    every = tuple(range(count))
    return Clip(
        name=recipe.name,
        blurred=torch.stack(blurred),
        sharp=torch.stack(sharp),
        scored=every,
        watched=every,
        depth=torch.stack(known),
        facts={"frames": float(count), "blur_map": sum(maps) / count},
    )


def proxy_depth(size: tuple[int, int], mask: Path | None) -> Array:
    """A stand-in for depth (H, W), 0 = near to 255 = far: a ground plane with objects on it."""
    import cv2

    height, width = size
    rows = np.linspace(TOP, 0, height, dtype=np.float32)
    depth = np.repeat(rows[:, None], width, axis=1)
    if mask is None:
        return depth
    labels = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    if labels is None:
        raise MediaError(f"{mask} cannot be read as an image: damaged download?")
    labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    for label in np.unique(labels[labels > 0]):
        own = labels == label
        foot = int(np.nonzero(own.any(axis=1))[0].max())
        depth[own] = rows[foot]
    return depth


def image(values: Array) -> Tensor:
    """RGB (H, W, 3), 0 to 255, rounded as in a file: (3, H, W) in [0, 1]."""
    return davis_blur.to_tensor(np.rint(values).clip(0, TOP)) / TOP
