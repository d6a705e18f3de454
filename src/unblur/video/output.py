"""Where results are written: checked first, hidden until complete, then put in place at once."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from unblur.disk import put_file
from unblur.errors import ResourceError, UsageError

DISK_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "ENODEV", "ENXIO", "ESTALE", "EBADF")
    if hasattr(errno, name)
}
"""Numbers of errors that come from the disk, and not from what is written to it."""


def check_target(
    path: str | os.PathLike[str], *, source: str | os.PathLike[str] | None, overwrite: bool
) -> Path:
    """The file that `path` will become, links followed.

    Raises:
        UsageError: it exists and may not be replaced, it is the source, or its folder is missing.
    """
    given = Path(path)
    target = Path(os.path.realpath(given))
    folder = target.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {given}: the folder {folder} does not exist; create it")
    if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise UsageError(f"cannot write in {folder}: permission denied; choose another folder")
    if target.is_dir():
        raise UsageError(f"cannot write {given}: it is a folder; name a file in it")
    if target.is_symlink():
        raise UsageError(f"cannot write {given}: it is a link to itself; remove it or name another")
    if target.exists():
        if source is not None and os.path.exists(source) and os.path.samefile(source, target):
            raise UsageError(f"{given} is the input itself: write to another name")
        if not overwrite:
            raise UsageError(f"{given} exists: choose another name or add --overwrite")
        if not target.is_file():
            raise UsageError(f"cannot write {given}: it is not a regular file; name another")
    return target


class Pending:
    """A file under a hidden name beside its target until `publish`."""

    def __init__(self, target: Path, *, overwrite: bool, folder: Path | None = None) -> None:
        """Creates the empty file, in `folder` of the same disk where one is given.

        Raises:
            UsageError: the folder cannot be written to.
            ResourceError: the disk is full.
        """
        self._target = target
        self._overwrite = overwrite
        # The name is cut so that a long one still fits with what is added to it.
        self.path = (target.parent if folder is None else folder) / (
            f".{target.stem[:24]}.{secrets.token_hex(4)}.part{target.suffix}"
        )
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
                raise full(target, error) from error
            raise UsageError(
                f"cannot write in {target.parent}: {error.strerror}; choose another folder"
            ) from error

    def publish(self) -> None:
        """Makes sure that the content is on disk, then gives it its name."""
        try:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            put_file(self.path, self._target, overwrite=self._overwrite)
        except FileExistsError as error:
            raise UsageError(
                f"{self._target} came to exist while it was being made: choose another name"
                " or add --overwrite"
            ) from error
        except OSError as error:
            raise full(self._target, error) from error

    def discard(self) -> None:
        """Removes the file, if it still lies under its hidden name."""
        self.path.unlink(missing_ok=True)


def write_whole(target: Path, content: bytes, *, overwrite: bool) -> None:
    """Writes a file that appears under its name when it is complete.

    Raises:
        UsageError: it came to exist in the meantime, or its folder cannot be written to.
        ResourceError: the disk is full.
    """
    pending = Pending(target, overwrite=overwrite)
    try:
        pending.path.write_bytes(content)
        pending.publish()
    except OSError as error:
        raise full(target, error) from error
    finally:
        pending.discard()


def full(target: Path, error: OSError) -> ResourceError:
    """The error for a disk that takes no more."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = "free some space or write to another disk"
    return ResourceError(f"writing {target} failed: {reason}; {remedy}")
