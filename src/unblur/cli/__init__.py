"""The command line: `unblur restore IN OUT`, its short form `unblur IN OUT`, and the other verbs.

This module and the verbs import nothing heavy, so that `--help` answers at once; what a verb needs
is imported when it runs. Errors and signals become one line on stderr and an exit code here, and
nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from unblur import __version__
from unblur.cli import models, probe, restore, train, weights
from unblur.cli.failures import explain, usage_hint
from unblur.cli.options import HELP_NAMES
from unblur.cli.signals import interruptible
from unblur.cli.terminal import say, terminal, warnings_as_lines, write_traceback

__all__ = ["main"]

CLOSED_PIPE = 141
"""What a shell gives a program whose reader has gone (128 + SIGPIPE)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: the words after the program's name; by default those of this process.

    Returns:
        Exit code: 0 done; 2 wrong request; 3 unreadable media or weights; 4 disk or memory;
        5 internal; 130 interrupted (143 by SIGTERM, 129 by a closed terminal).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name the console cannot show must not stop the work
            stream.reconfigure(errors="backslashreplace")
    terminal.quiet = terminal.verbose = False
    command = typer.main.get_group(app)
    routed = route(words, command)
    with interruptible() as received, warnings_as_lines():
        try:
            with command.make_context("unblur", routed) as context:
                command.invoke(context)
            sys.stdout.flush()
        except typer.Exit as done:
            return done.exit_code
        except BrokenPipeError:
            with contextlib.suppress(OSError, ValueError):  # or Python complains as it exits
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return CLOSED_PIPE
        except BaseException as error:
            # An interrupted C extension may turn the interruption into an error of its own.
            if received or isinstance(error, KeyboardInterrupt):
                say("unblur: interrupted")
                return 128 + (received[0] if received else 2)
            if isinstance(error, SystemExit):
                raise
            if terminal.verbose:
                write_traceback(error)
            code, message = explain(error, usage_hint(words, routed))
            say(f"unblur: error: {message}")
            return code
    return 0


def route(words: Sequence[str], command: typer.core.TyperGroup) -> list[str]:
    """Puts the verb first: `restore` where none is said, options in front of it behind it.

    Args:
        words: what the user typed.
        command: the program, whose verbs and options tell which words are values of options.

    Returns:
        Words that start with a verb, unless only `--help` or `--version` is asked for.
    """
    words = list(words) or ["--help"]
    position = first_argument(words, command)
    if position is None:
        alone = {*HELP_NAMES, "--version"}
        return words if alone.intersection(words) else ["restore", *words]
    if words[position] not in command.commands or "--" in words[:position]:
        return ["restore", *words]
    rest = words[position:]
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *words[:position], *rest[end:]]


def first_argument(words: list[str], command: typer.core.TyperGroup) -> int | None:
    """Position of the first word that is neither an option nor the value of one."""
    with_value = {
        name
        for option in command.commands["restore"].params
        if not getattr(option, "is_flag", False)
        for name in option.opts
        if name.startswith("-")
    }
    skip = False
    for position, word in enumerate(words):
        if skip:
            skip = False
        elif word == "--":
            return position + 1 if position + 1 < len(words) else None
        elif not word.startswith("-") or word == "-":
            return position
        else:
            skip = word in with_value
    return None


app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(HELP_NAMES)},
)


def show_version(asked: bool) -> None:
    """Writes the version and ends."""
    if asked:
        typer.echo(f"unblur {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Make a blurred video sharp: `unblur IN OUT`.

    The first word is a verb from the list below; without one, `restore` is meant.
    """


app.command("restore")(restore.restore)
app.command("models")(models.models)
app.add_typer(weights.app, name="weights")
app.command("probe")(probe.probe)
app.command("train")(train.train)
