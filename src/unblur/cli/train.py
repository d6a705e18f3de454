"""`unblur train RECIPE RUN`: trains a network, or goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from unblur.cli.options import Events, Quiet, Verbose
from unblur.cli.progress import reporter
from unblur.cli.signals import delayed
from unblur.cli.terminal import emit, say, show

if TYPE_CHECKING:
    from unblur.training.loop import Point


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", show_default=False, help="A recipe that ships, or a .yaml file."
        ),
    ],
    folder: Annotated[
        str,
        typer.Argument(metavar="RUN", show_default=False, help="Folder of this run."),
    ],
    textures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Texture bank that scenes are made of: see `unblur data textures`."
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            show_default="as the recipe",
            help="Weights to begin with: some that ship, or a file.",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="N", show_default="to the end", help="Stop after so many minutes."),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            show_default="RUN/pool",
            help="Folder of rendered clips, for runs to share.",
        ),
    ] = None,
    real: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIDEO|DIR",
            show_default=False,
            help="Sharp video at a high frame rate; means of its frames are real motion blur. May "
            "be repeated.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1.")
    ] = "auto",
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, though RUN has a checkpoint.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the curve to RUN/events as well.")
    ] = False,
    json_events: Events = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a network, or go on where the run in RUN stopped.

    RUN gets `best.safetensors` (for `unblur restore --weights`), `curve.csv`, `validation.png`
    and a checkpoint.
    """
    if not quiet:
        say(f"unblur: training {recipe} in {folder}")
    with delayed():
        from unblur.training.start import train as start

    def progress(point: Point) -> None:
        if json_events:
            facts = {k: v for k, v in vars(point).items() if k != "metrics"}
            emit("validation", **facts, **point.metrics)
        elif not quiet:
            loss = "" if point.loss is None else f"loss {point.loss:.4f}: "
            metrics = ", ".join(f"{name} {x:.3f}" for name, x in point.metrics.items())
            say(f"step {point.step}, {point.minutes:.1f} min, {loss}{metrics}")

    with reporter(wanted=not quiet) as listen:
        outcome = start(
            recipe,
            folder,
            textures=textures,
            start_from=start_from,
            minutes=minutes,
            pool=pool,
            real=real or (),
            device=device,
            restart=restart,
            tensorboard=tensorboard,
            progress=progress,
            listen=listen,
        )
    if json_events:
        emit("report", best=str(outcome.best), finished=outcome.finished, skipped=outcome.skipped)
    elif outcome.curve and not quiet:
        best = max(point.metrics["gain"] for point in outcome.curve)
        show(f"{outcome.best}: gain {best:.2f}, step {outcome.curve[-1].step}")
