"""How much memory a job plans with depends on the machine and the request alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from unblur.ops import memory

CPU = torch.device("cpu")


def test_what_is_free_does_not_change_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    before = memory.budget(CPU, None)
    monkeypatch.setattr(memory, "available", lambda: 1)
    assert memory.budget(CPU, None) == before
    assert memory.free(CPU) == 0
    assert 0 < before < memory.total()


def test_limits_of_the_user_hold_for_the_whole_process() -> None:
    assert memory.budget(CPU, 1) < 0
    assert memory.budget(CPU, 1 << 40) < (1 << 40) - memory.PROGRAM


@pytest.mark.parametrize("version", [1, 2])
def test_control_groups_of_both_versions_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """That of the process, and those it lies in."""
    names = {
        1: ("memory/a", "memory.limit_in_bytes", "memory.usage_in_bytes", "5:cpu,memory:/a/b\n"),
        2: ("a", "memory.max", "memory.current", "0::/a/b\n"),
    }
    folder, limit, used, line = names[version]
    (tmp_path / folder / "b").mkdir(parents=True)
    (tmp_path / folder / limit).write_text("1000000000\n")
    (tmp_path / folder / used).write_text("400000000\n")
    (tmp_path / folder / "b" / limit).write_text("max\n" if version == 2 else str(2**62))
    (tmp_path / folder / "b" / used).write_text("5\n")
    (tmp_path / "cgroup").write_text(line)

    class Elsewhere:
        """`Path`, with the places of the system in a folder of the test's own."""

        def __new__(cls, text: str) -> Any:
            places = {"/proc/self/cgroup": tmp_path / "cgroup", "/sys/fs/cgroup": tmp_path}
            return places.get(text, Path(text))

    monkeypatch.setattr(memory, "Path", Elsewhere)
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert (1_000_000_000, 400_000_000) in memory._groups()
    assert memory.total() <= 1_000_000_000
