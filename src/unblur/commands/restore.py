"""Restoring a file or a tensor: the one function that the command line, too, calls."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, overload

import torch
from torch import Tensor

from unblur.commands.resume import Again, Chosen, chosen_before, digest_of, facts_of
from unblur.commands.unfinished import unfinished
from unblur.engine.compare import GAP, as_png, before_and_after, slider_page
from unblur.engine.estimate import Cost, cost_per_frame, seconds_per_frame, side_for
from unblur.engine.fusion import Fusion
from unblur.engine.held import held_for
from unblur.engine.pipeline import background, prefetch
from unblur.engine.plan import Fit, choose_fit
from unblur.engine.run import Runner, choose_look, find_shots, outputs_in_all
from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError
from unblur.guidance.align import DisAlignment
from unblur.guidance.of_video import FocusOfVideo
from unblur.ops import memory
from unblur.ops.device import choose_device
from unblur.ops.shots import Shot
from unblur.progress import FINISH, LOOK, OPEN, RESTORE, Job, Listener, Plan, Progress
from unblur.restorers.base import NO_STAND_IN, RestorerInfo
from unblur.restorers.registry import (
    BEST,
    Fuse,
    Quality,
    choose_model,
    choose_precision,
    choose_radius,
    choose_scale,
    load_model,
    model_of,
    preset,
)
from unblur.video import (
    Frame,
    VideoReader,
    VideoWriter,
    create_video,
    open_video,
    place_of,
)

LightChoice = Literal["auto", "linear", "encoded"]
PREVIEW_SECONDS = 2
STILLS = (".png", ".html", ".htm")
"""Extensions by which a preview is a single frame."""
STILL_REACH = 4
"""Frames on either side that a network sees of a still."""
DEPTHS = ("builtin", "depth-anything")
"""Sources of depth beside files."""
T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """What a finished job did."""

    output: Path
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


ProgressCallback = Listener
__all__ = ["Progress", "ProgressCallback", "Report", "restore"]


@dataclass(frozen=True)
class _TensorPicture:
    picture: Tensor

    def rgb(self) -> Tensor:
        return self.picture


@overload
def restore(source: Tensor, destination: None = None, **options: Any) -> Tensor: ...
@overload
def restore(source: str | Path, destination: str | Path, **options: Any) -> Report: ...


def restore(  # type: ignore[misc]  # the overloads leave the options to this signature
    source: str | Path | Tensor,
    destination: str | Path | None = None,
    *,
    model: str = "auto",
    quality: Quality = "auto",
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    light: LightChoice = "auto",
    strength: float = 1.0,
    fuse: Fuse = "auto",
    scale: int | None = None,
    depth: str | Path | None = None,
    depth_invert: bool = False,
    start: str | None = None,
    end: str | None = None,
    tile: int | None = None,
    window: int | None = None,
    codec: str | None = None,
    crf: int | None = None,
    pixel_format: str | None = None,
    stream: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    max_memory: int | None = None,
    seed: int = 0,
    preview: bool = False,
    at: str | None = None,
    strict: bool = False,
    deinterlace: bool = False,
    progress: ProgressCallback | None = None,
) -> Report | Tensor:
    """Makes a blurred video sharp.

    Args:
        source: a video file, a folder or pattern of pictures (`frames/%05d.png`), or a tensor
            `(T, 3, H, W)` of encoded RGB in [0, 1].
        destination: file or pattern to write; the extension chooses container and codec. Leave
            out for a tensor.
        model: a preset of `unblur.list_models()`; `auto` leaves it to `quality`.
        quality: `fast`, `best`, or `auto`: the best if the whole job is then done in ten minutes.
        weights: safetensors file used instead of the preset's own weights; where neither `model`
            nor `quality` is given, of the preset that it names.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        light: what the network sees: `linear` light, the `encoded` signal, or what its preset
            was measured to do best with (`auto`).
        strength: 0 keeps the input, 1 takes the restored picture, between is a mixture.
        fuse: how many restored frames on either side repair each restored frame, where they show
            the same: `off`, a number, or what the model was measured to do best with (`auto`).
        scale: size of the result in multiples of the source's, for a model that leaves a choice.
        depth: where a model for focal blur takes depth from: `builtin` (the default: what is sharp
            is near), `depth-anything` (the extra `priors`), or, for a file, a folder or pattern of
            gray pictures, one for each frame, dark = near.
        depth_invert: near is bright in those pictures.
        start: first frame to take: `2.5s`, `f10` or `hh:mm:ss`.
        end: first frame not to take, likewise.
        tile: side of the tiles in pixels, 0 for whole frames; by default as memory allows.
        window: frames that a temporal network sees at once; by default as memory allows.
        codec: video codec, where the extension leaves a choice.
        crf: quality of the codec, lower is better.
        pixel_format: FFmpeg's name of the format to encode; by default the nearest that plays.
        stream: index of the video stream to restore, where a file holds several.
        overwrite: replace an existing destination.
        resume: go on where an interrupted job with the same options stopped; begin where there is
            none.
        max_memory: bytes that the process may use at its peak (on a GPU: the device's memory).
        seed: of everything random.
        preview: only the first 2 seconds, input and result side by side, without sound; of a
            single frame for a destination that ends in `.png` or, as a page with a slider, `.html`.
        at: where the preview begins, or the frame it is of (by default the middle one).
        strict: refuse damaged input instead of restoring what can be decoded.
        deinterlace: make interlaced input progressive first.
        progress: called with each step: stages, frames and parts of frames.

    Returns:
        A report for files; for a tensor the restored tensor `(T, 3, scale * H, scale * W)`.

    Raises:
        UsageError: an option is wrong, or the destination exists.
        MediaError: the source cannot be read.
        WeightsError: the model's weights are missing or do not fit.
        ResourceError: disk, memory, device or codec are not enough.
        NumericsError: the network gave values that are not finite.
    """
    given = dict(locals())
    if at is not None and not preview:
        raise UsageError(f"--at {at} is for previews only: add --preview, or use --start")
    if at is not None and start is not None:
        raise UsageError(f"--at {at} and --start {start} both say where to begin: leave one out")
    if preview and not isinstance(source, Tensor) and destination is not None:
        if Path(destination).suffix.lower() in STILLS:
            of_videos = ("preview", "at", "codec", "crf", "pixel_format", "resume")
            options = {k: v for k, v in given.items() if k not in of_videos}
            return _restore_still(at, **options)
        start = at or start
    _check(strength, light, tile, window, crf, max_memory)
    _check_quality(quality, model)
    if model == quality == "auto" and weights is not None:
        model = model_of(weights)
    info = preset(model).info
    info = dataclasses.replace(info, scale=choose_scale(scale, info))
    _check_depth(info, depth, depth_invert)
    choose_radius(fuse, info)  # complains before anything is read
    where = choose_device(device)
    torch.manual_seed(seed)
    job = Job(progress)

    def focus_of(reader: VideoReader | None) -> FocusOfVideo | None:
        if not info.needs_depth:
            return None
        unasked = "depth-anything" if info.real_depth else "builtin"
        return FocusOfVideo(depth or unasked, reader, depth_invert, device)

    def prepare(
        height: int,
        width: int,
        frames: int | None,
        transfer: str | None,
        focus: FocusOfVideo | None,
        before: Chosen | None = None,
    ) -> Runner:
        def seconds() -> float | None:
            if frames is None:
                return None
            best = load_model(BEST, device=device, precision=precision)
            return frames * seconds_per_frame(best, height, width)

        if before is not None:
            chosen = before.model
        else:
            chosen = choose_model(quality, seconds) if model == "auto" else model
        restorer = load_model(
            chosen, weights=weights, device=device, precision=precision, scale=scale
        )
        side = side_for(frames, height, width) if frames and progress is not None else None
        room = memory.budget(where, max_memory)
        radius = choose_radius(fuse, restorer.info)
        fusion = Fusion(radius, DisAlignment(), where) if radius else None
        cost = cost_per_frame(restorer, height, width, side, fusion) if side else Cost()
        if fusion is not None:
            size = restorer.info.scale
            room = max(0, room - fusion.peak_bytes(size * height, size * width))
        if before is not None:
            fit = before.fit
        else:
            fit = choose_fit(restorer, height, width, room, tile, window)
        look = choose_look(restorer, light, transfer, strength)
        used = precision
        if precision == "auto":
            used = choose_precision(precision, restorer.info, where)
        exactly = None
        if used != "fp32":
            exactly = partial(
                load_model, chosen, weights=weights, device=device, precision="fp32", scale=scale
            )
        job.plan = Plan(
            model=chosen,
            device=str(where),
            precision=used,
            total=frames,
            width=width,
            height=height,
            seconds=sum(cost) * (frames or 0) or None,
            light=look.light,
            tile=fit.tiling.size if fit.tiling else None,
            window=fit.window or restorer.info.window,
        )
        runner = Runner(restorer, look, fit, focus, fusion, exactly)
        runner.cost = cost
        return runner

    if isinstance(source, Tensor):
        if depth not in (None, *DEPTHS):
            raise UsageError(f"depth '{depth}': a tensor takes {' or '.join(DEPTHS)}")
        return _restore_tensor(source, partial(prepare, focus=focus_of(None)), job)
    if destination is None:
        raise UsageError("restoring a file needs a destination: restore(source, destination)")
    target = os.fspath(destination)  # a final / says folder, which Path would drop
    source, destination = Path(source), Path(destination)
    began = time.monotonic()
    job.begin(OPEN)
    untouched = info.passes_through or (strength == 0 and info.scale == 1)

    def reading() -> VideoReader:
        return open_video(
            source, start=start, end=end, strict=strict, deinterlace=deinterlace, stream=stream
        )

    with reading() as reader, ExitStack() as closing_last:
        shape = reader.info
        focus = None if untouched else focus_of(reader)  # looks at all depth maps
        place = None if preview else place_of(target, codec)
        work = None
        if place is not None:
            facts = facts_of(given, shape, str(where))
            work = closing_last.enter_context(
                unfinished(place, facts, resume=resume, keep_frames=not untouched)
            )
        with create_video(
            target,
            dataclasses.replace(shape, width=2 * shape.width + GAP) if preview else shape,
            source=None if preview else source,
            codec=codec,
            crf=crf,
            pixel_format=pixel_format,
            overwrite=overwrite,
            scale=info.scale,
            start=start,
            end=end,
            kept=work.kept if work else None,
        ) as writer:
            runner, shots, total = None, None, _expected_frames(reader, preview)
            before = chosen_before(work)
            if untouched:
                size = shape.width, shape.height
                job.plan = Plan("none", str(where), None, total, "frames", *size)
            else:
                runner = prepare(
                    shape.height, shape.width, total, shape.color.transfer, focus, before
                )
                info = runner.restorer.info
                if runner.needs_shots and before is not None and before.shots is not None:
                    shots = before.shots
                elif runner.needs_shots:
                    expected = job.plan.seconds if job.plan else None
                    job.begin(LOOK, total, later=expected)
                    shots = _look_through(reading(), preview, job)
                if shots is not None:
                    total = shots[-1].stop if shots else 0
                if focus is not None and total is not None:
                    focus.expect(total)
            again = Again(writer, work.kept if work else None)
            if work is not None:

                def note(fit: Fit) -> None:
                    name = info.name if before is None else before.model
                    Chosen(name, fit, shots, digest_of(name)).note(work)

                note(runner.fit if runner else Fit(None, None))
                if runner is not None:
                    runner.refitted = note
            begin = runner.begin(shots, again.first) if runner else again.first
            # Both threads end before the files they work on are closed, also after an error.
            with (
                held_for(info, shots, target) as held,
                closing(prefetch(_first_seconds(reader) if preview else reader)) as frames,
                background(partial(_write, writer, preview)) as sink,
            ):
                skip = focus.skip if focus is not None else _pass_over
                coming = again.pass_on(frames, begin, sink.put, skip)
                restored: Iterator[tuple[Frame, Tensor | None]] = _keep(coming)
                if runner is not None:
                    restored = runner.restore(coming, shots, held, again.first)
                done = again.first
                for item in _restoring(restored, runner, shots, total, job, done):
                    sink.put(item)
                    done += 1
                if shots is not None and again.first == total:  # all was done but the end
                    deque(coming, 0)
                job.begin(FINISH)
            if runner is not None and runner.repeated:
                warnings.warn(
                    f"{runner.repeated} windows were computed again in fp32, since {info.name} gave"
                    " values that are not finite: --precision fp32 does so from the beginning",
                    UnblurWarning,
                    stacklevel=2,
                )
            if done == 0:
                raise MediaError(f"{source} holds no frames in the chosen range")
            if focus is not None and not preview:
                focus.finish()
    fit = runner.fit if runner else Fit(None, None)
    return Report(
        output=destination,
        frames=done,
        seconds=time.monotonic() - began,
        model=info.name,
        light=runner.look.light if runner else "encoded",
        device=str(where),
        tile=fit.tiling.size if fit.tiling else None,
        window=fit.window or info.window,
        shots=len(shots) if shots else 1,
        decode_failures=reader.decode_failures,
    )


def _restore_still(
    at: str | None,
    source: str | Path,
    destination: str | Path,
    overwrite: bool,
    **options: Any,
) -> Report:
    """Restores a single frame with its neighbours, and writes it beside or under what it was."""
    destination = Path(destination)
    if destination.exists() and not overwrite:
        raise UsageError(f"{destination} exists: choose another name, or add --overwrite")
    bounds = {name: options.pop(name) for name in ("start", "end")}
    given = {name: options[name] for name in ("strict", "deinterlace", "stream")}
    begins = at or bounds["start"] or "f0"  # with a start, frames are counted
    with open_video(source, start=begins, end=bounds["end"], **given) as reader:
        skipped = 0 if at is not None or reader.frames is None else reader.frames // 2
        frame = next(islice(reader, skipped, None), None)
    if frame is None:
        raise MediaError(f"{source} holds no frames in the chosen range")
    first = max(0, frame.index - STILL_REACH)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*past the end", category=UnblurWarning)
        near = {"start": f"f{first}", "end": f"f{frame.index + STILL_REACH + 1}"}
        pictures = Path(folder) / "%05d.png"
        report = restore(source, pictures, overwrite=True, **near, **options)
        wanted = f"f{frame.index - first}"
        with open_video(pictures, start=wanted) as reader:
            after = next(iter(reader)).rgb()
    before = frame.rgb()
    title = f"{Path(source).name}, frame {frame.index}, {report.model}"
    if destination.suffix.lower() == ".png":
        content = as_png(before_and_after(before, after))
    else:
        content = slider_page(before, after, title).encode()
    try:
        destination.write_bytes(content)
    except OSError as error:
        raise ResourceError(f"cannot write {destination}: {error.strerror or error}") from error
    return dataclasses.replace(report, output=destination, frames=1)


def _restore_tensor(
    source: Tensor,  # (T, 3, H, W)
    prepare: Callable[[int, int, int, None], Runner],
    job: Job,
) -> Tensor:  # (T, 3, scale * H, scale * W)
    if source.ndim != 4 or source.shape[1] != 3 or 0 in source.shape:
        raise UsageError(f"a tensor to restore is (T, 3, H, W), not {tuple(source.shape)}")
    runner = prepare(source.shape[-2], source.shape[-1], len(source), None)
    pictures = [_TensorPicture(picture) for picture in source.float()]
    shots = find_shots(pictures) if runner.needs_shots else None
    restored = _restoring(runner.restore(pictures, shots), runner, shots, len(pictures), job)
    return torch.stack([picture for _, picture in restored])


def _look_through(reader: VideoReader, preview: bool, job: Job) -> list[Shot]:
    """First pass over a file: its shots. Warnings are left to the second pass."""
    with reader, warnings.catch_warnings():
        warnings.simplefilter("ignore", UnblurWarning)
        with closing(prefetch(_first_seconds(reader) if preview else reader)) as frames:
            return find_shots(_counted(frames, job))


def _pass_over(frame: Frame) -> None:
    """For frames that nothing is to be done with."""


def _keep(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Tensor | None]]:
    return ((frame, None) for frame in frames)


def _write(writer: VideoWriter, preview: bool, item: tuple[Frame, Tensor | None]) -> None:
    frame, picture = item
    if preview:
        before = frame.rgb()
        picture = before_and_after(before, before if picture is None else picture)
    writer.write(frame if picture is None else frame.with_rgb(picture))


def _expected_frames(reader: VideoReader, preview: bool) -> int | None:
    """How many frames a job will have, as far as the reader knows."""
    rate = reader.info.frame_rate
    if not preview or reader.frames is None or rate is None:
        return None if preview else reader.frames
    return min(reader.frames, round(PREVIEW_SECONDS * rate))


def _check(
    strength: float,
    light: str,
    tile: int | None,
    window: int | None,
    crf: int | None,
    max_memory: int | None,
) -> None:
    if not 0 <= strength <= 1:
        raise UsageError(f"strength {strength}: takes 0 (input) to 1 (fully restored)")
    if light not in ("auto", "linear", "encoded"):
        raise UsageError(f"light '{light}': use auto, linear or encoded")
    if tile is not None and tile != 0 and tile < 32:
        raise UsageError(f"tile {tile}: use at least 32 pixels, or 0 for whole frames")
    for name, value in (("window", window), ("max-memory", max_memory)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: must be positive")
    if crf is not None and not 0 <= crf <= 63:
        raise UsageError(f"crf {crf}: use 0 (best) to 51 (63 for AV1 and VP9)")


def _check_quality(quality: str, model: str) -> None:
    if quality not in get_args(Quality):
        raise UsageError(f"quality '{quality}': use {', '.join(get_args(Quality))}")
    if quality != "auto" and model != "auto":
        raise UsageError(f"--quality {quality} chooses the model: leave out --model {model}")


def _check_depth(info: RestorerInfo, depth: str | Path | None, invert: bool) -> None:
    if not info.needs_depth and (depth is not None or invert):
        option = "--depth-invert" if depth is None else f"--depth {depth}"
        raise UsageError(
            f"{info.name} does not look at depth: leave {option} out, or take a model for focal "
            "blur such as --model focus-s"
        )
    if info.real_depth and depth == "builtin":
        raise UsageError(NO_STAND_IN.format(name=info.name))
    if invert and depth in (None, *DEPTHS):
        raise UsageError("--depth-invert is for depth maps from files: name them by --depth DIR")


def _counted(items: Iterable[T], job: Job) -> Iterator[T]:
    """Passes items on and tells of each."""
    for done, item in enumerate(items, 1):
        yield item
        job.at(done)


def _restoring(
    restored: Iterable[T],
    runner: Runner | None,
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
    fused = runner.cost.fused if runner else 0.0
    out, seen = done, float(done)

    def tell(restored: float) -> None:
        # Frames come out late (windows, fusion): those that the network has done count, too.
        nonlocal seen
        seen = max(seen, restored, out)
        job.at((1 - fused) * seen + fused * out)

    if runner is not None:
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
