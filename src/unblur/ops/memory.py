"""How much memory there is, and how much this process has."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch

SHARE = 0.7
"""Part of the free memory that a job takes when the user names no limit."""


def budget(device: torch.device, limit: int | None) -> int:
    """Bytes that a network may use on its device.

    Args:
        device: where the network runs.
        limit: the user's `--max-memory` in bytes: for the whole process on a CPU, for the
            device's memory elsewhere. None takes most of what is free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * SHARE) if limit is None else limit
    if limit is None:
        return int(available() * SHARE)
    return max(0, limit - resident())


def available() -> int:
    """Bytes of main memory that can be had without swapping; a guess where nobody tells."""
    if sys.platform == "linux":
        free = _field_kib(Path("/proc/meminfo"), "MemAvailable:")
        return min(free, _container_rest()) if free else 4 << 30
    if sys.platform == "win32":
        return _windows_available()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError):
        return 4 << 30


def resident() -> int:
    """Bytes of main memory this process holds now; a guess where nobody tells."""
    if sys.platform == "linux":
        return _field_kib(Path("/proc/self/status"), "VmRSS:")
    return 500 << 20


def peak_resident() -> int | None:
    """Most bytes of main memory this process ever held, or None where nobody tells."""
    if sys.platform == "win32":
        return None
    # What `getrusage` says begins with what the process held that started this one.
    if own := _field_kib(Path("/proc/self/status"), "VmHWM:"):
        return own
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def is_out_of_memory(error: BaseException) -> bool:
    """True for running out of memory, which PyTorch's CPU allocator and OpenCV say in words."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error).lower()
    return any(
        said in text for said in ("out of memory", "can't allocate memory", "insufficient memory")
    )


def give_back_all() -> None:
    """Returns what PyTorch holds of GPUs' memory and does not use, before another try."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _field_kib(path: Path, name: str) -> int:
    try:
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return 0


def _container_rest() -> int:
    """What the control group that the process lives in leaves (version 2)."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        return sys.maxsize if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        return sys.maxsize


def _windows_available() -> int:
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
    return int(status.available)
