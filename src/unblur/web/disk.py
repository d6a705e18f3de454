"""Records on disk: JSON that is there whole or not at all, names that the server makes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unblur.disk import write_file

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
    write_file(path, json.dumps(content).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """A record; None where there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def records(folder: Path, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders with a server's name below `folder`, and the record of that name in each."""
    for each in sorted(folder.iterdir()) if folder.is_dir() else []:
        content = read_json(each / name) if is_id(each.name) else None
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
