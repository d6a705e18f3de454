"""Restoring a file, from its opening to the report: what is written appears when it is complete."""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from torch import Tensor

from unblur.commands.first_pass import first_seconds
from unblur.commands.opening import (
    AT_CALLER,
    Order,
    check_same,
    created,
    is_done,
    kept_work,
    opened,
    order_of,
    stamps,
    warn_of_video_only,
)
from unblur.commands.planning import Course, keep_choices, plan_of
from unblur.commands.reporting import Report, report_of, restoring, skipped_report
from unblur.commands.request import Options
from unblur.commands.resume import Again
from unblur.commands.unfinished import Unfinished
from unblur.engine.by_shot import ByShot
from unblur.engine.compare import before_and_after
from unblur.engine.held import Held, held_for
from unblur.engine.pieces import Piece, spread
from unblur.engine.pipeline import background, prefetch
from unblur.errors import MediaError, UnblurWarning
from unblur.progress import FINISH, OPEN
from unblur.video import Frame, VideoReader, VideoWriter

Restored = tuple[Frame, Tensor | None]
"""A frame and its restored image; None where it passes as it is."""


def restore_file(
    source: str | os.PathLike[str], destination: str | os.PathLike[str], options: Options
) -> Report:
    """Restores a file or what comes through a pipe: see `unblur.restore`."""
    began = time.monotonic()
    order = order_of(source, destination, options)
    job, wanted = order.job, order.wanted
    job.begin(OPEN)
    before = stamps(order.source)
    with opened(order) as reader, ExitStack() as closing_last:
        warn_of_video_only(order, reader)
        if is_done(order, reader):
            return skipped_report(Path(destination), options)
        focus = None if wanted.untouched else wanted.focus(reader)  # looks at all depth maps
        work = closing_last.enter_context(kept_work(order, reader))
        with created(order, reader, work) as writer:
            course = plan_of(order, reader, writer, work, focus, closing_last)
            keep_choices(course, work)
            check_same(order.source, before)  # a file is open everywhere by now
            done = _run(order, reader, writer, work, course)
            _check_done(order, course, done)
            if not order.source.is_file():  # images are opened one by one
                check_same(order.source, before)
    device, lost = order.team.name(wanted.device), reader.decode_failures
    return report_of(Path(destination), done, began, job, device, course.runner, course.shots, lost)


def _run(
    order: Order,
    reader: VideoReader,
    writer: VideoWriter,
    work: Unfinished | None,
    course: Course,
) -> int:
    """Restores and writes all frames; how many the output has in the end."""
    job, team, runner, shots = order.job, order.team, course.runner, course.shots
    again = Again(writer, work.kept if work else None)
    first = again.first
    parts: Iterator[Piece] = iter(())
    if runner is None:
        begin = first
    elif isinstance(runner, ByShot):
        begin = runner.begin(first)
    elif team.shares:
        begin, parts = team.pieces(runner, shots, first, course.total, reader.info)
    else:
        begin = runner.begin(shots, first)
    # Both threads end before the files they work on are closed, also after an error.
    with (
        held_for(order.wanted.info, shots, order.target) as held,
        closing(_coming(order, reader)) as frames,
        background(partial(write, writer, order.preview)) as sink,
    ):
        skip = _pass_over if course.focus is None else course.focus.skip
        coming = again.pass_on(frames, begin, sink.put, skip)
        restored = _restored(order, course, coming, parts, held, first)
        alone = None if team.shares else runner
        done = first
        for item in restoring(restored, alone, shots, course.total, job, done):
            sink.put(item)
            done += 1
        if shots is not None and first == course.total:  # all was done but the end
            deque(coming, 0)
        job.begin(FINISH)
    return done


def _coming(order: Order, reader: VideoReader) -> Generator[Frame, None, None]:
    """The frames of a job, read ahead where nothing can keep the thread waiting for ever."""
    frames = first_seconds(reader) if order.preview else iter(reader)
    yield from frames if order.live else prefetch(frames)


def _restored(
    order: Order,
    course: Course,
    coming: Iterator[Frame],
    parts: Iterator[Piece],
    held: Held[Frame],
    first: int,
) -> Iterator[Restored]:
    """The frames that come, from number `first` on, with their restored images."""
    runner, team, job = course.runner, order.team, order.job
    if runner is None:
        return _without_images(coming)
    if isinstance(runner, ByShot):
        mixed = runner.restore(coming, held, first)
        # So that going on gives the same file: see `Frame.bare`.
        return ((f.bare() if rgb is None else f, rgb) for f, rgb in mixed)
    if order.live:
        return runner.restore_live(coming)
    if team.crew is not None:
        shared = spread(coming, parts, team.crew, lambda n: job.at(first + n))
        return _without_images(team.noting(shared, runner))
    return runner.restore(coming, course.shots, held, first)


def _without_images(frames: Iterable[Frame]) -> Iterator[Restored]:
    return ((frame, None) for frame in frames)


def _pass_over(frame: Frame) -> None:
    """For frames that nothing is to be done with."""


def write(writer: VideoWriter, preview: bool, item: Restored) -> None:
    """Writes a frame as it was restored; in a preview beside what it was."""
    frame, image = item
    if preview:
        before = frame.rgb()
        image = before_and_after(before, before if image is None else image)
    writer.write(frame if image is None else frame.with_rgb(image))


def _check_done(order: Order, course: Course, done: int) -> None:
    """Says what went another way than planned; an output without frames is none."""
    runner, plan = course.runner, order.job.plan
    if runner is not None and runner.repeated:
        assert plan is not None  # noqa: S101
        warnings.warn(
            f"{runner.repeated} windows were computed again in fp32, since {plan.model}"
            " gave values that are not finite: --precision fp32 does so from the beginning",
            UnblurWarning,
            stacklevel=AT_CALLER,
        )
    if done == 0:
        raise MediaError(f"{order.source} holds no frames in the chosen range")
    if course.focus is not None and not order.preview:
        course.focus.finish()
