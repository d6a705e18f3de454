"""`unblur restore IN OUT`: the main verb."""

from __future__ import annotations

import contextlib
from enum import Enum
from typing import Annotated

import typer

from unblur.cli.options import Events, Quiet, Verbose
from unblur.cli.progress import duration, facts_of, reporter
from unblur.cli.restore_options import (
    INPUT,
    MEMORY,
    MODEL,
    OUTPUT,
    Blur,
    BlurChoice,
    Cluster,
    Codec,
    Crf,
    Deinterlace,
    Device,
    Fuse,
    Light,
    LightChoice,
    MaxMemory,
    Model,
    Overwrite,
    Precision,
    PrecisionChoice,
    Quality,
    QualityChoice,
    Strength,
    Weights,
)
from unblur.cli.signals import delayed
from unblur.cli.terminal import emit, show, terminal


class FormatChoice(str, Enum):
    """Values of `--format`."""

    y4m = "y4m"
    nut = "nut"


def restore(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            show_default=False,
            help="A video, a folder of images, a pattern as 'frames/%05d.png', or - (a pipe).",
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            show_default=False,
            help="A video (.mp4 .mov .mkv .webm), images ('out/%05d.png'), or - (a pipe).",
        ),
    ],
    blur: Blur = BlurChoice.auto,
    quality: Quality = QualityChoice.auto,
    model: Model = "auto",
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = PrecisionChoice.auto,
    light: Light = LightChoice.auto,
    strength: Strength = 1.0,
    fuse: Fuse = "auto",
    scale: Annotated[
        int | None,
        typer.Option(
            metavar="1|2",
            rich_help_panel=MODEL,
            show_default="that of the model",
            help="Size of OUT in multiples of IN, where the model gives it.",
        ),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            rich_help_panel=MODEL,
            show_default="builtin",
            help="For focal blur: builtin, depth-anything, or a folder of depth maps, dark = near.",
        ),
    ] = None,
    depth_invert: Annotated[
        bool,
        typer.Option(
            "--depth-invert", rich_help_panel=MODEL, help="Bright = near in the depth maps."
        ),
    ] = False,
    cluster: Cluster = None,
    seed: Annotated[
        int,
        typer.Option(
            metavar="NUMBER", rich_help_panel=MODEL, help="Same seed, same machine: same result."
        ),
    ] = 0,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=INPUT,
            help="First frame: 2.5s, f10 or 00:01:30.",
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=INPUT,
            help="First frame to leave out, likewise.",
        ),
    ] = None,
    deinterlace: Deinterlace = False,
    stream: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            rich_help_panel=INPUT,
            help="Which video stream to restore, as `unblur probe` numbers them.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", rich_help_panel=INPUT, help="Stop at damaged frames instead of warning."
        ),
    ] = False,
    codec: Codec = None,
    crf: Crf = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=OUTPUT,
            help="Pixel format of the codec, such as yuv444p, instead of the nearest that plays.",
        ),
    ] = None,
    format: Annotated[
        FormatChoice | None,
        typer.Option(
            rich_help_panel=OUTPUT,
            show_default="as IN, else nut",
            help="What to write where OUT is -, standard output.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            rich_help_panel=OUTPUT,
            help="Go on where the same command was interrupted; skip what is complete.",
        ),
    ] = False,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            rich_help_panel=OUTPUT,
            help="First 2 s only, before and after side by side; a frame for OUT.png, or OUT.html.",
        ),
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=OUTPUT,
            show_default=False,
            help="Where the preview begins, or the frame it is of.",
        ),
    ] = None,
    max_memory: MaxMemory = None,
    tile: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            rich_help_panel=MEMORY,
            show_default="what fits",
            help="Side of the tiles a frame is cut into; 0 for whole frames.",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            metavar="FRAMES",
            rich_help_panel=MEMORY,
            show_default="what fits",
            help="Most frames that the network sees at once.",
        ),
    ] = None,
    json_events: Events = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Restore a video: IN is read, its sharp version appears as OUT when complete.

    `unblur IN OUT` does the same. Sound, subtitles, chapters and timestamps are kept.
    """
    import unblur

    terminal.piped = destination == "-"
    with reporter(wanted=not quiet) as progress:
        with delayed():
            work = unblur.restore  # imports torch
        try:
            report = work(
                source,
                destination,
                model=model,
                blur=blur.value,
                quality=quality.value,
                weights=weights,
                device=device,
                precision=precision.value,
                light=light.value,
                strength=strength,
                fuse=fuse,
                scale=scale,
                depth=depth,
                depth_invert=depth_invert,
                start=start,
                end=end,
                tile=tile,
                window=window,
                codec=codec,
                crf=crf,
                pixel_format=pixel_format,
                format=None if format is None else format.value,
                stream=stream,
                overwrite=overwrite,
                resume=resume,
                max_memory=max_memory,
                seed=seed,
                preview=preview,
                at=at,
                strict=strict,
                deinterlace=deinterlace,
                cluster=cluster,
                progress=progress,
            )
        except OSError as error:
            with contextlib.suppress(AttributeError):  # no name can be given to those of FFmpeg
                error.filename = error.filename or destination  # a full disk is best named
            raise
    if json_events:
        emit("report", **facts_of(report))
    elif not quiet and report.skipped:
        show(f"{report.output} is complete already: nothing to do (--overwrite makes it anew)")
    elif not quiet:
        by = f", by {report.model}" if report.untouched < report.frames else ", all untouched"
        if 0 < report.untouched < report.frames:
            by += f"; {report.untouched} sharp ones untouched"
        each = f", {report.seconds / report.frames:.2f} s/frame" if report.frames > 1 else ""
        frames = "1 frame" if report.frames == 1 else f"{report.frames} frames"
        show(f"{report.output}: {frames} in {duration(report.seconds)}{each}{by}")
