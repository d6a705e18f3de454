"""Defaults from a file, and what makes shells complete."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

import unblur
from unblur.cli import main
from unblur.cli.config import TEMPLATE, path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def calls(monkeypatch):
    made = []

    def restore(*args, **kwargs):
        made.append(kwargs)
        return SimpleNamespace(
            frames=1, seconds=1.0, output=Path(args[1]), model="none", untouched=0, skipped=False
        )

    monkeypatch.setitem(vars(unblur), "restore", restore)
    return made


def test_defaults_come_from_the_file_and_yield_to_words(home, calls):
    (home / "config.toml").write_text(
        '[restore]\nmodel = "focus-s"\ncrf = 20\nmax-memory = "3GB"\nstrict = true\n'
        'strength = 0.5\nprecision = "fp32"\n'
    )
    assert main(["in.mp4", "out.mp4"]) == 0
    assert main(["restore", "in.mp4", "out.mp4", "--model", "none", "--strength", "1"]) == 0
    first, second = calls
    assert first["model"] == "focus-s"
    assert (first["crf"], first["max_memory"], first["strict"]) == (20, 3 * 10**9, True)
    assert (first["strength"], first["precision"]) == (0.5, "fp32")
    assert (second["model"], second["strength"], second["crf"]) == ("none", 1.0, 20)


def test_a_model_that_is_named_leaves_the_quality_of_the_file_out(home, calls):
    (home / "config.toml").write_text('[restore]\nquality = "best"\n')
    assert main(["in.mp4", "out.mp4"]) == 0
    assert main(["in.mp4", "out.mp4", "--model", "none"]) == 0
    assert main(["in.mp4", "out.mp4", "--weights=own.safetensors"]) == 0
    (home / "config.toml").write_text('[restore]\nmodel = "focus-s"\n')
    assert main(["in.mp4", "out.mp4", "--quality", "fast"]) == 0
    chosen = [(call["model"], call["quality"]) for call in calls]
    assert chosen == [("auto", "best"), ("none", "auto"), ("auto", "auto"), ("auto", "fast")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[restore", "cannot be read"),
        ("model = 'none'", "model stands outside of a table"),
        ("[restroe]\nmodel = 'none'", "no verb 'restroe': did you mean 'restore'"),
        ("[restore]\nmodle = 'none'", "[restore] has no option 'modle': did you mean 'model'"),
        ("[restore]\nmodel = ['none']", "takes one value"),
        ("[restore]\ncrf = 'low'", "Invalid value for '--crf'"),
        ("[atlas]\nminutes = 1", "write [atlas.VERB] above minutes"),
        ("[atlas.fit]\nminuets = 1", "no option 'minuets': did you mean 'minutes'"),
    ],
)
def test_a_wrong_file_is_named(home, calls, capsys, text, message):
    (home / "config.toml").write_text(text)
    assert main(["in.mp4", "out.mp4"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert main(["completion", "bash"]) == 0
    assert not calls


def test_config_shows_and_writes_the_file(home, capsys):
    assert main(["config"]) == 0
    assert "unblur config --init" in capsys.readouterr().out
    assert main(["config", "--init"]) == 0
    assert path().read_text() == TEMPLATE
    assert main(["config", "--init"]) == 2
    uncommented = TEMPLATE.replace("# quality", "quality").replace("# crf", "crf")
    path().write_text(uncommented)
    capsys.readouterr()
    assert main(["config"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(path()), "[restore]", "quality = 'best'", "crf = 16"
    ]  # fmt: skip


def test_all_that_the_template_shows_is_known(home, calls):
    lines = [line.removeprefix("# ") for line in TEMPLATE.splitlines() if "= " in line]
    path().write_text("[restore]\n" + "\n".join(lines) + "\n")
    assert main(["in.mp4", "out.mp4"]) == 0
    assert calls[0]["quality"] == "best"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize(
    ("line", "offered", "not_offered"),
    [
        ("unblur ", {"analyze", "models", "atlas"}, {"fit"}),
        ("unblur in.mp4 out.mp4 --mo", {"--model"}, {"analyze", "--minutes"}),
        ("unblur in.mp4 out.mp4 --model mot", {"motion-s", "motion-m"}, {"focus-s"}),
        ("unblur restore in.mp4 --quality ", {"auto", "fast", "best"}, {"--model"}),
        ("unblur atlas ", {"fit", "render"}, {"--crf"}),
        ("unblur atlas fit --min", {"--minutes"}, set()),
        ("unblur ./cl", {"./clip.mp4"}, set()),
    ],
)
def test_bash_completes(capsys, tmp_path, line, offered, not_offered):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    words = line.split(" ")
    (tmp_path / "clip.mp4").touch()
    program = (
        f"{script}\nCOMP_WORDS=({' '.join(repr(word) for word in words)}); "
        f"COMP_CWORD={len(words) - 1}; _unblur; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(
        ["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = set(done.stdout.split())
    assert offered <= found
    assert not found & not_offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_the_script(capsys, shell):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "motion-s" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n", "-c", script], check=True)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "[restore]\ncrf = " + "9" * 5000, "#" * 200_000]
)
def test_a_file_that_cannot_be_meant_is_named(home, capsys, text):
    (home / "config.toml").write_text(text)
    assert main(["config"]) == 2
    assert "config.toml" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_in_its_place_is_not_waited_for(home, capsys):
    os.mkfifo(home / "config.toml")
    assert main(["config"]) == 2
    assert "config.toml is no file of defaults" in capsys.readouterr().err
