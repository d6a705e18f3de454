"""A server with processes that answer by rote, and one with the real ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unblur.web import Settings

try:
    import httpx  # noqa: F401
    from fastapi.testclient import TestClient

    from unblur.web import jobs
    from unblur.web.app import create_app
except ImportError:  # the extra is missing: what needs it skips itself
    pass

FAKE = (sys.executable, str(Path(__file__).parent / "fake_program.py"))
BASE = "http://127.0.0.1:8765"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a server with a folder to choose from, whose processes are stand-ins."""
    (tmp_path / "films").mkdir()
    return Settings(home=tmp_path / "home", folders=((tmp_path / "films").resolve(),), program=FAKE)


@pytest.fixture
def serve(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Starts a server, with other settings where they are given."""
    monkeypatch.setattr(jobs, "GRACE", 0.3)
    running = []

    def start(**changes: Any) -> TestClient:
        app = create_app(replace(settings, **changes))
        client = TestClient(app, base_url=BASE, raise_server_exceptions=False)
        running.append(client.__enter__())
        return running[-1]

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    """A client of a server as `settings` have it."""
    return serve()
