"""`unblur reproduce PAPER`: the tables and figures of a paper, with what is there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.options import Quiet, Verbose
from unblur.cli.signals import delayed
from unblur.cli.terminal import say, show
from unblur.errors import ResourceError, UsageError


def reproduce(
    paper: Annotated[
        str,
        typer.Argument(metavar="PAPER", show_default=False, help="bsstnet, dabit or atlas."),
    ],
    folder: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            show_default="reproduced/PAPER",
            help="Where results go; what is there is not done again.",
        ),
    ] = None,
    table: Annotated[int | None, typer.Option(metavar="N", help="This table alone.")] = None,
    figure: Annotated[int | None, typer.Option(metavar="N", help="This figure alone.")] = None,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Networks of other papers alone, trained beside bsstnet's."),
    ] = False,
    aligned: Annotated[
        bool,
        typer.Option(
            "--aligned", help="The network of motion-s alone, trained on without its parts."
        ),
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M", show_default="say what is there", help="Run what can be run for so long."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:DIR",
            show_default=False,
            help="A data set: gopro:DIR, dvd:DIR or davis:DIR; may be repeated.",
        ),
    ] = None,
    textures: Annotated[
        str | None, typer.Option(metavar="DIR", help="Texture bank that ablations are trained on.")
    ] = None,
    arm_minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            show_default="10",
            help="Training of each arm of an ablation, in minutes of the CPU.",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", show_default=False, help="This arm alone; may be repeated."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, max=3, help="Seeds that each arm is trained with.")
    ] = 3,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what the tables and figures of a paper need, and run what can be run.

    Without --minutes nothing is run. DIR gets report.md, report.csv and images, published figures
    beside those measured; the same command goes on where it stopped.
    """
    named = [f"table {table}"] * (table is not None)
    named += [f"figure {figure}"] * (figure is not None)
    named += ["peers"] * peers + ["aligned"] * aligned
    if len(named) > 1:
        raise UsageError("--table, --figure, --peers and --aligned: name one of them")
    for option, value in (("--minutes", minutes), ("--arm-minutes", arm_minutes)):
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{option} {value:g}: give a number above 0")
    with delayed():
        from unblur.reproduce import reproduce as start
        from unblur.reproduce.page import can_be_run, failures, overview

    if textures is not None:
        bank = Path(textures)
        if not bank.is_dir():
            raise UsageError(f"--textures {bank} is not a folder: `unblur data textures` makes one")
        if not any(bank.iterdir()):
            raise UsageError(f"--textures {bank} is empty: `unblur data textures` fills it")
    place = Path(folder or f"reproduced/{paper}")
    found = start(
        paper,
        place,
        part=named[0] if named else None,
        minutes=minutes,
        data=read_places(data or ()),
        textures=textures,
        arm_minutes=arm_minutes,
        arms=arm or (),
        seeds=seeds,
        device=device,
        listen=None if quiet else lambda text: say(f"unblur: {text}"),
    )
    show(f"{overview(found)}\n\n{place / 'report.md'}")
    if minutes is None and (there := can_be_run(found)):
        show(f"\nCan be run: {', '.join(there)}. Add --minutes M.")
    if minutes is not None and (failed := failures(found)):
        raise ResourceError("; ".join(failed) + ". The same command tries it again")


DATA = ("gopro", "dvd", "davis")


def read_places(words: list[str] | tuple[()]) -> dict[str, str]:
    """Folders of data sets by name.

    >>> read_places(["gopro:."])
    {'gopro': '.'}
    """
    found = {}
    for word in words:
        name, _, place = word.partition(":")
        if name not in DATA or not place:
            raise UsageError(f"--data {word}: write NAME:DIR, NAME out of {', '.join(DATA)}")
        if not Path(place).is_dir():
            raise UsageError(f"--data {word}: {place} is not a folder")
        found[name] = place
    return found
