"""`unblur data`: builds what networks are trained on, and measured with."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from unblur.cli.options import HELP_NAMES, Quiet, Verbose
from unblur.cli.progress import frames_bar
from unblur.cli.terminal import show

app = typer.Typer(
    help="Build data sets.",
    no_args_is_help=False,
    context_settings={"help_option_names": list(HELP_NAMES)},
)


@app.callback()
def data() -> None:
    """Build data sets."""


@app.command()
def textures(
    photos: Annotated[
        str,
        typer.Argument(
            metavar="PHOTOS_DIR",
            show_default=False,
            help="A folder of photographs, with a sources.csv where licences are known; "
            "'none' for dead leaves alone.",
        ),
    ],
    destination: Annotated[
        str, typer.Argument(metavar="OUT", show_default=False, help="A new folder.")
    ],
    count: Annotated[
        int, typer.Option(min=0, metavar="N", help="Tiles from photographs at the most.")
    ] = 200,
    size: Annotated[int, typer.Option(min=64, metavar="PIXELS", help="Side of a tile.")] = 448,
    leaves: Annotated[
        int, typer.Option(min=0, metavar="N", help="Dead-leaves images to add.")
    ] = 100,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the dead leaves.")] = 0,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Cut sharp, detailed tiles out of photographs and add dead leaves.

    The tiles are what the scenes of `unblur train --textures OUT` are made of. Photographs that
    serve evaluation are left out.
    """
    from unblur.data.texture_bank import build_texture_bank

    with frames_bar("cut", wanted=not quiet) as progress:
        bank = build_texture_bank(
            None if photos == "none" else photos,
            destination,
            count=count,
            size=size,
            leaves=leaves,
            seed=seed,
            progress=progress,
        )
    if not quiet:
        drawn = sum(source.name.startswith("leaves_") for source in bank.sources)
        show(f"{destination}: {len(bank) - drawn} tiles of photographs, {drawn} of dead leaves")


class SetChoice(str, Enum):
    """Values of `--set`."""

    both = "both"
    release = "release-90"
    paper = "paper-50"


@app.command()
def davis_blur(
    davis: Annotated[
        str,
        typer.Argument(
            metavar="DAVIS_DIR",
            show_default=False,
            help="DAVIS-2017 as it is unpacked, or a folder of its sequences.",
        ),
    ],
    destination: Annotated[
        str, typer.Argument(metavar="OUT", show_default=False, help="A new folder.")
    ],
    depth: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Depth maps: a folder for each sequence, a gray image of 8 or 16 bits for each "
            "frame; dark = near. `unblur depth` makes them.",
        ),
    ],
    depth_invert: Annotated[
        bool, typer.Option("--depth-invert", help="Bright = near in the depth maps.")
    ] = False,
    which: Annotated[
        SetChoice, typer.Option("--set", help="The paper's 50 sequences, the release's 90.")
    ] = SetChoice.both,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this sequence; may be repeated."),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Build DAVIS-Blur, the two test sets of DaBiT.

    The same input gives the same files.
    """
    from unblur.data.davis_blur import build_davis_blur

    both = [SetChoice.release.value, SetChoice.paper.value]
    with frames_bar("blur", wanted=not quiet) as progress:
        folder = build_davis_blur(
            davis,
            destination,
            depth=depth,
            invert=depth_invert,
            sets=both if which is SetChoice.both else [which.value],
            only=only or (),
            progress=progress,
        )
    if not quiet:
        show(f"{folder}: gt, frames, masks and depths; set.json says how each was blurred")
