"""The disk space that a job needs, looked at before its work begins."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

from unblur.errors import ResourceError, UnblurWarning

SURE = 20
"""One part of so many of what is expected is needed in any case: outputs differ that much."""


def check_space(target: Path, output: int, waiting: int) -> int:
    """Warns where the disk is likely too small for a job, and refuses where it surely is.

    Args:
        target: the output.
        output: bytes that it is expected to have, about. While it is made, its segments lie
            beside it and take as much again.
        waiting: bytes of restored frames that wait for their segment at most.

    Returns:
        Bytes that the job is expected to take at its peak.

    Raises:
        ResourceError: there is not a fraction of that.
    """
    need = 2 * output + waiting
    folder = next((p for p in (target, *target.absolute().parents) if p.is_dir()), None)
    if folder is None:
        return need
    free = shutil.disk_usage(folder).free
    said = f"{target} takes about {size(need)} of disk until it is complete, and {size(free)}"
    if free * SURE < need:
        raise ResourceError(
            f"{said} are free: free some space, write to another disk, or restore a part by "
            "--start and --end"
        )
    if free < need:
        warnings.warn(
            f"{said} are free: where it does not suffice the job stops, and with more room "
            "--resume goes on",
            UnblurWarning,
            stacklevel=6,  # at the caller of `unblur.restore`
        )
    return need


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
