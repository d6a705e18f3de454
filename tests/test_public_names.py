"""The public API is what docs/api.md says: a change of a name or an option shows in review."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

import unblur

PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def lines(name: str, value: object) -> list[str]:
    """A public name with its options; of a class with those of its public methods."""
    if isinstance(value, ModuleType):
        public = getattr(value, "__all__", None) or [
            n
            for n, x in vars(value).items()
            if inspect.isfunction(x) and x.__module__ == value.__name__ and not n.startswith("_")
        ]
        return [line for n in sorted(public) for line in lines(f"{name}.{n}", getattr(value, n))]
    if not callable(value):
        return [f"- `{name}`"]
    options = ", ".join(n for n in inspect.signature(value).parameters if n != "self")
    found = [f"- `{name}({options})`"]
    if inspect.isclass(value):
        for n in sorted(dir(value)):
            member = getattr(value, n)
            if not n.startswith("_") and inspect.isfunction(member):
                found += lines(f"{name}.{n}", member)
    return found


def page() -> str:
    """What docs/api.md has to hold."""
    head = "# Public names\n\nEvery name of the API with its options. Docstrings say the rest.\n\n"
    return (
        head
        + "\n".join(
            line
            for n in sorted(unblur.__all__)
            for line in lines(f"unblur.{n}", getattr(unblur, n))
        )
        + "\n"
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="signatures of types differ before")
def test_public_names_are_those_of_the_page() -> None:
    remedy = "if that is meant: python tests/test_public_names.py"
    assert PAGE.read_text(encoding="utf-8") == page(), remedy


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
