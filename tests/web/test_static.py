"""The page's own files: they fetch nothing, say all in both languages, and fit the policy."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import unblur

STATIC = Path(unblur.__file__).parent / "web" / "static"
SCRIPTS = sorted((STATIC / "js").glob("*.js"))
TEXTS = json.loads((STATIC / "texts.json").read_text(encoding="utf-8"))


def sources() -> list[Path]:
    return [p for p in STATIC.rglob("*") if p.suffix in (".html", ".css", ".js", ".svg", ".json")]


def test_nothing_comes_from_elsewhere() -> None:
    for path in sources():
        text = path.read_text(encoding="utf-8")
        found = [
            url
            for url in re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}", text)
            if "w3.org" not in url
        ]
        assert not found, f"{path.name}: {found}"


class Parser(HTMLParser):
    """Notes what the policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.texts: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "style" or name.startswith("on"):
                self.wrong.append(f"{tag} {name}")
            if name in ("data-text", "data-label"):
                self.texts.append(value or "")
            if name in ("src", "href") and value and not value.startswith("#"):
                self.linked.append(value)
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.wrong.append(tag)


def test_the_markup_fits_the_policy() -> None:
    parser = Parser()
    parser.feed((STATIC / "index.html").read_text(encoding="utf-8"))
    assert parser.wrong == []
    assert set(parser.texts) <= set(TEXTS["en"])
    assert all((STATIC / name).is_file() for name in parser.linked)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_fit_the_policy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in ("eval(", "new Function", "innerHTML", "outerHTML", "document.write", "insertAdj"):
        assert word not in text
    for name in re.findall(r'from "\./([\w.]+)"', text):
        assert (STATIC / "js" / name).is_file()


def test_both_languages_say_the_same() -> None:
    english, german = TEXTS["en"], TEXTS["de"]
    assert set(english) == set(german)
    for key, text in english.items():
        holes = re.findall(r"\{\w+\}", text)
        assert sorted(holes) == sorted(re.findall(r"\{\w+\}", german[key])), key


def test_every_text_that_is_used_is_there() -> None:
    """Keys made of parts, `state.${x}`, count as all that begin so."""
    used, begun = set(), set()
    for path in SCRIPTS:
        text = path.read_text(encoding="utf-8")
        used |= set(re.findall(r'\bt\("([^"]+)"', text))
        begun |= set(re.findall(r"\bt\(`([^`$]+)\$\{", text))
    assert used <= set(TEXTS["en"])
    for start in begun:
        assert any(key.startswith(start) for key in TEXTS["en"]), start


def test_no_text_is_left_over() -> None:
    whole = "".join(path.read_text(encoding="utf-8") for path in [*SCRIPTS, STATIC / "index.html"])
    begun = tuple(re.findall(r"`([a-z-]+\.)\$\{", whole))
    left = [k for k in TEXTS["en"] if f'"{k}"' not in whole and not k.startswith(begun)]
    assert left == []
