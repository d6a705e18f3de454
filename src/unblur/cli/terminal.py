"""What a user sees: lines on stderr, warnings among them, and tables on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from unblur.errors import UnblurWarning


@dataclass
class Terminal:
    """How much the user wants to see."""

    quiet: bool = False
    verbose: bool = False
    json: bool = False
    """What happens goes to stdout as lines of JSON."""
    piped: bool = False
    """A video goes to stdout, and all lines to stderr."""


terminal = Terminal()
"""Set by `--quiet` and `--verbose` of any verb."""


def one_line(text: str) -> str:
    """The text on one line, with control characters escaped: names of files may hold any."""
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
        for c in joined
    )


def say(text: str) -> None:
    """Writes one line to stderr; a stderr that is gone is no reason to fail."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(one_line(text) + "\n")
            sys.stderr.flush()


def emit(event: str, **facts: Any) -> None:
    """Writes an event of `--json`, a line on stdout; numbers no longer than they mean anything."""
    short = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in facts.items()}
    show(json.dumps({"event": event, **short}))
    if sys.stdout is not None:
        sys.stdout.flush()


def write_traceback(error: BaseException) -> None:
    """Writes the traceback of `--verbose` to stderr."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exception(error, file=sys.stderr)


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Inside, an `UnblurWarning` becomes a line on stderr, each text once.

    Warnings of libraries are for developers and only shown with `--verbose`.
    """
    said: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        if text in said:
            return
        if issubclass(category, UnblurWarning):
            said.add(text)
            say(f"unblur: warning: {text}")
            if terminal.json:
                emit("warning", message=text)
        elif terminal.verbose:
            said.add(text)
            say(f"{filename}:{lineno}: {category.__name__}: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UnblurWarning)
        warnings.showwarning = show
        yield


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, two spaces between them; the same on a terminal and in a pipe."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def show(text: str) -> None:
    """Writes what a verb was requested to stdout, or beside it where a video goes there."""
    stream = sys.stderr if terminal.piped else sys.stdout
    if stream is not None:
        stream.write(text + "\n")
