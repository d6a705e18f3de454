"""Putting results in place: complete or not at all, nothing that is there deleted first.

A new file or folder grows beside its place under a hidden name, on the same disk, and gets its name
in one step. What goes into a folder that is there already, so that its owner, its permissions and
all other files stay, grows in a hidden folder inside it. One step turns that folder into
`.unblur-commit`: from then on the result is complete. Then its files take their names one by one.
A run that is killed in the midst of that leaves the rest there, and the next one that opens the
folder, for reading or writing, takes it up: `recover`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from unblur.errors import MediaError, ResourceError, UsageError

COMMIT = ".unblur-commit"
NEW, OLD, PLAN = "new", "old", "plan.json"
LOCK = "lock"
LONGEST_NAME = 255
"""Bytes of a name between two slashes, that common disks take."""
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL}
"""What disks say that know no hard links."""


def check_name(path: object) -> None:
    """UsageError for what names no file or folder, there or not."""
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str):
        remedy = "os.fsdecode of it" if isinstance(name, bytes) else "a str or pathlib.Path"
        raise UsageError(f"{name!r} names no file: give {remedy}")
    try:
        longest = max(map(len, os.fsencode(name).split(os.fsencode(os.sep))))
    except UnicodeEncodeError:
        raise UsageError(f"{name!r} is no name of a file: it holds half a character") from None
    if not name or "\0" in name:
        fault = "it holds NUL" if name else "it is empty"
        raise UsageError(f"{name!r} is no name of a file: {fault}")
    if longest > LONGEST_NAME:
        raise UsageError(
            f"{name[:40]}... has a part of {longest} bytes, which no disk takes: choose a shorter"
            " name"
        )


def hidden_name(name: str) -> str:
    """A name that no other run takes, short enough where `name` is as long as a name can be."""
    shown = name.encode()[:48].decode(errors="ignore")
    return f".{shown}.{secrets.token_hex(4)}.part"


def sync(path: Path) -> None:
    """Waits until a file or the names in a folder are on disk; not all disks know how to."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """Waits until all that a folder holds is on disk."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            sync_tree(Path(entry.path))
        else:
            sync(Path(entry.path))
    sync(folder)


def write_file(path: Path, content: bytes) -> None:
    """Writes a file, or another version of it; a reader finds the old one or the new one, whole.

    Raises:
        ResourceError: the disk is full, or the folder cannot be written to.
    """
    part = path.with_name(hidden_name(path.name))
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ResourceError(
            f"cannot write in {path.parent}: {error.strerror}; free some space"
        ) from error


def put_file(part: Path, target: Path, *, overwrite: bool) -> None:
    """Gives a complete file its name in one step.

    Raises:
        FileExistsError: there is a file of that name, and `overwrite` is not set.
        OSError: the disk fails.
    """
    if overwrite:
        os.replace(part, target)
    elif os.name == "nt":
        os.rename(part, target)  # refuses there what replace would do
    else:
        try:
            os.link(part, target)
            part.unlink()
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # The empty file keeps the name until it is replaced.
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            os.replace(part, target)
    sync(target.parent)


class Staged:
    """A folder in the making, or what is to come into one that is there.

    Attributes:
        path: write here.
    """

    def __init__(self, folder: Path) -> None:
        """Makes room.

        Args:
            folder: its final place; links to it are followed.

        Raises:
            UsageError: the folder cannot be written to.
        """
        self.folder = Path(os.path.realpath(folder))
        self._inside = self.folder.is_dir()
        parent = self.folder if self._inside else self.folder.parent
        self._root = parent / hidden_name(self.folder.name)
        self.path = self._root / NEW if self._inside else self._root
        try:
            self.path.mkdir(parents=self._inside)
        except OSError as error:
            raise UsageError(
                f"cannot write in {parent} ({error.strerror or error}): choose another folder"
            ) from error

    def adopt(self, made: Path) -> None:
        """Takes over the files in a folder, also one on another disk; they stay there as well.

        Raises:
            OSError: the disk fails, or is full.
        """
        for entry in os.scandir(made):
            try:
                os.link(entry.path, self.path / entry.name)
            except OSError as error:
                if error.errno not in (*_NO_LINKS, errno.EXDEV):
                    raise
                shutil.copyfile(entry.path, self.path / entry.name)

    def put(self, *, overwrite: bool, remove: Collection[str] = ()) -> None:
        """Gives what was made its place.

        Args:
            overwrite: whether files may be replaced.
            remove: names in the folder that are not to stay, beside those that are replaced.

        Raises:
            UsageError: a folder or file of that name came to exist in the meantime.
            OSError: the disk fails.
        """
        sync_tree(self.path)
        if not self._inside:
            try:
                if self.folder.exists():
                    raise FileExistsError(errno.EEXIST, "exists", str(self.folder))
                os.rename(self._root, self.folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
                raise UsageError(
                    f"{self.folder} came to exist while it was being made: choose another name"
                ) from error
            sync(self.folder.parent)
            return
        plan = self._root / PLAN
        plan.write_text(json.dumps({"remove": sorted(remove)}), encoding="utf-8")
        sync_tree(self._root)
        commit = self.folder / COMMIT
        with _locked(self.folder):
            if commit.is_dir():
                _finish(commit)
            there = [name for name in os.listdir(self.path) if os.path.lexists(self.folder / name)]
            if there and not overwrite:
                raise UsageError(
                    f"{self.folder / min(there)} came to exist while it was being made: choose"
                    " another folder or add --overwrite"
                )
            os.rename(self._root, commit)
            sync(self.folder)
            _finish(commit)

    def discard(self) -> None:
        """Removes what was made, where it has not got its place."""
        shutil.rmtree(self._root, ignore_errors=True)


def recover(folder: Path) -> bool:
    """Completes what a run that was killed had ready for a folder.

    Returns:
        Whether there was anything to do.

    Raises:
        MediaError: it cannot be completed.
    """
    real = Path(os.path.realpath(folder))
    commit = real / COMMIT
    if not os.path.isdir(commit):
        return False
    try:
        with _locked(real):
            if commit.is_dir():
                _finish(commit)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MediaError(
            f"{folder}: a run was cut off while it put its results there, and they cannot be"
            f" completed from {commit} ({error}): make the folder writable"
        ) from error
    return True


def entries(folder: Path) -> list[str]:
    """Names in a folder, without what runs have in the making there."""
    return sorted(
        name
        for name in os.listdir(folder)
        if name != COMMIT and not (name.startswith(".") and name.endswith(".part"))
    )


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """What a regular file holds: pipes and devices are refused, they may never end.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        MediaError: it is missing, no file, or cannot be read.
        ResourceError: it is larger.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise MediaError(f"{path} is not a regular file: save it to a file first")
            data = b"" if status.st_size > most else file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{path} cannot be read ({reason}): check the name") from error
    if max(status.st_size, len(data)) > most:
        raise ResourceError(
            f"{path} has {max(status.st_size, len(data))} bytes, and such a file {most} at most:"
            " leave it out"
        )
    return data


def check_inputs(target: Path, inputs: Sequence[str | os.PathLike[str] | None]) -> None:
    """UsageError where a file to be written is one that the run reads, or would lie among them."""
    final = Path(os.path.realpath(target))
    for given in inputs:
        if given is None or not os.path.lexists(given):
            continue
        read = Path(os.path.realpath(given))
        if final == read or (final.exists() and os.path.samefile(final, read)):
            raise UsageError(f"{target} is read by this run: write to another name")
        if read.is_dir() and read == final.parent:
            raise UsageError(f"{target} lies in {given}, which this run reads: write elsewhere")


def try_lock(file: int) -> bool:
    """Whether an open file is this process's alone from now on; True where nothing can be locked.

    The lock ends with the process, however it ends.
    """
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(file, 1 << 20, os.SEEK_SET)  # beyond what is read
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            os.lseek(file, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


@contextlib.contextmanager
def alone(folder: Path, refusal: str) -> Iterator[None]:
    """While the block runs a folder is this process's alone; a file `lock` in it says so.

    Args:
        folder: is made where it is not there.
        refusal: what is said to who comes second.

    Raises:
        UsageError: another process has it, or it cannot be made or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        file = os.open(folder / LOCK, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be used ({error.strerror or error}): name another folder"
        ) from error
    try:
        if not try_lock(file):
            raise UsageError(refusal)
        yield
    finally:
        os.close(file)


def _finish(commit: Path) -> None:
    """Moves what is ready to its place; begun again it goes on where it was."""
    folder, new, old = commit.parent, commit / NEW, commit / OLD
    plan = json.loads((commit / PLAN).read_text(encoding="utf-8"))
    old.mkdir(exist_ok=True)
    # What vouches for the rest comes last and goes first.
    ready = os.listdir(new) if new.is_dir() else []
    ready.sort(key=lambda name: (name.endswith(".json"), name))
    for name in ready:
        if name.endswith(".json"):
            _aside(folder / name, old)
    for name in ready:
        if (folder / name).is_dir() or (new / name).is_dir():
            _aside(folder / name, old)
        os.replace(new / name, folder / name)
    for name in plan["remove"]:
        if os.path.basename(name) == name and name not in ("", ".", ".."):
            _aside(folder / name, old)
    sync(folder)
    # The plan goes last: a folder without it is rubbish, and one with it can be taken up.
    shutil.rmtree(old, ignore_errors=True)
    gone = folder / hidden_name(folder.name)
    os.rename(commit, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _aside(path: Path, old: Path) -> None:
    if os.path.lexists(path):
        os.rename(path, old / f"{secrets.token_hex(4)}-{path.name[:200]}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Waits until no other run puts anything into the folder, where the system has such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network disks have none
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
