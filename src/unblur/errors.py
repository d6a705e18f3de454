"""Every error unblur raises on purpose, and the exit code the command line gives it.

Each message says what was wrong with which input, and what to do about it, on one line.
"""

from __future__ import annotations

import errno


class UnblurError(Exception):
    """Base of all errors raised on purpose. Reaches a user as one line on stderr."""

    exit_code = 5


class UsageError(UnblurError):
    """The request itself is wrong: an unknown model, an existing output, a range past the end."""

    exit_code = 2


class MediaError(UnblurError):
    """A video or image that cannot be read."""

    exit_code = 3


class WeightsError(UnblurError):
    """A weights file that cannot be used."""

    exit_code = 3


class ResourceError(UnblurError):
    """Disk, memory or a codec that this machine does not have."""

    exit_code = 4


class NumericsError(UnblurError):
    """A network produced values that are not finite."""

    exit_code = 5


class UnblurWarning(UserWarning):
    """Something was lost or changed on the way and the result is still usable."""


OUT_OF_MEMORY = (
    *("out of memory", "allocate memory", "insufficient memory", "not enough memory"),
    *("defaultcpuallocator", "bad_alloc", "bad allocation", "can't start new thread"),
    *("failed to map segment", "unable to mmap"),
)
"""What PyTorch, OpenCV and the system say in words, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """True for running out of memory. Types of libraries that may not be loaded go by name."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    in_words = isinstance(error, RuntimeError | ImportError | SystemError)
    return in_words and any(words in text for words in OUT_OF_MEMORY)
