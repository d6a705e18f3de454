"""docs/notebook.md, cell by cell: each prints what stands below it."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CELL = re.compile(r"^```python\n(.*?)^```\n\n^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_cell_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    cells = CELL.findall(page)
    assert len(cells) == page.count("```python") > 5
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, (code, expected) in enumerate(cells):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(code, f"docs/notebook.md, cell {number}", "exec"), names)
        assert said.getvalue() == expected, f"cell {number}"
