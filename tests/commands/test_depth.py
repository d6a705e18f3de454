"""Depth, blur maps and focus pulls as files: `guide`, `simulate.focus`, and their commands."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import unblur
from unblur.cli import main
from unblur.commands.depth import blur_map, depth
from unblur.commands.simulate import focus, read_keys
from unblur.errors import MediaError, UnblurWarning, UsageError
from unblur.guidance.blur_map import blur_map as flow_blur_map
from unblur.guidance.flow import flow_s, load_flow_s
from unblur.ops.color import from_linear, to_linear
from unblur.optics.focal import LayeredBlur, defocus, layered_blur
from unblur.synth import held_out

H, W, T = 96, 120, 3


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A texture that stands still, with a little noise, as three images."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = held_out().images[7, :, :H, :W].permute(1, 2, 0).numpy().astype(np.float32)
    random = np.random.default_rng(0)
    for t in range(T):
        noisy = image + random.normal(0, 2, image.shape)
        cv2.imwrite(str(folder / f"{t:05}.png"), noisy.clip(0, 255).round()[:, :, ::-1])
    return folder


def read(folder: Path) -> Tensor:
    """(T, C, H, W) as stored, RGB."""
    images = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted(folder.iterdir())]
    arrays = [p[..., None] if p.ndim == 2 else p[:, :, ::-1] for p in images]
    return torch.from_numpy(np.stack(arrays).astype(np.float32)).permute(0, 3, 1, 2)


def test_a_focus_pull_is_seen_again_in_the_blur_map(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "blurred" / "%05d.png"
    keys = ["near@f0", "far@f2"]
    assert focus(clip, out, keys, radius=10) == T
    assert blur_map(out.parent, tmp_path / "map" / "%05d.png") == T
    found = read(tmp_path / "map") / 65535
    assert found.shape == (T, 1, H, W)
    top, bottom = found[..., :24, :].mean((1, 2, 3)), found[..., -24:, :].mean((1, 2, 3))
    assert top[0] > bottom[0] + 0.2  # focus is near: the far end, at the top, is blurred
    assert bottom[-1] > top[-1] + 0.1
    blur_map(out.parent, tmp_path / "mask" / "%05d.png", mask=True)
    mask = read(tmp_path / "mask")
    assert set(mask.unique().tolist()) == {0, 65535}
    assert ((mask > 0) == (found > 0.1)).float().mean() > 0.999


def test_focus_is_what_the_simulators_make(clip: Path, tmp_path: Path) -> None:
    ramp = torch.linspace(1, 0, H)[:, None].expand(1, H, W)
    source = read(clip) / 255
    focus(clip, tmp_path / "lens" / "%05d.png", ["0.25"], radius=6)
    light, _ = defocus(to_linear(source[1]), ramp, 0.25, 6)
    assert (read(tmp_path / "lens")[1] / 255 - from_linear(light)).abs().max() < 0.51 / 255
    focus(clip, tmp_path / "paper" / "%05d.png", ["0.25"], radius=6, mode="paper")
    setting = LayeredBlur(13, 100, 5, mode="paper")
    blurred, _ = layered_blur(source[1] * 255, ramp * 255, 0.25 * 255, setting)
    assert (read(tmp_path / "paper")[1] - blurred).abs().max() < 0.51


@pytest.fixture
def pan(tmp_path: Path) -> Path:
    """Two shots, of five and of two frames: the left half stands still, the right half moves.

    In the first shot it moves by 2, 4, 6 and 8 pixels from frame to frame.
    """
    folder = tmp_path / "pan"
    folder.mkdir()
    bank = held_out().images
    at = 0
    for shot, steps in enumerate([(0, 2, 6, 12, 20), (0, 5)]):
        still, moves = (bank[i].permute(1, 2, 0).numpy()[:, :, ::-1] for i in (shot, shot + 9))
        for x in steps:
            image = np.concatenate((still[:H, :128], moves[:H, x : x + 128]), 1)
            cv2.imwrite(str(folder / f"{at:05}.png"), image)
            at += 1
    return folder


@pytest.mark.parametrize("equation", ["sum", "mean"])
def test_the_blur_map_of_motion_is_the_papers(pan: Path, tmp_path: Path, equation: str) -> None:
    out = tmp_path / "map" / "%05d.png"
    seen: list[tuple[int, int | None]] = []
    count = blur_map(pan, out, kind="motion", equation=equation, progress=lambda *x: seen.append(x))
    assert count == 7
    assert seen[-1] == (7, 7)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    found = read(tmp_path / "map") / 65535
    frames = read(pan) / 255
    first = expected_blur_map(frames[:5], mode="paper" if equation == "sum" else "official")
    second = expected_blur_map(frames[5:], mode="paper" if equation == "sum" else "official")
    expected = F.interpolate(torch.cat((first, second)), (H, 256), mode="bilinear")
    assert (found - expected).abs().max() < 1.5 / 65535
    assert found[:5, :, :, 160:].mean((1, 2, 3)).argmax() == (3 if equation == "sum" else 4)
    assert found[:5, :, :, :96].mean() < 0.05


def expected_blur_map(frames: Tensor, mode: str) -> Tensor:
    return flow_blur_map(*flow_s(load_flow_s(), frames), mode=mode)  # type: ignore[arg-type]


def test_the_sharp_map_is_what_the_blur_map_leaves(pan: Path, tmp_path: Path) -> None:
    assert main(["blurmap", str(pan), str(tmp_path / "b/%05d.png"), "--kind", "motion"]) == 0
    flags = ["--kind", "motion", "--sharp"]
    assert main(["blurmap", str(pan), str(tmp_path / "a/%05d.png"), *flags]) == 0
    both = read(tmp_path / "a") + read(tmp_path / "b")
    assert (both - 65535).abs().max() <= 1  # each is rounded


def test_one_frame_has_no_motion(clip: Path, tmp_path: Path) -> None:
    for path in sorted(clip.iterdir())[1:]:
        path.unlink()
    assert blur_map(clip, tmp_path / "map" / "%05d.png", kind="motion") == 1
    assert not read(tmp_path / "map").any()


def test_wrong_kinds_of_blur_are_named(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "map" / "%05d.png"
    with pytest.raises(UsageError, match="kind 'speed': use focus or motion"):
        blur_map(clip, out, kind="speed")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="equation 'max': use sum or mean"):
        blur_map(clip, out, kind="motion", equation="max")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="leave depth out"):
        blur_map(clip, out, kind="motion", depth=clip)


def test_written_depth_can_be_read_again(clip: Path, tmp_path: Path) -> None:
    rows = np.linspace(0, 65535, H).round()[:, None].repeat(W, 1).astype(np.uint16)
    given = tmp_path / "given"
    given.mkdir()
    for t in range(T):
        cv2.imwrite(str(given / f"{t}.png"), rows)
    assert depth(clip, tmp_path / "a" / "%05d.png", depth=given, invert=True) == T
    assert torch.equal(
        read(tmp_path / "a")[1, 0], 65535 - torch.from_numpy(rows.astype(np.float32))
    )
    depth(clip, tmp_path / "b" / "%05d.exr", depth=tmp_path / "a")
    depth(clip, tmp_path / "c" / "%05d.png", depth=tmp_path / "b", invert=True)
    assert (read(tmp_path / "c")[0, 0].numpy() - rows).__abs__().max() <= 1
    blur_map(clip, tmp_path / "d" / "%05d.png", depth=given)
    assert float(read(tmp_path / "d").std(-1).max()) < 1  # one value for each depth


def test_depth_and_blur_in_colours(clip: Path, tmp_path: Path) -> None:
    assert depth(clip, tmp_path / "depth.mp4") == T
    assert blur_map(clip, tmp_path / "blur.mkv") == T
    info = unblur.probe(tmp_path / "depth.mp4")
    assert (info.width, info.height, info.color.matrix) == (W, H, "bt709")
    with unblur.video.open_video(tmp_path / "depth.mp4") as reader:
        red, _, blue = next(iter(reader)).rgb().mean((1, 2))
    assert red > blue + 0.2  # a sharp clip is near


def test_depth_that_does_not_fit(clip: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    cv2.imwrite(str(one / "0.png"), np.arange(H * W, dtype=np.uint16).reshape(H, W))
    for work in (depth, blur_map):
        with pytest.raises(MediaError, match="1 depth maps and the video 3 frames"):
            work(clip, tmp_path / "out" / "%05d.png", depth=one)
    with pytest.raises(MediaError, match="1 depth maps"):
        focus(clip, tmp_path / "out" / "%05d.png", ["near"], depth=one)
    with pytest.raises(UsageError, match="no depth called 'nothing'"):
        depth(clip, tmp_path / "out" / "%05d.png", depth="nothing")
    assert not (tmp_path / "out").exists()


def test_keys_of_the_focus() -> None:
    pull = read_keys(["near@0s", "far@2s", "0.5@f96"], unblur.video.sequence.RATE)
    assert [pull(t) for t in (0, 1, 2, 3, 4)] == [0, 0.5, 1, 0.75, 0.5]
    for bad in (["middle@0s"], ["2@0s"], ["nan@1s"], ["near@soon"], ["near@1s", "far@1s"], []):
        with pytest.raises(UsageError):
            read_keys(bad, unblur.video.sequence.RATE)
    with pytest.raises(UsageError, match="no frame rate"):
        read_keys(["near@f3"], None)


def test_commands(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = [str(tmp_path / name / "%05d.png") for name in "abc"]
    pull = ["--focus", "near@0s", "--focus", "far@f2", "--radius", "4"]
    assert main(["simulate", "focus", str(clip), out[0], *pull]) == 0
    assert main(["depth", str(tmp_path / "a"), out[1]]) == 0
    assert main(["blurmap", str(tmp_path / "a"), out[2], "--depth", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.count("3 frames") == 3
    assert main(["blurmap", str(tmp_path / "a"), out[2]]) == 2
    assert main(["simulate", "focus", str(clip), str(tmp_path / "d.mp4"), "--focus", "up@0s"]) == 2
    assert "near, far or a number" in capsys.readouterr().err
    assert main(["simulate", "focus", str(clip), str(tmp_path / "d.mp4")]) == 2
    assert "--focus" in capsys.readouterr().err


def test_depth_maps_left_over_are_told(clip: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    for t in range(T):
        cv2.imwrite(str(maps / f"{t}.png"), np.arange(H * W, dtype=np.uint16).reshape(H, W))
    (clip / "00002.png").write_bytes(b"damaged")
    with pytest.warns(UnblurWarning) as said:
        assert depth(clip, tmp_path / "out" / "%05d.png", depth=maps) == T - 1
    assert any("3 depth maps were given and 2 frames came" in str(w.message) for w in said)
