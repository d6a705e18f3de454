"""`unblur models`: the table of models."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from unblur.cli.options import Verbose
from unblur.cli.terminal import show, table

WIDTH = 80
"""Columns that the table keeps to, as terminals have them at least."""


def models(
    everything: Annotated[
        bool, typer.Option("--all", help="Also those whose weights are not here.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """List the models whose weights are here: what they restore, and how large they are.

    --verbose adds the light each one sees and the licence of its weights.
    """
    import unblur
    from unblur.training.tasks import TASKS
    from unblur.weights import find

    rows, details, hidden = [], [], 0
    for info in unblur.list_models():
        ready = info.ships or not info.parameters or find(info.name) is not None
        if not everything and (not ready or info.for_tests):
            hidden += 1
            continue
        weights = "ready" if ready else "to train" if info.name in TASKS else "to convert"
        size = f"{info.parameters / 1e6:.1f} M" if info.parameters else "-"
        row = (info.name, info.blur, size, weights, info.summary)
        rows.append(row if everything else (*row[:3], info.summary))
        details.append(f"sees {info.light} light; licence: {info.licence}")
    header = ("name", "blur", "size", "weights", "summary")
    lines = table(header if everything else (*header[:3], "summary"), rows).splitlines()
    margin = lines[0].index("summary")
    show(lines[0])
    for line, detail in zip(lines[1:], details, strict=True):
        text = [line[margin:], *([detail] if verbose else [])]
        wrapped = [part for piece in text for part in textwrap.wrap(piece, WIDTH - margin)]
        show(line[:margin] + f"\n{' ' * margin}".join(wrapped))
    if hidden:
        show(f"{hidden} more by `unblur models --all`: to convert or train first, or for tests")
