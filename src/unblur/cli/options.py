"""Options that more than one verb takes, and how their values are read."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from unblur.cli.terminal import terminal

HELP_NAMES = ("--help", "-h")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(text: str) -> int:
    """Bytes of a size such as `3GB`, `800MB`, `1.5GiB` or `2000000`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    if match is None or (match[3] and not match[2]):
        raise typer.BadParameter(f"'{text}' is not a size: write it like 3GB or 800MB")
    power = list(UNITS).index(match[2])
    size = int(float(match[1]) * (1024**power if match[3] else UNITS[match[2]]))
    if size <= 0:
        raise typer.BadParameter(f"'{text}' leaves no memory at all: write it like 3GB or 800MB")
    return size


def set_quiet(wanted: bool) -> bool:
    """Notes for the whole program that only warnings and errors are wanted."""
    terminal.quiet = terminal.quiet or wanted
    return wanted


def set_verbose(wanted: bool) -> bool:
    """Notes for the whole program that tracebacks are wanted."""
    terminal.verbose = terminal.verbose or wanted
    return wanted


def set_json(wanted: bool) -> bool:
    """Notes for the whole program that a program listens."""
    terminal.json = terminal.json or wanted
    return wanted


Events = Annotated[
    bool,
    typer.Option(
        "--json", callback=set_json, help="Events as lines of JSON on stdout, a report at the end."
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=set_quiet, help="Only warnings and errors; no progress."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=set_verbose, help="Show every warning, and errors in full."
    ),
]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="First frame: 2.5s, f10 or mm:ss.")
]
End = Annotated[str | None, typer.Option("--end", metavar="TIME", help="First frame to leave out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")]
