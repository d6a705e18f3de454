"""`unblur evaluate SUITE`: how good models are, measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unblur.cli.options import Quiet, Verbose
from unblur.cli.progress import progress_bar
from unblur.cli.terminal import one_line, show

if TYPE_CHECKING:
    from unblur.evaluate import Evaluation

REAL, RENDERED, OUTPUT = "Averages of real frames", "Rendered suites", "Output"


def evaluate(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE",
            show_default=False,
            help="synth-motion, synth-focus, synth-joint or real-average.",
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            show_default="auto",
            help="A name from `unblur models`, with @linear or @encoded for its light, or "
            "NAME=FILE for other weights. May be repeated.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="CLIPS", show_default="all", help="Only the first clips."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=REAL,
            show_default=False,
            help="Sharp frames, or folders of them. May be repeated.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="3|5|7",
            rich_help_panel=REAL,
            show_default="7",
            help="How many frames are averaged.",
        ),
    ] = None,
    textures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=RENDERED,
            show_default="those held out",
            help="Pictures that scenes are made of.",
        ),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="FILE", rich_help_panel=OUTPUT, help="Everything, for programs."
        ),
    ] = None,
    csv_file: Annotated[
        str | None,
        typer.Option(
            "--csv", metavar="FILE", rich_help_panel=OUTPUT, help="The table, for spreadsheets."
        ),
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=OUTPUT,
            help="A sheet for each clip, all methods side by side.",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure models against the truth, beside an unsharp mask and Wiener's filter.

    The table has a row for each clip and method, and means at its end.
    """
    import unblur
    from unblur.evaluate.pictures import write

    with progress_bar(wanted=not quiet) as progress:
        result = unblur.evaluate(
            suite,
            models=models or ("auto",),
            limit=limit,
            data=data or (),
            frames=frames,
            textures=textures,
            pictures=pictures,
            device=device,
            progress=progress,
        )
    for file, text in ((json_file, result.json), (csv_file, result.csv)):
        if file is not None:
            write(Path(file), text().encode())
    show(f"{head(result)}\n\n{result.markdown()}")


def head(result: Evaluation) -> str:
    """What stands above the table: what was measured, on what, and what could not be."""
    facts = ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}"
        for name, value in result.facts.items()
    )
    lines = [f"{result.suite}, version {result.version}: {one_line(facts)}"]
    lines += [f"no {method}: {why}" for method, why in result.left_out.items()]
    return "\n".join(lines)
