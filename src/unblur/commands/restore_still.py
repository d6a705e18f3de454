"""Restoring a single frame of a file, to be looked at beside what it was."""

from __future__ import annotations

import os
import time
import warnings
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from unblur.commands.analyze import look_for_blur
from unblur.commands.first_pass import begin_look
from unblur.commands.reporting import Report, report_of
from unblur.commands.request import Options, Request, request, when
from unblur.disk import check_inputs
from unblur.engine.compare import as_png, before_and_after, slider_page
from unblur.engine.fusion import choose_radius
from unblur.engine.part import read_for, restore_part
from unblur.engine.run import Runner
from unblur.errors import MediaError, UnblurWarning, UsageError
from unblur.ops.shots import Shot
from unblur.progress import OPEN, RESTORE, Job, Plan
from unblur.restorers.registry import NOTHING
from unblur.video import Frame, VideoReader, is_pipe, open_video
from unblur.video.output import check_target, write_whole

STILLS = (".png", ".html", ".htm")
"""Extensions by which a preview is a single frame."""
FAR = 1000
"""More frames than matter to a still."""


def is_still(destination: str | os.PathLike[str]) -> bool:
    """Whether a preview of that name is a single frame."""
    return Path(destination).suffix.lower() in STILLS


def restore_still(
    source: str | os.PathLike[str], destination: str | os.PathLike[str], options: Options
) -> Report:
    """Restores a frame, and those it is fused with; writes it beside what it was."""
    if is_pipe(source):
        raise UsageError("a preview of one frame is of a file: name one, or write a video")
    began = time.monotonic()
    destination, overwrite = Path(destination), options["overwrite"]
    target = check_target(destination, source=source, overwrite=overwrite)
    check_inputs(target, (source, options["weights"], options["depth"]))
    wanted = request(options)
    torch.manual_seed(options["seed"])
    job = Job(options["progress"])
    job.begin(OPEN)
    opened = partial(
        open_video,
        source,
        strict=options["strict"],
        deinterlace=options["deinterlace"],
        stream=options["stream"],
    )
    at = when(options["at"])
    begins = at or when(options["start"]) or "f0"  # with a start, frames are counted
    with opened(start=begins, end=when(options["end"])) as reader:
        skipped = 0 if at is not None or reader.frames is None else reader.frames // 2
        frame = next(islice(reader, skipped, None), None)
    if frame is None:
        raise MediaError(f"{source} holds no frames in the chosen range")
    spread = choose_radius(options["fuse"], wanted.info)
    reach = read_for(range(frame.index, frame.index + 1), frame.index + FAR, spread)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*past the end", category=UnblurWarning)
        near = opened(start=f"f{reach.start}", end=f"f{reach.stop}")
    with near as reader:
        frames = list(reader)
        place = frame.index - reach.start
        many = min(len(frames), place + spread + 1) - max(0, place - spread)
        runner = _still_runner(wanted, job, reader, frames, place, many)
        after = frame.rgb()
        if runner is not None:
            job.begin(RESTORE, many, sum(runner.cost) or None)
            runner.tick = job.at
            part = range(place, place + 1)
            ((_, after),) = restore_part(runner, frames.__getitem__, len(frames), part)
    plan = job.plan
    assert plan is not None  # noqa: S101
    before = frame.rgb()
    title = f"{Path(source).name}, frame {frame.index}, {plan.model}"
    if destination.suffix.lower() == ".png":
        content = as_png(before_and_after(before, after))
    else:
        content = slider_page(before, after, title).encode()
    write_whole(target, content, overwrite=overwrite)
    device, lost = str(wanted.device), reader.decode_failures
    return report_of(destination, 1, began, job, device, runner, decode_failures=lost)


def _still_runner(
    wanted: Request, job: Job, reader: VideoReader, frames: list[Frame], place: int, many: int
) -> Runner | None:
    """What restores a frame and, in all, `many` around it; None where nothing is to be done."""
    shape = reader.info
    size, transfer = (shape.height, shape.width), shape.color.transfer
    if wanted.untouched:
        job.plan = Plan(NOTHING, str(wanted.device), None, 1, "frames", *size[::-1])
        return None
    if not wanted.by_shot:
        return wanted.runner(job, size, many, transfer, wanted.focus(reader))
    begin_look(wanted, job, size, len(frames))
    shots, kinds = look_for_blur(frames, len(frames), transfer, wanted.device, job)
    pairs = zip(shots, kinds, strict=True)
    kind = next(kind for shot, kind in pairs if shot.start <= place < shot.stop)
    by_shot = wanted.runner_by_shot(job, size, [Shot(0, many)], [kind], transfer)
    return next(iter(by_shot.runners.values()), None)
