"""The walls of the house: who imports whom, where tests are, how much ships, and one version."""

from __future__ import annotations

import ast
import re
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import unblur

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "unblur"
MB = 1_000_000

NETWORKS = {"errors", "ops", "weights", "models"}
RUNNING = NETWORKS | {"guidance", "restorers", "engine"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "contexts": set(),
    "progress": set(),
    "disk": {"errors"},
    "schema": set(),
    "ops": {"errors"},
    "optics": {"errors", "ops"},
    "weights": {"disk", "errors", "schema"},
    "video": {"contexts", "disk", "errors", "ops.color", "ops.priority"},
    "models": {"errors", "ops", "weights"},
    "metrics": {"errors", "ops"},
    "synth": {"errors", "ops", "optics"},
    "data": {"disk", "errors", "ops", "optics", "synth"},
    "guidance": NETWORKS | {"video"},
    "restorers": NETWORKS | {"guidance", "atlas"},
    "engine": {"contexts", "errors", "ops", "guidance.align", "restorers.base"},
    "atlas": NETWORKS | {"disk", "schema", "optics", "guidance", "video", "metrics"},
    "training": NETWORKS | {"disk", "schema", "guidance", "metrics", "synth", "data", "progress"},
    "evaluation": RUNNING
    | {"disk", "schema", "atlas", "optics", "video", "metrics", "synth", "data", "progress"},
    "reproduce": {
        "unblur",
        "disk",
        "schema",
        "errors",
        "ops",
        "weights",
        "progress",
        "evaluation",
        "training",
    },
    "integrations": {"unblur", "errors", "commands.request", "video.info"},
    "commands": RUNNING | {"contexts", "disk", "optics", "video", "synth", "progress"},
    # The command line says in words what the public functions do; the rest is what it shows.
    "cli": {
        "unblur",
        "disk",
        "errors",
        "weights",
        "video",
        "models.convert",
        "models.interpolate",
        "models.known",
        "training",
        "evaluation",
        "reproduce",
        "data.davis_blur",
        "data.texture_bank",
        "guidance.blur_kind",
        "commands",
        "atlas",
        "web",
    },
    # The page's jobs call the public functions; estimates and single frames look deeper.
    "web": RUNNING | {"unblur", "disk", "commands", "progress", "video", "metrics", "atlas"},
}
TESTS = ROOT / "tests"
ACROSS = {
    "test_bombs.py": "files of all kinds that claim more than they hold",
    "test_devices.py": "what runs on a GPU",
    "test_docs.py": "links of the pages",
    "test_docs_site.py": "the pages as a site",
    "test_house.py": "this",
    "test_notebook.py": "the notebook of examples/",
    "test_package.py": "the wheel and the Makefile",
    "test_papers.py": "the tables of docs/papers.md",
    "test_public_names.py": "docs/api.md",
    "test_readme.py": "README.md",
    "test_typing.py": "types as callers see them",
    "cli/test_cli_faults.py": "bad input of every verb",
    "video/test_video_faults.py": "what reading and writing together make of odd files",
    "web/test_browser.py": "the page and the server, in a browser",
    "web/test_web_guide.py": "docs/web.md",
}
"""Tests of no one module, and of what they are."""
HEAVY = {"torch", "numpy", "cv2", "av", "safetensors"}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def dotted(path: Path) -> str:
    """`ops/color.py` is `ops.color`, `video/__init__.py` is `video`."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST) -> set[str]:
    """Modules a file imports, wherever it does; `from unblur.a import b` gives `unblur.a.b`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def allowed(name: str, rooms: set[str]) -> bool:
    """True where `name` is one of `rooms` or inside one."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def test_a_room_knows_only_rooms_below_it() -> None:
    top_level = {p.stem for p in SOURCE.iterdir()} - {"__init__", "__main__"}
    wrong = []
    for path in modules():
        room = dotted(path).split(".")[0]
        if room in ("__init__", "__main__"):
            continue
        assert room in MAY_IMPORT, f"{room} is a new room: say here and in docs what it may import"
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            if name.split(".")[0] != "unblur":
                continue
            inner = name.removeprefix("unblur").removeprefix(".")
            if inner.split(".")[0] not in top_level:  # `import unblur`, or a public name of it
                inner = "unblur"
            if inner.split(".")[0] != room and not allowed(inner, MAY_IMPORT[room]):
                wrong.append(f"{dotted(path)} imports {name}")
    assert not wrong


def graph(of_rooms: bool) -> dict[str, set[str]]:
    """What each file (or each room) imports of unblur, at the top or inside a function."""
    files = {f"unblur.{dotted(path)}": path for path in modules()}
    found: dict[str, set[str]] = {}
    for path in files.values():
        own = f"unblur.{dotted(path)}"
        targets = set()
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            home = name if name in files else name.rpartition(".")[0]
            if home in files:
                targets.add(home)
        if of_rooms:
            own, targets = own.split(".")[1], {name.split(".")[1] for name in targets}
        found.setdefault(own, set()).update(targets - {own})
    return found


@pytest.mark.parametrize("of_rooms", [True, False], ids=["rooms", "files"])
def test_imports_form_no_circle(of_rooms: bool) -> None:
    # Raises CycleError, which names the circle.
    list(TopologicalSorter(graph(of_rooms)).static_order())


def is_named_after_a_module(path: Path) -> bool:
    """`tests/ROOM/test_MODULE.py` or `tests/ROOM/test_MODULE_TOPIC.py`, where that room has it.

    A folder that is no package counts as a module (`web/static`), and so does a room whose
    `__init__` has functions; tests/benchmarks tests scripts of benchmarks/.
    """
    inside = path.parent.relative_to(TESTS)
    room = ROOT / inside if inside.parts == ("benchmarks",) else SOURCE / inside
    own = path.stem.removeprefix("test_")
    names = {part.stem for part in room.glob("[!_]*") if not (part / "__init__.py").is_file()}
    start = room / "__init__.py"
    if inside.parts and start.is_file():
        body = ast.parse(start.read_text(encoding="utf-8")).body
        if own == room.name and any(isinstance(node, ast.FunctionDef) for node in body):
            names.add(own)
    return any(own == name or own.startswith(f"{name}_") for name in names)


def test_tests_are_named_after_what_they_test() -> None:
    files = [path for path in tracked("tests") if path.match("test_*.py")]
    assert len(files) > 150
    others = {p.relative_to(TESTS).as_posix() for p in files if not is_named_after_a_module(p)}
    assert others == set(ACROSS), "name it after a module, or say in ACROSS what it is of"


def test_torchvision_is_never_imported() -> None:
    for path in modules():
        names = imported(ast.parse(path.read_text(encoding="utf-8")))
        assert "torchvision" not in {name.split(".")[0] for name in names}, dotted(path)


def imported_at_start(path: Path) -> set[str]:
    """Top-level packages that are imported with the module itself."""
    return {
        name.split(".")[0]
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(node)
    }


def test_training_needs_no_video_library() -> None:
    """It also runs on bare GPU machines, that have torch and little else."""
    for room in ("ops", "models", "weights", "metrics", "synth", "optics", "data", "training"):
        for path in (SOURCE / room).rglob("*.py"):
            assert not imported_at_start(path) & {"av", "cv2"}, path.name


def test_the_command_line_starts_without_heavy_imports() -> None:
    for path in (SOURCE / "cli").glob("*.py"):
        assert not imported_at_start(path) & HEAVY, path.name


def calls_that_unpickle(path: Path) -> list[ast.Call]:
    """Every `torch.load(...)` and `pickle.load(...)` of a file."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func)
        in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler")
    ]


def test_no_pickle_is_executed() -> None:
    calls = {dotted(path): calls_that_unpickle(path) for path in modules()}
    assert {name for name, found in calls.items() if found} == {"models.convert"}
    for call in calls["models.convert"]:
        assert ast.unparse(call.func) == "torch.load"
        safe = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert safe.get("weights_only") == "True"


def test_one_version_everywhere() -> None:
    version = re.escape(unblur.__version__)
    for name, line in {
        "pyproject.toml": rf'^version = "{version}"$',
        "CITATION.cff": rf"^version: {version}$",
        "CHANGELOG.md": rf"\b{version}\b",
    }.items():
        assert re.search(line, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE), name


def tracked(folder: str) -> list[Path]:
    """Files of the repository below `folder`; all files where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, check=True
        ).stdout.decode()
        return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        return [path for path in (ROOT / folder).rglob("*") if path.is_file()]


def test_what_ships_stays_small() -> None:
    weights = [path.stat().st_size for path in SOURCE.rglob("*.safetensors")]
    assert max(weights, default=0) <= 12.5 * MB
    assert sum(weights) <= 43 * MB  # in a wheel they are compressed
    rest = [p for p in tracked("src/unblur") if p.suffix not in (".py", ".safetensors", ".md")]
    limits = {"heldout": 2 * MB, "encoded": 4 * MB, "static": MB / 2}
    for folder, limit in limits.items():
        assert sum(p.stat().st_size for p in rest if p.parent.name == folder) <= limit
    assert sum(p.stat().st_size for p in rest if p.parent.name not in limits) <= MB / 10


@pytest.mark.parametrize(("folder", "limit"), [("examples", 2.0), ("docs", 3.0), ("tests", 9.0)])
def test_the_repository_stays_small(folder: str, limit: float) -> None:
    assert sum(path.stat().st_size for path in tracked(folder)) <= limit * MB


def test_shipped_weights_have_a_model_card() -> None:
    for path in SOURCE.rglob("*.safetensors"):
        assert path.with_suffix(".md").is_file(), f"{path.name} has no model card"
