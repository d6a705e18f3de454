"""What is built and installed: wheel, sdist, image of a container, the place PyTorch comes from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MB = 1_000_000


def build(folder: Path, out: Path, *what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *what, "-d", str(out)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_wheel_and_sdist(tmp_path: Path) -> None:
    """The sdist builds the same wheel, which is small and works where the sources are not."""
    pytest.importorskip("hatchling")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    build(clone, tmp_path / "dist")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    assert wheel.stat().st_size < 40 * MB
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path / "sdist", filter="data")
    (unpacked,) = (tmp_path / "sdist").iterdir()
    build(unpacked, tmp_path / "again", "-t", "wheel")
    (again,) = (tmp_path / "again").glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert one.namelist() == two.namelist()
        assert all(one.read(name) == two.read(name) for name in one.namelist())
        assert "unblur/py.typed" in one.namelist()
        assert not [name for name in one.namelist() if name.startswith("tests/")]
        one.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    said = subprocess.run(
        [sys.executable, "-m", "unblur", "models"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "motion-s" in said.stdout


INSTRUCTIONS = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR"),
}


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with its words, lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_dockerfile_is_sound() -> None:
    found = instructions()
    assert {name for name, _ in found} <= INSTRUCTIONS
    assert found[0][0] == "FROM"
    for name, words in found:
        if name == "FROM":  # a version, so that a build is not another one tomorrow
            assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+( AS \w+)?", words)
        if name == "RUN" and "pip" in words:
            assert "--no-cache-dir" in words
        if name in ("CMD", "ENTRYPOINT"):
            assert re.fullmatch(r'\[("[^"]*"(, )?)+\]', words)
    last = [name for name, _ in found]
    assert last.index("USER") < last.index("ENTRYPOINT")  # not as root


def test_the_dockerfile_copies_what_is_there() -> None:
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name, words in instructions():
        if name == "COPY" and not words.startswith("--from"):
            for source in words.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source.removeprefix('./')}" in kept


def make(*words: str, path: str | None = None) -> str:
    environment = {**os.environ, **({"PATH": path} if path else {})}
    done = subprocess.run(
        ["make", "-n", "-B", *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(
    shutil.which("make") is None or not sys.platform.startswith("linux"), reason="needs make, Linux"
)
def test_pytorch_without_cuda_where_there_is_no_gpu(tmp_path: Path) -> None:
    nvidia = tmp_path / "nvidia-smi"
    nvidia.write_text("#!/bin/sh\nexit $GPUS\n")
    nvidia.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    for gpus, wanted in (("9", True), ("0", False)):
        os.environ["GPUS"] = gpus
        try:
            said = make("demo", path=path)
        finally:
            del os.environ["GPUS"]
        assert ("--index-url https://download.pytorch.org/whl/cpu" in said) == wanted
        assert "pip install --quiet -c constraints.txt -e ." in said
