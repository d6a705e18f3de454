"""The sums behind the table, and the way to it from Python and the command line."""

from __future__ import annotations

import csv
import io
import json
import math

import cv2
import numpy as np
import pytest
import torch

import unblur
from unblur.cli import main
from unblur.errors import UsageError
from unblur.evaluation.clip import Clip
from unblur.evaluation.images import GAP, HEAD, most_detailed
from unblur.evaluation.scores import Evaluation, Score, score
from unblur.metrics import flip


def made(clip, frame, method, psnr):
    return Score(clip, frame, method, 0.5, psnr, 0.9, 0.8, 1.1)


@pytest.fixture
def evaluation():
    """Two clips of two frames each; the method gains 1, 2, 3 dB and loses 0.5."""
    before = {("a", 0): 20.0, ("a", 1): 24.0, ("b", 0): 30.0, ("b", 1): 40.0}
    gains = {("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 3.0, ("b", 1): -0.5}
    scores = [made(*key, "input", value) for key, value in before.items()]
    scores += [made(*key, "mine", before[key] + gains[key]) for key in before]
    return Evaluation(
        "suite", 3, ("input", "mine"), tuple(scores), clips={"a": {"coc_px": math.nan}, "b": {}}
    )


def test_rows_and_means(evaluation):
    rows = {(row["clip"], row["method"]): row for row in evaluation.rows()}
    assert rows["a", "input"]["psnr"] == 22
    assert rows["a", "mine"]["gain"] == 1.5
    assert rows["b", "mine"]["gain"] == 1.25
    before, mine = evaluation.means()
    assert (before["psnr"], before["gain"], before["sharpest_quarter"]) == (28.5, 0, 0)
    assert mine["gain"] == pytest.approx(1.375)
    assert mine["sharpest_quarter"] == -0.5  # one frame of four: that of 40 dB
    assert mine["other_frames"] == 2
    assert mine["seconds"] == 0.5


def test_table_for_people_and_programs(evaluation):
    lines = evaluation.markdown().splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 2 + 4 + 2
    assert lines[-1].split("|")[1:5] == [" mean ", " mine   ", " 29.88 ", " 1.38 "]
    whole = json.loads(evaluation.json())
    assert whole["version"] == 3
    assert whole["clips"]["a"] == {"coc_px": None}
    assert len(whole["frames"]) == 8
    table = list(csv.DictReader(io.StringIO(evaluation.csv())))
    assert float(table[-1]["gain"]) == pytest.approx(1.375)


def test_perfect_frames_count_as_50_db():
    frames = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    clip = Clip("clip", frames, frames, (0, 1))
    for one in score(clip, "input", frames, 0.0):
        assert (one.psnr, one.ssim, one.detail, one.sharpness) == pytest.approx((50, 1, 1, 1))
        assert one.flip == pytest.approx(0, abs=1e-6)


def test_flip_is_for_programs_and_may_be_lacking(evaluation):
    """The printed table is wide as it is; earlier scores have none."""
    assert json.loads(evaluation.json())["means"][0]["flip"] is None
    frames = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    clip = Clip("clip", frames, frames, (0,))
    scores = score(clip, "input", frames, 0.0) + score(clip, "b", 1 - frames, 0.0)
    table = Evaluation("suite", 1, ("input", "b"), tuple(scores), clips={"clip": {}})
    expected = float(flip(1 - frames[0], frames[0]))
    assert expected > 0.1
    for row in (table.means()[1], json.loads(table.json())["means"][1]):
        assert row["flip"] == pytest.approx(expected)
    for result, shown in ((evaluation, ""), (table, round(expected, 6))):
        assert "FLIP" not in result.markdown()
        last = list(csv.DictReader(io.StringIO(result.csv())))[-1]
        assert (last["flip"] and round(float(last["flip"]), 6)) == shown


def test_motion_counts_where_it_is_watched_and_gaps_leave_means_alone():
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(4, 3, 48, 48, generator=generator)
    flat = torch.full((4, 3, 48, 48), 0.5)
    watched = Clip("watched", frames, frames, (1,), watched=(1, 2, 3))
    assert watched.wanted == (1, 2, 3)
    scores = [*score(watched, "input", watched.input, 0.0), *score(watched, "b", flat[1:], 0.0)]
    assert (scores[0].tof, math.isnan(scores[0].added_gradient)) == (0, True)
    assert scores[1].tof > 0
    still = Clip("still", flat, flat, (0, 2))
    scores += score(still, "input", still.input, 0.0) + score(still, "b", frames[:2], 0.0)
    assert math.isnan(scores[-1].tof)
    assert scores[-1].added_gradient > 20
    table = Evaluation(
        "suite", 1, ("input", "b"), tuple(scores), clips={"watched": {}, "still": {}},
        parameters={"b": 1_250_000},
    )  # fmt: skip
    before, mine = table.means()
    assert mine["tof"] == scores[1].tof
    assert mine["added_gradient"] == pytest.approx(
        (scores[-1].added_gradient + scores[-2].added_gradient) / 2
    )
    assert mine["parameters"] == 1.25
    assert "parameters" not in before
    assert json.loads(table.json())["rows"][2]["tof"] is None
    assert "nan" not in table.markdown() + table.csv()


def test_sheets_show_the_most_detailed_part():
    truth = torch.zeros(3, 480, 640)
    truth[:, 200:300, 400:500] = torch.rand(3, 100, 100)
    top, left, height, width = most_detailed(truth)
    assert (height, width) == (256, 256)
    assert top <= 200
    assert left <= 400
    assert top + height >= 300
    assert left + width >= 500


@pytest.fixture
def footage(tmp_path):
    random = np.random.default_rng(1)
    wide = random.integers(0, 255, (48, 96, 3), np.uint8)
    for name in ("one", "two"):
        folder = tmp_path / "footage" / name
        folder.mkdir(parents=True)
        for i in range(6):
            cv2.imwrite(str(folder / f"{i}.png"), wide[:, 2 * i : 2 * i + 64])
    return tmp_path / "footage"


def test_from_python_the_same_again(footage):
    def run():
        return unblur.evaluate("real-average", models=["none"], data=footage, frames=3)

    first, again = run(), run()
    assert first.methods == ("input", "unsharp", "none")
    assert list(first.left_out) == ["wiener"]

    def figures(result):
        return [{**row, "seconds": 0} for row in (*result.rows(), *result.means())]

    assert figures(first) == figures(again)
    assert first.means()[2]["gain"] == 0


def test_from_the_command_line(footage, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["evaluate", "real-average", "--data", str(footage), "--frames", "3", "--limit", "1"]
    words += ["--model", "none", "--model", "none@linear", "--json", str(out / "t.json")]
    assert main([*words, "--csv", str(out / "t.csv"), "--images", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "real-average, version 1" in shown
    assert "no wiener: the true blur of real frames is not known" in shown
    assert "| mean" in shown
    whole = json.loads((out / "t.json").read_text())
    assert [row["method"] for row in whole["means"]] == [
        "input", "unsharp", "none", "none@linear"
    ]  # fmt: skip
    assert list(whole["clips"]) == ["one"]
    assert (out / "t.csv").read_text().count("\n") == 1 + 4 + 4
    sheet = cv2.imread(str(out / "real-average-one.png"))
    assert sheet.shape == (HEAD + 2 * 48 + GAP, 5 * 64 + 4 * GAP, 3)
    assert sorted(path.name for path in out.iterdir()) == [
        "real-average-one.png",
        "t.csv",
        "t.json",
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["synth-moton"], 2, "did you mean synth-motion"),
        (["real-average"], 2, "--data DIR"),
        (["real-average", "--data", "FOOTAGE", "--frames", "4"], 2, "use 3, 5 or 7"),
        (["real-average", "--data", "FOOTAGE", "--frames", "7"], 3, "lower --frames"),
        (
            ["real-average", "--data", "FOOTAGE", "--frames", "3", "--model", "unknown"],
            2,
            "unknown model",
        ),
        (["synth-motion", "--frames", "5"], 2, "takes no --frames"),
        (["synth-motion", "--limit", "0"], 2, "at least 1"),
        (["synth-motion", "--textures", "FOOTAGE/none"], 3, "no folder of textures"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(footage, capsys, words, code, said):
    words = [word.replace("FOOTAGE", str(footage)) for word in words]
    assert main(["evaluate", "-q", *words]) == code
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1
    assert said in err[0]


def test_a_model_named_twice_is_refused(footage):
    with pytest.raises(UsageError, match="named twice"):
        unblur.evaluate("real-average", models=["none", "none"], data=footage, frames=3)


def test_the_function_stays_callable_beside_its_room():
    import unblur.evaluation.scores

    with pytest.raises(UsageError, match="unknown suite"):
        unblur.evaluate("nothing")
