"""`unblur completion SHELL`: what makes a shell complete verbs, options and models.

The script holds all words, so that a press of the tab key starts no Python.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import typer

from unblur.cli.terminal import show

PROGRAM = "unblur"


class Shell(str, Enum):
    """Shells that complete."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


class Verb(NamedTuple):
    """A verb, of one word or two."""

    words: tuple[str, ...]
    options: list[str]
    choices: dict[str, list[str]]
    """Values of options that have some."""


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(show_default=False, help="bash, zsh or fish.")],
) -> None:
    """Print what makes a shell complete verbs, options and names of models.

    bash: `unblur completion bash > ~/.local/share/bash-completion/completions/unblur`; zsh:
    `unblur completion zsh > ~/.zfunc/_unblur` (a folder of $fpath); fish: `unblur completion fish
    > ~/.config/fish/completions/unblur.fish`.
    """
    import unblur

    models = [info.name for info in unblur.list_models() if not info.for_tests]
    program = context.find_root().command
    verbs = list(verbs_of(program, models))
    show({Shell.bash: bash, Shell.zsh: zsh, Shell.fish: fish}[shell](verbs))


def verbs_of(command: Any, models: list[str], words: tuple[str, ...] = ()) -> Iterator[Verb]:
    """All verbs of the program; the first is the program itself, which restores."""
    if words or not hasattr(command, "commands"):
        yield verb_of(command, models, words)
    else:
        yield verb_of(command.commands["restore"], models, ())
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from verbs_of(inner, models, (*words, name))


def verb_of(command: Any, models: list[str], words: tuple[str, ...]) -> Verb:
    """The options of a verb and their values."""
    options, choices = ["--help"], {}
    # The parser's own types changed with its versions; those of the functions are ours.
    kinds = get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    for option in command.params:
        names = [name for name in option.opts if name.startswith("--")]
        options += names
        kind = kinds.get(option.name)
        enums = [e for e in (kind, *get_args(kind)) if isinstance(e, type) and issubclass(e, Enum)]
        values = [str(member.value) for each in enums for member in each]
        if "--model" in names:
            values = models
        if values:
            choices.update(dict.fromkeys(names, values))
    inner = sorted(getattr(command, "commands", {}))
    return Verb(words, inner + options, choices)


def bash(verbs: list[Verb]) -> str:
    """For bash: the verb decides which words there are, the word before which values."""
    first = " ".join(sorted({verb.words[0] for verb in verbs if verb.words}))
    lines = [
        f"_{PROGRAM}() {{",
        '  local here="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        '  local verb="${COMP_WORDS[1]}" words="" values=""',
        '  case "$verb ${COMP_WORDS[2]}" in',
        *(
            f'    "{" ".join(verb.words)}") verb="{" ".join(verb.words)}" ;;'
            for verb in verbs
            if len(verb.words) == 2
        ),
        "  esac",
        '  case "$verb" in',
    ]
    for verb in [*verbs[1:], verbs[0]]:
        name = f'"{" ".join(verb.words)}"' if verb.words else "*"
        lines += [f'    {name}) words="{" ".join(verb.options)}"', '      case "$before" in']
        lines += [f'        {o}) values="{" ".join(v)}" ;;' for o, v in verb.choices.items()]
        lines += ["      esac ;;"]
    lines += [
        "  esac",
        f'  [ "$COMP_CWORD" = 1 ] && words="$words {first}"',
        '  [ -n "$values" ] && words="$values"',
        '  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$here")',
        '  [ -z "$values" ] && [ "${here#-}" = "$here" ] && '
        'mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$here")',
        "  return 0",
        "}",
        f"complete -o filenames -F _{PROGRAM} {PROGRAM}",
    ]
    return "\n".join(lines)


def zsh(verbs: list[Verb]) -> str:
    """For zsh, which understands what bash does."""
    return "\n".join(
        [
            f"#compdef {PROGRAM}",
            "autoload -U +X bashcompinit && bashcompinit",
            bash(verbs)
            .replace(
                'mapfile -t COMPREPLY < <(compgen -W "$words" -- "$here")',
                'COMPREPLY=($(compgen -W "$words" -- "$here"))',
            )
            .replace(
                'mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$here")',
                'COMPREPLY+=($(compgen -f -- "$here"))',
            ),
        ]
    )


def fish(verbs: list[Verb]) -> str:
    """For fish: a line for each word."""
    lines = []
    for verb in verbs:
        inside = "".join(f"; and __fish_seen_subcommand_from {word}" for word in verb.words)
        when = f"-n 'true{inside}'" if verb.words else "-n __fish_use_subcommand"
        for word in verb.options:
            if word.startswith("--"):
                values = verb.choices.get(word)
                given = f" -x -a '{' '.join(values)}'" if values else ""
                lines.append(f"complete -c {PROGRAM} {when} -l {word[2:]}{given}")
            else:
                lines.append(f"complete -c {PROGRAM} {when} -a {word}")
    for word in sorted({verb.words[0] for verb in verbs if verb.words}):
        lines.append(f"complete -c {PROGRAM} -n __fish_use_subcommand -a {word}")
    return "\n".join(lines)
