"""`unblur serve` as a command: what it says, and when it does not start."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from unblur import cli
from unblur.web import Settings
from unblur.web.server import address, locked


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert cli.main(["serve", "--home", str(tmp_path)]) == 2
    assert "pip install 'unblur[web]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--folder", "nowhere"], "is not a folder"),
        (["--token", "short"], "16 characters"),
        (["--listen", "192.0.2.1"], "--listen"),
        (["--max-upload", "much"], "not a size"),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fastapi", reason="needs the extra web")
    assert cli.main(["serve", "--home", str(tmp_path / "home"), "--port", "0", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fastapi", reason="needs the extra web")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--home", str(tmp_path), "--port", port]) == 2
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


def test_two_servers_do_not_share_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fastapi", reason="needs the extra web")
    with locked(tmp_path):
        assert cli.main(["serve", "--home", str(tmp_path), "--port", "0"]) == 2
    assert "another server" in capsys.readouterr().err


def test_the_address_can_be_opened(tmp_path: Path) -> None:
    assert address(Settings(tmp_path)) == "http://127.0.0.1:8765/"
    six = Settings(tmp_path, host="::1", port=80, token="abc")
    assert address(six) == "http://[::1]:80/?token=abc"
    assert "0.0.0.0" not in address(Settings(tmp_path, host="0.0.0.0"))
