"""The pages as a site: each has its place, no link is dead, nothing comes from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import unblur

ROOT = Path(__file__).parents[1]
MADE = {"index.md", "reference.md"}


def pages(entries: list[object]) -> list[str]:
    """The pages of a navigation."""
    found = []
    for entry in entries:
        inner = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += pages(inner) if isinstance(inner, list) else [str(inner)]
    return found


def test_each_page_has_its_place() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    listed = pages(settings["nav"])
    assert len(listed) == len(set(listed))
    assert set(listed) == there | MADE


@pytest.mark.slow
def test_the_site_builds_and_no_link_is_dead(tmp_path: Path) -> None:
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings_handlers.python")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    dead, elsewhere = [], []
    for page in tmp_path.rglob("*.html"):
        if page.name == "404.html":  # whose links start at the root of a server
            continue
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|link|img)\b[^>]*?(?:src|href)="(https?:[^"]+)"', text)
        elsewhere += [link for link in fetched if 'rel="canonical"' not in link]
        for link in map(unescape, re.findall(r'(?:href|src)="([^"]+)"', text)):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists():
                dead.append(f"{page.name}: {link}")
                continue
            html = target.read_text(encoding="utf-8") if target.suffix == ".html" else ""
            if html and anchor and f'id="{unquote(anchor)}"' not in html:
                dead.append(f"{page.name}: {link}")
    assert not dead
    assert not elsewhere
    reference = (tmp_path / "reference.html").read_text(encoding="utf-8")
    for name in set(unblur.__all__) - {"__version__", "atlas", "simulate"}:
        assert re.search(rf'id="unblur\.[\w.]*\b{name}"', reference), name
