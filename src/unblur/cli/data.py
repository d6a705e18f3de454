"""`unblur data`: builds what networks are trained on."""

from __future__ import annotations

from typing import Annotated

import typer

from unblur.cli.options import HELP_NAMES, Quiet, Verbose
from unblur.cli.terminal import show

app = typer.Typer(
    help="Build training data.",
    no_args_is_help=False,
    context_settings={"help_option_names": list(HELP_NAMES)},
)


@app.callback()
def data() -> None:
    """Build training data."""


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
        int, typer.Option(min=0, metavar="N", help="Dead-leaves pictures to add.")
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

    bank = build_texture_bank(
        None if photos == "none" else photos,
        destination,
        count=count,
        size=size,
        leaves=leaves,
        seed=seed,
    )
    if not quiet:
        drawn = sum(source.name.startswith("leaves_") for source in bank.sources)
        show(f"{destination}: {len(bank) - drawn} tiles of photographs, {drawn} of dead leaves")
