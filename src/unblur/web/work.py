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
from typing import TextIO

from unblur.errors import UnblurError, UnblurWarning, is_out_of_memory
from unblur.web.desk import Desk

INTERNAL, RESOURCE = 5, 4


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
    """Waits until no one holds the other end of standard input, and stops the work."""
    # Not through `sys.stdin`, whose lock would be missed when the program ends.
    while os.read(0, 1024):
        pass
    desk.stopped.set()
    _thread.interrupt_main()


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message of what ended a job."""
    if isinstance(error, UnblurError):
        return error.exit_code, str(error)
    if is_out_of_memory(error):
        return RESOURCE, "out of memory: take a smaller model, or a smaller clip"
    if isinstance(error, OSError) and error.strerror:
        return RESOURCE, f"{error.strerror}: free some space on the server"
    return INTERNAL, f"{type(error).__name__}: {error}: this is a bug in unblur, please report it"


if __name__ == "__main__":
    sys.exit(main())
