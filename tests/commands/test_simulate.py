"""Simulated data: rendered clips as files, and real video blurred on purpose."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from unblur.commands.simulate import Shake, motion, scenes
from unblur.errors import MediaError, UsageError
from unblur.ops.color import from_linear, to_linear
from unblur.synth import SceneConfig, held_out, render, sample_scenes


def read(path: Path) -> Tensor:
    """(C, H, W) values as they are stored."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    stored = stored[..., None] if stored.ndim == 2 else stored[:, :, ::-1]
    return torch.from_numpy(stored.astype(np.float32)).permute(2, 0, 1)


def write(folder: Path, frames: Tensor) -> None:
    """Frames (T, 3, H, W) in [0, 1] as PNG."""
    folder.mkdir()
    for t, frame in enumerate(frames):
        array = (frame * 255).round().byte().permute(1, 2, 0).numpy()
        cv2.imwrite(str(folder / f"{t:05}.png"), array[:, :, ::-1])


def test_written_clips_hold_the_truth(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    folder = scenes(
        tmp_path / "out", count=2, mode="joint", frames=3, width=48, height=40, seed=3,
        progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    assert steps == [(0, 2), (1, 2), (2, 2)]
    assert sorted(p.name for p in folder.iterdir()) == ["000", "001"]
    config = SceneConfig(mode="joint", interpolation="bicubic")
    drawn = sample_scenes(config, held_out(), 1, torch.Generator().manual_seed(4))
    r = render(drawn, 40, 48, 3)
    clip = folder / "001"
    for t in range(3):
        for name, values, step in (
            ("sharp", r.sharp, 255),
            ("blurred", r.blurred, 255),
            ("depth", r.depth, 65535),
            ("coc", r.coc, 256),
            ("extent", r.extent, 256),
        ):
            stored = read(clip / name / f"{t:05}.png") / step
            assert (stored - values[0, t]).abs().amax() <= 0.51 / step, name
    stored = read(clip / "flow_backward" / "00001.png")
    assert ((stored[:2] - 32768) / 64 - r.flow_backward[0, 1]).abs().amax() <= 0.5 / 64 + 1e-3
    assert torch.equal(stored[2], r.visible_backward[0, 1, 0])
    about = json.loads((clip / "clip.json").read_text())
    assert about["layers"] == int(drawn.count[0])
    assert about["seed"] == 4
    assert all(texture["licence"] for texture in about["textures"])
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("wrong", [{"count": 0}, {"frames": 0}, {"width": 4}], ids=str)
def test_wrong_requests_leave_nothing_behind(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        scenes(tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        scenes(tmp_path)
    assert (tmp_path / "mine").read_text() == "mine"


def moving(speed: float, frames: int) -> Tensor:
    """A smooth pattern that moves to the right, (T, 3, 64, 96)."""
    x, y = torch.arange(96.0), torch.arange(64.0)[:, None]
    return torch.stack(
        [
            from_linear(
                0.5
                + 0.2 * torch.sin((x - speed * t) / 2 + y / 5)
                + 0.2 * torch.sin((x - speed * t) / 5 - y / 4)
            ).expand(3, -1, -1)
            for t in range(frames)
        ]
    )


def test_blur_of_a_moving_image_is_the_integral_of_its_light(tmp_path: Path) -> None:
    speed, exposure = 4.0, 0.9
    frames = moving(speed, 4)
    write(tmp_path / "in", frames)
    assert motion(tmp_path / "in", tmp_path / "out" / "%05d.png", exposure=exposure) == 4
    fine = torch.linspace(-exposure / 2, exposure / 2, 101)
    passed = [to_linear(shifted(speed * (2 + t))) for t in fine.tolist()]
    truth = torch.stack(passed).mean(0)
    got = to_linear(read(sorted((tmp_path / "out").iterdir())[2]) / 255)
    sharp = to_linear(frames[2])
    inner = (slice(None), slice(8, -8), slice(12, -12))
    error, change = ((a - truth)[inner].abs().mean() for a in (got, sharp))
    assert change > 0.01
    assert error < 0.25 * change


def shifted(by: float) -> Tensor:
    """The pattern of `moving`, moved by that much."""
    return moving(by, 2)[1]


def test_a_still_image_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "in", moving(0, 3))
    motion(tmp_path / "in", tmp_path / "out" / "%05d.png", exposure=1.0)
    for before, after in zip(
        sorted((tmp_path / "in").iterdir()), sorted((tmp_path / "out").iterdir()), strict=True
    ):
        assert (read(before) - read(after)).abs().amax() <= 1


def test_shake_blurs_what_stands_still(tmp_path: Path) -> None:
    write(tmp_path / "in", moving(0, 3))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        target = tmp_path / name / "%05d.png"
        motion(tmp_path / "in", target, exposure=1.0, shake=4, seed=seed)
    a, b, c = (read(tmp_path / n / "00001.png") for n in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    still = read(tmp_path / "in" / "00001.png")
    assert a.diff(dim=-1).abs().mean() < still.diff(dim=-1).abs().mean()
    times = torch.linspace(0, 4, 200)
    assert Shake(3.0, 0)(times).diff(dim=0).norm(dim=1).amax() < 0.5  # no jumps


def test_every_second_frame_spans_twice_the_time(tmp_path: Path) -> None:
    write(tmp_path / "in", moving(2.0, 5))
    assert motion(tmp_path / "in", tmp_path / "one" / "%05d.png", exposure=1.0) == 5
    assert motion(tmp_path / "in", tmp_path / "two" / "%05d.png", exposure=1.0, every=2) == 3
    one, two = (
        read(sorted((tmp_path / name).iterdir())[i]) for name, i in (("one", 2), ("two", 1))
    )
    inner = (slice(None), slice(None), slice(12, -12))
    assert two[inner].diff(dim=-1).abs().mean() < one[inner].diff(dim=-1).abs().mean()


def test_motion_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exposure"):
        motion("in.mp4", "out.mp4", exposure=1.5)
    with pytest.raises(UsageError, match="every"):
        motion("in.mp4", "out.mp4", every=0)
    with pytest.raises(MediaError):
        motion(tmp_path / "nothing.mp4", tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())
