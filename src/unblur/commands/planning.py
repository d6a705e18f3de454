"""How a file is to be restored: by which model, in which shots, on which devices."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from unblur.commands.first_pass import begin_look, expected_frames, shots_and_kinds, shots_of
from unblur.commands.opening import BYTES_PER_PIXEL, Order, opened
from unblur.commands.reporting import fits_of, workers
from unblur.commands.resume import Chosen, chosen_before
from unblur.commands.space import check_space
from unblur.commands.unfinished import Unfinished
from unblur.engine.by_shot import ByShot
from unblur.engine.plan import SPARE, MemoryPlan
from unblur.engine.run import Runner
from unblur.errors import ResourceError
from unblur.guidance.of_video import FocusOfVideo
from unblur.ops import memory
from unblur.ops.shots import Shot
from unblur.progress import LOOK, MEASURE, Job, Plan
from unblur.restorers.registry import NOTHING, Kind
from unblur.video import VideoReader, VideoWriter
from unblur.video.kept import frame_bytes
from unblur.video.writer import FileWriter


@dataclass
class Course:
    """How the job is to go, once the model is loaded and shots are known."""

    runner: Runner | ByShot | None
    """None where frames pass as they are."""
    shots: list[Shot] | None
    total: int | None
    focus: FocusOfVideo | None


def plan_of(
    order: Order,
    reader: VideoReader,
    writer: VideoWriter,
    work: Unfinished | None,
    focus: FocusOfVideo | None,
    closing_last: ExitStack,
) -> Course:
    """Loads what restores, and looks through the input where its shots matter.

    What an interrupted job chose is chosen again. `closing_last` gets what is to be closed after
    the files.
    """
    wanted, job, total = order.wanted, order.job, expected_frames(reader, order.preview)
    before = chosen_before(work)
    disk = _disk_needed(order, reader, writer, work, total)
    encoder = _encoder_needed(order, reader, writer, total)
    if wanted.untouched:
        size = reader.info.width, reader.info.height
        job.plan = Plan(NOTHING, str(wanted.device), None, total, "frames", *size, disk=disk)
        return Course(None, None, total, None)
    order = dataclasses.replace(order, wanted=dataclasses.replace(wanted, beside=encoder))
    if order.by_shot:
        return _plan_by_shot(order, reader, total, before, disk)
    closing_last.enter_context(order.team)
    return _plan_one_model(order, reader, total, before, disk, focus)


def _disk_needed(
    order: Order,
    reader: VideoReader,
    writer: VideoWriter,
    work: Unfinished | None,
    total: int | None,
) -> int | None:
    """Bytes that the job takes on disk at its peak, about; None where that is not known."""
    shape = reader.info
    count = total or round((shape.duration or 0) * (shape.frame_rate or 0))
    if work is None or not count:
        return None
    scale = order.wanted.info.scale
    a_frame = frame_bytes(shape.pixel_format, shape.width, shape.height) * scale**2
    part = getattr(writer, "share", 1.0)  # images take about as much as samples
    waits = 0 if order.wanted.untouched else a_frame * min(count, work.kept.length)
    return check_space(Path(order.target), round(part * a_frame) * count, waits)


def _encoder_needed(
    order: Order, reader: VideoReader, writer: VideoWriter, total: int | None
) -> int:
    """Bytes that the encoder takes.

    Raises:
        ResourceError: a limit leaves fewer, where there is nothing that could be cut finer.
    """
    needed = writer.encoder_bytes(total) if isinstance(writer, FileWriter) else 0
    limit, pixels = order.options["max_memory"], reader.info.width * reader.info.height
    if not order.wanted.untouched or limit is None:
        return needed
    least = needed + BYTES_PER_PIXEL * pixels - memory.budget(torch.device("cpu"), limit)
    if least > 0:
        enough = -(-(limit + least + SPARE) // 10_000_000) * 10
        raise ResourceError(
            f"to decode and encode frames of {reader.info.width}x{reader.info.height} takes "
            f"--max-memory {enough}MB at least: allow it, or take another --codec"
        )
    return needed


def _plan_by_shot(
    order: Order,
    reader: VideoReader,
    total: int | None,
    before: Chosen | None,
    disk: int | None,
) -> Course:
    """Each shot has the model that it needs."""
    wanted, job, info = order.wanted, order.job, reader.info
    size, transfer = (info.height, info.width), info.color.transfer
    kinds: list[Kind] = []
    if before is not None and before.shots is not None:
        shots = before.shots
    else:
        begin_look(wanted, job, size, total)
        shots, kinds = shots_and_kinds(opened(order), order.preview, wanted.device, job)
        job.begin(MEASURE, later=job.later)
    runner = wanted.runner_by_shot(job, size, shots, kinds, transfer, before)
    _add_disk(job, disk)
    return Course(runner, shots, shots[-1].stop if shots else 0, None)


def _plan_one_model(
    order: Order,
    reader: VideoReader,
    total: int | None,
    before: Chosen | None,
    disk: int | None,
    focus: FocusOfVideo | None,
) -> Course:
    """One model restores all frames, here or on several devices."""
    wanted, job, team, info = order.wanted, order.job, order.team, reader.info
    size, transfer = (info.height, info.width), info.color.transfer
    before = team.choose(size, total, transfer, before)
    runner = wanted.runner(job, size, total, transfer, focus, before)
    if team.shares:
        team.open(order.options, runner, job, info)  # they load while cuts are found
    _add_disk(job, disk)
    shots = None
    if runner.needs_shots and before is not None and before.shots is not None:
        shots = before.shots
    elif runner.needs_shots and not order.live:
        job.begin(LOOK, total, later=job.plan.seconds if job.plan else None)
        shots = shots_of(opened(order), order.preview, job)
    if shots is not None:
        total = shots[-1].stop if shots else 0
    if focus is not None and total is not None:
        focus.expect(total)
    return Course(runner, shots, total, focus)


def _add_disk(job: Job, disk: int | None) -> None:
    if disk is not None and job.plan is not None:
        job.plan = dataclasses.replace(job.plan, disk=disk)


def keep_choices(course: Course, work: Unfinished | None) -> None:
    """Keeps what was chosen for whoever goes on, now and whenever it changes."""
    if work is None:
        return
    runner = course.runner

    def note(_: MemoryPlan | None = None) -> None:
        models = runner.models if isinstance(runner, ByShot) else None
        Chosen(fits_of(runner), course.shots, models).note(work)

    note()
    for each in workers(runner):
        each.refitted = note
