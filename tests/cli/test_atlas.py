"""`unblur atlas`: what is rendered, painted, refocused and measured, as files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import unblur
from tests.atlas import analytic
from unblur.cli import main


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("projects") / "clip"
    analytic.project(frames=4).save(folder)
    return str(folder)


def image(path: Path) -> torch.Tensor:
    """(3, H, W) in [0, 1]."""
    codes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    return torch.from_numpy(codes.astype(np.float32)).permute(2, 0, 1) / 255


@pytest.mark.parametrize(
    "words", [[], ["--mode", "reblurred"], ["--mode", "alpha", "--layer", "foreground"]]
)
def test_render(clip: str, words: list[str], tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["atlas", "render", clip, f"{out}/", "--start", "f1", *words]) == 0
    assert "3 frames" in capsys.readouterr().out
    files = sorted(out.iterdir())
    assert [file.name for file in files] == ["00001.png", "00002.png", "00003.png"]
    mode, layer = (words[1] if words else "sharp"), (words[3] if len(words) > 2 else None)
    expected = unblur.atlas.open(clip).render(mode, [1], layer=layer)[0]
    assert (image(files[0]) - expected).abs().max() < 0.51 / 255


def test_a_video_keeps_the_times(clip: str, tmp_path: Path) -> None:
    assert main(["atlas", "render", clip, str(tmp_path / "out.mp4"), "--end", "f3"]) == 0
    info = unblur.probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.frame_rate, info.frames) == (64, 48, 24, 3)
    words = ["atlas", "render", clip, str(tmp_path / "out.mkv"), "--codec", "ffv1"]
    assert main(words) == 0
    assert main(words) == 2
    assert main([*words, "--overwrite"]) == 0


def test_edit(clip: str, tmp_path: Path, capsys) -> None:
    sheet = np.zeros((analytic.HA, analytic.WA, 4), np.uint8)
    sheet[33:40, 51:58] = (0, 0, 255, 255)
    cv2.imwrite(str(tmp_path / "red.png"), sheet)
    words = ["atlas", "edit", clip, "--foreground", str(tmp_path / "red.png")]
    for mode in ("sharp", "over-original", "reblurred"):
        out = tmp_path / mode
        assert main([*words, f"{out}/", "--mode", mode]) == 0
        x, y = analytic.front_inverse(torch.tensor([54.0, 36.0]), 2).round().long().tolist()
        red, green, _ = image(out / "00003.png")[:, y, x].tolist()
        assert red > 0.95
        assert green < 0.1
    assert (
        main(["atlas", "edit", clip, f"{tmp_path}/x/", "--paint", f"sky={tmp_path}/red.png"]) == 2
    )
    assert "no layer called 'sky'" in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "small.png"), sheet[:10])
    assert (
        main(["atlas", "edit", clip, f"{tmp_path}/x/", "--background", f"{tmp_path}/small.png"])
        == 2
    )
    assert "104x10" in capsys.readouterr().err
    assert main(["atlas", "edit", clip, f"{tmp_path}/x/"]) == 2
    assert "nothing to paint" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".*"))


def test_refocus(clip: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "pull"
    words = ["--focus", "foreground@0s", "--focus", "background@f3", "--aperture", "3"]
    more = ["--bokeh", "hexagon", "--beta", "4", "--highlights", "5"]
    assert main(["atlas", "refocus", clip, f"{out}/", *words, *more]) == 0
    expected = unblur.atlas.open(clip).refocus(
        ["foreground@0s", "background@f3"], [3], aperture=3, bokeh="hexagon", beta=4, highlights=5
    )[0]
    assert (image(out / "00004.png") - expected).abs().max() < 0.51 / 255
    assert main(["atlas", "refocus", clip, f"{tmp_path}/b/", "--track", "30,22@f1"]) == 0
    assert main(["atlas", "refocus", clip, f"{tmp_path}/c/", "--focus", "background@9s"]) == 2
    assert "past the end" in capsys.readouterr().err


def test_flow(clip: str, tmp_path: Path, capsys) -> None:
    out, words = tmp_path / "out.flo", ["--from", "0s", "--to", "f3"]
    more = ["--image", str(tmp_path / "wheel.png"), "--mask", str(tmp_path / "mask.png")]
    assert main(["atlas", "flow", clip, str(out), *words, *more]) == 0
    assert "frame 0 to 3" in capsys.readouterr().out
    read = torch.from_numpy(cv2.readOpticalFlow(str(out))).permute(2, 0, 1)
    assert torch.equal(read, unblur.atlas.open(clip).flow(0, 3).flow)
    assert main(["atlas", "flow", clip, str(out), *words]) == 2
    assert main(["atlas", "flow", clip, str(tmp_path / "b.png"), "--from", "0s", "--to", "9s"]) == 2
    assert "past the end" in capsys.readouterr().err


def test_what_is_no_project_is_told(tmp_path: Path, capsys) -> None:
    assert main(["atlas", "render", str(tmp_path), str(tmp_path / "out.mp4")]) == 3
    assert "is no project" in capsys.readouterr().err
    assert main(["atlas", "render", str(tmp_path / "none"), str(tmp_path / "out.mp4")]) == 2


def test_the_project_is_never_written_over(clip: str, capsys) -> None:
    for inside in ("frames/", "maps/x.mp4", "atlas_foreground.png", ""):
        words = ["atlas", "render", clip, f"{clip}/{inside}", "--overwrite"]
        assert main(words) == 2
        assert "part of the project" in capsys.readouterr().err
    assert len(unblur.atlas.open(clip).render()) == 4
