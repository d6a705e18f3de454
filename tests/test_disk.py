"""Results appear complete or not at all, and nothing that is there is lost on the way."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import unblur.disk
from unblur.disk import COMMIT, Staged, check_inputs, entries, put_file, recover
from unblur.errors import MediaError, UsageError


def made(folder: Path, **files: str) -> Staged:
    staged = Staged(folder)
    for name, text in files.items():
        (staged.path / name).write_text(text)
    return staged


def content(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if p.is_file()}


def test_a_new_folder_gets_its_name_in_one_step(tmp_path: Path) -> None:
    staged = made(tmp_path / "new", a="1")
    assert entries(tmp_path) == []
    staged.put(overwrite=False)
    assert content(tmp_path / "new") == {"a": "1"}
    assert os.listdir(tmp_path) == ["new"]


def test_a_folder_that_is_there_keeps_what_it_is_and_holds(tmp_path: Path) -> None:
    """Also behind a link, and where its parent cannot be written to."""
    if os.name == "nt":
        pytest.skip("permissions of POSIX")
    folder = tmp_path / "there"
    folder.mkdir()
    folder.chmod(0o2775)
    number = folder.stat().st_ino
    (folder / "mine.txt").write_text("my only copy")
    (folder / "a").write_text("old")
    link = tmp_path / "link"
    link.symlink_to(folder)
    tmp_path.chmod(0o555)
    try:
        made(link, a="new", b="2").put(overwrite=True)
    finally:
        tmp_path.chmod(0o755)
    assert content(folder) == {"a": "new", "b": "2", "mine.txt": "my only copy"}
    assert link.is_symlink()
    assert folder.stat().st_ino == number
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2775
    assert os.listdir(folder).count(COMMIT) == 0


@pytest.mark.parametrize("links", [True, False])
def test_files_made_elsewhere_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "another disk")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    kept, folder = tmp_path / "kept", tmp_path / "there"
    kept.mkdir()
    folder.mkdir()
    (kept / "a").write_text("1")
    staged = Staged(folder)
    staged.adopt(kept)
    assert content(kept) == {"a": "1"}  # until the caller has no need of it
    staged.put(overwrite=False)
    assert content(folder) == {"a": "1"}


def test_what_came_to_exist_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    staged = made(folder, a="mine")
    (folder / "a").write_text("of another run")
    with pytest.raises(UsageError, match="came to exist"):
        staged.put(overwrite=False)
    staged.discard()
    assert content(folder) == {"a": "of another run"}
    late = made(tmp_path / "late", a="mine")
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "a").write_text("of another run")
    with pytest.raises(UsageError, match="came to exist"):
        late.put(overwrite=True)
    late.discard()
    assert content(tmp_path / "late") == {"a": "of another run"}


def test_a_file_gets_its_name_only_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "no hard links here")

    for links in (True, False):
        if not links:
            monkeypatch.setattr(os, "link", refuse)
        part, target = tmp_path / ".part", tmp_path / f"out-{links}"
        part.write_text("first")
        put_file(part, target, overwrite=False)
        part.write_text("second")
        with pytest.raises(FileExistsError):
            put_file(part, target, overwrite=False)
        assert target.read_text() == "first"
        put_file(part, target, overwrite=True)
        assert target.read_text() == "second"
        assert not part.exists()


class Killed(BaseException):
    """Ends a run at once."""


@pytest.mark.parametrize("call", range(12))
def test_a_run_that_is_killed_at_any_step_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """After each rename and removal: the folder is then the old one or the new one."""
    folder = tmp_path / "there"
    (folder / "frames").mkdir(parents=True)
    old = {"atlas.json": "old", "1.png": "old", "2.png": "old", "mine.txt": "mine"}
    for name, text in old.items():
        (folder / name).write_text(text)
    (folder / "frames" / "1").write_text("old")
    staged = made(folder, **{"atlas.json": "new", "1.png": "new"})
    (staged.path / "frames").mkdir()
    (staged.path / "frames" / "1").write_text("new")
    steps = 0

    def counted(real: Any) -> Any:
        def act(*given: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > call:
                raise Killed
            return real(*given, **options)

        return act

    with monkeypatch.context() as patch:
        for owner, name in ((os, "rename"), (os, "replace"), (shutil, "rmtree")):
            patch.setattr(owner, name, counted(getattr(owner, name)))
        try:
            staged.put(overwrite=True, remove=["2.png"])
        except Killed:
            pass
        else:
            assert call > 9
    recovered = recover(folder)
    assert not recover(folder)
    new = {"atlas.json": "new", "1.png": "new", "mine.txt": "mine"}
    assert content(folder) == (old if call == 0 else new)
    assert recovered or call == 0 or call > 8
    assert (folder / "frames" / "1").read_text() == ("old" if call == 0 else "new")
    assert entries(folder) == sorted([*content(folder), "frames"])


def test_what_cannot_be_taken_up_is_said(tmp_path: Path) -> None:
    (tmp_path / COMMIT / "new").mkdir(parents=True)
    with pytest.raises(MediaError, match="cut off"):
        recover(tmp_path)
    assert not recover(tmp_path / "missing")


def test_what_a_run_reads_is_not_written_over(tmp_path: Path) -> None:
    file, folder = tmp_path / "weights", tmp_path / "depth"
    file.write_text("1")
    folder.mkdir()
    (tmp_path / "link").symlink_to(file)
    for target in (file, tmp_path / "link", folder / "new.png", folder):
        with pytest.raises(UsageError):
            check_inputs(target, (None, "builtin", file, folder))
    check_inputs(tmp_path / "out.mkv", (None, "builtin", file, folder))


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system of its own")
def test_a_mount_point_is_filled(tmp_path: Path) -> None:
    place = tmp_path / "usb"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        made(place, a="1").put(overwrite=False)
        (place / "inner").mkdir()
        (tmp_path / "link").symlink_to(place / "inner")
        made(tmp_path / "link", a="2").put(overwrite=False)
        made(tmp_path / "link", a="3").put(overwrite=True)
        assert (place / "a").read_text() == "1"
        assert (place / "inner" / "a").read_text() == "3"
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_the_names_in_use_are_exported() -> None:
    assert len(unblur.disk.hidden_name("ü" * 255).encode()) < 100
