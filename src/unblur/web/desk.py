"""What the process of a job has before it: its order, and whom to tell."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, TextIO

from unblur.weights import home as data_folder


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
        text = text.replace(str(data_folder()), "the data folder of the server")
        return text.replace(str(self.out), "").replace(self._home, "").replace("--", "")
