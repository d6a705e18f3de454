"""`unblur clean`: what interrupted jobs left, listed and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.options import Verbose
from unblur.cli.terminal import show
from unblur.errors import UsageError


def clean(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            show_default=False,
            help="An output that was not completed, or a folder with outputs.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Remove what interrupted jobs kept of outputs: their frames so far, for --resume.

    Nothing else is touched, and nothing that a job is at work on.
    """
    from unblur.commands.unfinished import leftovers, remove

    for path in paths:
        found = leftovers(Path(path))
        if not found and not Path(path).parent.is_dir():
            raise UsageError(f"{path}: there is no such folder; name an output or a folder of them")
        if not found:
            show(f"{path}: nothing is left of any job")
        for left in found:
            what = f"{left.target}: {left.size / 1e6:,.1f} MB"
            if left.at_work:
                show(f"{what}, a job is at work on it")
            elif dry_run:
                show(f"{what}, would be removed")
            else:
                remove(left)
                show(f"{what}, removed")
