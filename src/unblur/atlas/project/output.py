"""Rendered frames to a video or to images."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import torch
from torch import Tensor

from unblur.atlas.project.project import Project
from unblur.errors import UsageError
from unblur.video import Frame, VideoInfo, create_video
from unblur.video.info import ColorTags
from unblur.video.sequence_writer import is_sequence_output

FINEST = 2**31 - 1
COMMON = 90_000
"""Ticks of a second where the frames' own times have no common one that fits."""


def write_frames(
    project: Project,
    rendered: Iterable[Tensor],
    chosen: list[int],
    destination: str | os.PathLike[str],
    *,
    codec: str | None = None,
    crf: float | None = None,
    overwrite: bool = False,
    inputs: Sequence[str | os.PathLike[str] | None] = (),
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Writes frames of a project at their times; the first one comes at 0.

    Args:
        project: whose frames they are.
        rendered: (3, H, W) encoded RGB in [0, 1], as they come.
        chosen: their numbers, in order.
        destination: a video or images.
        codec: see `unblur.video.create_video`.
        crf: see `unblur.video.create_video`.
        overwrite: replace an existing output.
        inputs: what else is read for it, such as painted images.
        progress: called with (frames done, frames in all).

    Returns:
        Number of frames written.

    Raises:
        UsageError: the output exists, or lies among the project's own files.
    """
    check_apart(project, destination)
    info = describe(
        project, len(chosen), in_rgb=is_sequence_output(destination, codec), codec=codec
    )
    start = project.times[chosen[0]]
    with create_video(
        destination, info, codec=codec, crf=crf, inputs=inputs, overwrite=overwrite
    ) as writer:
        for count, (t, image) in enumerate(zip(chosen, rendered, strict=True)):
            writer.write(as_frame(image, count, project.times[t] - start, info))
            if progress:
                progress(count + 1, len(chosen))
    return len(chosen)


def check_apart(project: Project, destination: str | os.PathLike[str]) -> None:
    """UsageError where the destination is the project, or a part of it."""
    if project.folder is None:
        return
    own = Path(os.path.realpath(project.folder))
    target = Path(os.path.realpath(destination))
    ours = [own / "frames", own / "maps", own / "fit", own / "atlas.json"]
    ours += [own / f"atlas_{layer.name}.png" for layer in project.layers]
    inside = any(target == part or part in target.parents for part in ours)
    if target == own or inside:
        raise UsageError(f"{destination} is a part of the project: write to another place")


def describe(project: Project, frames: int, in_rgb: bool, codec: str | None) -> VideoInfo:
    """What is written, in the words of the writer."""
    height, width = project.size
    ticks = math.lcm(*(time.denominator for time in project.times))
    base = Fraction(1, ticks if ticks <= FINEST else COMMON)
    lossless = codec == "ffv1"
    kind = "rgb24" if in_rgb else "gbrp" if lossless else "yuv420p"
    tags = ColorTags(transfer=project.transfer)
    if kind == "yuv420p":
        tags = ColorTags("bt709", "bt709", project.transfer or "bt709", "tv")
    return VideoInfo(
        path=project.folder or Path("project"),
        width=width,
        height=height,
        pixel_format=kind,
        bit_depth=8,
        has_alpha=False,
        frame_rate=project.rate,
        time_base=base,
        frames=frames,
        duration=None,
        color=tags,
    )


def as_frame(image: Tensor, index: int, time: Fraction, info: VideoInfo) -> Frame:
    """A frame that holds the image (3, H, W)."""
    # Nothing is drawn yet: colour at full resolution does not ask what was there before.
    name = "yuv444p" if info.pixel_format == "yuv420p" else info.pixel_format
    blank = av.VideoFrame(info.width, info.height, name)
    if name == "yuv444p":
        blank.colorspace, blank.color_range = 1, 1  # BT.709, limited
    pts = round(time / info.time_base)
    blank.pts, blank.time_base = pts, info.time_base
    step = 0 if info.frame_rate is None else round(1 / info.frame_rate / info.time_base)
    frame = Frame(blank, index, pts, info.time_base, step)
    return frame.with_rgb(image.detach().to(torch.float32).cpu())
