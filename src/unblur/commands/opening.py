"""A file that is to be restored: options that fit together, its input and output, opened."""

from __future__ import annotations

import dataclasses
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from unblur.commands.request import Options, Request, request, when
from unblur.commands.resume import facts_of, is_complete
from unblur.commands.team import Team, check_shared, team_of
from unblur.commands.unfinished import Unfinished, unfinished
from unblur.engine.compare import GAP
from unblur.engine.live import check_live
from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError
from unblur.ops import memory
from unblur.progress import Job
from unblur.video import (
    MAX_PIXELS,
    Time,
    VideoReader,
    VideoWriter,
    create_video,
    is_pipe,
    open_video,
    place_of,
)
from unblur.video.pipe import PipeReader

BYTES_PER_PIXEL = 48
"""Of frames that a decoder leans on, that wait, and that an encoder looks ahead at, in all."""
USUAL_PIXELS = 1 << 21
AT_CALLER = 4
"""Level of the stack at which warnings are shown: that of whoever calls `unblur.restore`."""


@dataclass(frozen=True)
class Order:
    """What is to be made of a file, and who does it."""

    source: Path
    target: str
    """As it was given: a final / says folder, which `Path` would drop."""
    options: Options
    wanted: Request
    team: Team
    job: Job
    by_shot: bool
    """Whether each shot is looked at, and restored by what it needs."""

    @property
    def preview(self) -> bool:
        """Whether only the first seconds are restored, beside what they were."""
        return self.options["preview"]

    @property
    def live(self) -> bool:
        """Whether frames come once, in a number that is not known."""
        return is_pipe(self.source)

    @property
    def start(self) -> str | Time | None:
        """The first frame."""
        at = when(self.options["at"])  # of a preview, and then in place of `start`
        return at or when(self.options["start"])

    @property
    def end(self) -> str | Time | None:
        """The frame to end before."""
        return when(self.options["end"])


def order_of(
    source: str | os.PathLike[str], destination: str | os.PathLike[str], options: Options
) -> Order:
    """Checks what fits together before anything is opened."""
    team = team_of(options)
    given: Options = {**options, "device": team.lead}
    wanted = request(given)
    torch.manual_seed(options["seed"])
    live, untouched = is_pipe(Path(source)), wanted.untouched
    by_shot = wanted.by_shot and not untouched and not live
    if live and not untouched:
        check_live(wanted.info)
    if team.shares and not untouched:
        check_shared(options, live)
    if by_shot and team.shares:
        warnings.warn(
            "workers restore all shots by one model, for motion blur: --for focus takes the other",
            UnblurWarning,
            stacklevel=AT_CALLER,
        )
        by_shot = False
    target, job = os.fspath(destination), Job(options["progress"])
    return Order(Path(source), target, options, wanted, team, job, by_shot)


def opened(order: Order) -> VideoReader:
    """The input from its beginning; frames for which there is no memory are refused."""
    options, where = order.options, order.wanted.device
    limit = options["max_memory"] if where.type == "cpu" else None
    room = max(0, memory.budget(torch.device("cpu"), limit))
    # A model says itself what it needs for frames of a usual size.
    usual = 0 if order.wanted.untouched else USUAL_PIXELS
    most = min(MAX_PIXELS, max(room // BYTES_PER_PIXEL, usual))
    try:
        return open_video(
            order.source,
            start=order.start,
            end=order.end,
            strict=options["strict"],
            deinterlace=options["deinterlace"],
            stream=options["stream"],
            max_pixels=most,
        )
    except ResourceError as error:
        if most == MAX_PIXELS:
            raise
        raise ResourceError(
            f"{error}, or use a higher --max-memory: {room / 1e6:,.0f} MB are left beside the "
            f"program, and each pixel takes {BYTES_PER_PIXEL} bytes on its way"
        ) from error


def stamps(source: Path) -> dict[str, tuple[int, ...]]:
    """By which it is seen whether another run replaced an input, a file or images."""
    if is_pipe(source):
        return {}
    if source.is_file():
        status = source.stat()
        return {source.name: (status.st_dev, status.st_ino)}
    folder = source if source.is_dir() else source.parent
    found: dict[str, tuple[int, ...]] = {}
    for entry in os.scandir(folder) if folder.is_dir() else ():
        if entry.is_file():
            status = entry.stat()
            found[entry.name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def check_same(source: Path, before: dict[str, tuple[int, ...]]) -> None:
    """MediaError where an input is another than it was: the output would be of both."""
    now = stamps(source)
    other = [name for name, stamp in before.items() if now.get(name) != stamp]
    if other:
        raise MediaError(
            f"{source} was replaced while it was read ({other[0]}): run again when nothing writes"
            " there"
        )


def warn_of_video_only(order: Order, reader: VideoReader) -> None:
    """Says what is not carried over between a file and a pipe."""
    to_pipe = is_pipe(order.target)
    if not (order.live or to_pipe) or (to_pipe and isinstance(reader, PipeReader)):
        return
    others = [s for s in reader.info.streams if s.index != reader.info.stream_index]
    if others:
        lost = " and ".join(map(str, others))
        warnings.warn(
            f"between a file and a pipe video alone is carried: not {lost}",
            UnblurWarning,
            stacklevel=AT_CALLER,
        )


def lasting_place(order: Order) -> Path | None:
    """The output of a job that can be gone on with; None for others."""
    if order.preview or order.live or is_pipe(order.target):
        return None
    named = isinstance(order.wanted.model, str)
    return place_of(order.target, order.options["codec"]) if named else None


def is_done(order: Order, reader: VideoReader) -> bool:
    """Whether a job that is to be gone on with had come to its end."""
    options, place = order.options, lasting_place(order)
    if place is None or not options["resume"] or options["overwrite"]:
        return False
    return is_complete(order.target, place, order.source, reader.info, order.wanted.info.scale)


def kept_work(order: Order, reader: VideoReader) -> AbstractContextManager[Unfinished | None]:
    """What is done of the output, kept until all is; None where a job cannot be gone on with."""
    options, wanted, place = order.options, order.wanted, lasting_place(order)
    if place is not None:
        given = {**options, "source": order.source, "destination": order.target}
        facts = facts_of(given, reader.info, order.team.kind(wanted.device))
        keep = not wanted.untouched
        return unfinished(place, facts, resume=options["resume"], keep_frames=keep)
    if options["resume"]:
        raise UsageError("--resume is for files that a named model restores: leave it out")
    return nullcontext()


def created(order: Order, reader: VideoReader, work: Unfinished | None) -> VideoWriter:
    """The output, with what an interrupted job had done of it."""
    options, shape, preview = order.options, reader.info, order.preview
    format, others = options["format"], None
    if isinstance(reader, PipeReader):
        others = None if preview else reader.others
        if is_pipe(order.target):
            format = format or reader.format
    return create_video(
        order.target,
        dataclasses.replace(shape, width=2 * shape.width + GAP) if preview else shape,
        source=None if preview or order.live else order.source,
        inputs=(order.source, options["weights"], options["depth"]),
        codec=options["codec"],
        crf=options["crf"],
        pixel_format=options["pixel_format"],
        overwrite=options["overwrite"],
        scale=order.wanted.info.scale,
        start=order.start,
        end=order.end,
        format=format,
        others=others,
        kept=work.kept if work else None,
    )
