"""`unblur depth` and `unblur blurmap`: what a model for focal blur is given about a video."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from unblur.cli.options import Overwrite, Quiet, Verbose
from unblur.cli.progress import frames_bar
from unblur.cli.signals import delayed
from unblur.cli.terminal import show

Source = Annotated[
    str,
    typer.Argument(
        metavar="IN", show_default=False, help="A video, a folder of images, or a pattern."
    ),
]
Destination = Annotated[
    str,
    typer.Argument(
        metavar="OUT",
        show_default=False,
        help="Images ('out/%05d.png', 16 bit, or .exr), or a video in false colours.",
    ),
]
DepthChoice = Annotated[
    str,
    typer.Option(
        "--depth",
        metavar="SOURCE",
        help="builtin (sharp = near, a stand-in), depth-anything (needs unblur\\[priors]), or a "
        "folder of depth maps, one for each frame, dark = near.",
    ),
]
Invert = Annotated[bool, typer.Option("--depth-invert", help="Bright = near in the depth maps.")]
Device = Annotated[
    str,
    typer.Option(metavar="DEVICE", help="Where depth and blur are found: cpu, cuda."),
]


def depth(
    source: Source,
    destination: Destination,
    choice: DepthChoice = "builtin",
    invert: Invert = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the depth of each frame, from near (0, red) to far (1, blue)."""
    with delayed():
        from unblur.commands.depth import depth as write_depth

    with frames_bar("depth", wanted=not quiet) as progress:
        written = write_depth(
            source,
            destination,
            depth=choice,
            invert=invert,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    if not quiet:
        show(f"{destination}: {written} frames")


def blurmap(
    source: Source,
    destination: Destination,
    kind: Annotated[
        str,
        typer.Option(metavar="KIND", help="focus, or motion: how far a pixel moves (BSSTNet)."),
    ] = "focus",
    equation: Annotated[
        str,
        typer.Option(
            metavar="E", help="Of motion: sum of a frame's flows (paper), or mean (released code)."
        ),
    ] = "sum",
    sharp: Annotated[bool, typer.Option("--sharp", help="The sharp map: 1 minus it.")] = False,
    choice: DepthChoice = "builtin",
    invert: Invert = False,
    mask: Annotated[
        bool, typer.Option("--mask", help="Only sharp (0) or blurred (1): the map above 0.1.")
    ] = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write how blurred each pixel is, from sharp (0, black) to blurred (1, yellow)."""
    with delayed():
        from unblur.commands.depth import blur_map

    with frames_bar("blur map", wanted=not quiet) as progress:
        written = blur_map(
            source,
            destination,
            kind=cast(Any, kind),  # distinguished there
            equation=cast(Any, equation),
            sharp=sharp,
            depth=choice,
            invert=invert,
            mask=mask,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    if not quiet:
        show(f"{destination}: {written} frames")
