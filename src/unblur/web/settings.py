"""What a server may do, and how much of it."""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass, field
from pathlib import Path

LOCAL = "127.0.0.1"
PORT = 8765
GB = 10**9
SHORTEST_TOKEN = 16
"""Characters."""
RUN_MODULE = (
    "import sys; sys.path[:] = filter(None, sys.path); import runpy;"
    " runpy.run_module(sys.argv[1], run_name='__main__')"
)
"""As `python -m`, which would take modules from the folder that the server was started in."""


@dataclass(frozen=True)
class Settings:
    """Everything an operator decides."""

    home: Path
    """Where uploads, jobs and results are."""
    folders: tuple[Path, ...] = ()
    """Whose videos may be chosen beside uploads."""
    host: str = LOCAL
    port: int = PORT
    """0 for any that is free."""
    names: tuple[str, ...] = ()
    """Names under which it is reached, beside the address it listens on and this machine's own."""
    token: str | None = None
    """What a client has to know; needed where others than this machine can reach the server."""
    device: str = "auto"
    max_memory: int | None = None
    """Bytes that a restoring job may use."""
    max_upload: int = 2 * GB
    """Bytes of one file."""
    max_disk: int = 50 * GB
    """Bytes of all in `home`, above which nothing is taken in."""
    max_pixels: int = 8192 * 4320
    """Of a frame."""
    max_frames: int = 200_000
    """Of a clip."""
    max_queued: int = 20
    """Jobs that wait."""
    max_kept: int = 200
    """Jobs, and clips, in all; beyond that something has to be deleted first."""
    max_seconds: float = 12 * 3600.0
    """That a job may take."""
    keep_days: float = 7.0
    """After which ended jobs and unused clips are deleted."""
    workers: int = 1
    """Jobs that run at once."""
    patience: float = 20.0
    """Seconds without a byte after which a client is given up, while it sends."""
    slowest: int = 20_000
    """Bytes a second, below which an upload is given up after `patience`."""
    program: tuple[str, ...] = field(default=(sys.executable, "-c", RUN_MODULE))
    """What starts a process of this package."""


def is_local(host: str) -> bool:
    """True for an address that only this machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
