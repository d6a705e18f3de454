"""The process of one job: `python -m unblur.web.work`.

It reads its order, a line of JSON, from standard input, and tells by lines of JSON on standard
output how far it is. When the other end of its input closes, be it a cancel or a server that died,
it stops, so that none is left behind.
"""

from __future__ import annotations

import _thread
import json
import os
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any, TextIO

from unblur.errors import UnblurError, UnblurWarning

INTERNAL, RESOURCE = 5, 4


class Desk:
    """What a job works with.

    Args:
        order: from the queue.
        voice: where events go.
    """

    def __init__(self, order: dict[str, Any], voice: TextIO) -> None:
        self.request: dict[str, Any] = order["request"]
        self.source = Path(order["source"])
        self.name: str = order["name"]
        self.out = Path(order["out"])
        self.limits: dict[str, Any] = order["limits"]
        self.paint: dict[str, str] = order.get("paint", {})
        self.stopped = threading.Event()
        self._home: str = order["home"]
        self._voice = voice
        self._lock = threading.Lock()

    def tell(self, event: str, **facts: Any) -> None:
        """Sends an event; also where a stop is noticed."""
        if self.stopped.is_set() and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        with self._lock:
            self._voice.write(json.dumps({"event": event, **facts}) + "\n")
            self._voice.flush()

    def made(self, name: str, role: str, kind: str) -> None:
        """Tells of a file in `out` that is complete."""
        size = (self.out / name).stat().st_size
        self.tell("file", name=name, role=role, type=kind, bytes=size)

    def in_words(self, text: str) -> str:
        """A message without the server's own places."""
        text = text.replace(str(self.source), self.name)
        return text.replace(str(self.out), "").replace(self._home, "").replace("--", "")


def main() -> int:
    """Does the job that standard input orders."""
    voice = private_stdout()
    desk = Desk(json.loads(sys.stdin.readline()), voice)
    threading.Thread(target=watch, args=(desk,), daemon=True).start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UnblurWarning)
            warnings.showwarning = lambda message, category, *_: (
                desk.tell("warning", message=desk.in_words(str(message)))
                if issubclass(category, UnblurWarning)
                else None
            )
            from unblur.web import tasks

            facts = tasks.do(desk)
        desk.tell("done", **facts)
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        if desk.stopped.is_set():
            return 130
        traceback.print_exc()  # to the job's log
        code, message = explain(error)
        desk.tell("error", code=code, message=desk.in_words(message))
        return code
    return 0


def private_stdout() -> TextIO:
    """Standard output for events alone: what a library prints goes to standard error."""
    voice = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return voice


def watch(desk: Desk) -> None:
    """Waits until nobody holds the other end of standard input, and stops the work."""
    # Not through `sys.stdin`, whose lock would be missed when the program ends.
    while os.read(0, 1024):
        pass
    desk.stopped.set()
    _thread.interrupt_main()


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message of what ended a job."""
    if isinstance(error, UnblurError):
        return error.exit_code, str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return RESOURCE, "out of memory: take a smaller model, or a smaller clip"
    if isinstance(error, OSError) and error.strerror:
        return RESOURCE, f"{error.strerror}: free some space on the server"
    return INTERNAL, f"{type(error).__name__}: {error}: this is a bug in unblur, please report it"


if __name__ == "__main__":
    sys.exit(main())
