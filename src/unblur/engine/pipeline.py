"""Threads around the network: decoding runs ahead of it, encoding behind it, both bounded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
POLL = 0.2
"""Seconds between looks at whether the other side has given up."""


class _End:
    """Last item of a queue; carries the error that ended it, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetch(source: Iterable[T], depth: int = 4) -> Generator[T, None, None]:
    """Iterates `source` in a thread, at most `depth` items ahead. Its errors come out here.

    Close it before what `source` reads from: closing waits until the thread has ended.
    """
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in source:
                if not _put(ready, item, stop):
                    return
            _put(ready, _End(), stop)
        except BaseException as error:  # handed over, raised by the reader of the queue
            _put(ready, _End(error), stop)

    thread = threading.Thread(target=work, name="unblur-read", daemon=True)
    thread.start()
    try:
        while True:
            item = _get(ready)
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        thread.join()


class Sink(Generic[T]):
    """Takes items that a thread of its own consumes."""

    def __init__(self, consume: Callable[[T], None], depth: int) -> None:
        self._waiting: queue.Queue[T | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._consume = consume
        self._thread = threading.Thread(target=self._work, name="unblur-write", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hands an item over, waiting while the queue is full. Raises what the thread met."""
        _put(self._waiting, item, self._stop)
        self._raise()

    def finish(self) -> None:
        """Waits until everything is consumed. Raises what the thread met."""
        _put(self._waiting, _End(), self._stop)
        while self._thread.is_alive():
            self._thread.join(POLL)
        self._raise()

    def abandon(self) -> None:
        """Stops after the item in hand and drops the rest."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    item = self._waiting.get(timeout=POLL)
                except queue.Empty:
                    continue
                if isinstance(item, _End):
                    return
                self._consume(item)
        except BaseException as error:  # handed over, raised by `put` or `finish`
            self._error = error
            self._stop.set()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


@contextmanager
def background(consume: Callable[[T], None], depth: int = 4) -> Iterator[Sink[T]]:
    """A `Sink` that is finished on leaving, or abandoned when leaving by an error."""
    sink = Sink(consume, depth)
    try:
        yield sink
        sink.finish()
    finally:
        sink.abandon()


def _put(into: queue.Queue[T], item: T, stop: threading.Event) -> bool:
    """Puts `item` unless stopped meanwhile; True where it was put."""
    while not stop.is_set():
        try:
            into.put(item, timeout=POLL)
            return True
        except queue.Full:
            continue
    return False


def _get(source: queue.Queue[T]) -> T:
    """Gets the next item; wakes now and then so that Ctrl-C reaches the main thread everywhere."""
    while True:
        try:
            return source.get(timeout=POLL)
        except queue.Empty:
            continue
