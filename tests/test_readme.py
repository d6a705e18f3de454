"""What README and the Python guide show really works, on a small clip made from the demo."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
import typer

import unblur
from unblur import cli, weights
from unblur.cli.program import app, route

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "demo_blurred.mp4"
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/cli.md",
    "docs/formats.md",
    "docs/models.md",
    "docs/python.md",
    "examples/README.md",
)
EVERY = (*PAGES, *sorted({f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")} - set(PAGES)))
"""Whose commands have to be right; those of `PAGES` are run, too."""
TESTED_ELSEWHERE = ("docs/atlas.md", "docs/web.md", "docs/integrations.md", "docs/notebook.md")
"""Whose Python needs a project, a server, a program that loads it, or what stands above it."""
NOT_HERE = (
    "weights convert",
    "weights verify bsstnet",
    "--model bsstnet-",
    "--model dabit",
)  # they need files that a user downloads


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language; a pattern, where several will do."""
    text = (ROOT / page).read_text(encoding="utf-8")
    # Opening and closing fences look the same where a block has no language.
    found = re.findall(r"^```([\w-]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for name, block in found if re.fullmatch(language, name)]


def commands(program: str, pages: Sequence[str] = PAGES, language: str = "sh") -> list[list[str]]:
    """Every command of the pages that starts with `program`, pipelines taken apart, as words."""
    lines = [
        part
        for page in pages
        for block in blocks(page, language)
        for line in block.replace("\\\n", " ").splitlines()
        for part in re.split(r" [|>] ", line)
    ]
    split = dict.fromkeys(
        tuple(shlex.split(line, comments=True)) for line in lines if line.startswith(program)
    )
    return [list(words) for words in split if words and words[0] == program]


def parse(words: list[str]) -> None:
    """Parses a command line as `unblur` would, without running it."""
    command = typer.main.get_group(app)
    rest = route(words, command)
    context = None
    while hasattr(command, "resolve_command"):
        assert rest[0] in command.commands, f"unblur has no command '{rest[0]}'"
        name, command, rest = rest[0], command.commands[rest[0]], rest[1:]
        if not hasattr(command, "resolve_command"):
            context = command.make_context(name, rest)
    assert context is not None


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the inputs the pages speak of: 12 s of small images, one a second."""
    with av.open(str(DEMO)) as demo:
        images = [
            frame.to_ndarray(format="rgb24")[160:224, 64:128]
            for frame in demo.decode(video=0)
            if frame.pts is not None
        ][:12]
    with av.open(str(tmp_path / "in.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    shutil.copy(tmp_path / "in.mp4", tmp_path / "in.mov")
    for name in ("a.mp4", "clips/b.mp4", "more/c.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "in.mp4", tmp_path / name)
    (tmp_path / "frames").mkdir()
    (tmp_path / "out").mkdir()
    for number, image in enumerate(images[:3]):
        with av.open(str(tmp_path / "frames" / f"{number:05d}.png"), "w", format="image2") as file:
            stream = file.add_stream("png")
            stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            file.mux(stream.encode(None))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        *commands("unblur"),
        *commands("unblur", EVERY[len(PAGES) :], "sh|"),
    ],
    ids=" ".join,
)
def test_every_command_shown_parses(words: list[str], workplace: Path) -> None:
    parse(words[1:])


@pytest.mark.parametrize(
    "words",
    [w for w in commands("unblur") if not any(part in " ".join(w) for part in NOT_HERE)],
    ids=" ".join,
)
def test_every_command_shown_runs(words: list[str], workplace: Path) -> None:
    assert cli.main(words[1:]) == 0


@pytest.mark.parametrize(
    ("page", "number"),
    [(page, n) for page in PAGES for n in range(len(blocks(page, "python")))],
)
def test_every_python_example_runs(page: str, number: int, workplace: Path) -> None:
    exec(compile(blocks(page, "python")[number], f"{page} #{number}", "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "number"),
    [
        (page, n)
        for page in EVERY[len(PAGES) :]
        for n in range(len(blocks(page, "python")))
        if page not in TESTED_ELSEWHERE
    ],
)
def test_every_python_example_of_other_pages_runs(page: str, number: int, workplace: Path) -> None:
    trained = unblur.load_model("focus-s", precision="fp32").network.state_dict()
    weights.save(workplace / "RUN" / "best.safetensors", trained, {})
    frames = torch.rand(3, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(2, 2, 12, 16)  # a quarter as large as the frames
    given = {"frames": frames, "forward": flow, "backward": flow, "radius": frames[:, :1]}
    exec(compile(blocks(page, "python")[number], f"{page} #{number}", "exec"), given)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_every_make_target_shown_exists(words: list[str]) -> None:
    listed = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr


@pytest.mark.parametrize("words", commands("python"), ids=" ".join)
def test_every_script_shown_exists(words: list[str]) -> None:
    assert (ROOT / words[1]).is_file()


def test_every_model_stands_in_the_table() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    table = set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE))
    assert table == {info.name for info in unblur.list_models()}


def test_every_public_function_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for name in ("restore", "stream", "lazy", "probe", "list_models", "load_model"):
        assert f"unblur.{name}(" in guide


@pytest.mark.slow
def test_the_demo_gains_what_the_results_say(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "examples" / "run_demo.py"), "--out", str(tmp_path)),
            *("--model", "motion-s"),  # the quick one
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    gained = re.search(r"gained \+([\d.]+) dB", done.stdout)
    assert gained is not None
    assert float(gained[1]) > 1.7
    assert {"restored.mp4", "side_by_side.mp4", "before_after.png"} <= {
        path.name for path in tmp_path.iterdir()
    }
