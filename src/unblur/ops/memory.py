"""How much memory there is, and how much this process has."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SHARE = 0.7
"""Part of the free memory that a job takes at most."""
SHARE_OF_ALL = 0.5
"""Part of the machine's memory that a job plans with when the user names no limit. Not of what is
free just then: how frames are cut up would change from run to run, and with it the result."""
PROGRAM = 60 << 20
"""Bytes that threads, decoder and encoder take beside the frames, once they run."""


def budget(device: torch.device, limit: int | None) -> int:
    """Bytes that a network may use on its device.

    Args:
        device: where the network runs.
        limit: the user's `--max-memory` in bytes: for the whole process on a CPU, for the
            device's memory elsewhere. None takes a part of all there is. What is left of it may be
            below zero.
    """
    if device.type == "cuda":
        _, every = torch.cuda.mem_get_info(device)
        return int(every * SHARE) if limit is None else limit
    if limit is None:
        return int(total() * SHARE_OF_ALL)
    return limit - resident() - PROGRAM


def free(device: torch.device) -> int:
    """Bytes that a network may take on its device just now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * SHARE)
    return int(available() * SHARE)


def total() -> int:
    """Bytes of main memory that this process may ever have; a guess where nothing says."""
    try:
        every = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        every = _windows_status().total if sys.platform == "win32" else 8 << 30
    return min(every, *(limit for limit, _ in _groups()), _address_space())


def available() -> int:
    """Bytes of main memory that can be had without swapping; a guess where nothing says."""
    if sys.platform == "linux":
        free = _field_kib(Path("/proc/meminfo"), "MemAvailable:")
        rest = (max(0, limit - used) for limit, used in _groups())
        return min(free, *rest, max(0, _address_space() - _mapped())) if free else 4 << 30
    if sys.platform == "win32":
        return int(_windows_status().available)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError):
        return 4 << 30


def resident() -> int:
    """Bytes of main memory this process holds now; a guess where nothing says."""
    if sys.platform == "linux":
        return _field_kib(Path("/proc/self/status"), "VmRSS:")
    return 500 << 20


def peak_resident() -> int | None:
    """Most bytes of main memory this process ever held, or None where nothing says."""
    if sys.platform == "win32":
        return None
    # What `getrusage` says begins with what the process held that started this one.
    if own := _field_kib(Path("/proc/self/status"), "VmHWM:"):
        return own
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def give_back_all() -> None:
    """Returns what PyTorch holds of GPUs' memory and does not use, before another try."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def give_back_heap() -> None:
    """Returns main memory that was freed and that the C library keeps (glibc: up to 300 MB)."""
    if (trim := _heap_trim()) is not None:
        trim(0)


@functools.cache
def _heap_trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def _field_kib(path: Path, name: str) -> int:
    try:
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return 0


def _groups() -> list[tuple[int, int]]:
    """Limit and use of the control groups that the process lives in (versions 1 and 2)."""
    found = [(sys.maxsize, 0)]
    if sys.platform != "linux":
        return found
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    root = Path("/sys/fs/cgroup")
    for line in [*lines, "0::/", "1:memory:/"]:
        number, _, rest = line.partition(":")
        names, _, place = rest.partition(":")
        second = number == "0" and not names
        if not second and "memory" not in names.split(","):
            continue
        base = root if second else root / "memory"
        limit, used = (
            ("memory.max", "memory.current")
            if second
            else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        group = base / place.lstrip("/")
        for folder in [group, *group.parents]:
            if folder == root.parent:
                break
            try:
                text = (folder / limit).read_text().strip()
                if text != "max":
                    found.append((int(text), int((folder / used).read_text())))
            except (OSError, ValueError):
                continue
    return found


def _address_space() -> int:
    """Bytes of addresses that the process may have (`ulimit -v`)."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _mapped() -> int:
    return _field_kib(Path("/proc/self/status"), "VmSize:")


def _windows_status() -> Any:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("available", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 5),
        )

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return status
