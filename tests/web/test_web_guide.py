"""What docs/web.md shows really works."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra web")

import httpx
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from tests.web.web_client import VIDEO
from unblur.cli.program import app

GUIDE = (Path(__file__).parents[2] / "docs" / "web.md").read_text(encoding="utf-8")


def test_the_client_in_ten_lines(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    options: dict[str, Any] = {}

    def connect(**given: Any) -> TestClient:
        options.update(given)
        return client

    (tmp_path / "in.mp4").write_bytes(VIDEO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(httpx, "Client", connect)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(0.05))
    exec(compile(snippet, "docs/web.md", "exec"), {})
    assert options["base_url"] == "http://127.0.0.1:8765"
    assert (tmp_path / "out.mp4").read_bytes() == bytes(range(256)) * 40


def test_every_option_is_in_the_guide() -> None:
    text = (
        CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    )
    options = set(re.findall(r"--[a-z-]+", text)) - {"--help", "--verbose"}
    assert len(options) > 10
    assert options <= set(re.findall(r"--[a-z-]+", GUIDE))


def test_every_route_in_the_guide_is_there(client: TestClient) -> None:
    known = client.get("/api/openapi.json").json()["paths"]
    shown = {
        re.sub(r"\bID\b", "{number}", path).replace("NAME", "{name}")
        for path in re.findall(r"`(?:GET|POST|DELETE) (/api/[^`?]*)", GUIDE)
    }
    assert len(shown) > 5
    assert shown <= set(known)
