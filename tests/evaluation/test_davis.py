"""The suite of DAVIS: the same pixels as the test sets on disk, any depth, both sizes."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

import unblur
from unblur.cli import main
from unblur.data.davis_blur import build_davis_blur
from unblur.errors import MediaError, UsageError
from unblur.evaluation.davis import davis_clips, proxy_depth
from unblur.synth import held_out

FRAMES = 3
HEIGHT, WIDTH = 120, 212


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    """Two sequences of DAVIS by name and layout, a textured object going over a texture."""
    root = tmp_path_factory.mktemp("data") / "DAVIS"
    back, front = (
        held_out().images[i, :, :HEIGHT, : WIDTH + 8].permute(1, 2, 0).numpy()[:, :, ::-1]
        for i in (0, 3)
    )
    for name in ("camel", "cows"):
        frames = root / "JPEGImages" / "480p" / name
        masks = root / "Annotations" / "480p" / name
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        for t in range(FRAMES):
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[30:90, 60 + 4 * t : 110 + 4 * t] = 255
            frame = np.where(mask[..., None] > 0, front[:, :WIDTH], back[:, t : t + WIDTH])
            cv2.imwrite(str(frames / f"{t:05}.png"), frame)
            cv2.imwrite(str(masks / f"{t:05}.png"), mask)
    return root


@pytest.fixture(scope="module")
def maps(davis, tmp_path_factory):
    """Depth of the stand-in in files, as if somebody had measured it."""
    folder = tmp_path_factory.mktemp("maps")
    for name in ("camel", "cows"):
        (folder / name).mkdir()
        for path in sorted((davis / "Annotations" / "480p" / name).iterdir()):
            depth = proxy_depth((HEIGHT, WIDTH), path)
            cv2.imwrite(str(folder / name / path.name), np.rint(depth * 257).astype(np.uint16))
    return folder


def first_clip(davis, blur="paper", depth=None, frames=None, scale=1):
    return davis_clips(davis, blur, depth, frames, scale)[0]()


@pytest.fixture(scope="module")
def whole(davis, maps):
    """A sequence at twice the size, blurred by depth maps."""
    return first_clip(davis, depth=maps, scale=2)


def test_the_stand_in_is_a_ground_with_objects_standing_on_it(davis):
    depth = proxy_depth((HEIGHT, WIDTH), davis / "Annotations" / "480p" / "camel" / "00000.png")
    assert (depth[0, 0], depth[-1, 0]) == (255, 0)
    assert (np.diff(depth[:, 0]) < 0).all()
    assert (depth[30:90, 60:110] == depth[89, 0]).all()
    assert depth[30, 59] > depth[30, 60]
    assert (proxy_depth((HEIGHT, WIDTH), None)[:, 80] == depth[:, 0]).all()


@pytest.mark.parametrize(("blur", "name"), [("paper", "paper-50"), ("release", "release-90")])
def test_the_same_frames_as_the_set_on_disk(davis, maps, whole, tmp_path, blur, name):
    out = build_davis_blur(davis, tmp_path / "out", depth=maps, sets=[name], only=["camel"])
    clip = whole if blur == "paper" else first_clip(davis, blur, maps, scale=2)
    assert clip.name == "camel"
    assert clip.scored == clip.watched == tuple(range(FRAMES))
    for folder, made in (("frames", clip.blurred), ("gt", clip.sharp)):
        for t, path in enumerate(sorted((out / name / "camel" / folder).iterdir())):
            stored = cv2.imread(str(path))[:, :, ::-1]
            assert np.array_equal(np.rint(made[t].permute(1, 2, 0).numpy() * 255), stored)
    assert clip.facts["blur_map"] > 0


def test_a_part_without_depth_maps_at_the_size_of_the_input(davis, whole):
    """The middle of the sequence, blurred by the stand-in, which the maps were made of."""
    part = first_clip(davis, frames=1)
    assert part.scored == (0,)
    torch.testing.assert_close(part.depth, whole.depth[1:2], atol=1e-4, rtol=0)
    # A kernel may differ where a depth lies between two layers.
    assert (part.blurred - whole.blurred[1:2]).abs().mean() < 1e-3
    halved = torch.nn.functional.avg_pool2d(whole.sharp[1:2], 2)
    assert (part.sharp - halved).abs().max() < 1.01 / 255


def test_sizes(whole):
    assert whole.blurred.shape == (FRAMES, 3, 240, 432)
    assert whole.depth.shape == (FRAMES, 1, 240, 432)
    assert whole.sharp.shape == (FRAMES, 3, 480, 864)
    assert whole.scale == 2


def test_what_is_missing_is_said(davis, tmp_path):
    with pytest.raises(UsageError, match="there are paper, release"):
        davis_clips(davis, "gaussian", None, None, 1)
    with pytest.raises(UsageError, match="at least 1"):
        davis_clips(davis, "paper", None, 0, 1)
    with pytest.raises(MediaError, match="not a folder"):
        davis_clips(tmp_path / "none", "paper", None, None, 1)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(MediaError, match="no sequence of DAVIS"):
        davis_clips(tmp_path, "paper", None, None, 1)
    with pytest.raises(MediaError, match="depth map"):
        davis_clips(davis, "paper", tmp_path, None, 1)
    with pytest.raises(UsageError, match="--data DIR once"):
        unblur.evaluate("davis-blur", models=[])


def test_from_the_command_line(davis, tmp_path, capsys):
    words = ["evaluate", "davis-blur", "--data", str(davis), "--limit", "1", "--frames", "2"]
    words += ["--model", "none", "--json", str(tmp_path / "t.json")]
    assert main([*words, "--images", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for said in (
        "blur paper (paper-50)",
        "depth stand-in (ground plane, objects by their masks)",
        "frames 2",
        "input 432x240",
        "truth 432x240",
        "no wiener",
    ):
        assert said in shown
    whole = json.loads((tmp_path / "t.json").read_text())
    rows = {row["method"]: row for row in whole["means"]}
    assert list(rows) == ["input", "unsharp", "none"]
    assert rows["input"]["tof"] > 0
    assert rows["none"]["parameters"] == 0
    assert rows["none"]["gain"] == pytest.approx(0, abs=1e-6)
    assert (tmp_path / "davis-blur-camel.png").is_file()


def test_at_twice_the_size(davis):
    result = unblur.evaluate("davis-blur", models=["none"], data=davis, scale=2, limit=1, frames=1)
    assert result.facts["truth"] == "864x480"
    rows = result.means()
    assert [row["method"] for row in rows] == ["bicubic", "unsharp + bicubic", "none + bicubic"]
    assert rows[2]["gain"] == pytest.approx(0, abs=1e-6)
    assert "tOF" in result.markdown()  # of one frame there is none
    assert json.loads(result.json())["means"][0]["tof"] is None
