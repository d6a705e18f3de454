"""The verbs that make data: `unblur data` and `unblur simulate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from unblur.cli import main


def test_textures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bank"
    words = ["data", "textures", "none", str(out), "--leaves", "2", "--size", "64"]
    assert main(words) == 0
    assert "2 of dead leaves" in capsys.readouterr().out
    assert len(list(out.glob("*.jpg"))) == 2
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err


def test_simulate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--width", "32", "--height", "32", "--frames", "2"]
    out = tmp_path / "clips"
    assert main(["simulate", "scenes", str(out), "--count", "1", "--mode", "focus", *size]) == 0
    source, blurred = out / "000" / "sharp", tmp_path / "blurred" / "%05d.png"
    assert main(["simulate", "motion", str(source), str(blurred), "--shake", "3"]) == 0
    assert "2 frames" in capsys.readouterr().out
    assert len(list((tmp_path / "blurred").glob("*.png"))) == 2
    assert main(["simulate", "motion", str(source), str(blurred), "--exposure", "3"]) == 2


def test_names_of_blur_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "scenes", str(tmp_path / "x"), "--mode", "zoom"]) == 2
    assert "zoom" in capsys.readouterr().err
