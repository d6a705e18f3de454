"""Suites of data sets on disk: layouts, protocols, and what papers print beside."""

from __future__ import annotations

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unblur
from unblur.cli import main
from unblur.errors import MediaError, UsageError
from unblur.evaluation import rendered
from unblur.evaluation.clip import Clip
from unblur.evaluation.folders import folder_clips
from unblur.evaluation.protocols import PROTOCOLS, fair_windows, paper_windows
from unblur.evaluation.scores import Evaluation, Score

LAYOUTS = {
    "gopro": ("test/{}/blur/{:06}.png", "test/{}/sharp/{:06}.png"),
    "dvd": ("test/{}/input/{:05}.jpg", "test/{}/GT/{:05}.jpg"),
    "bsd": ("BSD_3ms24ms/test/{}/Blur/RGB/{:08}.png", "BSD_3ms24ms/test/{}/Sharp/RGB/{:08}.png"),
    "reds": ("val/val_blur/{}/{:08}.png", "val/val_sharp/{}/{:08}.png"),
}


def write_set(root, layout, sequences, side=48):
    """A data set of moving noise, blurred by a mean of neighbours."""
    random = np.random.default_rng(0)
    for name, length in sequences.items():
        wide = random.integers(0, 255, (side, side + length + 4, 3), np.uint8)
        frames = [wide[:, i : i + side].astype(np.float32) for i in range(length + 2)]
        for i in range(length):
            pair = np.mean(frames[i : i + 3], axis=0), frames[i + 1]
            for pattern, image in zip(LAYOUTS[layout], pair, strict=True):
                path = root / pattern.format(name, i)
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image.round().astype(np.uint8))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_a_suite_in_which_each_frame_counts_once(tmp_path, layout):
    write_set(tmp_path, layout, {"000": 5, "001": 3})
    result = unblur.evaluate(f"{layout}:{tmp_path}", models=["none"])
    assert result.facts["protocol"] == "fair"
    assert [(s.clip.rpartition("/")[2], s.frame) for s in result.scores if s.method == "none"] == [
        *(("000@0", i) for i in range(5)),
        *(("001@0", i) for i in range(3)),
    ]
    assert result.means()[0]["psnr"] < 20


def test_only_the_test_set_counts_where_there_is_one(tmp_path):
    write_set(tmp_path, "gopro", {"GOPR1": 1})
    train = tmp_path / "train"
    (tmp_path / "test" / "GOPR1").rename(tmp_path / "GOPR2")
    train.mkdir()
    (tmp_path / "GOPR2").rename(train / "GOPR2")
    write_set(tmp_path, "gopro", {"GOPR1": 1})
    clips = folder_clips("gopro", tmp_path, PROTOCOLS["fair"], None)
    assert [make().name for make in clips] == ["GOPR1@0"]


@pytest.mark.parametrize(
    ("length", "counted"),
    [
        (100, [(0, 2, 45), (44, 46, 89), (52, 90, 97)]),
        (134, [(0, 2, 45), (44, 46, 89), (86, 90, 131)]),
        (77, [(0, 2, 45), (29, 46, 74)]),
        (48, [(0, 2, 45)]),
        (10, [(0, 2, 7)]),
    ],
)
def test_windows_of_the_released_test(length, counted):
    windows = paper_windows(length)
    assert [(w.start, w.start + w.scored[0], w.start + w.scored[-1]) for w in windows] == counted
    assert all(w.stop == min(w.start + 48, length) for w in windows)


@given(st.integers(5, 400))
def test_the_paper_counts_all_but_four_frames_and_fair_counts_all(length):
    for windows, dropped in ((paper_windows(length), 2), (fair_windows(length), 0)):
        counted = [w.start + i for w in windows for i in w.scored]
        assert counted == list(range(dropped, length - dropped))
        assert all(w.stop - w.start <= 48 for w in windows)
        assert all(a.start < b.start for a, b in pairwise(windows))


def test_frames_around_those_that_count_can_be_used():
    for windows in (fair_windows(200), paper_windows(200)):
        for window in windows[1:-1]:
            assert window.scored[0] >= 2
            assert window.scored[-1] <= window.stop - window.start - 3


def test_the_paper_weighs_windows_equally_and_rounds(tmp_path):
    write_set(tmp_path, "gopro", {"a": 60})
    result = unblur.evaluate(f"gopro:{tmp_path}", models=[], protocol="paper")
    rows = [row for row in result.rows() if row["method"] == "input"]
    frames = [s for s in result.scores if s.method == "input"]
    assert [row["clip"] for row in rows] == ["a@0", "a@12"]
    assert len(frames) == 44 + 12
    mean = result.means()[0]["psnr"]
    assert mean == pytest.approx(np.mean([row["psnr"] for row in rows]))
    assert mean != pytest.approx(np.mean([s.psnr for s in frames]), abs=1e-6)
    clip = folder_clips("gopro", tmp_path, PROTOCOLS["paper"], None)[0]()
    metric = PROTOCOLS["paper"].metrics["psnr"]
    shifted = clip.sharp + 0.4 / 255  # is the same frame in a file of 8 bits
    assert float(metric(shifted[0], clip.sharp[0])) == 100


def test_means_over_clips_differ_from_means_over_frames():
    scores = [Score("a", i, "input", 1.0, 20.0, 0.9, 0.9, 1.0) for i in range(3)]
    scores.append(Score("b", 0, "input", 1.0, 40.0, 0.9, 0.9, 1.0))
    for mean, psnr in (("frames", 25), ("clips", 30)):
        result = Evaluation("s", 1, ("input",), tuple(scores), clips={"a": {}, "b": {}}, mean=mean)
        assert result.means()[0]["psnr"] == pytest.approx(psnr)


def test_published_figures_stand_beside_and_say_so(tmp_path, capsys):
    write_set(tmp_path, "dvd", {"a": 6})
    out = tmp_path / "t.json"
    words = ["evaluate", f"dvd:{tmp_path}", "--model", "none", "--protocol", "paper"]
    assert main([*words, "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "published, not measured here" in shown
    assert "BSSTNet (BSSTNet, CVPR 2024, table 2) | 34.95" in shown
    whole = json.loads(out.read_text())
    assert whole["published"][-1]["psnr"] == 34.95
    assert {row["method"] for row in whole["means"]} == {"input", "unsharp", "none"}


def test_bench_has_means_of_each_suite(monkeypatch):
    def one_clip(*_, **__):
        frames = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        return [lambda: Clip("00", 0.9 * frames, frames, (0,))]

    for name in ("motion_clips", "focus_clips", "joint_clips"):
        monkeypatch.setattr(rendered, name, one_clip)
    result = unblur.evaluate("bench", models=[])
    parts = ("synth-motion", "synth-focus", "synth-joint", "synth-lowlight")
    assert list(result.clips) == [f"{part}/00" for part in parts]
    heads = [row["clip"] for row in result.means() if row["method"] == "input"]
    assert heads == [*(f"mean {part}" for part in parts), "mean"]


@pytest.mark.parametrize(
    ("suite", "options", "said"),
    [
        ("gopro", {}, "gopro:DIR"),
        ("gopro:SET", {"protocol": "strict"}, "no protocol called 'strict'"),
        ("bsd:SET", {"protocol": "paper"}, "take fair for bsd"),
        ("gopro:SET", {"frames": 3, "protocol": "paper"}, "take --protocol fair"),
        ("synth-motion", {"protocol": "fair"}, "takes no --protocol"),
        ("bench", {"encoded": 23}, "takes no --encoded"),
    ],
)
def test_wrong_requests_say_what_is_right(tmp_path, suite, options, said):
    write_set(tmp_path, "gopro", {"a": 6})
    write_set(tmp_path, "bsd", {"a": 6})
    with pytest.raises(UsageError, match=said):
        unblur.evaluate(suite.replace("SET", str(tmp_path)), models=[], **options)


def test_a_folder_of_another_layout_is_said(tmp_path):
    write_set(tmp_path, "gopro", {"a": 6})
    with pytest.raises(MediaError, match="does not look like reds"):
        unblur.evaluate(f"reds:{tmp_path}", models=[])


def test_frames_are_read_as_they_lie(tmp_path):
    write_set(tmp_path, "gopro", {"a": 60})
    clip = folder_clips("gopro", tmp_path, PROTOCOLS["fair"], None)[1]()
    assert clip.name == "a@36"
    path = tmp_path / "test" / "a" / "sharp" / "000040.png"
    read = torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1) / 255
    assert torch.equal(clip.sharp[clip.scored[0]], read)
