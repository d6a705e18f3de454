"""`unblur clean`: what interrupted jobs left, listed and removed."""

from __future__ import annotations

import shutil
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
    from unblur.commands.remote import folder_for, is_remote, near_output
    from unblur.commands.unfinished import is_locked, leftovers, remove

    for name in paths:
        path = str(near_output(name)) if is_remote(name) else name
        found = leftovers(Path(path))
        if not found and not Path(path).parent.is_dir() and path == name:
            raise UsageError(f"{path}: there is no such folder; name an output or a folder of them")
        if not found:
            show(f"{name}: nothing is left of any job")
        for left in found:
            what = f"{left.target}: {left.size / 1e6:,.1f} MB"
            if left.at_work:
                show(f"{what}, a job is at work on it")
            elif dry_run:
                show(f"{what}, would be removed")
            else:
                remove(left)
                show(f"{what}, removed")
        if path != name and not dry_run and not any(left.at_work for left in found):
            if is_locked(folder_for(name)):
                show(f"{name}: a job is at work on it")
            else:
                shutil.rmtree(folder_for(name), ignore_errors=True)
