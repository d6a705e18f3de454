"""`unblur config`, and the file of defaults: a table of TOML for each verb.

```toml
[restore]
model = "motion-m"
max-memory = "3GB"
```
"""

from __future__ import annotations

import difflib
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unblur.cli.terminal import show
from unblur.errors import UsageError

TEMPLATE = """\
# Defaults of the command line, a table for each verb: `unblur VERB --help` lists the options.
# What is said on the command line counts more.

[restore]
# quality = "best"
# codec = "h265"
# crf = 16
# max-memory = "3GB"
# device = "cuda:0"
"""
MOST_BYTES = 100_000
INSTEAD = {"--model": ("quality",), "--weights": ("quality",), "--quality": ("model", "weights")}
"""Defaults that do not count where an option is given that says the same in other words."""


def path() -> Path:
    """Where the file is, or would be."""
    from unblur.weights import home

    return home() / "config.toml"


def config(
    init: Annotated[
        bool, typer.Option("--init", help="Write a file with examples, if there is none.")
    ] = False,
) -> None:
    """Show the file of defaults: where it is, and what it says."""
    file = path()
    if init and file.exists():
        raise UsageError(f"{file} exists: edit it")
    if init:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as new:
                new.write(TEMPLATE)
        except FileExistsError:
            raise UsageError(f"{file} exists: edit it") from None
        except OSError as error:
            raise UsageError(f"cannot write {file}: {error.strerror or error}") from error
    show(str(file))
    if not file.exists():
        show("is not there: `unblur config --init` writes one with examples")
        return
    for verb, options in read(file).items():
        show(f"[{verb}]")
        for name, value in options.items():
            show(f"{name} = {value!r}")


def read(file: Path) -> dict[str, dict[str, Any]]:
    """The tables of a file; none where it is not there.

    Raises:
        UsageError: it cannot be read, or is no TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        kind = file.stat()
        if not stat.S_ISREG(kind.st_mode) or kind.st_size > MOST_BYTES:  # it might never end
            raise UsageError(f"{file} is no file of defaults: remove it")
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        if not os.access(file.parent, os.X_OK):  # of somebody else, and nothing is known of it
            return {}
        raise UsageError(f"{file} cannot be read: {error}; correct it or remove it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read: {error}; correct it or remove it") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{file}: {name} stands outside of a table: write [restore] above it")
    return tables


def defaults(program: Any, words: Sequence[str]) -> dict[str, Any]:
    """What the file says, as the parser takes defaults.

    Args:
        program: knows the verbs and their options.
        words: the command line.

    Raises:
        UsageError: the file cannot be read, or names a verb or an option that is none.
    """
    file = path()
    found = {verb: table_for(file, verb, options, program) for verb, options in read(file).items()}
    for word in words:
        for name in INSTEAD.get(word.partition("=")[0], ()):
            found.get(words[0], {}).pop(name, None)
    return found


def table_for(file: Path, verb: str, options: dict[str, Any], program: Any) -> dict[str, Any]:
    """The options of a verb by their parameters; of `[atlas.fit]`, a table within one."""
    known = getattr(program, "commands", {})
    if verb not in known:
        raise UsageError(f"{file}: there is no verb '{verb}'{similar(verb, known)}")
    command = known[verb]
    if hasattr(command, "commands"):
        for name, table in options.items():
            if not isinstance(table, dict):
                raise UsageError(f"{file}: write [{verb}.VERB] above {name}")
        return {name: table_for(file, name, table, command) for name, table in options.items()}
    names = {
        name.lstrip("-"): option.name
        for option in command.params
        for name in option.opts
        if name.startswith("--")
    }
    found = {}
    for name, value in options.items():
        if name not in names:
            raise UsageError(f"{file}: [{verb}] has no option '{name}'{similar(name, names)}")
        if isinstance(value, dict | list):
            raise UsageError(f"{file}: [{verb}] {name} takes one value")
        # The parser reads words; it tells what is wrong with them, too.
        found[names[name]] = value if isinstance(value, bool) else str(value)
    return found


def similar(word: str, known: Any) -> str:
    """A hint at what was likely meant."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f": did you mean '{close[0]}'?" if close else ""
