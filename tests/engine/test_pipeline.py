"""Threads keep the order, stay bounded, and hand errors over."""

from __future__ import annotations

import threading
import time

import pytest

from unblur.engine.pipeline import background, prefetch


def test_prefetch_keeps_order_and_reads_only_a_few_items_ahead():
    read = []

    def source():
        for i in range(50):
            read.append(i)
            yield i

    ahead = []
    for i in prefetch(source(), depth=3):
        time.sleep(0.002)
        ahead.append(len(read) - i)
    assert max(ahead) <= 6
    assert read == list(range(50))


def test_prefetch_raises_the_error_of_the_source_after_what_came_before_it():
    def source():
        yield 1
        raise ValueError("broken")

    got = []
    with pytest.raises(ValueError, match="broken"):
        got.extend(iter_into(got, prefetch(source())))
    assert got == [1]


def iter_into(got, items):
    for item in items:
        got.append(item)
    return []


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    stream = prefetch(iter(range(10**6)), depth=2)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_background_consumes_everything_in_order():
    got = []
    with background(got.append, depth=2) as sink:
        for i in range(100):
            sink.put(i)
    assert got == list(range(100))


def test_background_raises_what_the_consumer_met():
    def consume(item):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        feed(consume, range(100))


def test_an_error_in_front_stops_the_consumer():
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        feed(lambda item: time.sleep(0.01), interrupted())
    assert threading.active_count() == before


def feed(consume, items):
    with background(consume, depth=1) as sink:
        for item in items:
            sink.put(item)


def interrupted():
    yield 1
    raise KeyboardInterrupt
