"""The suites: frozen, what they say they are, and clear about what they lack."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from unblur.errors import MediaError, UsageError
from unblur.evaluation.averaged import averaged_clips
from unblur.evaluation.rendered import FOCUS, MOTION, spread
from unblur.evaluation.suites import SUITES, Sources, find_suite
from unblur.ops.color import from_linear, to_linear

FROZEN = json.loads((Path(__file__).parent / "frozen.json").read_text(encoding="utf-8"))
RENDERED = [
    "synth-motion",
    "synth-focus",
    "synth-joint",
    "synth-lowlight",
]


def fingerprint(frames):
    """Means of 8 x 8 blocks of the first scored frame's luma: any change of content shows, a
    rounding that differs from machine to machine does not."""
    luma = frames[0].mean(0, keepdim=True)  # (1, H, W)
    return torch.nn.functional.adaptive_avg_pool2d(luma, 8)[0].double()


@pytest.mark.parametrize("name", RENDERED)
def test_a_rendered_suite_is_frozen(name):
    clips = SUITES[name].clips(Sources())
    clip = clips[0]()
    assert len(clips) == 24
    frozen = FROZEN[name]
    assert SUITES[name].version == frozen["version"]
    torch.testing.assert_close(
        fingerprint(clip.input),
        torch.tensor(frozen["input"], dtype=torch.float64),
        atol=2e-3,
        rtol=0,
        msg="the suite changed: raise its version, then renew tests/evaluation/frozen.json",
    )
    assert clip.facts["motion_px"] == pytest.approx(frozen["motion_px"], abs=0.02)
    assert clip.facts["coc_px"] == pytest.approx(frozen["coc_px"], abs=0.02)


@pytest.mark.slow
def test_a_suite_spreads_its_strengths_and_compresses_half():
    clips = [make() for make in SUITES["synth-focus"].clips(Sources())]
    still = [clip for clip in clips if clip.facts["coc_px"] == 0]
    assert len(still) >= 2
    assert max(clip.facts["coc_px"] for clip in clips) > 5
    assert sum(clip.facts["quality"] > 0 for clip in clips) == 12


@pytest.mark.parametrize("histogram", [MOTION, FOCUS])
def test_any_part_of_a_suite_is_a_mixture(histogram):
    ranges = spread(histogram)
    assert sorted(ranges) == sorted(r for many, r in histogram for _ in range(many))
    assert len(set(ranges[:8])) >= 3


@pytest.fixture
def footage(tmp_path):
    """Two folders of frames whose bright bar moves on; the second clip has fewer."""
    for name, count in (("bar", 14), ("short", 7)):
        folder = tmp_path / "footage" / name
        folder.mkdir(parents=True)
        for i in range(count):
            frame = np.zeros((48, 64, 3), np.uint8)
            frame[:, 2 * i + 8 : 2 * i + 16] = 200
            cv2.imwrite(str(folder / f"{i:05}.png"), frame)
    return tmp_path / "footage"


def test_real_frames_are_averaged_side_by_side_in_linear_light(footage):
    bar, short = (make() for make in averaged_clips([footage], 7))
    assert (bar.name, len(bar.blurred), len(short.blurred)) == ("bar", 2, 1)
    assert bar.blur is None
    sharp = torch.zeros(14, 48, 64)
    for i in range(14):
        sharp[i, :, 2 * i + 8 : 2 * i + 16] = 200 / 255
    for n in range(2):
        mean = from_linear(to_linear(sharp[7 * n : 7 * n + 7]).mean(0))
        assert (bar.blurred[n, 1] - mean).abs().max() <= 0.5 / 255 + 1e-5
        assert torch.equal(bar.sharp[n, 1], sharp[7 * n + 3])


def test_a_folder_of_frames_is_a_clip_by_itself(footage):
    assert [make().name for make in averaged_clips([footage / "bar"], 5)] == ["bar"]


def test_scored_frames_lie_evenly_in_the_clip(footage):
    clip = averaged_clips([footage / "bar"], 3)[0]()
    assert len(clip.blurred) == 4
    assert clip.scored == (0, 1, 2, 3)


@pytest.mark.parametrize("frames", [1, 2, 4, 9])
def test_only_odd_windows_are_taken(footage, frames):
    with pytest.raises(UsageError, match="use 3, 5 or 7"):
        averaged_clips([footage], frames)


def test_what_real_average_lacks_is_said(footage, tmp_path):
    with pytest.raises(UsageError, match="add --data DIR"):
        averaged_clips([], 7)
    with pytest.raises(MediaError, match="not a folder"):
        averaged_clips([tmp_path / "nowhere"], 7)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MediaError, match="holds no frames"):
        averaged_clips([empty], 7)
    cv2.imwrite(str(empty / "one.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(MediaError, match="holds 1 frames, averages need 7"):
        averaged_clips([empty], 7)


@pytest.mark.parametrize(
    ("name", "sources", "said"),
    [
        ("synth-motoin", Sources(), "did you mean synth-motion"),
        ("set", Sources(), "there are synth-motion, synth-focus, synth-joint, synth-lowlight"),
        ("synth-motion", Sources(data=(Path("x"),)), "takes no --data: only --encoded"),
        ("synth-focus", Sources(blur="paper"), "takes no --blur"),
        ("real-average", Sources(scale=2), "takes no --scale"),
        ("synth-focus", Sources(depth=Path("x")), "takes no --depth"),
        ("synth-focus", Sources(frames=5), "takes no --frames"),
        ("real-average", Sources(textures=Path("x")), "only --data and --frames"),
    ],
)
def test_wrong_requests_say_what_is_right(name, sources, said):
    with pytest.raises(UsageError, match=said):
        find_suite(name, sources)
