"""Records on disk: JSON that is there whole or not at all, names that the server makes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from unblur.disk import read_bytes, write_file
from unblur.errors import MediaError, ResourceError

R = TypeVar("R")
CHECK = "check"
"""By which a record is known to be as it was written."""
LARGEST = 100_000_000
"""Bytes of a record."""
LAST = 1e11
"""Seconds since 1970, of any time in a record."""
ID = r"^[0-9a-f]{16}$"
"""What the server's names look like."""


def new_id() -> str:
    """A name that no one can guess."""
    return secrets.token_hex(8)


def is_id(name: str) -> bool:
    """True for a name that the server made."""
    return re.match(ID, name) is not None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a record; a reader finds the old one or the new one.

    Raises:
        ResourceError: the disk is full.
    """
    write_file(path, json.dumps({**content, CHECK: _check(content)}).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """A record; None where there is none, or none as it was written."""
    try:
        content = json.loads(read_bytes(path, LARGEST))
    except (MediaError, ResourceError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    check = content.pop(CHECK, None)  # older ones have none
    return content if check is None or check == _check(content) else None


def _check(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content).encode())


def made_of(kind: type[R], content: dict[str, Any]) -> R | None:
    """The dataclass of a record; None where values are missing, or of other types."""
    kinds = get_type_hints(kind)
    try:
        made = kind(**{name: x for name, x in content.items() if name in kinds})
    except TypeError:
        return None
    return made if all(_is(getattr(made, name), kinds[name]) for name in kinds) else None


def _is(value: Any, kind: Any) -> bool:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in args
    if origin is dict:
        return isinstance(value, dict)
    if origin is list:
        return isinstance(value, list) and all(_is(each, args[0]) for each in value)
    if args:
        return any(_is(value, each) for each in args)
    if kind is float:
        return type(value) in (int, float) and abs(value) < LAST
    return type(value) is kind


def records(folder: Path, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders with a server's name below `folder`, and the record of that name in each."""
    for each in sorted(folder.iterdir()) if folder.is_dir() else []:
        ours = is_id(each.name) and not each.is_symlink()
        content = read_json(each / name) if ours else None
        if content is not None:
            yield each, content


def remove(folder: Path) -> None:
    """Deletes a folder and all in it; links are deleted, not followed."""
    shutil.rmtree(folder, ignore_errors=True)


def bytes_in(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
