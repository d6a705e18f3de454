"""`unblur batch IN... OUTDIR`: many files, one after the other."""

from __future__ import annotations

from typing import Annotated

import typer

from unblur.cli.options import Events, Quiet, Verbose
from unblur.cli.progress import duration, facts_of, reporter
from unblur.cli.restore_options import (
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
from unblur.cli.terminal import emit, say, show, table
from unblur.errors import UsageError

FAILED = 1
"""Exit code where a file failed and the rest was done."""


def batch(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="IN... OUTDIR",
            show_default=False,
            help="Videos, folders of them, or patterns such as 'clips/*.mp4'; last, where to.",
        ),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Take folders within folders, too.")
    ] = False,
    suffix: Annotated[
        str, typer.Option(metavar="TEXT", help="Put behind the names, such as _sharp.")
    ] = "",
    ending: Annotated[
        str | None,
        typer.Option(metavar=".EXT", show_default="as the input", help="Extension of the outputs."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what is done; go on with what is begun.")
    ] = False,
    overwrite: Overwrite = False,
    blur: Blur = BlurChoice.auto,
    quality: Quality = QualityChoice.auto,
    model: Model = "auto",
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = PrecisionChoice.auto,
    light: Light = LightChoice.auto,
    strength: Strength = 1.0,
    fuse: Fuse = "auto",
    deinterlace: Deinterlace = False,
    codec: Codec = None,
    crf: Crf = None,
    max_memory: MaxMemory = None,
    cluster: Cluster = None,
    json_events: Events = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Restore many videos: those in files, folders and patterns go to OUTDIR.

    A file that cannot be restored does not stop the rest; the exit code is then 1.
    """
    if len(paths) < 2:
        raise UsageError("batch takes inputs and a folder for outputs: unblur batch IN... OUTDIR")
    *inputs, folder = paths
    with delayed():
        from unblur.commands.batch import Outcome, Task, tasks
        from unblur.commands.batch import batch as work

    todo = tasks(inputs, folder, recursive=recursive, suffix=suffix, ending=ending)
    outcomes: list[Outcome] = []

    def begin(number: int, task: Task) -> None:
        if json_events:
            emit("file", number=number, total=len(todo), source=str(task.source))
        elif not quiet:
            say(f"unblur: {number} of {len(todo)}: {task.source}")

    with reporter(wanted=not quiet) as progress:
        for outcome in work(
            todo,
            resume=resume,
            overwrite=overwrite,
            begin=begin,
            model=model,
            blur=blur.value,
            quality=quality.value,
            weights=weights,
            device=device,
            precision=precision.value,
            light=light.value,
            strength=strength,
            fuse=fuse,
            deinterlace=deinterlace,
            codec=codec,
            crf=crf,
            max_memory=max_memory,
            cluster=cluster,
            progress=progress,
        ):
            outcomes.append(outcome)
            if outcome.error:
                say(f"unblur: warning: {outcome.source} failed: {outcome.error}")
            if json_events:
                emit("outcome", **facts_of(outcome))
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    if json_events:
        done = sum(outcome.status == "done" for outcome in outcomes)
        skipped = len(outcomes) - done - failed
        emit("report", done=done, skipped=skipped, failed=failed)
    elif not quiet:
        rows = [
            (
                str(each.source),
                each.status,
                str(each.frames or "-"),
                duration(each.seconds) if each.seconds else "-",
                str(each.output) if each.status != "failed" else each.error,
            )
            for each in outcomes
        ]
        show(table(("input", "what", "frames", "time", "output"), rows))
    if failed:
        raise typer.Exit(FAILED)
