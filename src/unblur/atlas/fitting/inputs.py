"""What a fit is given: the clip, masks, radii; and whether that can go well."""

from __future__ import annotations

import os
import warnings
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unblur.errors import ResourceError, UnblurWarning, UsageError
from unblur.ops.memory import available
from unblur.ops.shots import ShotDetector
from unblur.video import open_video

FEWEST, MOST = 3, 400
"""Frames of a clip."""
SMALLEST_SIDE = 32
BYTES_PER_PIXEL = 200
"""Measured growth of the process per pixel of all frames: flow over three gaps both ways above
all."""
SHARE = 0.8
CHANGE = 0.6
"""Pixels by which the radius of some layer must change for the fit to find what is sharp."""


class Clip(NamedTuple):
    """A clip in memory."""

    frames: Tensor
    """(T, 3, H, W) encoded RGB in [0, 1], sRGB curve unless `transfer` says otherwise."""
    times: tuple[Fraction, ...]
    rate: Fraction | None
    transfer: str | None


def read_clip(
    path: str | os.PathLike[str], *, start: str | None = None, end: str | None = None
) -> Clip:
    """Reads a clip that one fit can take.

    Raises:
        UsageError: too many or too few frames, too small, or a cut inside.
        ResourceError: it does not fit into memory.
        MediaError: it cannot be read.
    """
    frames: list[Tensor] = []
    times: list[Fraction] = []
    cuts = ShotDetector()
    with open_video(path, start=start, end=end) as reader:
        rate = reader.info.frame_rate
        count = reader.frames
        check_size(count or 0, reader.info.height, reader.info.width)
        transfer = reader.info.color.transfer
        for frame in reader:
            rgb = frame.rgb().clamp(0, 1)
            cuts.push(rgb)
            frames.append(rgb)
            times.append(frame.time)
            if count is None:
                check_size(len(frames), *rgb.shape[-2:])
    if len(frames) < FEWEST:
        raise UsageError(f"{path} holds {len(frames)} frames: a fit needs at least {FEWEST}")
    shots = cuts.shots()
    if len(shots) > 1:
        cut = shots[0].stop
        raise UsageError(
            f"{path} has a cut at frame {cut}: fit each shot on its own, --end f{cut} and"
            f" --start f{cut}"
        )
    first = times[0]
    return Clip(torch.stack(frames), tuple(t - first for t in times), rate, transfer)


def check_size(frames: int, height: int, width: int) -> None:
    """Refuses what a fit cannot take before memory is taken for it."""
    if min(height, width) < SMALLEST_SIDE:
        raise UsageError(
            f"frames of {width}x{height} are too small for a fit: at least {SMALLEST_SIDE} pixels"
            " on each side"
        )
    if frames > MOST:
        raise UsageError(
            f"{frames} frames are too many for one fit, {MOST} is the limit: fit a part with"
            " --start and --end"
        )
    need = frames * height * width * BYTES_PER_PIXEL
    have = int(SHARE * available())
    if need > have:
        fit = max(FEWEST, have // (height * width * BYTES_PER_PIXEL))
        raise ResourceError(
            f"fitting {frames} frames of {width}x{height} needs about {need / 1e9:.1f} GB and"
            f" {have / 1e9:.1f} GB are free: fit about {fit} frames with --start and --end, or"
            " scale the clip down"
        )


def read_masks(path: str | os.PathLike[str], frames: int, size: tuple[int, int]) -> list[Tensor]:
    """Masks (1, H, W) in [0, 1] of all frames, from a folder or pattern of images or a video.

    Raises:
        UsageError: there are more or fewer of them than frames, or of another size.
        MediaError: they cannot be read.
    """
    found: list[Tensor] = []
    if not Path(path).exists() and "%" not in str(path) and "*" not in str(path):
        raise UsageError(f"there are no masks {path}: name a folder of images or a video")
    with open_video(path) as reader:
        have = (reader.info.height, reader.info.width)
        if have != size:
            raise UsageError(
                f"masks of {have[1]}x{have[0]} do not fit frames of {size[1]}x{size[0]}: make them"
                " the same size"
            )
        for frame in reader:
            found.append(frame.rgb().clamp(0, 1).mean(0, keepdim=True))
            if len(found) > frames:
                break
    if len(found) != frames:
        more = "more" if len(found) > frames else str(len(found))
        raise UsageError(
            f"{more} masks for {frames} frames: give one for each frame, with the same --start and"
            " --end"
        )
    return found


def check_masks(labels: Tensor) -> None:
    """Refuses masks that leave nothing to fit."""
    share = float((labels > 0).float().mean())
    if share == 0 or share == 1:
        color = "black" if share == 0 else "white"
        raise UsageError(
            f"the masks are {color} all over: paint the foreground white and the rest black"
        )


def warn_of_even_focus(radii: Tensor) -> None:
    """Warns where focus never changes: radii (layers, T) of ideal disks in pixels."""
    if float((radii.amax(1) - radii.amin(1)).max()) < CHANGE:
        warnings.warn(
            "the focus hardly changes in this clip: no frame shows what another lacks, so there is"
            " little to gain",
            UnblurWarning,
            stacklevel=3,
        )
