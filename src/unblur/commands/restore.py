"""Restoring a file or frames: the one function that the command line, too, calls."""

from __future__ import annotations

import dataclasses
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast, overload

import torch

from unblur.commands.cluster import connected, is_connected
from unblur.commands.remote import is_remote, staged
from unblur.commands.reporting import Report, skipped_report
from unblur.commands.request import (
    ArrayOptions,
    FileOptions,
    LightChoice,
    Options,
    When,
    check_for_arrays,
    check_kinds,
    when,
)
from unblur.commands.restore_file import restore_file
from unblur.commands.restore_frames import restore_frames
from unblur.commands.restore_still import is_still, restore_still
from unblur.disk import check_name
from unblur.engine.fusion import Fuse
from unblur.errors import UsageError
from unblur.progress import Listener
from unblur.restorers.base import Restorer
from unblur.restorers.registry import Blur, Quality
from unblur.video import Format

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from unblur.commands.arrays import Frames


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
    progress: Listener | None = None,
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
    options = cast(Options, named)
    if not isinstance(source, str | os.PathLike):
        if destination is not None:
            raise UsageError(f"frames come back by themselves: leave {destination} out")
        check_for_arrays(options)
        return restore_frames(source, options)
    _check_for_files(options)
    if destination is None:
        raise UsageError("restoring a file needs a destination: restore(source, destination)")
    check_name(source)
    check_name(destination)
    near: str | os.PathLike[str] = source
    made: str | os.PathLike[str] | None = destination
    with ExitStack() as around:
        if is_remote(source) or is_remote(destination):
            near, made = around.enter_context(staged(source, destination, options))
        if made is None:
            return skipped_report(str(destination), options)
        if preview and is_still(destination):
            report = restore_still(near, made, options)
        else:
            if cluster is not None and not is_connected():
                around.enter_context(connected(cluster))
            report = restore_file(near, made, options)
    sent = is_remote(destination)
    return dataclasses.replace(report, output=str(destination)) if sent else report


def _check_for_files(options: Options) -> None:
    """Raises `UsageError` for options that only frames have, and for times that say two things."""
    transfer, at, start = options["transfer"], when(options["at"]), when(options["start"])
    if transfer is not None:
        raise UsageError(f"transfer '{transfer}' is for frames: files say it themselves")
    when(options["end"])
    if at is not None and not options["preview"]:
        raise UsageError(f"--at {at} is for previews only: add --preview, or use --start")
    if at is not None and start is not None:
        raise UsageError(f"--at {at} and --start {start} both say where to begin: leave one out")
