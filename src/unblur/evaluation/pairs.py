"""The suite of a user's own pairs: blurred images or videos, and the same ones sharp."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from unblur.data.clips import is_image, read_frames
from unblur.errors import MediaError, UsageError
from unblur.evaluation.averaged import evenly
from unblur.evaluation.clip import Clip
from unblur.video import open_video

BLURRED = re.compile(r"(?<![a-z])(blur|blurred|blurry|input)(?![a-z])", re.IGNORECASE)
SHARP = re.compile(r"(?<![a-z])(sharp|gt|target|truth)(?![a-z])", re.IGNORECASE)
VIDEOS = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v"}
LONGEST = 48
"""Frames of a clip at the most."""
SCORED = 8
"""Frames of a clip that count, evenly over it."""

Maker = Callable[[], Clip]


def paired_clips(blurred: Path | None, sharp: Path | None) -> list[Maker]:
    """One clip for each image, video or folder of frames that has a partner.

    Partners have the same name, apart from words such as `blur`, `input`, `sharp` or `gt`. Both may
    lie in one folder: then these words tell which is which. An image is a clip of one frame.

    Raises:
        UsageError: a folder is not named.
        MediaError: a folder is missing, is empty, or an entry has no partner.
    """
    if blurred is None or sharp is None:
        raise UsageError(
            "pairs needs --blurred DIR and --sharp DIR: images, videos or folders of frames with "
            "the same names in both"
        )
    first, second = entries(blurred), entries(sharp)
    if blurred.resolve() == sharp.resolve():
        first = [path for path in first if BLURRED.search(path.stem)]
        second = [path for path in second if SHARP.search(path.stem)]
    if not first:
        raise MediaError(f"{blurred} holds no images, videos or folders of frames")
    partners = {key(path): path for path in second}
    if lonely := [path for path in first if key(path) not in partners]:
        raise MediaError(f"{lonely[0]} has no partner in {sharp}: give both the same name")
    return [partial(read_pair, path, partners[key(path)]) for path in first]


def entries(folder: Path) -> list[Path]:
    """Images, videos and folders in a folder, by name."""
    if not folder.is_dir():
        raise MediaError(f"{folder} is not a folder: pairs takes two folders")
    found = sorted(folder.iterdir())
    return [p for p in found if p.is_dir() or is_image(p) or p.suffix.lower() in VIDEOS]


def key(path: Path) -> str:
    """What partners have in common: the name without the words that tell them apart."""
    return SHARP.sub("", BLURRED.sub("", path.stem)).strip("_-. ").lower()


def read_pair(blurred: Path, sharp: Path) -> Clip:
    """A clip of two images, videos or folders.

    Raises:
        MediaError: they differ in size or in their number of frames.
    """
    first, second = read(blurred), read(sharp)
    if first.shape != second.shape:
        raise MediaError(
            f"{blurred} has {size(first)}, {sharp} {size(second)}: partners must have the same size"
        )
    name = key(blurred) or blurred.stem
    return Clip(name, first, second, evenly(len(first), SCORED))


def size(frames: Tensor) -> str:
    """Number and size of frames in words."""
    return f"{len(frames)} frames of {frames.shape[-1]}x{frames.shape[-2]}"


def read(path: Path) -> Tensor:
    """Frames (T, 3, H, W) in [0, 1], at most `LONGEST` of them."""
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if is_image(p))[:LONGEST]
        if not images:
            raise MediaError(f"{path} holds no frames")
        return read_frames(images)
    if is_image(path):
        return read_frames([path])
    with open_video(path) as video:
        return torch.stack([frame.rgb().clamp(0, 1) for frame in islice(video, LONGEST)])
