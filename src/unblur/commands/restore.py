"""Restoring a file or frames: the one function that the command line, too, calls."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import torch
from torch import Tensor

from unblur.commands.analyze import frames_of, look_for_blur
from unblur.commands.arrays import Given, taken_apart
from unblur.commands.cluster import connected, is_connected
from unblur.commands.remote import is_remote, staged
from unblur.commands.request import (
    ArrayOptions,
    FileOptions,
    LightChoice,
    Request,
    When,
    check_for_arrays,
    check_kinds,
    request,
    when,
)
from unblur.commands.resume import Again, Chosen, chosen_before, facts_of, is_complete
from unblur.commands.space import check_space
from unblur.commands.team import check_shared, team_of
from unblur.commands.unfinished import unfinished
from unblur.disk import check_inputs, check_name
from unblur.engine.by_shot import ByShot
from unblur.engine.compare import GAP, as_png, before_and_after, slider_page
from unblur.engine.held import held_for
from unblur.engine.live import check_live
from unblur.engine.part import read_for, restore_part
from unblur.engine.pieces import Piece, spread
from unblur.engine.pipeline import background, prefetch
from unblur.engine.plan import MemoryPlan
from unblur.engine.run import Runner, find_shots, outputs_in_all
from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError
from unblur.ops import memory
from unblur.ops.shots import Shot
from unblur.progress import FINISH, LOOK, MEASURE, OPEN, RESTORE, Job, Listener, Plan, Progress
from unblur.restorers.base import Restorer
from unblur.restorers.registry import NOTHING, Blur, Fuse, Kind, Quality, choose_radius
from unblur.video import (
    MAX_PIXELS,
    Format,
    Frame,
    Time,
    VideoReader,
    VideoWriter,
    create_video,
    is_pipe,
    open_video,
    place_of,
)
from unblur.video.kept import frame_bytes
from unblur.video.output import check_target, write_whole
from unblur.video.pipe import PipeReader

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from unblur.commands.arrays import Frames

PREVIEW_SECONDS = 2
BYTES_PER_PIXEL = 48
"""Of frames that a decoder leans on, that wait, and that an encoder looks ahead at, in all."""
USUAL_PIXELS = 1 << 20
STILLS = (".png", ".html", ".htm")
"""Extensions by which a preview is a single frame."""
FAR = 1000
"""More frames than matter to a still."""
T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """What a finished job did."""

    output: Path | str
    """A string where it is a URL."""
    frames: int
    seconds: float
    """Wall-clock time of the whole job, loading the model included."""
    model: str
    light: str
    device: str
    tile: int | None
    """Side of the tiles in pixels; None where frames went through whole."""
    window: int
    """Frames the network saw at once."""
    shots: int
    decode_failures: int
    """Packets that could not be decoded."""
    skipped: bool = False
    """Whether the output was complete before, with `resume`, so that nothing was done."""


ProgressCallback = Listener
__all__ = ["Progress", "ProgressCallback", "Report", "restore"]


@overload
def restore(
    source: Frames, destination: None = None, **options: Unpack[ArrayOptions]
) -> Frames: ...
@overload
def restore(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    **options: Unpack[FileOptions],
) -> Report: ...


def restore(
    source: Any,
    destination: str | os.PathLike[str] | None = None,
    *,
    model: str | Restorer = "auto",
    blur: Blur = "auto",
    quality: Quality = "auto",
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
    light: LightChoice = "auto",
    strength: float = 1.0,
    fuse: Fuse = "auto",
    scale: int | None = None,
    depth: str | os.PathLike[str] | None = None,
    depth_invert: bool = False,
    tile: int | None = None,
    window: int | None = None,
    transfer: str | None = None,
    start: When | None = None,
    end: When | None = None,
    codec: str | None = None,
    crf: int | None = None,
    pixel_format: str | None = None,
    format: Format | None = None,
    stream: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    max_memory: int | None = None,
    seed: int = 0,
    preview: bool = False,
    at: When | None = None,
    strict: bool = False,
    deinterlace: bool = False,
    cluster: str | None = None,
    progress: ProgressCallback | None = None,
) -> Any:
    """Makes a blurred video sharp.

    Args:
        source: a video file, its URL, a folder or pattern of images (`frames/%05d.png`), or `-`,
            y4m or NUT on standard input; or frames: a
            NumPy image `(H, W, 3)` or clip `(T, H, W, 3)`, a tensor `(T, 3, H, W)` or, of several
            clips, `(B, T, 3, H, W)`, a Pillow image, or a list of frames. Frames are RGB as
            encoded in files: `uint8`, `uint16`, or floats in [0, 1].
        destination: file, URL or pattern to write; the extension chooses container and codec. `-`
            is standard output. Leave out for frames.
        model: a preset of `unblur.list_models()`, or what `unblur.load_model` gave; `auto` leaves
            it to `blur` and `quality`.
        blur: what to remove, `motion` or `focus`; `auto` looks at each shot of a file or clip and
            restores it by what it needs: shots that are sharp pass as they are.
        quality: `fast`, `best`, or `auto`: the best if the whole job is then done in ten minutes.
        weights: safetensors file used instead of the preset's own weights; where neither `model`
            nor `quality` is given, of the preset that it names.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; for a file also several that share the
            work, such as `cuda:0,1`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        light: what the network sees: `linear` light, the `encoded` signal, or what its preset
            was measured to do best with (`auto`).
        strength: 0 keeps the input, 1 takes the restored image, between is a mixture.
        fuse: how many restored frames on either side repair each restored frame, where they show
            the same: `off`, a number, or what the model was measured to do best with (`auto`).
        scale: size of the result in multiples of the source's, for a model that leaves a choice.
        depth: where a model for focal blur takes depth from: `builtin` (the default: what is sharp
            is near), `depth-anything` (the extra `priors`), or, for a file, a folder or pattern of
            gray images, one for each frame, dark = near.
        depth_invert: near is bright in those images.
        tile: side of the tiles in pixels, 0 for whole frames; by default as memory allows.
        window: frames that a temporal network sees at once; by default as memory allows.
        transfer: how light became the numbers of frames, by FFmpeg's name (`bt709`, `linear`,
            `smpte2084`); by default sRGB's. Files say it themselves.
        start: first frame to take: seconds, or `2.5s`, `f10`, `hh:mm:ss`.
        end: first frame not to take, likewise.
        codec: video codec, where the extension leaves a choice.
        crf: quality of the codec, lower is better.
        pixel_format: FFmpeg's name of the format to encode; by default the nearest that plays.
        format: of standard output (`-`): `y4m` or `nut`; by default what comes in, else NUT.
        stream: index of the video stream to restore, where a file holds several.
        overwrite: replace an existing destination.
        resume: go on where an interrupted job with the same options stopped; begin where there is
            none; do nothing where the destination is complete.
        max_memory: bytes that the process may use at its peak (on a GPU: the device's memory).
        seed: of everything random.
        preview: only the first 2 seconds, input and result side by side, without sound; of a
            single frame for a destination that ends in `.png` or, as a page with a slider, `.html`.
        at: where the preview begins, or the frame it is of (by default the middle one).
        strict: refuse damaged input instead of restoring what can be decoded.
        deinterlace: make interlaced input progressive first.
        cluster: address of a Ray cluster whose workers share the work, or `auto`.
        progress: called with each step: stages, frames and parts of frames.

    Returns:
        A report for files; for frames the restored frames, of the same kind, shape, numbers and
        device, `scale` times as high and wide. They know nothing of gradients.

    Raises:
        UsageError: an option is wrong or not for this source, frames are of no known kind, or the
            destination exists.
        MediaError: the source cannot be read.
        WeightsError: the model's weights are missing or do not fit.
        ResourceError: disk, memory, device or codec are not enough.
        NumericsError: the network gave values that are not finite.
    """
    named = {k: v for k, v in locals().items() if k not in ("source", "destination")}
    check_kinds(named)
    if not isinstance(source, str | os.PathLike):
        if destination is not None:
            raise UsageError(f"frames come back by themselves: leave {destination} out")
        check_for_arrays(named)
        return _restore_frames(source, request(cast(ArrayOptions, named)), transfer, Job(progress))
    if transfer is not None:
        raise UsageError(f"transfer '{transfer}' is for frames: files say it themselves")
    at, start, end = when(at), when(start), when(end)
    if at is not None and not preview:
        raise UsageError(f"--at {at} is for previews only: add --preview, or use --start")
    if at is not None and start is not None:
        raise UsageError(f"--at {at} and --start {start} both say where to begin: leave one out")
    if destination is None:
        raise UsageError("restoring a file needs a destination: restore(source, destination)")
    check_name(source)
    check_name(destination)
    if is_remote(source) or is_remote(destination):
        with staged(source, destination, named) as (near, made):
            if made is None:
                return _skipped(str(destination), named)
            report = restore(near, made, **named)
        sent = is_remote(destination)
        return dataclasses.replace(report, output=str(destination)) if sent else report
    if preview:
        if Path(destination).suffix.lower() in STILLS:
            if is_pipe(source):
                raise UsageError("a preview of one frame is of a file: name one, or write a video")
            options = named | {"start": start, "end": end, "at": at}
            return _restore_still(source=source, destination=destination, **options)
        start = at or start
    if cluster is not None and not is_connected():
        with connected(cluster):
            return restore(source, destination, **named)
    team = team_of(named)
    wanted = request(cast(ArrayOptions, {**named, "device": team.lead}))
    info, where = wanted.info, wanted.device
    torch.manual_seed(seed)
    job = Job(progress)
    target = os.fspath(destination)  # a final / says folder, which Path would drop
    source, destination = Path(source), Path(destination)
    began = time.monotonic()
    job.begin(OPEN)
    untouched = info.passes_through or (strength == 0 and info.scale == 1)
    by_shot = wanted.by_shot and not untouched and not is_pipe(source)
    live = is_pipe(source)
    if live and not untouched:
        check_live(info)
    if team.shares and not untouched:
        check_shared(named, live)
    if by_shot and team.shares:
        warnings.warn(
            "workers restore all shots by one model, for motion blur: --for focus takes the other",
            UnblurWarning,
            stacklevel=2,
        )
        by_shot = False

    limit = wanted.options["max_memory"] if where.type == "cpu" else None
    room = max(0, memory.budget(torch.device("cpu"), limit))
    # A model says itself what it needs for frames of a usual size.
    most = min(MAX_PIXELS, max(room // BYTES_PER_PIXEL, 0 if untouched else USUAL_PIXELS))

    def reading() -> VideoReader:
        try:
            return open_video(
                source,
                start=start,
                end=end,
                strict=strict,
                deinterlace=deinterlace,
                stream=stream,
                max_pixels=most,
            )
        except ResourceError as error:
            if most == MAX_PIXELS:
                raise
            raise ResourceError(
                f"{error}, or use a higher --max-memory: {room / 1e6:,.0f} MB are left beside the "
                f"program, and each pixel takes {BYTES_PER_PIXEL} bytes on its way"
            ) from error

    with reading() as reader, ExitStack() as closing_last:
        shape = reader.info
        others = reader.others if isinstance(reader, PipeReader) else None
        if is_pipe(target) and isinstance(reader, PipeReader):
            format = format or reader.format
        elif live or is_pipe(target):
            _warn_of_video_only(reader)
        focus = None if untouched else wanted.focus(reader)  # looks at all depth maps
        place = None if preview or live or is_pipe(target) else place_of(target, codec)
        work = None
        if place is not None and isinstance(wanted.model, str):
            if resume and not overwrite and is_complete(target, place, source, shape, info.scale):
                return _skipped(destination, named)
            given = {**named, "source": source, "destination": destination}
            facts = facts_of(given, shape, team.kind(where))
            work = closing_last.enter_context(
                unfinished(place, facts, resume=resume, keep_frames=not untouched)
            )
        elif resume:
            raise UsageError("--resume is for files that a named model restores: leave it out")
        with create_video(
            target,
            dataclasses.replace(shape, width=2 * shape.width + GAP) if preview else shape,
            source=None if preview or live else source,
            inputs=(source, wanted.options["weights"], wanted.options["depth"]),
            codec=codec,
            crf=crf,
            pixel_format=pixel_format,
            overwrite=overwrite,
            scale=info.scale,
            start=start,
            end=end,
            format=format,
            others=None if preview else others,
            kept=work.kept if work else None,
        ) as writer:
            runner: Runner | ByShot | None = None
            shots, total = None, _expected_frames(reader, preview)
            before = chosen_before(work)
            need = None
            count = total or round((shape.duration or 0) * (shape.frame_rate or 0))
            if work is not None and count:
                a_frame = frame_bytes(shape.pixel_format, shape.width, shape.height) * info.scale**2
                part = getattr(writer, "share", 1.0)  # images take about as much as samples
                waits = 0 if untouched else a_frame * min(count, work.kept.length)
                need = check_space(Path(target), round(part * a_frame) * count, waits)
            if untouched:
                size = shape.width, shape.height
                job.plan = Plan(NOTHING, str(where), None, total, "frames", *size, disk=need)
            elif by_shot:
                size = shape.height, shape.width
                kinds: list[Kind] = []
                if before is not None and before.shots is not None:
                    shots = before.shots
                else:
                    _begin_look(wanted, job, size, total)
                    shots, kinds = _look_for_blur(reading(), preview, where, job)
                    job.begin(MEASURE, later=job.later)
                total = shots[-1].stop if shots else 0
                runner = wanted.runner_by_shot(
                    job, size, shots, kinds, shape.color.transfer, before
                )
                if need is not None and job.plan is not None:
                    job.plan = dataclasses.replace(job.plan, disk=need)
            else:
                size = shape.height, shape.width
                closing_last.enter_context(team)
                before = team.choose(named, size, total, shape.color.transfer, before)
                runner = wanted.runner(job, size, total, shape.color.transfer, focus, before)
                if team.shares:
                    team.open(named, runner, job, shape)  # they load while cuts are found
                if need is not None and job.plan is not None:
                    job.plan = dataclasses.replace(job.plan, disk=need)
                if runner.needs_shots and before is not None and before.shots is not None:
                    shots = before.shots
                elif runner.needs_shots and not live:
                    expected = job.plan.seconds if job.plan else None
                    job.begin(LOOK, total, later=expected)
                    shots = _look_through(reading(), preview, job)
                if shots is not None:
                    total = shots[-1].stop if shots else 0
                if focus is not None and total is not None:
                    focus.expect(total)
            again = Again(writer, work.kept if work else None)
            if work is not None:

                def note(_: MemoryPlan | None = None) -> None:
                    models = runner.models if isinstance(runner, ByShot) else None
                    Chosen(fits_of(runner), shots, models).note(work)

                note()
                for each in workers(runner):
                    each.refitted = note
            parts: Iterator[Piece] = iter(())
            if isinstance(runner, ByShot):
                begin = runner.begin(again.first)
            elif runner is None:
                begin = again.first
            elif team.shares:
                begin, parts = team.pieces(runner, shots, again.first, total, shape)
            else:
                begin = runner.begin(shots, again.first)
            # Both threads end before the files they work on are closed, also after an error.
            with (
                held_for(info, shots, target) as held,
                closing(_coming(reader, preview, live)) as frames,
                background(partial(_write, writer, preview)) as sink,
            ):
                skip = focus.skip if focus is not None else _pass_over
                coming = again.pass_on(frames, begin, sink.put, skip)
                restored: Iterator[tuple[Frame, Tensor | None]]
                if runner is None:
                    restored = _keep(coming)
                elif isinstance(runner, ByShot):
                    mixed = runner.restore(coming, held, again.first)
                    # So that going on gives the same file: see `Frame.bare`.
                    restored = ((f.bare() if rgb is None else f, rgb) for f, rgb in mixed)
                elif live:
                    restored = runner.restore_live(coming)
                elif team.crew is not None:
                    first = again.first
                    shared = spread(coming, parts, team.crew, lambda n: job.at(first + n))
                    restored = _keep(team.noting(shared, runner))
                else:
                    restored = runner.restore(coming, shots, held, again.first)
                done = again.first
                alone = None if team.shares else runner
                for item in _restoring(restored, alone, shots, total, job, done):
                    sink.put(item)
                    done += 1
                if shots is not None and again.first == total:  # all was done but the end
                    deque(coming, 0)
                job.begin(FINISH)
            plan = job.plan
            assert plan is not None  # noqa: S101
            if runner is not None and runner.repeated:
                warnings.warn(
                    f"{runner.repeated} windows were computed again in fp32, since {plan.model}"
                    " gave values that are not finite: --precision fp32 does so from the beginning",
                    UnblurWarning,
                    stacklevel=2,
                )
            if done == 0:
                raise MediaError(f"{source} holds no frames in the chosen range")
            if focus is not None and not preview:
                focus.finish()
    fit = next(iter(fits_of(runner).values()))
    return Report(
        output=destination,
        frames=done,
        seconds=time.monotonic() - began,
        model=plan.model,
        light=plan.light or "encoded",
        device=team.name(where),
        tile=fit.tiling.size if fit.tiling else None,
        window=fit.window or plan.window or 1,
        shots=len(shots) if shots else 1,
        decode_failures=reader.decode_failures,
    )


def _skipped(output: Path | str, options: Mapping[str, Any]) -> Report:
    """Of a job that had come to its end before."""
    return Report(
        output=output,
        frames=0,
        seconds=0.0,
        model=str(options["model"]),
        light=options["light"],
        device=str(options["device"]),
        tile=None,
        window=1,
        shots=0,
        decode_failures=0,
        skipped=True,
    )


def _restore_still(
    at: str | Time | None,
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    overwrite: bool,
    **options: Any,
) -> Report:
    """Restores a single frame, and those it is fused with; writes it beside what it was."""
    began = time.monotonic()
    destination = Path(destination)
    target = check_target(destination, source=source, overwrite=overwrite)
    check_inputs(target, (source, options.get("weights"), options.get("depth")))
    wanted = request(cast(ArrayOptions, options))
    torch.manual_seed(options["seed"])
    job = Job(options["progress"])
    job.begin(OPEN)
    given = {name: options[name] for name in ("strict", "deinterlace", "stream")}
    begins = at or options["start"] or "f0"  # with a start, frames are counted
    with open_video(source, start=begins, end=options["end"], **given) as reader:
        skipped = 0 if at is not None or reader.frames is None else reader.frames // 2
        frame = next(islice(reader, skipped, None), None)
    if frame is None:
        raise MediaError(f"{source} holds no frames in the chosen range")
    spread = choose_radius(options["fuse"], wanted.info)
    reach = read_for(range(frame.index, frame.index + 1), frame.index + FAR, spread)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*past the end", category=UnblurWarning)
        near = open_video(source, start=f"f{reach.start}", end=f"f{reach.stop}", **given)
    with near as reader:
        frames = list(reader)
        place = frame.index - reach.start
        runner = _still_runner(wanted, job, reader, frames, place, 2 * spread + 1)
        after, many = frame.rgb(), 1
        if runner is not None:
            many = min(len(frames), place + spread + 1) - max(0, place - spread)
            job.begin(RESTORE, many, sum(runner.cost) or None)
            runner.tick = job.at
            after = restore_part(runner, frames.__getitem__, len(frames), range(place, place + 1))[
                0
            ][1]
    plan = job.plan
    assert plan is not None  # noqa: S101
    before = frame.rgb()
    title = f"{Path(source).name}, frame {frame.index}, {plan.model}"
    if destination.suffix.lower() == ".png":
        content = as_png(before_and_after(before, after))
    else:
        content = slider_page(before, after, title).encode()
    write_whole(target, content, overwrite=overwrite)
    fit = next(iter(fits_of(runner).values()))
    return Report(
        output=destination,
        frames=1,
        seconds=time.monotonic() - began,
        model=plan.model,
        light=plan.light or "encoded",
        device=str(wanted.device),
        tile=fit.tiling.size if fit.tiling else None,
        window=fit.window or plan.window or 1,
        shots=1,
        decode_failures=reader.decode_failures,
    )


def _still_runner(
    wanted: Request, job: Job, reader: VideoReader, frames: list[Frame], place: int, many: int
) -> Runner | None:
    """What restores a frame and, in all, `many` around it; None where nothing is to be done."""
    shape, info = reader.info, wanted.info
    size, transfer = (shape.height, shape.width), shape.color.transfer
    if info.passes_through or (wanted.options["strength"] == 0 and info.scale == 1):
        job.plan = Plan(NOTHING, str(wanted.device), None, 1, "frames", *size[::-1])
        return None
    if not wanted.by_shot:
        return wanted.runner(job, size, many, transfer, wanted.focus(reader))
    _begin_look(wanted, job, size, len(frames))
    shots, kinds = look_for_blur(frames, len(frames), transfer, wanted.device, job)
    pairs = zip(shots, kinds, strict=True)
    kind = next(kind for shot, kind in pairs if shot.start <= place < shot.stop)
    by_shot = wanted.runner_by_shot(job, size, [Shot(0, many)], [kind], transfer)
    return next(iter(by_shot.runners.values()), None)


def _restore_frames(source: Any, wanted: Request, transfer: str | None, job: Job) -> Any:
    """Restores what a program holds, each clip by itself."""
    torch.manual_seed(wanted.options["seed"])
    apart = taken_apart(source, unbounded=transfer == "linear")
    return apart.whole([_restore_clip(clip, wanted, transfer, job) for clip in apart.clips])


def _restore_clip(clip: list[Given], wanted: Request, transfer: str | None, job: Job) -> list[Any]:
    height, width = clip[0].rgb().shape[-2:]
    size = height, width
    if wanted.by_shot:
        _begin_look(wanted, job, size, len(clip))
        shots, kinds = look_for_blur(frames_of(clip), len(clip), transfer, wanted.device, job)
        work = wanted.runner_by_shot(job, size, shots, kinds, transfer)
        mixed = _restoring(work.restore(clip), work, shots, len(clip), job)
        return [given.like(given.rgb() if rgb is None else rgb) for given, rgb in mixed]
    runner = wanted.runner(job, size, len(clip), transfer, wanted.focus(None))
    found = find_shots(clip) if runner.needs_shots else None
    restored = _restoring(runner.restore(clip, found), runner, found, len(clip), job)
    return [given.like(rgb) for given, rgb in restored]


def _begin_look(wanted: Request, job: Job, size: tuple[int, int], total: int | None) -> None:
    """Tells what will be done, and how long that takes at most, before shots are looked at."""
    job.begin(MEASURE, later=None)
    expected = wanted.expected(size, total)
    where, (height, width) = str(wanted.device), size
    job.plan = Plan("auto", where, "auto", total, "frames", width, height, seconds=expected)
    job.begin(LOOK, total, later=expected)


def _look_for_blur(
    reader: VideoReader, preview: bool, where: torch.device, job: Job
) -> tuple[list[Shot], list[Kind]]:
    """First pass over a file: its shots, and how each is blurred."""
    with reader, warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)
        with closing(prefetch(_first_seconds(reader) if preview else reader)) as frames:
            expected = _expected_frames(reader, preview)
            return look_for_blur(frames, expected, reader.info.color.transfer, where, job)


def _look_through(reader: VideoReader, preview: bool, job: Job) -> list[Shot]:
    """First pass over a file: its shots. Warnings are left to the second pass."""
    with reader, warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)
        with closing(prefetch(_first_seconds(reader) if preview else reader)) as frames:
            return find_shots(_counted(frames, job))


def _coming(reader: VideoReader, preview: bool, live: bool) -> Generator[Frame, None, None]:
    """The frames of a job, read ahead where nothing can keep the thread waiting for ever."""
    frames = _first_seconds(reader) if preview else iter(reader)
    if live:
        yield from frames
    else:
        yield from prefetch(frames)


def _warn_of_video_only(reader: VideoReader) -> None:
    """Says what is not carried over between a file and a pipe."""
    others = [s for s in reader.info.streams if s.index != reader.info.stream_index]
    if others:
        lost = " and ".join(map(str, others))
        warnings.warn(
            f"between a file and a pipe video alone is carried: not {lost}",
            UnblurWarning,
            stacklevel=3,
        )


def _pass_over(frame: Frame) -> None:
    """For frames that nothing is to be done with."""


def _keep(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Tensor | None]]:
    return ((frame, None) for frame in frames)


def _write(writer: VideoWriter, preview: bool, item: tuple[Frame, Tensor | None]) -> None:
    frame, image = item
    if preview:
        before = frame.rgb()
        image = before_and_after(before, before if image is None else image)
    writer.write(frame if image is None else frame.with_rgb(image))


def workers(runner: Runner | ByShot | None) -> list[Runner]:
    """All that restore."""
    if isinstance(runner, ByShot):
        return list(runner.runners.values())
    return [] if runner is None else [runner]


def fits_of(runner: Runner | ByShot | None) -> dict[str, MemoryPlan]:
    """How the job is cut up for each model."""
    found = {each.restorer.info.name: each.fit for each in workers(runner)}
    return found or {NOTHING: MemoryPlan(None, None)}


def _expected_frames(reader: VideoReader, preview: bool) -> int | None:
    """How many frames a job will have, as far as the reader knows."""
    rate = reader.info.frame_rate
    if not preview or reader.frames is None or rate is None:
        return None if preview else reader.frames
    return min(reader.frames, round(PREVIEW_SECONDS * rate))


def _counted(items: Iterable[T], job: Job) -> Iterator[T]:
    """Passes items on and tells of each."""
    for done, item in enumerate(items, 1):
        yield item
        job.at(done)


def _restoring(
    restored: Iterable[T],
    runner: Runner | ByShot | None,
    shots: Sequence[Shot] | None,
    total: int | None,
    job: Job,
    done: int = 0,
) -> Iterator[T]:
    """Passes restored frames on and tells of each, and of what the network does between them.

    `done` of them were restored before.
    """
    expected = job.plan.seconds if job.plan else None
    job.begin(
        RESTORE, total, None if expected is None or not total else expected / total, done=done
    )
    out, seen = done, float(done)

    def tell(restored: float) -> None:
        # Frames come out late (windows, fusion): those that the network has done count, too.
        nonlocal seen
        # A resumed job runs windows again that begin before its first frame.
        seen = max(seen, restored if total is None else min(restored, total), out)
        if isinstance(runner, ByShot):
            fused = runner.fused(out)
            job.at(runner.paced((1 - fused) * seen + fused * out), out)
        else:
            fused = runner.cost.fused if runner else 0.0
            job.at((1 - fused) * seen + fused * out)

    if isinstance(runner, ByShot):
        runner.tick = lambda frames: tell(done + frames)
    elif runner is not None:
        work = outputs_in_all(runner.restorer, shots, runner.fit.window) if shots else total
        each = min(1.0, total / work) if total and work else 1.0
        runner.tick = lambda frames: tell(done + frames * each)
    for item in restored:
        yield item
        out += 1
        tell(out)


def _first_seconds(frames: Iterable[Frame]) -> Iterator[Frame]:
    first = None
    for frame in frames:
        at = frame.pts * frame.time_base
        first = at if first is None else first
        if at - first >= PREVIEW_SECONDS:
            return
        yield frame
