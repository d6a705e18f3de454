"""What tests of the server ask it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

VIDEO = b"VIDEO" + b"\0" * 1000
"""What the stand-in takes for a clip."""


def add_clip(client: TestClient, name: str = "film.mp4", content: bytes = VIDEO) -> str:
    """Uploads a clip; its number."""
    answer = client.post("/api/clips", params={"name": name}, content=content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def submit(client: TestClient, clip: str, **request: Any) -> dict[str, Any]:
    """Queues a job; by default one that is done at once."""
    body = {"kind": "restore", "clip": clip, "model": "ok", **request}
    answer = client.post("/api/jobs", json=body)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait(client: TestClient, job: str, until: tuple[str, ...] = ()) -> dict[str, Any]:
    """The job once it is in one of some states; by default once it has ended."""
    states = until or ("done", "failed", "cancelled")
    for _ in range(1200):
        found: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
        if found["state"] in states:
            return found
        time.sleep(0.05)
    raise AssertionError(f"still {found['state']}")
