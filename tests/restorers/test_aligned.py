"""The preset that sees its neighbours, as the engine sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

import unblur
from unblur import weights
from unblur.engine.plan import MemoryPlan
from unblur.engine.rendition import Rendition
from unblur.engine.run import Runner
from unblur.engine.tiled import run_tiled
from unblur.errors import WeightsError
from unblur.models.aligned import FOCUS_M, FOCUS_S, MOTION_M, MOTION_S, Aligned, AlignedConfig
from unblur.ops.shots import Shot
from unblur.restorers.aligned import PRESETS, AlignedRestorer, FocalRestorer
from unblur.restorers.base import ABLATIONS, Ablation, LoadOptions, Priors, Tiling

BY_NAME = {preset.info.name: preset for preset in PRESETS}
PRESET = BY_NAME["motion-s"]
CPU = torch.device("cpu")
NARROW = AlignedConfig(width=8, tiles=(4, 4, 2))


def still(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Flow of a clip in which nothing moves."""
    T, _, H, W = frames.shape
    flow = frames.new_zeros(max(T - 1, 0), 2, -(-H // 4), -(-W // 4))
    return flow, flow


@pytest.fixture(scope="module")
def restorer() -> AlignedRestorer:
    torch.manual_seed(0)
    return AlignedRestorer(PRESET.info, Aligned(NARROW).eval(), still)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("motion-s", MOTION_S),
        ("motion-m", MOTION_M),
        ("focus-s", FOCUS_S),
        ("focus-m", FOCUS_M),
    ],
)
def test_stated_parameters_are_the_networks(name: str, config: AlignedConfig) -> None:
    with torch.device("meta"):
        network = Aligned(config)
    assert BY_NAME[name].info.parameters == sum(p.numel() for p in network.parameters())
    assert BY_NAME[name].info.sizes.multiple_of == config.multiple_of


@pytest.mark.parametrize("length", [1, 2, 3, 15, 16, 17, 40])
def test_frames_inside_a_clip_are_seen_with_all_their_neighbours(
    restorer: AlignedRestorer, length: int
) -> None:
    windows = restorer.windows(length)
    assert [i for w in windows for i in w.outputs] == list(range(length))
    for window in windows:
        for i in window.outputs:
            around = range(
                max(0, i - MOTION_S.neighbours), min(length, i + MOTION_S.neighbours + 1)
            )
            assert set(around) <= set(window.inputs)


def test_windows_do_not_change_what_comes_out(restorer: AlignedRestorer) -> None:
    frames = torch.rand(12, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    whole = restorer.run(frames, restorer.guide(frames), range(12))
    for window in restorer.windows(12, limit=7):
        part = frames[list(window.inputs)]
        positions = [window.inputs.index(i) for i in window.outputs]
        got = restorer.run(part, restorer.guide(part), positions)
        torch.testing.assert_close(got, whole[list(window.outputs)], rtol=0, atol=1e-6)


def test_tiles_run_with_the_flow_of_the_whole_frame(restorer: AlignedRestorer) -> None:
    frames = torch.rand(3, 3, 100, 150, generator=torch.Generator().manual_seed(0))
    out = run_tiled(restorer, frames, [0, 2], MemoryPlan(Tiling(size=64, overlap=16), None))
    assert out.shape == (2, 3, 100, 150)
    assert out.isfinite().all()


def test_weights_of_another_network_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "other.safetensors"
    weights.save(path, Aligned(NARROW).state_dict(), {})
    with pytest.raises(WeightsError, match="does not fit"):
        PRESET.load(LoadOptions(CPU, "fp32", str(path)))


@pytest.mark.parametrize("name", ["motion-s", "focus-s"])
def test_weights_made_for_another_model_are_refused(name: str) -> None:
    path = str(weights.PACKAGE_FOLDER / f"{name}.safetensors")
    other = "focus-s" if name == "motion-s" else "motion-s"
    with pytest.raises(WeightsError, match="does not fit"):
        BY_NAME[other].load(LoadOptions(CPU, "fp32", path))


FOCUS = AlignedConfig(width=8, tiles=(4, 4, 2), guided=True, enlarges=True)


def focal(scale: int = 1) -> FocalRestorer:
    torch.manual_seed(0)
    info = replace(BY_NAME["focus-s"].info, scale=scale)
    return FocalRestorer(info, Aligned(FOCUS).eval(), still)


def lonely() -> FocalRestorer:
    """One that sees no neighbours."""
    torch.manual_seed(0)
    network = Aligned(replace(FOCUS, neighbours=0)).eval()
    return FocalRestorer(BY_NAME["focus-m"].info, network, still)


def half_blurred(length: int = 3) -> tuple[torch.Tensor, Priors]:
    """Frames of 40 x 50, sharp on the left."""
    frames = torch.rand(length, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    blur = torch.zeros(length, 1, 40, 50)
    blur[..., 25:] = 0.5
    return frames, Priors(tuple(range(length)), blur, blur)


def test_what_the_blur_map_calls_sharp_stays_as_it_is() -> None:
    frames, priors = half_blurred()
    restorer = focal()
    out = restorer.run(frames, restorer.guide(frames, priors), [1])
    assert torch.equal(out[..., :25], frames[1:2, ..., :25])
    assert (out != frames[1:2])[..., 25:].float().mean() > 0.9


def test_tiles_are_guided_by_the_blur_map_of_the_whole_frame() -> None:
    frames, priors = half_blurred()
    fit = MemoryPlan(Tiling(size=32, overlap=8), None)
    out = run_tiled(focal(), frames, [0, 2], fit, priors)
    torch.testing.assert_close(out[..., :25], frames[[0, 2], ..., :25])
    assert run_tiled(focal(2), frames, [1], fit, priors).shape == (1, 3, 80, 100)


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_ablation_changes_what_it_should(name: Ablation) -> None:
    frames, priors = half_blurred()
    restorer, less = focal(), focal().ablated(name)
    whole_one = restorer.run(frames, restorer.guide(frames, priors), [0, 1])
    out = less.run(frames, less.guide(frames, priors), [0, 1])
    assert not torch.equal(out, whole_one)
    left_alone = torch.equal(out[..., :25], frames[:2, ..., :25])
    assert left_alone == (name in ("V1b", "V2"))
    others = frames.clone()
    others[2] = 0
    again = less.run(others, less.guide(others, priors), [0, 1])
    assert torch.equal(again, out) == (name in ("V2", "V3"))


def test_without_neighbours_there_is_no_flow_to_find_and_nothing_to_propagate() -> None:
    frames, priors = half_blurred()
    restorer = lonely()
    assert set(restorer.guide(frames, priors)) == {"radius"}
    assert list(restorer.ablations) == ["V1", "V1b"]
    assert list(focal().ablations) == list(ABLATIONS)
    assert [window.inputs for window in restorer.windows(3)] == [(0,), (1,), (2,)]


def test_frames_seen_by_themselves_still_come_with_the_map_of_their_blur() -> None:
    images = [_Image(frame) for frame in half_blurred()[0]]
    runner = Runner(
        lonely(), Rendition("encoded", "iec61966-2-1"), MemoryPlan(None, None), _SharpOnTheLeft()
    )
    assert lonely().info.needs_shots
    restored = [image for _, image in runner.restore(images, [Shot(0, 3)])]
    for image, out in zip(images, restored, strict=True):
        torch.testing.assert_close(out[..., :25], image.frame[..., :25], rtol=0, atol=1e-6)
        assert (out != image.frame)[..., 25:].float().mean() > 0.9


@dataclass
class _Image:
    frame: Tensor

    def rgb(self) -> Tensor:
        return self.frame


class _SharpOnTheLeft:
    def __call__(self, image: _Image, rgb: Tensor) -> tuple[Tensor, Tensor]:
        blur = torch.zeros_like(rgb[:, :1])
        blur[..., 25:] = 0.5
        return blur, blur

    def restart(self) -> None:
        pass


@pytest.mark.parametrize("name", ["motion-s", "motion-m", "focus-s", "focus-m", "maxim-stage1"])
def test_patterns_as_fine_as_pixels_stay(name: str) -> None:
    """`motion-m` alone makes a mean of 80 of columns whose mean is 127.5."""
    rows, columns = torch.arange(64)[:, None], torch.arange(64)
    for pattern in ((rows + columns) % 2, columns % 2 + 0 * rows):
        frame = pattern.float().expand(1, 3, -1, -1)
        restored = unblur.restore(frame, model=name, device="cpu")
        assert float((restored - frame).abs().mean()) < 1 / 255
