"""Tables of the papers' ideas: on docs/papers.md and, the same, at the head of each paper's page.

python tests/test_papers.py    copies the tables of docs/papers.md to the pages
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {"BSSTNet": "bsstnet.md", "DaBiT": "dabit.md", "Atlas": "atlas.md"}
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
HEAD = "| idea | equation or figure | where | active in | command | measured |"
FILES = re.compile(r"[`( ]((?:benchmarks|examples|tests)/[\w/]+\.py)")
ROOMS = "ops|models|guidance|optics|atlas|training|evaluation|restorers|data"
SOURCES = re.compile(rf"`((?:{ROOMS})/[\w/.-]+)")


def table_of(paper: str) -> str:
    """That of a section of docs/papers.md."""
    text = (DOCS / "papers.md").read_text(encoding="utf-8")
    found = TABLE.search(text, text.index(f"\n## {paper}\n"))
    assert found is not None
    return found[0]


@pytest.mark.parametrize("paper", PAGES)
def test_a_page_begins_with_its_table(paper: str) -> None:
    page = (DOCS / PAGES[paper]).read_text(encoding="utf-8")
    head = page[: page.index("\n## ")]
    first = TABLE.search(head)
    assert first is not None
    assert first[0].startswith(HEAD)
    assert first[0] == table_of(paper), "run python tests/test_papers.py"


@pytest.mark.parametrize("paper", PAGES)
def test_what_a_table_names_is_there(paper: str) -> None:
    table = table_of(paper)
    named = [ROOT / name for name in FILES.findall(table)]
    named += [ROOT / "src" / "unblur" / name for name in SOURCES.findall(table)]
    assert len(named) > len(table.splitlines()) - 2
    assert [str(path) for path in named if not path.is_file()] == []


def copy() -> None:
    """Puts the tables of docs/papers.md in place of those on the pages."""
    for paper, name in PAGES.items():
        page = (DOCS / name).read_text(encoding="utf-8")
        old = TABLE.search(page)
        assert old is not None
        page = page[: old.start()] + table_of(paper) + page[old.end() :]
        (DOCS / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    copy()
