"""From an exception to the exit code and the line that a user gets."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any

import typer

from unblur.errors import UnblurError, is_out_of_memory

USAGE, RESOURCE, INTERNAL = 2, 4, 5
DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
NAMES = {
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY, errno.EXDEV),
}
"""Errors about a name that a user gave."""
MACHINE = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EAGAIN, errno.EBUSY}
# typer took over click's classes in 2025; the common base is found in both through this one.
UsageFailure = typer.BadParameter.__mro__[1]


def explain(error: BaseException, words: Sequence[str]) -> tuple[int, str]:
    """Exit code and message of an error that ended the program.

    Args:
        error: what was raised.
        words: what the user typed.
    """
    if isinstance(error, UnblurError):
        return error.exit_code, str(error)
    if isinstance(error, UsageFailure):
        return USAGE, explain_usage(error, words)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        where = f" to write {error.filename}" if error.filename else ""
        return RESOURCE, f"no space left{where}: free some, or write to another disk"
    if is_out_of_memory(error):
        return RESOURCE, "out of memory: lower --max-memory or --tile, or try --device cpu"
    if isinstance(error, OSError) and error.errno in NAMES and error.filename is not None:
        reason = os.strerror(error.errno)
        return USAGE, f"{error.filename}: {reason}: check the name and who may use it"
    if isinstance(error, OSError) and error.errno in MACHINE:
        where = f"{error.filename}: " if error.filename else ""
        return RESOURCE, f"{where}{os.strerror(error.errno)}: the disk or the system refuses more"
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return USAGE, "a name of a file holds the character NUL, which no system takes: change it"
    if isinstance(error, ValueError | OverflowError) and "verflow when unpack" in str(error):
        return USAGE, "a number is too large: seeds have up to 18 digits"
    kind = type(error).__name__
    text = f"{kind}: {error}" if str(error) else kind
    return INTERNAL, (
        f"{text}: this is a bug in unblur, run again with --verbose for the traceback and report it"
    )


def explain_usage(error: Any, words: Sequence[str]) -> str:
    """The parser's message with where to look next."""
    # "Value error" is how the library that reads settings says that a function refused it.
    message = error.format_message().strip().rstrip(".").replace("Value error, ", "")
    if "unexpected extra argument" in message:
        message += "; a pattern such as 'frames/*.png' needs quotes"
    command = error.ctx.command_path if error.ctx else "unblur"
    # Who said no verb, and too few or too many files, may have meant one: the program's help lists
    # them. Options are listed by the verb's own help.
    maybe_verb = command == "unblur restore" and "restore" not in words
    hint = "unblur" if maybe_verb and "argument" in message else command
    return f"{message}: see `{hint} --help`"
