"""The verbs together: which one a line of words means, and the program that runs it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from unblur import __version__
from unblur.cli import (
    analyze,
    atlas,
    batch,
    clean,
    completion,
    config,
    data,
    depth,
    evaluate,
    models,
    probe,
    reproduce,
    restore,
    serve,
    simulate,
    train,
    weights,
)
from unblur.cli.options import HELP_NAMES
from unblur.errors import UsageError

HELP = "help"
LIKE = 0.7
"""How similar two words are, of 1, where one was likely meant for the other."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(HELP_NAMES)},
)


def show_version(wanted: bool) -> None:
    """Writes the version and ends."""
    if wanted:
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
    `unblur VERB --help` lists the options of a verb, `unblur restore --help` those of
    `unblur IN OUT`.
    """


app.command("restore")(restore.restore)
app.command("batch")(batch.batch)
app.command("clean")(clean.clean)
app.command("analyze")(analyze.analyze)
app.command("models")(models.models)
app.command("evaluate")(evaluate.evaluate)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(weights.app, name="weights")
app.command("probe")(probe.probe)
app.command("train")(train.train)
app.add_typer(data.app, name="data")
app.add_typer(simulate.app, name="simulate")
app.add_typer(atlas.app, name="atlas")
app.command("depth")(depth.depth)
app.command("blurmap")(depth.blurmap)
app.command("config")(config.config)
app.command("completion")(completion.completion)
app.command("serve")(serve.serve)


def route(words: Sequence[str], command: typer.core.TyperGroup) -> list[str]:
    """Puts the verb first: `restore` where none is said, options in front of it behind it.

    Args:
        words: what the user typed.
        command: the program, whose verbs and options tell which words are values of options.

    Returns:
        Words that start with a verb, unless only `--help` or `--version` is requested.
    """
    words = list(words) or ["--help"]
    about = all(word in command.commands for word in words[1:2])
    if words[0] == HELP and not Path(HELP).exists():
        if about:
            return [*words[1:], "--help"]
        if len(words) == 2 and not words[1].startswith("-"):
            check_verb(words[1], command)
            raise UsageError(f"there is no verb '{words[1]}': `unblur help` lists them")
    position = first_argument(words, command)
    if position is None:
        alone = {*HELP_NAMES, "--version"}
        return words if alone.intersection(words) else ["restore", *words]
    if words[position] not in command.commands or "--" in words[:position]:
        if "--" not in words[:position]:
            check_verb(words[position], command)
        return ["restore", *words]
    rest = words[position:]
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *words[:position], *rest[end:]]


def check_verb(word: str, command: typer.core.TyperGroup) -> None:
    """Raises `UsageError` where the word is no file and nearly a verb."""
    verbs = [*command.commands, HELP]
    close = difflib.get_close_matches(word.lower(), verbs, n=1, cutoff=LIKE)
    if close and not Path(word).exists():
        raise UsageError(
            f"'{word}' is neither a file nor a verb: did you mean `unblur {close[0]}`?"
        )


def first_argument(words: list[str], command: typer.core.TyperGroup) -> int | None:
    """Position of the first word that is neither an option nor the value of one."""
    with_value = {
        name
        for verb in command.commands.values()
        for option in verb.params
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
