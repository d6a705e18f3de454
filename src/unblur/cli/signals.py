"""Signals that end a program, as an exception, so that nothing half-written is left behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C; a polite `kill`; a terminal that was closed."""


class _State:
    received: tuple[int, ...] = ()
    """Numbers of the signals so far."""
    waiting = False
    """True while an exception would do harm."""
    raised = False


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, the ending signals raise `KeyboardInterrupt` in the main thread.

    The one after it is ignored, since the first already ends the work and what tidies up must not
    be cut short by an impatient finger; the next breaks off at once.
    """
    _State.received, _State.waiting, _State.raised = (), False, False
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for name in ENDING:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            # A signal that is ignored already (nohup, a background job) stays ignored.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def received() -> int | None:
    """The number of the first ending signal, if there was one."""
    return _State.received[0] if _State.received else None


@contextlib.contextmanager
def delayed() -> Iterator[None]:
    """Inside, the first signal waits until the end of the block.

    For imports: an exception in the middle of one may be swallowed there, leave half a module
    behind, or crash a C extension.
    """
    _State.waiting = True
    try:
        yield
    finally:
        _State.waiting = False
    check()


def check() -> None:
    """Raises `KeyboardInterrupt` if a signal came whose exception was swallowed by what it hit."""
    if _State.received:
        _State.raised = True
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    _State.received += (number,)
    count = len(_State.received)
    if (_State.waiting and count == 1) or (_State.raised and count == 2):
        return
    _State.raised = True
    raise KeyboardInterrupt
