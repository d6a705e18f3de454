"""Signals that end a program, as an exception, so that nothing half-written is left behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C; a polite `kill`; a terminal that was closed."""


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Inside, the ending signals raise `KeyboardInterrupt` in the main thread.

    The second one is ignored, since the first already ends the work and what tidies up must not be
    cut short by an impatient finger; the third breaks off at once.

    Yields:
        The numbers of the signals received so far.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) != 2:
            raise KeyboardInterrupt

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for name in ENDING:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            # A signal that is ignored already (nohup, a background job) stays ignored.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
