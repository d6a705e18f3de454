"""Jobs that were interrupted: what was done of them, whether it still fits, and who works on it.

Beside an output in work lies a hidden folder, `.NAME.HASH.unblur`. Its journal says what the job
is; a lock in it says that a process is at work, and ends with that process however it ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
import time
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unblur.disk import LOCK, try_lock
from unblur.errors import UnblurWarning, UsageError
from unblur.video.kept import PICTURES, Kept, write_whole

JOURNAL, ENDING = "journal.json", ".unblur"
WORTH = 5.0
"""Seconds of work that are worth keeping when a job ends early and can still tidy up."""
SAMPLE = 1 << 20
"""Bytes at the beginning, in the middle and at the end of a file by which it is known again."""
TIME = "the time of the input"
"""A fact of a job: when its input was written."""
LARGEST = 100_000_000
"""Bytes of a journal."""
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_TRIES = 10
_NAMES: ContextVar[Mapping[str, str]] = ContextVar("names", default=MappingProxyType({}))


@dataclass
class Unfinished:
    """A job at work on an output."""

    target: Path
    kept: Kept
    begun: bool
    """Whether an interrupted job is gone on with."""
    facts: Mapping[str, Any]
    chosen: dict[str, Any] = field(default_factory=dict)
    """What was decided when the job began, and must stay."""

    def note(self, **chosen: Any) -> None:
        """Keeps what was decided."""
        if chosen.items() <= self.chosen.items():
            return
        self.chosen.update(chosen)
        journal = {"target": str(self.target), "facts": self.facts, "chosen": self.chosen}
        journal["job"] = self.kept.job
        journal["check"] = _check(journal)
        with contextlib.suppress(OSError):  # without a journal the work is done again, no more
            write_whole(self.kept.folder / JOURNAL, json.dumps(journal, indent=1).encode())


@dataclass(frozen=True)
class Leftover:
    """What an interrupted job left."""

    folder: Path
    target: Path
    """The output that it was to become."""
    size: int
    """Bytes."""
    at_work: bool
    """Whether a process works on it right now."""


@contextlib.contextmanager
def shown_as(target: object, name: object) -> Iterator[None]:
    """While the block runs messages call an output by the name that the user gave."""
    before = _NAMES.set({**_NAMES.get(), os.path.realpath(str(target)): str(name)})
    try:
        yield
    finally:
        _NAMES.reset(before)


def shown(target: object) -> str:
    """An output as messages call it."""
    return _NAMES.get().get(str(target), str(target))


@contextlib.contextmanager
def unfinished(
    target: Path, facts: Mapping[str, Any], *, resume: bool, keep_frames: bool
) -> Iterator[Unfinished | None]:
    """Keeps what is done of an output while the block runs, and afterwards if it fails.

    Args:
        target: the output.
        facts: what must be the same for its work to be taken up; words that a user knows.
        resume: whether an interrupted job may be gone on with.
        keep_frames: see `Kept`.

    Yields:
        The job; None where no folder can be made.

    Raises:
        UsageError: another process works on it; it was begun before, and by another request.
    """
    facts = json.loads(json.dumps(dict(facts)))
    folder = folder_of(target)
    try:
        lock = locked(folder, target)
    except OSError:
        yield None
        return
    kept = Kept(folder, keep_frames=keep_frames, job=secrets.token_hex(8))
    job = Unfinished(target, kept, False, facts)
    try:
        _take_up(job, resume)
    except BaseException:
        lock.close()
        raise
    began = time.monotonic()
    try:
        yield job
    except BaseException:
        kept.close()
        if target.exists() and kept.is_result(target):  # interrupted on its last step
            _remove(kept, lock)
            raise
        if _holds_work(folder) and (job.begun or time.monotonic() - began >= WORTH):
            _tidy(folder)
            lock.close()
            warnings.warn(
                f"what was done of {shown(target)} is kept: run the same command with --resume to "
                f"go on, or `unblur clean '{shown(target)}'` to remove it",
                UnblurWarning,
                stacklevel=3,
            )
        else:
            _remove(kept, lock)
        raise
    _remove(kept, lock)


def is_finished(target: Path) -> bool:
    """Whether no job is left of an output that is there.

    What a job left that was killed when the output had its name is removed.

    Raises:
        UsageError: a process works on it.
    """
    folder = folder_of(target)
    if not (folder / LOCK).exists():
        return True
    kept, lock = Kept(folder), locked(folder, target)
    if _holds_work(folder) and not kept.is_result(target):
        lock.close()
        return False
    _remove(kept, lock)
    return True


def folder_of(target: Path) -> Path:
    """Where what is done of an output lies."""
    code = hashlib.sha256(target.name.encode(errors="surrogateescape")).hexdigest()[:8]
    return target.with_name(f".{target.stem[:24]}.{code}{ENDING}")


def leftovers(path: Path) -> list[Leftover]:
    """What interrupted jobs left of an output, or of all outputs in a folder."""
    where = Path(os.path.realpath(path))
    folders = [folder_of(where)]
    if where.is_dir():
        folders += sorted(where.glob(f".*{ENDING}"))
    found = []
    for folder in folders:
        if folder.is_symlink() or not _is_plain(folder / LOCK):  # not one of ours
            continue
        journal = _journal(folder)
        name = journal.get("target") or _content(folder / LOCK).partition("\n")[2]
        files = [file for file in folder.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        target = folder.parent / Path(name).name  # the folder may have been moved
        found.append(Leftover(folder, target, size, is_locked(folder)))
    return found


def remove(left: Leftover) -> None:
    """Removes what an interrupted job left; UsageError where a process works on it."""
    lock = locked(left.folder, left.target)
    _remove(Kept(left.folder), lock)


def time_of(path: Path) -> str:
    """When a file was written, as `touch -d` takes it; empty for what is no file."""
    if not path.is_file():
        return ""
    seconds, part = divmod(path.stat().st_mtime_ns, 10**9)
    return f"@{seconds}.{part:09d}"


def fingerprint(path: Path, *, timed: bool = True) -> str:
    """By which a file, or a folder or pattern of files, is known again.

    Args:
        path: of it.
        timed: whether a file that was written again, with the same content, is another one.
    """
    if path.is_file():
        status = path.stat()
        digest = hashlib.sha256(f"{status.st_size} {time_of(path) if timed else ''}".encode())
        with path.open("rb") as file:
            for start in (0, max(0, status.st_size // 2), max(0, status.st_size - SAMPLE)):
                file.seek(start)
                digest.update(file.read(SAMPLE))
        return digest.hexdigest()
    folder, ending = (path, "") if path.is_dir() else (path.parent, path.suffix)
    digest = hashlib.sha256()
    for each in sorted(folder.iterdir()) if folder.is_dir() else []:
        if each.is_file() and each.name.endswith(ending) and not each.name.startswith("."):
            status = each.stat()
            digest.update(f"{each.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def content_hash(path: Path) -> str:
    """SHA-256 of a file; empty for pipes and devices, which may never end and are refused later."""
    digest = hashlib.sha256()
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        while content := file.read(SAMPLE):
            digest.update(content)
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """A value as a journal holds it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {k: plain(v) for k, v in dataclasses.asdict(value).items()}
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return str(value)


def _take_up(job: Unfinished, resume: bool) -> None:
    """Goes on with what lies there, or begins anew; UsageError where neither is right."""
    folder, journal = job.kept.folder, _journal(job.kept.folder)
    if not resume and job.kept.is_result(job.target):  # it was killed when all was done
        _empty(folder)
        return
    if not (journal and _holds_work(folder)):
        if (folder / JOURNAL).exists() and _holds_work(folder):
            warnings.warn(
                f"the journal of what was done of {shown(job.target)} is damaged: it is done again",
                UnblurWarning,
                stacklevel=4,
            )
        _empty(folder)
        return
    name = shown(job.target)
    remedy = f"or remove what was done by `unblur clean '{name}'`"
    if not resume:
        raise UsageError(
            f"{name} was begun before and is not complete: add --resume to go on, {remedy}"
        )
    before = journal["facts"]
    for fact in [*before, *(n for n in job.facts if n not in before)]:
        then, now = before.get(fact), job.facts.get(fact)
        if then != now:
            raise UsageError(
                f"{name} cannot be gone on with: {_difference(fact, then, now)}; "
                f"make it the same again, {remedy}"
            )
    job.begun, job.chosen, job.kept.job = True, journal["chosen"], journal["job"]
    _own(folder)
    _tidy(folder)


def _difference(name: str, then: Any, now: Any) -> str:
    if name == TIME and then and now:
        return (
            "the input was written again since it was begun, and its content looks the same (if it "
            f"is, `touch -d {then} IN` says so)"
        )
    if name.startswith("--"):
        return f"it was begun with {_said(name, then)}, now there is {_said(name, now)}"
    if isinstance(then, str) and isinstance(now, str) and max(len(then), len(now)) < 40:
        return f"it was begun with {name} {then}, now it is {now}"
    return f"{name} changed since it was begun"


def _said(option: str, value: Any) -> str:
    if value is None or value is False:
        return f"no {option}"
    return option if value is True else f"{option} {value}"


def _journal(folder: Path) -> dict[str, Any]:
    """What the journal says; nothing where there is none, or a damaged one."""
    path = folder / JOURNAL
    if not _is_plain(path) or path.stat().st_size > LARGEST:
        return {}
    try:
        journal: dict[str, Any] = json.loads(path.read_bytes())
        check = journal.pop("check")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    parts = {"target": str, "facts": dict, "chosen": dict, "job": str}
    whole = all(isinstance(journal.get(name), kind) for name, kind in parts.items())
    return journal if whole and check == _check(journal) else {}


def _is_plain(path: Path) -> bool:
    """False for what is not there, for links, and for pipes and devices, which may never end."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_lock(path: Path) -> bool:
    """False for a file that has another name, too: what is written would be in both."""
    try:
        return _is_plain(path) and path.lstat().st_nlink <= 1
    except OSError:
        return False


def _check(journal: Mapping[str, Any]) -> str:
    """By which a journal is known to be whole: what it says decides what frames come out."""
    return hashlib.sha256(json.dumps(journal, sort_keys=True).encode()).hexdigest()


def _holds_work(folder: Path) -> bool:
    done = [*folder.glob("*.packets"), *folder.glob("*.frames"), *folder.glob(f"{PICTURES}/*")]
    return any(file.stat().st_size > 0 for file in done)


def _tidy(folder: Path) -> None:
    """Removes what is of no use to who goes on: the output under way, half-written files."""
    for file in [*folder.glob(".*"), *folder.glob("*.growing"), *folder.glob("*/*.growing")]:
        file.unlink(missing_ok=True)


def _own(folder: Path) -> None:
    """Leaves what no other name leads to, since logs grow and are cut; no job makes folders."""
    for path in folder.iterdir():
        if path.is_dir() != (path.name == PICTURES):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.suffix == ".frames" and path.stat().st_nlink > 1:
            copy = path.with_suffix(".growing")
            shutil.copyfile(path, copy)
            os.replace(copy, path)
    for path in (folder / PICTURES).glob("*"):
        if path.is_dir():
            shutil.rmtree(path)


def _empty(folder: Path) -> None:
    for each in folder.iterdir() if folder.is_dir() else ():
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        elif each.name != LOCK:
            each.unlink(missing_ok=True)


def _remove(kept: Kept, lock: _Lock) -> None:
    if os.name == "nt":  # where an open file cannot be removed
        lock.close()
    kept.close()
    with contextlib.suppress(OSError):
        _empty(kept.folder)  # the lock stays to the end: by it `unblur clean` knows the folder
    kept.remove()
    lock.close()


class _Lock:
    """A lock that ends with its process."""

    def __init__(self, file: int) -> None:
        self._file: int | None = file

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None


def locked(folder: Path, target: object) -> _Lock:
    """Makes the folder, and takes it for this process; UsageError where another one has it."""
    path = folder / LOCK
    for _ in range(_TRIES):
        if folder.is_symlink() or (os.path.lexists(path) and not _is_lock(path)):
            raise UsageError(f"{path} is no lock of unblur's: remove it, or choose another name")
        folder.mkdir(exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
        except FileNotFoundError:  # who had it removed it just now
            continue
        if not try_lock(file):
            os.close(file)
            who = _content(path).partition("\n")[0]
            by = f"another job{f' ({who})' if who else ''}"
            raise UsageError(
                f"{shown(target)} is being written by {by}: wait for it, or choose another name"
            )
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            os.ftruncate(file, 0)
            who = f"process {os.getpid()} on {socket.gethostname()}\n{target}"
            os.write(file, os.fsencode(who))  # a name need not be text
            _drop_others(folder)
            return _Lock(file)
        os.close(file)
    raise OSError(errno.EAGAIN, "its folder comes and goes", str(folder))


def _drop_others(folder: Path) -> None:
    """Removes links, pipes and devices, which no job makes: what is written would go elsewhere."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if not stat.S_ISDIR(path.lstat().st_mode) and not _is_plain(path):
                path.unlink()


def is_locked(folder: Path) -> bool:
    """Whether a process is at work in a folder."""
    if not _is_plain(folder / LOCK):
        return False
    file = os.open(folder / LOCK, os.O_RDWR)
    try:
        return not try_lock(file)
    finally:
        os.close(file)


def _content(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())
    except OSError:
        return ""
