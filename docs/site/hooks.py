"""What the site has beside the pages: a first page and a reference, both made of the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds README.md as `index.md`, and every public name with its docstring."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    files.append(File.generated(config, "reference.md", content=reference()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to what is not part of the site, such as sources, become names of files."""
    name = Path(page.file.src_uri)
    docs = Path(config["docs_dir"])
    # The first page is README.md, whose links start at the root of the repository.
    base = ROOT if name.name == "index.md" else docs / name.parent

    def shown(match: re.Match[str]) -> str:
        image, text, target, _ = match.groups()
        if (docs / name.parent / target).exists():
            own = (docs / name.parent / target).resolve()
            if own.is_relative_to(docs.resolve()):
                return match[0]
        if files.get_file_from_path(target) is not None or not (base / target).exists():
            return match[0]  # a page that is made, or a dead link, of which mkdocs tells
        return "" if image else text if "`" in text or "/" in text else f"{text} (`{target}`)"

    return LINK.sub(shown, markdown)


def reference() -> str:
    """A page that requests each public name where it is defined."""
    tree = ast.parse((ROOT / "src" / "unblur" / "__init__.py").read_text(encoding="utf-8"))
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("_HOMES", "_ROOMS")
    }
    names = [f"{home}.{name}" for name, home in tables["_HOMES"].items()]
    names += [*tables["_ROOMS"].values(), "unblur.errors"]
    lines = ["# Reference", "", "Every public name, with what it takes, gives and raises.", ""]
    return "\n".join([*lines, *(f"::: {name}\n" for name in names)])
