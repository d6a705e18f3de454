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

from unblur.cli.signals import delayed, interruptible, received
from unblur.cli.terminal import emit, say, terminal, warnings_as_lines, write_traceback

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
    terminal.quiet = terminal.verbose = terminal.json = terminal.piped = False
    with interruptible(), warnings_as_lines():
        try:
            return run(words)
        except BrokenPipeError:
            with contextlib.suppress(OSError, ValueError):  # or Python complains as it exits
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return CLOSED_PIPE
        except BaseException as error:
            # An interrupted C extension may turn the interruption into an error of its own.
            if received() or isinstance(error, KeyboardInterrupt):
                if terminal.verbose:
                    write_traceback(error)
                say("unblur: interrupted")
                return 128 + (received() or 2)
            if isinstance(error, SystemExit):
                raise
            return fail(error, words)


def run(words: Sequence[str]) -> int:
    """Runs the verb that the words mean; errors come out as they are."""
    with delayed():  # imported here, so that a signal meanwhile is met with manners
        import typer

        from unblur.cli.config import defaults
        from unblur.cli.program import app, route

    command = typer.main.get_group(app)
    code = 0
    try:
        rest = route(words, command)
        # A file that is wrong must not keep the user from learning which it is.
        known = rest[0] not in ("config", "completion", "--help", "--version")
        with command.make_context(
            "unblur", rest, default_map=defaults(command, rest) if known else {}
        ) as context:
            command.invoke(context)
    except typer.Exit as done:  # after --help and --version
        code = done.exit_code
    if sys.stdout is not None:
        sys.stdout.flush()
    return code


def fail(error: BaseException, words: Sequence[str]) -> int:
    """Says what went wrong; gives the exit code."""
    from unblur.cli.failures import explain

    if terminal.verbose:
        write_traceback(error)
    code, message = explain(error, words)
    say(f"unblur: error: {message}")
    if terminal.json:
        emit("error", exit_code=code, message=message)
    return code
