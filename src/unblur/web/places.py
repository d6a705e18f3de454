"""Names that come from outside, and where they may lead."""

from __future__ import annotations

import re
import stat
import unicodedata
from pathlib import Path

from unblur.errors import UsageError

VIDEOS = frozenset(
    "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts webm wmv".split()  # noqa: SIM905
)
"""Extensions that are offered and taken."""
CONTAINERS = frozenset(
    "asf avi flv matroska mov mpeg mpegts mxf ogg webm 3gp m4a 3g2 mj2 mp4".split()  # noqa: SIM905
)
"""FFmpeg's names of what is opened, for uploads as for files in folders."""
PROJECT = "atlas.json"
"""The file that makes a folder an atlas project."""
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com\d|lpt\d)", re.IGNORECASE)
_LONGEST_NAME = 120


def inside(root: Path, relative: str) -> Path:
    """The file or folder below `root` that a relative path names, links followed.

    Raises:
        UsageError: it is not a plain path, leads out of `root`, or there is nothing there.
    """
    if "\\" in relative or relative.startswith("/"):
        raise _refused(relative)
    for part in filter(None, relative.split("/")):
        if part in (".", "..") or not _is_plain(part):
            raise _refused(relative)
    base = root.resolve()
    try:
        found = (base / relative).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise UsageError(f"{shown(relative)} does not exist: look at the folder again") from None
    if found != base and base not in found.parents:
        raise _refused(relative)
    kind = found.stat().st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise UsageError(f"{shown(relative)} is neither a file nor a folder")
    return found


def is_video(name: str) -> bool:
    """True for a name with an extension that is taken."""
    return extension(name) in VIDEOS


def extension(name: str) -> str:
    """Small letters behind the last dot; empty where there is none."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def shown(name: str) -> str:
    """A name fit to be displayed and offered for a download: the last part, nothing that acts.

    It is never used as a path.
    """
    last = re.split(r"[/\\]", name)[-1]
    clean = "".join(c for c in unicodedata.normalize("NFC", last) if _is_printable(c)).strip(" .")
    if len(clean) > _LONGEST_NAME:
        stem, dot, end = clean.rpartition(".")
        clean = (stem[: _LONGEST_NAME - len(end) - 1] + dot + end)[:_LONGEST_NAME]
    return clean or "clip"


def _is_printable(c: str) -> bool:
    return c.isprintable() and unicodedata.category(c) not in ("Cf", "Cs", "Co")


def _is_plain(part: str) -> bool:
    """False for what some system takes for a device, a stream or another name."""
    if any(ord(c) < 32 or c == ":" for c in part):
        return False
    return not _DEVICES.fullmatch(part.split(".")[0].rstrip(" "))


def _refused(relative: str) -> UsageError:
    return UsageError(f"{shown(relative)} is not a path inside the folder: choose from its list")
