"""Words in, calls of the public functions out; and what the program says when they fail."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

import unblur
from unblur.cli import main
from unblur.cli.options import parse_size
from unblur.cli.signals import delayed, interruptible
from unblur.errors import MediaError, ResourceError, UnblurWarning, UsageError

UNTOUCHED = {"frames": 0}


@pytest.fixture
def calls(monkeypatch):
    """Replaces `unblur.restore`; holds the arguments of each call."""
    made = []

    def restore(*args, **kwargs):
        made.append((args, kwargs))
        facts = {"frames": 36, "seconds": 90.0, "model": "motion-s", "skipped": False}
        return SimpleNamespace(output=Path(args[1]), untouched=UNTOUCHED["frames"], **facts)

    monkeypatch.setitem(vars(unblur), "restore", restore)
    return made


def fail_with(monkeypatch, error):
    def restore(*args, **kwargs):
        raise error

    monkeypatch.setitem(vars(unblur), "restore", restore)


def error_lines(capsys):
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return err.splitlines()


HEAVY = ("torch", "numpy", "av", "cv2", "safetensors")


@pytest.mark.parametrize(
    "words",
    [["--help"], [], ["-h"], ["restore", "--help"], ["in.mp4", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys; from unblur.cli import main; code = main(sys.argv[1:]);"
        f"print('loaded', [m for m in {HEAVY} if m in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    assert "loaded [] 0" in done.stdout
    assert done.stderr == ""


def test_help_names_every_verb_and_option(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for verb in ("restore", "models", "weights", "probe", "unblur IN OUT"):
        assert verb in said
    assert main(["restore", "--help"]) == 0
    said = capsys.readouterr().out
    options = (
        "model for quality weights device precision light strength fuse start end tile window "
        "codec crf overwrite max-memory seed preview strict deinterlace quiet verbose"
    )
    for option in options.split():
        assert f"--{option}" in said


def test_version_and_module_entry():
    done = subprocess.run(
        [sys.executable, "-m", "unblur", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"unblur {unblur.__version__}\n"


@pytest.mark.parametrize(
    ("own", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_threads_do_not_spin_for_long_unless_told_otherwise(own, spins):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **own}
    done = subprocess.run(
        [sys.executable, "-c", "import unblur, torch"],
        capture_output=True,
        text=True,
        env=environment,
    )
    told = re.search(r"GOMP_SPINCOUNT ?= ?'(\w+)'", done.stderr)
    if told is None:
        pytest.skip("this torch has another OpenMP than GNU's")
    assert told[1] == spins


def test_defaults_are_those_of_the_function(calls):
    assert main(["restore", "in.mp4", "out.mp4"]) == 0
    args, kwargs = calls[0]
    assert args == ("in.mp4", "out.mp4")
    assert callable(kwargs.pop("progress"))
    assert kwargs == dict(
        model="auto",
        blur="auto",
        quality="auto",
        weights=None,
        device="auto",
        cluster=None,
        precision="auto",
        light="auto",
        strength=1.0,
        fuse="auto",
        scale=None,
        depth=None,
        depth_invert=False,
        start=None,
        end=None,
        tile=None,
        window=None,
        codec=None,
        crf=None,
        format=None,
        pixel_format=None,
        stream=None,
        overwrite=False,
        resume=False,
        max_memory=None,
        seed=0,
        preview=False,
        at=None,
        strict=False,
        deinterlace=False,
    )


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--model none", "model", "none"),
        ("--for focus", "blur", "focus"),
        ("--weights w.safetensors", "weights", "w.safetensors"),
        ("--device cuda:1", "device", "cuda:1"),
        ("--precision bf16", "precision", "bf16"),
        ("--light linear", "light", "linear"),
        ("--strength 0.25", "strength", 0.25),
        ("--fuse off", "fuse", "off"),
        ("--fuse 3", "fuse", "3"),
        ("--scale 2", "scale", 2),
        ("--depth maps", "depth", "maps"),
        ("--depth-invert", "depth_invert", True),
        ("--start 2.5s", "start", "2.5s"),
        ("--end f10", "end", "f10"),
        ("--end 00:01:30.5", "end", "00:01:30.5"),
        ("--tile 256", "tile", 256),
        ("--tile 0", "tile", 0),
        ("--window 12", "window", 12),
        ("--codec ffv1", "codec", "ffv1"),
        ("--crf 20", "crf", 20),
        ("--pixel-format yuv444p", "pixel_format", "yuv444p"),
        ("--stream 1", "stream", 1),
        ("--overwrite", "overwrite", True),
        ("--max-memory 3GB", "max_memory", 3_000_000_000),
        ("--seed 7", "seed", 7),
        ("--preview", "preview", True),
        ("--strict", "strict", True),
        ("--quality=fast", "quality", "fast"),
        ("--deinterlace", "deinterlace", True),
    ],
)
@pytest.mark.parametrize("place", ["in front", "between", "behind"])
def test_each_option_reaches_the_function_from_anywhere(calls, words, name, value, place):
    option = words.split()
    line = {
        "in front": [*option, "in.mp4", "out.mp4"],
        "between": ["in.mp4", *option, "out.mp4"],
        "behind": ["in.mp4", "out.mp4", *option],
    }[place]
    assert main(line) == 0
    assert main(["restore", *line]) == 0
    for args, kwargs in calls:
        assert args == ("in.mp4", "out.mp4")
        assert kwargs[name] == value
        assert type(kwargs[name]) is type(value)


@pytest.mark.parametrize(
    "line",
    [
        ["--model", "models", "in.mp4", "out.mp4"],  # the value of an option is no verb
        ["--model=models", "in.mp4", "out.mp4"],
        ["--model", "models", "restore", "in.mp4", "out.mp4"],
        ["--verbose", "restore", "--model", "models", "--", "in.mp4", "out.mp4"],
        ["--verbose", "-q", "in.mp4", "--model", "models", "out.mp4"],
        ["restore", "in.mp4", "--model", "models", "out.mp4"],
    ],
)
def test_the_verb_is_the_first_word_that_is_no_option(calls, line):
    assert main(line) == 0
    args, kwargs = calls[0]
    assert args == ("in.mp4", "out.mp4")
    assert kwargs["model"] == "models"


@pytest.mark.parametrize(
    "line",
    [
        ["--", "-in.mp4", "models"],
        ["restore", "--", "-in.mp4", "models"],
        ["--model", "none", "restore", "--", "-in.mp4", "models"],
    ],
)
def test_names_that_look_like_options_or_verbs(calls, line):
    assert main(line) == 0
    assert calls[0][0] == ("-in.mp4", "models")


def test_odd_names_arrive_whole(calls, capsys):
    names = ("ein Bär ☂ %d.mp4", "out \u202e\nput.mkv")
    assert main([*names]) == 0
    assert calls[0][0] == names


def test_the_last_line_says_what_was_made(calls, capsys):
    assert main(["in.mp4", "out.mp4"]) == 0
    out, err = capsys.readouterr()
    assert out == "out.mp4: 36 frames in 1 min 30 s, 2.50 s/frame, by motion-s\n"
    assert err == ""
    assert main(["in.mp4", "out.mp4", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("frames", "said"),
    [(12, "by motion-s; 12 sharp ones untouched"), (36, "all untouched"), (0, "by motion-s")],
)
def test_the_last_line_tells_what_passed_untouched(calls, capsys, monkeypatch, frames, said):
    monkeypatch.setitem(UNTOUCHED, "frames", frames)
    assert main(["in.mp4", "out.mp4"]) == 0
    assert capsys.readouterr().out.endswith(f"2.50 s/frame, {said}\n")


@pytest.mark.parametrize(
    "line",
    [
        ["in.mp4"],
        ["restore"],
        ["in.mp4", "out.mp4", "more.mp4"],
        ["in.mp4", "out.mp4", "--modle", "none"],
        ["in.mp4", "out.mp4", "--light", "dim"],
        ["in.mp4", "out.mp4", "--strength", "2"],
        ["in.mp4", "out.mp4", "--window", "x"],
        ["in.mp4", "out.mp4", "--crf", "x"],
        ["in.mp4", "out.mp4", "--max-memory", "lots"],
        ["in.mp4", "out.mp4", "--model"],
        ["--quiet"],
        ["weights"],
        ["weights", "burn"],
        ["weights", "convert"],
        ["probe"],
        ["models", "surplus"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_gets_one_line_and_2(calls, capsys, line):
    assert main(line) == 2
    (said,) = error_lines(capsys)
    assert said.startswith("unblur: error: ")
    assert "--help" in said
    assert calls == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("out.mp4 exists: add --overwrite"), 2, "out.mp4 exists: add --overwrite"),
        (MediaError("in.mp4 is empty:\n get\tit again"), 3, "in.mp4 is empty: get\\tit again"),
        (ResourceError("no room"), 4, "no room"),
        (MemoryError(), 4, "--max-memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/disk/o.mp4"), 4, "/disk/o.mp4"),
        (OSError(errno.ENOSPC, "No space left on device"), 4, "out.mp4"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 4, "--max-memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), 4, "--max-memory"),
        (ValueError("boom"), 5, "ValueError: boom: this is a bug in unblur"),
        (AssertionError(), 5, "AssertionError: this is a bug in unblur"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_is_one_line_and_its_exit_code(monkeypatch, capsys, error, code, said):
    fail_with(monkeypatch, error)
    assert main(["in.mp4", "out.mp4"]) == code
    (line,) = error_lines(capsys)
    assert line.startswith("unblur: error: ")
    assert said in line


@pytest.mark.parametrize("words", [["--verbose"], ["-v"]])
def test_verbose_shows_the_traceback_before_the_line(monkeypatch, capsys, words):
    fail_with(monkeypatch, ValueError("boom"))
    assert main(["in.mp4", "out.mp4", *words]) == 5
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("unblur: error: ValueError: boom")
    assert main(["in.mp4", "out.mp4"]) == 5  # and the next call is not verbose any more
    assert "Traceback" not in capsys.readouterr().err


def test_warnings_are_lines_each_once(monkeypatch, capsys):
    def restore(*args, **kwargs):
        for _ in range(3):
            warnings.warn("subtitle stream 2 left out", UnblurWarning, stacklevel=2)
        warnings.warn("for developers", DeprecationWarning, stacklevel=2)
        facts = {"frames": 1, "seconds": 1.0, "model": "none", "untouched": 1, "skipped": False}
        return SimpleNamespace(output="o", **facts)

    monkeypatch.setitem(vars(unblur), "restore", restore)
    assert main(["in.mp4", "out.mp4"]) == 0
    assert error_lines(capsys) == ["unblur: warning: subtitle stream 2 left out"]
    assert main(["in.mp4", "out.mp4", "--verbose"]) == 0
    assert "for developers" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_interrupt_and_handlers_come_back(monkeypatch, capsys, name, code):
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"no {name} here")
    before = signal.signal(number, signal.default_int_handler)
    cleaned = []

    def restore(*args, **kwargs):
        try:
            signal.raise_signal(number)
            for _ in range(10**6):
                pass
        finally:
            signal.raise_signal(number)  # an impatient second one does not stop the tidying up
            cleaned.append(True)

    monkeypatch.setitem(vars(unblur), "restore", restore)
    try:
        assert main(["in.mp4", "out.mp4"]) == code
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert cleaned
    assert error_lines(capsys) == ["unblur: interrupted"]


def test_an_error_made_by_an_interruption_is_an_interruption(monkeypatch, capsys):
    def restore(*args, **kwargs):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialisation failed") from None

    monkeypatch.setitem(vars(unblur), "restore", restore)
    assert main(["in.mp4", "out.mp4"]) == 130
    assert error_lines(capsys) == ["unblur: interrupted"]


def test_a_swallowed_interruption_ends_the_work_at_the_next_frame(monkeypatch, capsys):
    def restore(*args, progress, **kwargs):
        with contextlib.suppress(KeyboardInterrupt):  # as some libraries do
            signal.raise_signal(signal.SIGINT)
        for done in range(100):
            progress(unblur.Progress("restore", done, 100, 1.0))
        raise AssertionError("worked on")

    monkeypatch.setitem(vars(unblur), "restore", restore)
    assert main(["in.mp4", "out.mp4"]) == 130
    assert error_lines(capsys) == ["unblur: interrupted"]


@pytest.mark.parametrize(("signals", "imported"), [(1, True), (2, False)])
def test_an_interruption_waits_for_an_import_unless_repeated(signals, imported):
    done = []

    def load():
        with interruptible(), delayed():
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)
            done.append("import")

    with pytest.raises(KeyboardInterrupt):
        load()
    assert bool(done) is imported


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX shells")
def test_a_reader_that_leaves_is_no_error():
    line = f"'{sys.executable}' -m unblur restore --help | head -c 1 >/dev/null; sleep 0.1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_names_the_console_cannot_show(monkeypatch):
    code = (
        "import sys, unblur; from types import SimpleNamespace as S;"
        "report = S(frames=1, seconds=1.0, output='o', model='none', untouched=0, skipped=False);"
        "unblur.restore = lambda *a, **k: S(**{**vars(report), 'output': a[1]});"
        "from unblur.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "in.mp4", "ö☂.mp4"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        check=True,
    )
    assert done.stdout.splitlines() == [b"\xf6\\u2602.mp4: 1 frame in 1.0 s, by none"]
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("3GB", 3 * 10**9),
        ("800MB", 800 * 10**6),
        ("1.5g", 15 * 10**8),
        ("2 GiB", 2 * 2**30),
        ("64k", 64_000),
        ("1000", 1000),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "3 GBs", "1e9", "nan", "3iB", "0.1"])
def test_what_is_no_size(calls, capsys, text):
    assert main(["in.mp4", "out.mp4", f"--max-memory={text}"]) == 2
    assert len(error_lines(capsys)) == 1
    assert calls == []


def test_json_tells_plan_progress_and_report(make_clip, tmp_path, capsys):
    clip = make_clip("in.mp4", size=(64, 48))
    assert main([str(clip), str(tmp_path / "out.mkv"), "--model", "bsstnet-tiny", "--json"]) == 0
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    stages = [e["stage"] for e in events if e["event"] == "progress"]
    assert next(stage for stage in stages if stage != "start") == "open"
    plan = next(e for e in events if e["event"] == "plan")
    assert (plan["model"], plan["total"], plan["width"]) == ("bsstnet-tiny", 10, 64)
    assert events[-1]["event"] == "report"
    assert events[-1]["frames"] == 10
    assert main([str(clip), str(tmp_path / "out.mkv"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (error["event"], error["exit_code"]) == ("error", 2)
    assert "exists" in error["message"]


def test_weights_convert_passes_its_words(monkeypatch, capsys):
    from unblur.models import convert

    made = []

    def convert_file(path, name=None, stages=1):
        made.append((path, name, stages))
        return Path("home/weights/maxim-3s.safetensors")

    monkeypatch.setattr(convert, "convert_file", convert_file)
    assert main(["weights", "convert", "p.tgz", "--stages", "3", "--name", "maxim-3s"]) == 0
    assert main(["weights", "convert", "p.tgz"]) == 0
    assert made == [("p.tgz", "maxim-3s", 3), ("p.tgz", None, 1)]
    assert "--model maxim-3s" in capsys.readouterr().out


def test_models_lists_what_is_here_and_all_the_rest(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    named = {}
    for words in (["models"], ["models", "--all"], ["models", "--all", "--verbose"]):
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert err == ""
        rows = out.splitlines()
        assert rows[0].split()[:3] == ["name", "blur", "size"]
        assert max(map(len, rows)) <= 80
        named[len(words)] = [row.split()[0] for row in rows[1:] if row[0] not in " 0123456789"]
    infos = unblur.list_models()
    assert named[2] == named[3] == [info.name for info in infos]
    assert named[1] == [i.name for i in infos if i.ships and not i.for_tests]
    assert {"motion-m", "none"} < set(named[1])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["modles"], "did you mean `unblur models`?"),
        (["hlep"], "did you mean `unblur help`?"),
        (["help", "analize"], "did you mean `unblur analyze`?"),
        (["help", "nonsense"], "there is no verb 'nonsense': `unblur help` lists them"),
        (["evaluat", "synth-motion"], "did you mean `unblur evaluate`?"),
        (["Restore", "in.mp4", "out.mp4"], "did you mean `unblur restore`?"),
    ],
)
def test_a_verb_that_is_nearly_right_is_named(calls, capsys, line, said):
    assert main(line) == 2
    (error,) = error_lines(capsys)
    assert said in error
    assert calls == []


@pytest.mark.parametrize(("line", "said"), [(["help"], "restore"), (["help", "models"], "--all")])
def test_help_is_a_verb(capsys, line, said):
    assert main(line) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["coc-s", "coc-m", "flow-s", "flow-refocus-s", "flow-refocus-m", "look-s"]
)
def test_verify_knows_what_guides_models(capsys, name):
    assert main(["weights", "verify", name]) == 0
    assert "no known model" not in capsys.readouterr().out


def test_probe_as_json_is_json(capsys, make_clip):
    assert main(["probe", "--json", str(make_clip("in.mp4", frames=5))]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"], facts["frames"]) == (32, 24, 5)
    assert facts["frame_rate"] == "25"


def test_probe_as_table(capsys, make_clip):
    assert main(["probe", str(make_clip("in.mp4", frames=5, audio=True))]) == 0
    said = capsys.readouterr().out
    assert "32 x 24" in said
    assert "audio stream" in said
