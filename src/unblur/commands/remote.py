"""Files that a URL names (`s3://`, `gs://`, `https://`): brought here, restored, and sent there.

The whole file is brought: a job reads its input twice, seeks in it, and must find the same after an
interruption. fsspec knows the places.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unblur import weights
from unblur.commands.resume import NO_MATTER
from unblur.commands.unfinished import fingerprint, leftovers, locked, plain, shown_as
from unblur.disk import read_bytes
from unblur.errors import MediaError, ResourceError, UsageError

WHOLE_AT_ONCE = {"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss"}
"""Protocols by which a file appears when it is complete."""
LARGEST_NOTE = 1_000_000
"""Bytes."""
UNSENT = "unsent.json"
"""Which job a result is of that could not be sent."""
_CHANGES = ("size", "mtime", "created", "LastModified", "ETag", "last_modified", "updated", "md5")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_remote(name: object) -> bool:
    """Whether a name is a URL."""
    return isinstance(name, str) and _URL.match(name) is not None


def folder_for(destination: str | os.PathLike[str]) -> Path:
    """Where the files of a job wait that writes to a destination."""
    name = str(destination)
    name = name if is_remote(name) else os.path.realpath(name)
    return weights.home() / "remote" / hashlib.sha256(name.encode()).hexdigest()[:16]


@contextmanager
def staged(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    options: Mapping[str, Any],
) -> Iterator[tuple[str | os.PathLike[str], str | os.PathLike[str] | None]]:
    """Brings a source here, and sends what the block made to where it belongs.

    Args:
        source: a file or URL.
        destination: a file or URL.
        options: of `unblur.restore`. With `resume`, what the same job had made and could not send
            is there, for the block to skip.

    Yields:
        Source and destination on this machine; None where, with `resume`, the destination is there.

    Raises:
        UsageError: the destination exists, or a URL is of no file.
        MediaError: there is no such source.
        ResourceError: a place cannot be reached, or the disk is too full.
    """
    folder = folder_for(destination)
    near, made = source, destination
    if is_remote(destination):
        made = near_output(str(destination))
    if _where(source) == _where(destination):
        raise UsageError(f"{destination} is the input itself: write to another name")
    if is_remote(destination) and _is_there(destination) and not options["overwrite"]:
        if options["resume"]:
            yield source, None
            return
        raise UsageError(f"{destination} exists: add --overwrite, or choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    lock = locked(folder, destination)
    try:
        if is_remote(source):
            near = _brought(str(source), folder / "in")
        job = "" if made is destination else _job(source, near, options)
        if made is not destination:
            _check_unsent(Path(made), str(destination), job, options)
        with shown_as(made, destination):
            yield near, made
        if made is not destination:
            (folder / UNSENT).write_text(_of_file(job, Path(made)))
            _send(Path(made), str(destination))
    except BaseException:
        whole = made is not destination and Path(made).exists()
        keep = whole or bool(leftovers(Path(made)))
        lock.close()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    lock.close()
    shutil.rmtree(folder, ignore_errors=True)


def _is_there(url: str | os.PathLike[str]) -> bool:
    """Whether a URL names something.

    Raises:
        ResourceError: the place cannot be reached.
    """
    place, path = _place(url)
    with _reaching(url):
        return bool(place.exists(path))


def _job(
    source: str | os.PathLike[str], near: str | os.PathLike[str], options: Mapping[str, Any]
) -> str:
    """What a job is, by which it is known again."""
    given = {name: plain(value) for name, value in options.items() if name not in NO_MATTER}
    return json.dumps([str(source), fingerprint(Path(near)), given], sort_keys=True)


def _check_unsent(made: Path, destination: str, job: str, options: Mapping[str, Any]) -> None:
    """UsageError where a result lies here that was not sent, and is not of this job."""
    if not made.exists():
        return
    note = made.with_name(UNSENT)
    same = _says(note, _of_file(job, made))
    if not (options["resume"] and same):
        remedy = "add --resume to send it, or" if same else "send it, then"
        raise UsageError(
            f"{made} is the restored video of an earlier job, which could not be sent to "
            f"{destination}: {remedy} run `unblur clean '{destination}'`"
        )


def near_output(destination: str) -> Path:
    """Where the output of a job grows that is to be sent to a URL."""
    return folder_for(destination) / _name(destination)


def _brought(source: str, folder: Path) -> Path:
    """The file on this machine; one that was brought before, if it is still the same."""
    place, path = _place(source)
    with _reaching(source):
        try:
            facts = place.info(path)
        except FileNotFoundError as error:
            raise MediaError(f"{source}: there is no such file") from error
        if facts.get("type") == "directory":
            raise UsageError(f"{source} is a folder: name a file, or bring the folder here")
        known = json.dumps({key: str(facts[key]) for key in _CHANGES if key in facts})
        target, note = folder / _name(source), folder / "from.json"
        if target.is_file() and _says(note, _of_file(known, target)):
            return target
        folder.mkdir(exist_ok=True)
        size, free = int(facts.get("size") or 0), shutil.disk_usage(folder).free
        if size > free:
            raise ResourceError(
                f"{source} has {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {folder}: "
                "free some space, or set UNBLUR_HOME to a folder on a larger disk"
            )
        note.unlink(missing_ok=True)
        place.get_file(path, str(target))
        note.write_text(_of_file(known, target))
    return target


def _of_file(text: str, path: Path) -> str:
    """A note that fits only while a file is what it was."""
    return json.dumps([text, fingerprint(path)])


def _says(note: Path, text: str) -> bool:
    try:
        return read_bytes(note, LARGEST_NOTE) == text.encode()
    except (MediaError, ResourceError):
        return False


def _send(made: Path, destination: str) -> None:
    place, path = _place(destination)
    with _reaching(destination, f"; the restored video is {made}"):
        with contextlib.suppress(NotImplementedError):
            place.makedirs(place._parent(path), exist_ok=True)
        if destination.partition("://")[0] in WHOLE_AT_ONCE:
            place.put_file(str(made), path)
            return
        part = f"{place._parent(path)}/.{_name(destination)}.part"
        place.put_file(str(made), part)
        place.mv(part, path)


def _place(url: str | os.PathLike[str]) -> tuple[Any, str]:
    """The file system that a URL is of, and the path within."""
    try:
        import fsspec
    except ImportError as error:
        raise ResourceError(
            f"{url}: URLs need fsspec: install it by `pip install 'unblur[remote]'`, or copy the "
            "file here"
        ) from error
    try:
        place, path = fsspec.core.url_to_fs(str(url))
    except ImportError as error:  # of the package for that protocol
        raise ResourceError(f"{url}: {error}, or copy the file here") from error
    except ValueError as error:
        raise UsageError(f"{url}: {error}; copy the file here") from error
    return place, str(path)


def _where(name: str | os.PathLike[str]) -> tuple[object, str]:
    """What a file or URL names, whichever way it is written."""
    if not is_remote(name):
        return "local", os.path.realpath(name)
    place, path = _place(name)
    kinds = place.protocol if isinstance(place.protocol, tuple) else (place.protocol,)
    return ("local", os.path.realpath(path)) if "file" in kinds else (kinds, path)


def _name(url: str | os.PathLike[str]) -> str:
    name = str(url).partition("?")[0].rstrip("/").rpartition("/")[2]
    if "%" in name or "." not in name or name.startswith("."):
        raise UsageError(f"{url}: a URL names one video file, with its extension")
    return name


@contextmanager
def _reaching(url: object, besides: str = "") -> Iterator[None]:
    """What a place says when it cannot be reached, in the project's words."""
    try:
        yield
    except (MediaError, ResourceError, UsageError):
        raise
    except Exception as error:  # of whatever library speaks to that place
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ResourceError(f"{url} cannot be reached ({said}){besides}") from error
