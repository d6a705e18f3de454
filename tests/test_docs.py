"""Links between pages lead somewhere, and examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for folder in ("", "docs", "docs/log", "benchmarks/results", "src/unblur/weights", "examples")
    for path in (ROOT / folder).glob("*.md")
)
SOURCES = ROOT / "src"
EXAMPLES = sorted(
    path for path in SOURCES.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as they are linked to."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: str(p.relative_to(SOURCES)))
def test_examples_give_what_they_say(path: Path) -> None:
    parts = path.relative_to(SOURCES).with_suffix("").parts
    module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
    found = doctest.testmod(module)
    assert (found.attempted > 0, found.failed) == (True, 0)
