"""Many files, one after the other: which ones, under which names, and what became of each."""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unblur.commands.cluster import connected
from unblur.commands.remote import is_remote
from unblur.commands.restore import restore
from unblur.errors import UnblurError, UsageError, is_out_of_memory

ENDINGS = frozenset(
    "." + ending
    for ending in (
        *("3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf"),
        *("ogv", "ts", "vob", "webm", "wmv", "y4m"),
    )
)
"""Of files in a folder that are taken for videos; a file that is named is taken whatever it is."""
KEPT_ENDINGS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm"})
"""Of inputs whose outputs end likewise; others become .mkv, which holds nearly everything."""


@dataclass(frozen=True)
class Task:
    """A file and what becomes of it."""

    source: Path
    output: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    source: Path
    output: Path
    status: Literal["done", "skipped", "failed"]
    frames: int = 0
    seconds: float = 0.0
    model: str = ""
    error: str = ""
    exit_code: int = 0


def tasks(
    inputs: Sequence[str],
    folder: str | Path,
    *,
    recursive: bool = False,
    suffix: str = "",
    ending: str | None = None,
) -> list[Task]:
    """The files to restore and their outputs, of which no two have the same name.

    Outputs that lie among the inputs are left out, unless they are named themselves.

    Args:
        inputs: files, folders, and patterns such as `clips/*.mp4`.
        folder: where outputs go; with `recursive`, into the same folders below it.
        recursive: take folders within folders.
        suffix: put behind the names.
        ending: of the outputs, such as `.mkv`; None: that of the input where it can be written.

    Raises:
        UsageError: an input names nothing; the folder is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name the folder for outputs last")
    found: dict[Path, tuple[Path, Path]] = {}
    for text in inputs:
        if is_remote(text):
            raise UsageError(f"{text}: batch takes files of this machine; restore URLs one by one")
        pairs = list(_found(text, recursive, folder))
        if not pairs:
            raise UsageError(f"{text}: no video is there; name files, folders or patterns")
        for path, below in pairs:
            found.setdefault(Path(os.path.realpath(path)), (path, below))

    def named(path: Path, below: Path, mark: str = "") -> Path:
        own = path.suffix.lower()
        end = ending or (own if own in KEPT_ENDINGS else ".mkv")
        return folder / below / f"{path.stem}{suffix}{mark}{end}"

    outputs = {real: named(*place) for real, place in found.items()}
    counts = Counter(str(output).casefold() for output in outputs.values())
    made = []
    for real, place in found.items():
        output = outputs[real]
        if (
            counts[str(output).casefold()] > 1
        ):  # distinguished by a name that more inputs do not change
            code = hashlib.sha256(str(real).encode(errors="surrogateescape")).hexdigest()[:6]
            output = named(*place, mark=f".{code}")
        made.append(Task(place[0], output))
    ours = {os.path.realpath(task.output) for task in made}
    own = [task for task in made if str(task.source) in inputs]
    return [t for t in made if t in own or os.path.realpath(t.source) not in ours]


def batch(
    todo: Sequence[Task],
    *,
    resume: bool = False,
    overwrite: bool = False,
    begin: Callable[[int, Task], None] = lambda number, task: None,
    **options: Any,
) -> Iterator[Outcome]:
    """Restores files; one that fails does not stop the rest.

    Args:
        todo: from `tasks`.
        resume: leave out what has its output, and go on with what was interrupted.
        overwrite: replace outputs that exist.
        begin: called with the number of each file, from 1, before its work begins.
        options: of `unblur.restore`.

    Yields:
        What became of each file, in order.
    """
    cluster = options.get("cluster")
    with connected(cluster) if cluster is not None else nullcontext():
        yield from _each(todo, resume, overwrite, begin, options)


def _each(
    todo: Sequence[Task],
    resume: bool,
    overwrite: bool,
    begin: Callable[[int, Task], None],
    options: Mapping[str, Any],
) -> Iterator[Outcome]:
    for number, task in enumerate(todo, 1):
        begin(number, task)
        try:
            task.output.parent.mkdir(parents=True, exist_ok=True)
            report = restore(
                task.source, task.output, resume=resume, overwrite=overwrite, **options
            )
        except (UnblurError, OSError, MemoryError, RuntimeError, ValueError) as error:
            yield Outcome(
                task.source, task.output, "failed", error=_words(error), exit_code=_code(error)
            )
            continue
        if report.skipped:
            yield Outcome(task.source, task.output, "skipped")
            continue
        yield Outcome(task.source, task.output, "done", report.frames, report.seconds, report.model)


def _found(text: str, recursive: bool, outputs: Path) -> Iterator[tuple[Path, Path]]:
    """Videos that an input means, each with the folder below the outputs' that it goes to."""
    path = Path(text)
    if path.is_dir():
        made = Path(os.path.realpath(outputs))  # unlike `resolve` it bears links to themselves
        within = Path(os.path.realpath(path)) in made.parents
        for each in sorted(path.rglob("*") if recursive else path.iterdir()):
            hidden = any(part.startswith(".") for part in each.relative_to(path).parts)
            ours = within and made in Path(os.path.realpath(each)).parents
            if each.is_file() and each.suffix.lower() in ENDINGS and not hidden and not ours:
                yield each, each.parent.relative_to(path)
    elif path.exists():
        yield path, Path()
    else:
        for name in sorted(glob.glob(text, recursive=recursive)):
            if Path(name).is_file():
                yield Path(name), Path()


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, UnblurError) else f"{type(error).__name__}: {error}"


def _code(error: BaseException) -> int:
    if isinstance(error, UnblurError):
        return error.exit_code
    return 4 if isinstance(error, OSError) or is_out_of_memory(error) else 5
