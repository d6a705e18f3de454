"""The scheduler's view of this process, kept from libraries that change it.

SVT-AV1 gives its caller and its own threads real-time priority where it runs as root, as in
containers: whatever else the machine does then waits for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_priority() -> Iterator[None]:
    """Gives threads of this process that became real-time inside the policy of before back."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    already = real_time()
    try:
        yield
    finally:
        for thread in real_time() - already:
            try:
                os.sched_setscheduler(thread, policy, parameter)
            except OSError:  # it has ended, or may not be changed
                continue


def real_time() -> set[int]:
    """Threads of this process with real-time priority."""
    found: set[int] = set()
    try:
        threads = [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return found
    for thread in threads:
        try:
            if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(thread)
        except OSError:
            continue
    return found
