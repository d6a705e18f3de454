"""Looking through a clip before it is restored: its cuts, and how each of its shots is blurred."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing

import torch

from unblur.commands.analyze import look_for_blur
from unblur.commands.reporting import counted
from unblur.commands.request import Request
from unblur.engine.pipeline import prefetch
from unblur.engine.run import find_shots
from unblur.errors import UnblurWarning
from unblur.ops.shots import Shot
from unblur.progress import LOOK, MEASURE, Job, Plan
from unblur.restorers.registry import Kind
from unblur.video import Frame, VideoReader

PREVIEW_SECONDS = 2


def begin_look(wanted: Request, job: Job, size: tuple[int, int], total: int | None) -> None:
    """Reports what will be done, and how long at most it takes, before shots are looked at."""
    job.begin(MEASURE, later=None)
    expected = wanted.expected(size, total)
    where, (height, width) = str(wanted.device), size
    job.plan = Plan("auto", where, "auto", total, "frames", width, height, seconds=expected)
    job.begin(LOOK, total, later=expected)


def shots_and_kinds(
    reader: VideoReader, preview: bool, where: torch.device, job: Job
) -> tuple[list[Shot], list[Kind]]:
    """First pass over a file: its shots, and how each is blurred."""
    with reader, warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)
        with closing(prefetch(first_seconds(reader) if preview else reader)) as frames:
            expected = expected_frames(reader, preview)
            return look_for_blur(frames, expected, reader.info.color.transfer, where, job)


def shots_of(reader: VideoReader, preview: bool, job: Job) -> list[Shot]:
    """First pass over a file: its shots. Warnings are left to the second pass."""
    with reader, warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)
        with closing(prefetch(first_seconds(reader) if preview else reader)) as frames:
            return find_shots(counted(frames, job))


def expected_frames(reader: VideoReader, preview: bool) -> int | None:
    """How many frames a job will have, as far as the reader knows."""
    rate = reader.info.frame_rate
    if not preview or reader.frames is None or rate is None:
        return None if preview else reader.frames
    return min(reader.frames, round(PREVIEW_SECONDS * rate))


def first_seconds(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The frames of a preview."""
    first = None
    for frame in frames:
        at = frame.pts * frame.time_base
        first = at if first is None else first
        if at - first >= PREVIEW_SECONDS:
            return
        yield frame
