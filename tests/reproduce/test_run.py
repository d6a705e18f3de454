"""What the papers' tables need, and running it: on tiny data, with little to run."""

from __future__ import annotations

import csv
import datetime
import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import unblur
from unblur.cli import main
from unblur.errors import MediaError, NumericsError, UsageError
from unblur.models.aligned import MOTION_S
from unblur.models.bsstnet.config import SMALL
from unblur.models.dabit.config import SMALL as DABIT
from unblur.reproduce import PAPERS, equal, parts, reproduce, run
from unblur.reproduce.parts import Evaluate, Need, Part, Script, State, Train
from unblur.schema import changed

STEPS = [step for paper in PAPERS.values() for part in paper for step in part.steps]


@pytest.fixture
def gopro(tmp_path):
    for name in ("a", "b"):
        for i in range(6):
            for kind, low in (("blur", 60), ("sharp", 0)):
                path = tmp_path / "GoPro" / "test" / name / kind / f"{i:06}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image = np.random.default_rng(i).integers(low, 255, (48, 64, 3), np.uint8)
                cv2.imwrite(str(path), image)
    return tmp_path / "GoPro"


NEED = Need("data", "gopro", "get it")
MEASURE = Evaluate("measure", "a data set", (NEED,), suite="gopro", models=("none",), data="gopro")


def only(monkeypatch, *steps):
    """One paper with one table of these steps."""
    part = Part("table 1", "a table", steps, ({"method": "theirs", "PSNR": 35.98},))
    monkeypatch.setattr(run, "PAPERS", {"paper": (part,)})


def test_every_step_has_a_folder_of_its_own_and_can_be_named():
    for paper in PAPERS.values():
        steps = {step.name: step for part in paper for step in part.steps}
        for part in paper:
            assert re.fullmatch(r"(table|figure) \d|peers|aligned", part.name)
            assert all(steps[step.name] == step for step in part.steps)
    assert all(re.fullmatch(r"[\w +-]+", step.name) for step in STEPS)


def test_scripts_and_models_and_recipes_are_there():
    from unblur.evaluation.suites import SUITES
    from unblur.restorers.registry import preset

    for step in STEPS:
        if isinstance(step, Script):
            assert (parts.SCRIPTS / step.words[0]).is_file()
        elif isinstance(step, Evaluate) and step.suite:
            assert step.suite in SUITES
            assert all(preset(model.partition("@")[0]) for model in step.models)
        elif isinstance(step, Train):
            assert run.recipe_of(step).seed == step.changes["seed"]


def test_flow_through_the_atlas_needs_no_clips_that_were_fitted_before():
    from unblur.evaluation.focus_pulls import CLIPS

    (step,) = next(part.steps for part in PAPERS["atlas"] if part.name == "table 5")
    assert {word.partition("=")[0] for word in step.words[3:]} == set(CLIPS)
    assert [need.kind for need in step.needs] == ["clone"]


@pytest.mark.parametrize(("paper", "sizes"), [("bsstnet", SMALL), ("dabit", DABIT)])
def test_arms_of_an_ablation_differ_in_what_they_say_alone(paper, sizes):
    tables = [part for part in PAPERS[paper] if part.name.startswith("table")]
    steps = [step for part in tables for step in part.steps if isinstance(step, Train)]
    arms = {step.name: run.recipe_of(step) for step in steps}
    assert len(arms) == {"bsstnet": 3 * (4 + 4 + 4), "dabit": 3 * 9}[paper]
    plain = next(iter(arms.values()))
    for name, recipe in arms.items():
        changed(sizes, recipe.options, "options")  # raises where the network has no such option
        same = {"options": plain.options, "seed": plain.seed, "flow": plain.flow}
        if "references" in name:  # clips longer than what is restored of them
            assert (recipe.frames, recipe.window) == (9, plain.frames)
            same |= {"frames": plain.frames, "window": plain.window, "references": 0}
        assert replace(recipe, **same) == plain, name


def test_arms_of_the_aligned_network_begin_as_the_same_one():
    (part,) = [part for part in PAPERS["bsstnet"] if part.name == "aligned"]
    recipes = [run.recipe_of(step) for step in part.steps if isinstance(step, Train)]
    plain = recipes[0]
    assert len({str(recipe.options) for recipe in recipes}) == 4
    assert {recipe.start_from for recipe in recipes} == {"motion-s"}
    for recipe in recipes:
        changed(MOTION_S, recipe.options, "options")
        assert replace(recipe, options=plain.options, seed=plain.seed) == plain


def test_nothing_is_run_unasked_and_what_is_missing_is_said(tmp_path, monkeypatch, gopro):
    only(monkeypatch, MEASURE)
    out = tmp_path / "out"
    ((known),) = reproduce("paper", out)
    assert known.steps[0][1] == State("missing: gopro", missing=(NEED,))
    ((known),) = reproduce("paper", out, data={"gopro": gopro})
    assert known.steps[0][1].state == "to run"
    assert "theirs | 35.98" in (out / "report.md").read_text()
    assert not (out / "measure").exists()


def test_a_step_that_was_stopped_goes_on(tmp_path, monkeypatch, gopro):
    only(monkeypatch, MEASURE)
    out = tmp_path / "out"
    evaluate = run.evaluate
    monkeypatch.setattr(run, "evaluate", lambda *a, **k: evaluate(*a, **k, limit=1))
    reproduce("paper", out, minutes=5, data={"gopro": gopro})
    first = (out / "measure" / "clips" / "0000.json").read_bytes()
    (out / "measure" / "state.json").unlink()  # as if stopped before the second clip

    monkeypatch.setattr(run, "evaluate", evaluate)
    ((known),) = reproduce("paper", out, minutes=5, data={"gopro": gopro})
    assert known.steps[0][1].state == "done"
    assert (out / "measure" / "clips" / "0000.json").read_bytes() == first
    whole = evaluate("gopro", models=["none"], data=gopro).means()
    for row, other in zip(known.steps[0][1].rows, whole, strict=True):
        assert row["psnr"] == pytest.approx(other["psnr"])
        assert row["ssim"] == pytest.approx(other["ssim"])
    assert list((out / "images").iterdir())
    with open(out / "report.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["source"] for row in table] == ["measured"] * 3 + ["published"]

    def never(*_, **__):
        raise AssertionError("it was done already")

    monkeypatch.setattr(run, "evaluate", never)
    reproduce("paper", out, minutes=5, data={"gopro": gopro})


def test_without_time_no_clip_is_begun(tmp_path, gopro):
    from unblur.evaluation import evaluate

    result = evaluate("gopro", models=["none"], data=gopro, keep=tmp_path / "k", minutes=-1)
    assert result.scores == ()
    assert result.facts["clips"] == "0 of 2"
    assert result.means() == []


def test_scores_of_other_methods_are_not_taken(tmp_path, gopro):
    from unblur.evaluation import evaluate

    evaluate("gopro", models=["none"], data=gopro, keep=tmp_path / "k", minutes=-1)
    with pytest.raises(UsageError, match="scores of other methods"):
        evaluate("gopro", models=[], data=gopro, keep=tmp_path / "k")


def test_arms_are_trained_for_the_same_time_in_all(tmp_path, monkeypatch):
    need = Need("textures", "textures", "make them")
    arms = [
        Train(f"x-{arm}-{seed}", f"{arm}, seed {seed}", (need,), "bsstnet-narrow", arm,
              {"seed": seed})
        for seed in range(2) for arm in ("on", "off")
    ]  # fmt: skip
    only(monkeypatch, *arms)
    steps: dict[str, int] = {}
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(equal, "clock_of", lambda device: lambda: clock.now)

    def train(recipe, folder, *, minutes=None, listen=None, **_):
        """A step of `on` takes 2 seconds, one of `off` 1; each call ends after 40 of them."""
        name = folder.name if listen else folder.parent.name
        for _ in range(min(40, recipe.steps - (0 if listen else steps.get(name, 0)))):
            clock.now += 2 if "-on" in name else 1
            if listen:
                listen(SimpleNamespace(stage="train"))
            else:
                steps[name] = steps.get(name, 0) + 1
        folder.mkdir(parents=True, exist_ok=True)
        gain = 1.0 + ("-on" in name) + 0.1 * recipe.seed
        point = SimpleNamespace(metrics={"gain": gain, "input": 20.0}, step=steps.get(name))
        return SimpleNamespace(curve=(point,), finished=steps.get(name) == recipe.steps)

    monkeypatch.setattr(equal, "train", train)
    out = tmp_path / "out"
    reproduce("paper", out, minutes=60, textures=tmp_path, arm_minutes=3)
    with open(out / "report.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["arm"]]
    states = {row["step"]: row["state"] for row in rows}
    today = datetime.date.today()
    for row in rows:
        assert abs(datetime.date.fromisoformat(row["trained"]) - today).days <= 1
        assert row["trained on"]
        assert row["trained by"] == f"unblur {unblur.__version__}"
    assert states["x-on-0"] == "begun"  # of no use for a mean
    assert "| on | 2" not in (out / "report.md").read_text()
    assert "trained" not in (out / "report.md").read_text()
    for _ in range(4):
        found = reproduce("paper", out, minutes=60, textures=tmp_path, arm_minutes=3)
    assert steps == {"x-on-0": 90, "x-off-0": 180, "x-on-1": 90, "x-off-1": 180}
    states = [state for _, state in found[0].steps]
    assert [state.state for state in states] == ["done"] * 4
    assert [state.rows[0]["CPU minutes"] for state in states] == [pytest.approx(3)] * 4
    text = (out / "report.md").read_text()
    assert "| on | 2 | 2.05 | 0.1000 |" in text
    assert "| off | 2 | 1.05 | 0.1000 |" in text


def test_all_arms_are_timed_whichever_is_trained(tmp_path, monkeypatch):
    names = [(arm, seed) for seed in range(2) for arm in ("on", "off", "half")]
    only(monkeypatch, *(
        Train(f"x-{arm}-{seed}", arm, (), "bsstnet-narrow", arm, {"seed": seed})
        for arm, seed in names
    ))  # fmt: skip
    timed, learned = [], []

    def step_seconds(arms, folder, **_):
        timed.append({name: recipe.seed for name, recipe in arms.items()})
        return dict.fromkeys(arms, 1.0)

    def learn(recipe, folder, *_, **__):
        learned.append(folder.parent.name)
        return SimpleNamespace(outcome=SimpleNamespace(curve=()))

    monkeypatch.setattr(run, "step_seconds", step_seconds)
    monkeypatch.setattr(run, "learn", learn)
    reproduce("paper", tmp_path, minutes=1, arms=["off"])
    assert learned == ["x-off-0", "x-off-1"]
    assert timed == 2 * [{"x-on": 0, "x-off": 0, "x-half": 0}]


def test_arms_of_other_minutes_are_not_taken_for_done(tmp_path, monkeypatch):
    arm = Train("x-on-0", "on", (), "bsstnet-narrow", "on", {"seed": 0})
    only(monkeypatch, arm)
    row = {"arm": "on", "seed": 0, "gain": 1.0, "steps": 3}
    monkeypatch.setattr(run.Work, "trained", lambda *_: State("done", (row,)))
    ((known),) = reproduce("paper", tmp_path, minutes=1, arm_minutes=5)
    assert known.steps[0][1] == State("done", (row,), 5.0)
    ((known),) = reproduce("paper", tmp_path)  # looks alone
    assert known.steps[0][1].state == "done"
    for asked in ({"arm_minutes": 3}, {"minutes": 1}, {"minutes": 1, "arm_minutes": 3}):
        other = asked.get("arm_minutes", 10)
        with pytest.raises(UsageError, match=rf"--arm-minutes 5, not {other}: .* another --out"):
            reproduce("paper", tmp_path, **asked)
    (tmp_path / "x-on-0" / run.STATE).write_text(json.dumps({"state": "done", "rows": [row]}))
    ((known),) = reproduce("paper", tmp_path, minutes=1, arm_minutes=3)  # of an older version
    assert known.steps[0][1] == State("done", (row,))


def test_minutes_of_an_arm_that_was_killed_are_known(tmp_path, monkeypatch):
    only(monkeypatch, Train("x-on-0", "on", (), "bsstnet-narrow", "on", {"seed": 0}))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run.Work, "trained", killed)
    with pytest.raises(KeyboardInterrupt):
        reproduce("paper", tmp_path, minutes=1, arm_minutes=5)
    with pytest.raises(UsageError, match="--arm-minutes 5, not 3"):
        reproduce("paper", tmp_path, minutes=1, arm_minutes=3)


@pytest.mark.slow
def test_peers_are_trained_on_the_same_clips(tmp_path, monkeypatch):
    """In earnest, for a few steps: the network alone differs."""
    from unblur.training.deblur_task import Deblur

    bank = tmp_path / "bank"
    bank.mkdir()
    for i in range(2):
        image = np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(bank / f"{i}.png"), cv2.resize(image, (256, 256)))
    seen: list[float] = []
    loss = Deblur.loss

    def watched(self, network, batch, seed):
        seen.append(batch.blurred.sum().item())
        return loss(self, network, batch, seed)

    monkeypatch.setattr(Deblur, "loss", watched)
    monkeypatch.setattr(run, "LOOKS", 1)
    monkeypatch.setattr(run, "step_seconds", lambda arms, *_, **__: dict.fromkeys(arms, 1.0))
    (part,) = reproduce(
        "bsstnet", tmp_path / "out", part="peers", minutes=20, textures=bank, seeds=1,
        arm_minutes=0.05, arms=["NAFNet", "BasicVSR++"], device="cpu",
    )  # fmt: skip
    rows = [state.rows[0] for _, state in part.steps]
    assert [(row["arm"], row["steps"]) for row in rows] == [("NAFNet", 3), ("BasicVSR++", 3)]
    assert len(set(seen[:3])) == 3
    assert seen[:3] == seen[3:]
    assert "| NAFNet | 1 |" in (tmp_path / "out" / "report.md").read_text()


def test_a_script_runs_in_a_copy_of_its_folder(tmp_path, monkeypatch):
    scripts = tmp_path / "benchmarks"
    scripts.mkdir()
    (scripts / "one.py").write_text(
        "import sys\nfrom pathlib import Path\nhere = Path(__file__).parent\n"
        "Path(sys.argv[1], 'kept').mkdir()\n"
        "assert [p.name for p in (here / 'results').iterdir()] == ['suites']\n"
        "assert (here / 'results' / 'suites' / 'kept.json').is_file()\n"
        "(here / 'results' / 'one.csv').write_text('a,b\\n1,2\\n')\n"
        "(here.parent / 'docs' / 'images' / 'one.png').write_bytes(b'x')\n"
    )
    (scripts / "results" / "suites").mkdir(parents=True)
    (scripts / "results" / "suites" / "kept.json").write_text("{}")
    (scripts / "results" / "one.csv").write_text("an,older\n")  # scripts leave out what is there
    for module in (parts, run):
        monkeypatch.setattr(module, "SCRIPTS", scripts)
    clone = Need("clone", "scripts", "clone")
    only(monkeypatch, Script("one", "a script", (clone,), ("one.py", "{folder}"), ("one",)))
    out = tmp_path / "out"
    ((known),) = reproduce("paper", out, minutes=1)
    assert known.steps[0][1].rows == ({"a": "1", "b": "2"},)
    assert (out / "images" / "one.png").is_file()
    assert (out / "one" / "kept").is_dir()  # of its own, where it finds it again
    assert sorted(path.name for path in scripts.iterdir()) == ["one.py", "results"]


def test_what_fails_keeps_nothing_else_from_being_run(tmp_path, monkeypatch, capsys):
    scripts = tmp_path / "benchmarks"
    scripts.mkdir()
    (scripts / "one.py").write_text("raise SystemExit('it is | not well')")
    (scripts / "two.py").write_text("print('well')")
    for module in (parts, run):
        monkeypatch.setattr(module, "SCRIPTS", scripts)
    one, two = (Script(name, f"script {name}", (), (f"{name}.py",)) for name in ("one", "two"))
    tables = (Part("table 1", "", (one, two)), Part("table 2", "", (one,)))
    monkeypatch.setattr(run, "PAPERS", {"paper": tables})
    ran = []
    run_for = run.run_for
    monkeypatch.setattr(run, "run_for", lambda *given: [ran.append(1), run_for(*given)][1])
    out = tmp_path / "out"
    command = ["reproduce", "paper", "--out", str(out), "--minutes", "5"]
    assert main(command) == 4
    shown = capsys.readouterr()
    assert "table 2: script one failed: one.py: it is | not well" in shown.err
    assert "| table 1 | script two | done |" in shown.out
    report = (out / "report.md").read_text()
    assert "| table 2 | script one | failed: one.py: it is \\| not well |" in report
    assert len(ran) == 2  # once for both tables
    (scripts / "one.py").write_text("print('well again')")
    assert main(command) == 0
    assert len(ran) == 3
    assert "failed" not in (out / "report.md").read_text()


def test_an_arm_that_fails_keeps_its_minutes_and_its_rows(tmp_path, monkeypatch):
    only(monkeypatch, Train("x-on-0", "on", (), "bsstnet-narrow", "on", {"seed": 0}))
    row = {"arm": "on", "seed": 0, "gain": 1.0, "steps": 3}
    monkeypatch.setattr(run.Work, "trained", lambda *_: State("begun", (row,)))
    reproduce("paper", tmp_path, minutes=1, arm_minutes=5)

    def fails(*_):
        raise NumericsError("not finite")

    monkeypatch.setattr(run.Work, "trained", fails)
    ((known),) = reproduce("paper", tmp_path, minutes=1, arm_minutes=5)
    assert known.steps[0][1] == State("failed: not finite", (row,), 5.0)


def test_rows_of_a_script_that_is_stopped_are_there_at_once(tmp_path, monkeypatch):
    clone = Need("clone", "scripts", "clone")
    only(monkeypatch, Script("cost", "a script", (clone,), ("bsstnet.py",), ("bsstnet",)))

    def stopped(command, seconds):
        table = Path(command[1]).parent / "results" / "bsstnet.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("frames,ms\n12,30\n")

    monkeypatch.setattr(run, "run_for", stopped)
    ((known),) = reproduce("paper", tmp_path, minutes=1)
    assert known.steps[0][1] == State("begun", ({"frames": "12", "ms": "30"},))
    assert "| 12 | 30 |" in (tmp_path / "report.md").read_text()


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="asks Linux what runs")
def test_what_a_script_started_ends_with_it(tmp_path):
    note = tmp_path / "pid"
    text = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "child.wait()\n"
    )
    seconds = 1.0
    while not note.is_file() or not note.read_text():
        assert run.run_for([sys.executable, "-c", text], seconds) is None
        seconds *= 2  # a machine with other work starts it late
    stat = Path("/proc", note.read_text(), "stat")
    for _ in range(600):
        if not stat.is_file() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("it goes on")


def test_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["reproduce", "bsstnet", "--table", "1", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "| missing: gopro |" in shown
    assert shown.count("gopro: download GoPro") == 1
    assert "--minutes" not in shown  # nothing could be run
    assert "BSSTNet | 35.98 | 0.9792" in (out / "report.md").read_text()


def test_all_of_a_paper_is_a_line_for_each_step_and_arm(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["reproduce", "bsstnet", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if line.startswith("| table 5")]
    assert lines[1] == "| table 5 | BSST (without propagation) | missing: textures |"
    assert len(lines) == 4
    assert shown.count("textures: make a bank") == 1
    last = shown.strip().splitlines()[-1]
    assert last == "Can be run: table 3, table 4, figure 1, figure 5, figure 6. Add --minutes M."
    report = (out / "report.md").read_text()
    assert "- BSST (without propagation): missing: textures" in report
    assert "Over seeds" not in report
    assert ".png" not in report


def test_seeds_of_an_arm_are_one_line(tmp_path, monkeypatch):
    arms = [Train(f"x-on-{seed}", "with it", (), "r", "on", {"seed": seed}) for seed in range(3)]
    only(monkeypatch, *arms)
    reproduce("paper", tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "| table 1 | on (with it) | to run, 3 seeds |" in report
    (tmp_path / "x-on-0").mkdir()
    row = {"arm": "on", "seed": 0, "gain": 0.5, "steps": 3}
    (tmp_path / "x-on-0" / run.STATE).write_text(json.dumps({"state": "done", "rows": [row]}))
    reproduce("paper", tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "| table 1 | on (with it) | 1 done, 2 to run |" in report
    assert "| on | 1 | 0.5000 |" in report


def test_images_are_named_once_they_are_there(tmp_path, monkeypatch):
    part = Part("figure 1", "", (Script("one", "drawn", (), ("one.py",)),), images="one-*.png")
    monkeypatch.setattr(run, "PAPERS", {"paper": (part,)})
    reproduce("paper", tmp_path)
    assert "images/" not in (tmp_path / "report.md").read_text()
    (tmp_path / "images").mkdir()
    for name in ("one-2.png", "one-1.png", "other.png"):
        (tmp_path / "images" / name).write_bytes(b"x")
    reproduce("paper", tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "`images/one-1.png`, `images/one-2.png`" in report
    assert "other" not in report


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bsstnett"], "no paper called"),
        (["dabit", "--table", "9"], "has no table 9"),
        (["dabit", "--table", "1", "--figure", "1"], "name one"),
        (["bsstnet", "--table", "1", "--peers"], "name one"),
        (["bsstnet", "--aligned", "--peers"], "name one"),
        (["dabit", "--aligned"], "has no aligned"),
        (["dabit", "--peers"], "has no peers"),
        (["dabit", "--data", "kitti:x"], "gopro, dvd, davis"),
        (["dabit", "--data", "davis:/no/such"], "not a folder"),
        (["dabit", "--textures", "/no/such"], "not a folder"),
        (["dabit", "--textures", "."], "is empty"),
        (["dabit", "--minutes", "-1"], "--minutes -1: give a number"),
        (["dabit", "--arm-minutes", "0"], "--arm-minutes 0: give a number"),
        (["dabit", "--arm-minutes", "nan"], "--arm-minutes nan: give a number"),
    ],
)
def test_wrong_requests_say_what_is_right(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *words, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_notes_that_are_damaged_are_said(tmp_path, monkeypatch, gopro):
    """By the name of the file that is to be deleted."""
    script = Script("numbers", "numbers", words=("x.py",), results=("x",))
    work = run.Work(tmp_path, run.Have({}, None), 1.0, 1.0, "cpu")
    note = tmp_path / "numbers" / run.STATE
    note.parent.mkdir()
    for text in ("", "{", "[]", '{"state": 1, "rows": []}', '{"state": "done", "rows": 3}'):
        note.write_text(text)
        with pytest.raises(MediaError, match=r"is damaged.*delete it"):
            work.state(script)
    for text in ("", '"x"', "[1]"):
        note.write_text(text)
        with pytest.raises(MediaError, match=r"is damaged.*delete it"):
            equal.noted(note, float, 0.0)
