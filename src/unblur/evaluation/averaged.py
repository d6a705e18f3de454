"""The suite of real frames: sharp ones averaged side by side stand for one long exposure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from unblur.data.clips import is_image, read_frames
from unblur.errors import MediaError, UsageError
from unblur.evaluation.clip import Clip
from unblur.ops.color import from_linear, to_linear

WINDOWS = (3, 5, 7)
LONGEST = 24
"""Blurred frames that a clip has at the most."""
SCORED = 4
"""Frames that count, evenly over the clip."""


def averaged_clips(folders: Sequence[Path], frames: int) -> list[Callable[[], Clip]]:
    """One clip for each folder of frames, read when called.

    Blurred frame n is the mean of sharp frames `n * frames` to `n * frames + frames - 1` in linear
    light (sRGB), rounded to 8 bits; its truth is the middle one. So the shutter is open all the
    time, and the blurred frames follow each other as those of a video.

    Args:
        folders: folders of frames, or of folders of frames.
        frames: how many are averaged.

    Raises:
        UsageError: no folder is named, or `frames` is not 3, 5 or 7.
        MediaError: a folder is missing, or holds too few frames.
    """
    if frames not in WINDOWS:
        raise UsageError(f"frames {frames}: use 3, 5 or 7, so that one frame is in the middle")
    if not folders:
        raise UsageError(
            "real-average needs sharp video: add --data DIR, a folder of frames or of folders of "
            "frames (such as JPEGImages/480p of DAVIS)"
        )
    return [
        partial(read_clip, name, paths, frames)
        for folder in folders
        for name, paths in find_clips(folder, frames)
    ]


def find_clips(folder: Path, least: int) -> list[tuple[str, list[Path]]]:
    """Names and frames of the clips in a folder: those of its folders, or its own."""
    if not folder.is_dir():
        raise MediaError(f"{folder} is not a folder: --data takes a folder of frames")
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    clips = []
    for place in places:
        paths = sorted(path for path in place.iterdir() if is_image(path))
        if not paths:
            continue
        if len(paths) < least:
            raise MediaError(
                f"{place} holds {len(paths)} frames, averages need {least}: "
                "lower --frames, or name other folders"
            )
        clips.append((place.resolve().name, paths))
    if not clips:
        raise MediaError(
            f"{folder} holds no frames, nor do its folders: --data takes PNG or JPEG frames of "
            "sharp video, a folder for each clip"
        )
    return clips


def read_clip(name: str, paths: Sequence[Path], frames: int) -> Clip:
    """Averages the frames of one clip."""
    count = min(len(paths) // frames, LONGEST)
    blurred, sharp = [], []
    for n in range(count):
        window = read_frames(paths[n * frames : (n + 1) * frames])  # (frames, 3, H, W)
        mean = from_linear(to_linear(window).mean(0))
        blurred.append((mean * 255).round() / 255)
        sharp.append(window[frames // 2])
    return Clip(name, torch.stack(blurred), torch.stack(sharp), evenly(count, SCORED))


def evenly(length: int, count: int) -> tuple[int, ...]:
    """Indices that part a clip evenly.

    >>> evenly(12, 4), evenly(3, 4)
    ((1, 4, 7, 10), (0, 1, 2))
    """
    count = min(length, count)
    return tuple(int((i + 0.5) * length / count) for i in range(count))
