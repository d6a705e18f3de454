"""DaBiT as the tool sees it: windows with references, guidance, scales, weights, depth."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import unblur
from unblur import weights
from unblur.engine import held
from unblur.engine.held import InMemory, OnDisk
from unblur.engine.plan import MemoryPlan
from unblur.engine.tiled import run_tiled
from unblur.errors import MediaError, UnblurWarning, UsageError, WeightsError
from unblur.guidance.defocus import above_least, blur_mask
from unblur.guidance.flow import dis_flow
from unblur.guidance.of_video import FocusOfVideo
from unblur.models.dabit import TINY, Dabit, DabitConfig
from unblur.models.dabit.windows import windows as released_windows
from unblur.models.flow_refocus import FlowRefocus, FlowRefocusConfig
from unblur.ops.propagation import propagate_by
from unblur.ops.wavelet import blur_of_depths
from unblur.restorers import dabit
from unblur.restorers.base import LoadOptions, Priors, Tiling, Window
from unblur.restorers.dabit import MEMORY, PRESETS, DabitRestorer, in_a_row
from unblur.synth import held_out
from unblur.weights.switches import KEY, switches_of

BY_NAME = {preset.info.name: preset for preset in PRESETS}
OPTIONS = LoadOptions(torch.device("cpu"), "fp32", None)
OFFICIAL = replace(TINY, temporal_stride=1, residual=False, scales=(2,), threshold=0.0, reach=None)
PAPER = replace(
    OFFICIAL,
    propagation=False,
    temporal_stride=2,
    threshold=1e-4,
    pixels="released",
    blur="wavelet",
)
SIDE = 64


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder, and networks that are narrow."""
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path / "home"))
    for name, config in {"OFFICIAL": OFFICIAL, "PAPER": PAPER, "SMALL": TINY}.items():
        monkeypatch.setattr(dabit, name, config)
    return tmp_path / "home"


def store(name: str, network: nn.Module) -> None:
    """Keeps random weights where the presets look."""
    with torch.no_grad():
        for parameter in network.parameters():  # also where the network begins with zero
            parameter.add_(0.02 * torch.randn(parameter.shape).to(parameter))
    weights.save(weights.user_folder() / f"{name}.safetensors", network.state_dict(), {})


def loaded(name: str, config: DabitConfig, scale: int | None = None) -> DabitRestorer:
    torch.manual_seed(0)
    store(name, Dabit(config))
    restorer = BY_NAME[name].load(OPTIONS._replace(scale=scale))
    assert isinstance(restorer, DabitRestorer)
    return restorer


@pytest.fixture
def small() -> DabitRestorer:
    return loaded("dabit-narrow", TINY)


def texture(frames: int, side: int = SIDE) -> Tensor:
    """An image that moves by a pixel a frame, blurred on the left: (T, 3, side, side)."""
    image = held_out().images[7:8, :, :side, : side + frames].float() / 255
    soft = nn.functional.avg_pool2d(nn.functional.pad(image, [4] * 4, mode="reflect"), 9, 1)
    clip = torch.cat([image[..., t : t + side] for t in range(frames)])
    blurred = torch.cat([soft[..., t : t + side] for t in range(frames)])
    clip[..., : side // 2] = blurred[..., : side // 2]
    return clip


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 20))
def test_windows_put_every_frame_out_once_and_look_around(length: int, limit: int) -> None:
    info = BY_NAME["dabit-narrow"].info
    restorer = DabitRestorer(info, Dabit(TINY), lambda x: (x, x), MEMORY["paper"])
    windows = restorer.windows(length, limit)
    assert [t for w in windows for t in w.outputs] == list(range(length))
    for window in windows:
        assert len(window.inputs) <= min(limit, info.window)
        assert len(set(window.inputs)) == len(window.inputs)
        local = in_a_row(window.inputs)
        assert set(window.outputs) <= set(window.inputs[:local])
        for reference in window.inputs[local:]:
            assert min(abs(reference - t) for t in window.inputs[:local]) <= 80
    if length >= 60 and limit >= 18:
        assert all(len(w.inputs) > len(w.outputs) + 2 for w in windows)


def test_windows_of_the_release() -> None:
    info = BY_NAME["dabit"].info
    restorer = DabitRestorer(info, Dabit(TINY), lambda x: (x, x), MEMORY["paper"], released=True)
    for length in (1, 10, 11, 16, 69, 104, 1000):
        expected = [Window((*a, *b), tuple(a)) for a, b in released_windows(length)]
        assert restorer.windows(length) == expected
    far = restorer.windows(1000)[100]
    assert far.inputs[:10] == tuple(range(500, 510))
    assert min(far.inputs) < 100 < 900 < max(far.inputs)
    short = restorer.windows(1000, limit=8)
    assert max(len(w.inputs) for w in short) == 8
    assert all(max(w.inputs) - min(w.inputs) > 500 for w in short)


@pytest.mark.parametrize("name", ["dabit", "dabit-paper"])
def test_the_whole_clip_waits_on_disk_and_comes_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put = OnDisk.put
    waited = []

    def counted(self: OnDisk[Any], index: int, *rest: Any) -> None:
        waited.append(index)
        put(self, index, *rest)

    monkeypatch.setattr(OnDisk, "put", counted)
    clip = lossless(tmp_path / "in.mkv", 40)
    maps = depth_maps(tmp_path / "maps", 40)
    monkeypatch.setattr(dabit, "choose_flow", lambda *_: partial(dis_flow, stride=1))
    loaded(name, OFFICIAL if name == "dabit" else PAPER)
    unblur.restore(clip, tmp_path / "disk.mkv", model=name, depth=maps, codec="ffv1")
    assert waited == list(range(40))
    monkeypatch.setattr(held, "OnDisk", lambda *_: nullcontext(InMemory()))
    unblur.restore(clip, tmp_path / "memory.mkv", model=name, depth=maps, codec="ffv1")
    assert len(waited) == 40
    assert torch.equal(read(tmp_path / "disk.mkv"), read(tmp_path / "memory.mkv"))
    assert len(list(tmp_path.iterdir())) == 5  # weights, input, maps and two outputs


def test_a_row_ends_where_time_jumps() -> None:
    assert [in_a_row(x) for x in ((3,), (3, 4, 5), (3, 4, 2, 3), (3, 4, 4))] == [1, 3, 2, 2]


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("size", [(1, 20, 36), (3, 33, 50)])
def test_any_clip_comes_back_at_each_scale(scale: int, size: tuple[int, int, int]) -> None:
    restorer = loaded("dabit-narrow", TINY, scale)
    assert restorer.info.scale == scale
    T, H, W = size
    frames = torch.rand(T, 3, H, W)
    outputs = range(T)[::2]
    out = restorer.run(frames, restorer.guide(frames), outputs)
    assert out.shape == (len(outputs), 3, scale * H, scale * W)
    assert out.isfinite().all()


def test_outputs_are_the_frames_asked_for(small: DabitRestorer) -> None:
    frames = texture(5)
    guidance = small.guide(frames)
    every = small.run(frames, guidance, range(5))
    some = small.run(frames, guidance, [1, 3])
    torch.testing.assert_close(some, every[[1, 3]], rtol=0, atol=1e-5)
    assert (every - frames).abs().max() > 1e-3


def test_tiles_run_with_the_guidance_of_the_whole_frame() -> None:
    restorer = loaded("dabit-narrow", TINY, 2)
    frames = texture(3, 100)
    out = run_tiled(restorer, frames, [0, 1, 2], MemoryPlan(Tiling(size=64, overlap=16), None))
    assert out.shape == (3, 3, 200, 200)
    assert out.isfinite().all()


def test_nothing_flows_between_references(small: DabitRestorer) -> None:
    frames = texture(6)
    depth, blur = torch.rand(2, 6, 1, SIDE, SIDE)
    guidance = small.guide(frames, Priors((7, 8, 9, 10, 0, 30), depth, blur))
    assert len(guidance["flow_forward"]) == len(guidance["flow_backward"]) == 3
    assert guidance["flow_forward"].shape[1:] == (2, SIDE, SIDE)
    assert torch.equal(guidance["depth"], depth)
    assert torch.equal(guidance["blur"], blur)
    assert torch.equal(guidance["mask"], blur_mask(blur))
    assert torch.equal(guidance["frames"], frames)
    assert small.run(frames, guidance, [0, 3]).isfinite().all()


def test_as_released_nothing_is_sharp_and_flow_follows_the_list() -> None:
    with pytest.warns(UnblurWarning, match="raft-things"):
        restorer = loaded("dabit", OFFICIAL)
    frames = texture(4)
    guidance = restorer.guide(frames, Priors((3, 4, 0, 9), *torch.rand(2, 4, 1, SIDE, SIDE)))
    assert len(guidance["flow_forward"]) == 3
    assert guidance["mask"].min() == 1
    assert guidance["blur"].amin((1, 2, 3)).max() < 1e-5  # one depth of each frame counts as sharp
    assert restorer.run(frames, guidance, [0, 1]).shape == (2, 3, 2 * SIDE, 2 * SIDE)


def paper() -> DabitRestorer:
    with pytest.warns(UnblurWarning, match="raft-things"):
        restorer = loaded("dabit-paper", PAPER)
    restorer.refocus_flow = None  # random weights would send pixels anywhere
    restorer.flow = lambda frames: (torch.zeros(len(frames) - 1, 2, SIDE, SIDE),) * 2
    return restorer


def focus_pull() -> tuple[Tensor, Priors]:
    """A still image, near on the left, whose focus goes from near to far and back."""
    sharp = texture(1)[:, :, :, SIDE // 2 :].repeat(1, 1, 1, 2)
    soft = nn.functional.avg_pool2d(nn.functional.pad(sharp, [1] * 4, mode="reflect"), 3, 1)
    sharp = soft + 0.3 * (sharp - soft)  # so little that they are similar but for the blur
    left = (torch.arange(SIDE) < SIDE // 2).float().expand(1, 1, SIDE, SIDE)
    near, far = left * sharp + (1 - left) * soft, (1 - left) * sharp + left * soft
    return torch.cat((near, far, near)), Priors((0, 1, 9), (1 - left).repeat(3, 1, 1, 1), left)


def test_as_in_the_paper_blur_is_told_by_the_wavelets_of_each_depth() -> None:
    frames, priors = focus_pull()
    guidance = paper().guide(frames, priors)
    assert torch.equal(guidance["blur"], blur_of_depths(frames, priors.depth))
    assert torch.equal(guidance["depth"], priors.depth)
    half = SIDE // 2
    for t, (blurred, sharp) in enumerate([(1, 0), (0, 1), (1, 0)]):
        sides = guidance["blur"][t, 0, :, :half], guidance["blur"][t, 0, :, half:]
        assert sides[sharp].amax() < 1e-5 < 0.05 < sides[blurred].amin()


@pytest.mark.parametrize("rule", ["released", "similar"])
def test_as_in_the_paper_sharp_pixels_travel_by_either_rule(rule: str) -> None:
    frames, priors = focus_pull()
    restorer = paper()
    restorer.pixels = rule  # type: ignore[assignment]
    guidance = restorer.guide(frames, priors)
    real = above_least(blur_of_depths(frames, priors.depth))
    assert 0.4 < real.mean() < 0.6, "masks are real, not of ones"
    flows = [guidance[f"flow_{name}"][None] for name in ("forward", "backward")]
    assert flows[0].shape[1] == 1, "nothing flows to a reference"
    filled, left = propagate_by(rule, frames[None, :2], real[None, :2], *flows)  # type: ignore[arg-type]
    assert torch.equal(guidance["frames"], torch.cat((filled[0], frames[2:])))
    assert torch.equal(guidance["mask"], torch.cat((left[0], real[2:])))
    assert left[0, 1].mean() < 0.5 * real[1].mean()
    assert restorer.run(frames, guidance, [0, 1]).isfinite().all()


def test_the_papers_preset_runs_the_rule_that_its_weights_were_trained_with() -> None:
    path = weights.user_folder() / "dabit-paper.safetensors"
    for rule in ("released", "similar"):
        config = replace(PAPER, pixels=rule)
        weights.save(path, Dabit(config).state_dict(), {KEY: json.dumps(switches_of(config))})
        with pytest.warns(UnblurWarning, match="raft-things"):
            assert BY_NAME["dabit-paper"].load(OPTIONS).pixels == rule  # type: ignore[attr-defined]
    other = replace(PAPER, blur="given")
    weights.save(path, Dabit(other).state_dict(), {KEY: json.dumps(switches_of(other))})
    with pytest.raises(WeightsError, match="blur = given instead of wavelet"):
        BY_NAME["dabit-paper"].load(OPTIONS)


def test_the_papers_preset_sees_ten_frames_and_six_references() -> None:
    windows = paper().windows(60)
    assert windows == [Window((*a, *b), tuple(a)) for a, b in released_windows(60)]
    assert {len(w.inputs) for w in windows} == {16}


def test_the_papers_preset_takes_no_blur_for_depth(clip: Path, tmp_path: Path) -> None:
    restorer = paper()
    with pytest.raises(UsageError, match="needs depth"):
        restorer.guide(texture(3))
    with pytest.raises(UsageError, match="needs depth"):
        unblur.restore(clip, tmp_path / "o.mkv", model="dabit-paper", depth="builtin")


@pytest.mark.parametrize("published", [False, True])
def test_flow_is_refocused_where_frames_are_blurred(published: bool) -> None:
    """By the published network where it was converted, else by the one that ships."""
    torch.manual_seed(1)
    if published:
        store("flow-refocus", FlowRefocus(FlowRefocusConfig(flip_frames=False)))
    with pytest.warns(UnblurWarning, match="raft-things") as said:
        restorer = loaded("dabit-paper", PAPER)
    assert len(said) == 1
    frames = texture(3)
    depth = torch.zeros(3, 1, SIDE, SIDE)
    depth[..., : SIDE // 2] = 1  # and blurred
    priors = Priors((0, 1, 2), depth, depth)
    refocus, restorer.refocus_flow = restorer.refocus_flow, None
    raw = restorer.guide(frames, priors)["flow_forward"]
    restorer.refocus_flow = refocus
    found = restorer.guide(frames, priors)["flow_forward"]
    assert torch.equal(found[..., SIDE // 2 :], raw[..., SIDE // 2 :])
    assert not torch.equal(found[..., : SIDE // 2], raw[..., : SIDE // 2])
    true = torch.tensor([-1.0, 0.0])[:, None, None]
    error, before = ((x - true)[..., : SIDE // 2].norm(dim=1).mean() for x in (found, raw))
    assert published or error <= before


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("dabit", "unblur weights convert dabit.pth"),
        ("dabit-paper", "--model dabit"),
        ("dabit-narrow", "network: dabit-narrow"),
    ],
)
def test_missing_weights_come_with_a_remedy(name: str, remedy: str) -> None:
    with pytest.raises(WeightsError) as error:
        BY_NAME[name].load(OPTIONS)
    assert remedy in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_say_which_scales_they_give() -> None:
    only_one = replace(TINY, scales=(1,))
    assert loaded("dabit-narrow", only_one).info.scale == 1
    with pytest.raises(UsageError, match="give scale 1 only, not 2"):
        loaded("dabit-narrow", only_one, 2)


def test_the_table_tells_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    configs = {"dabit": dabit.OFFICIAL, "dabit-paper": dabit.PAPER, "dabit-narrow": dabit.SMALL}
    for name, config in configs.items():
        with torch.device("meta"):
            net = Dabit(config)
        info = BY_NAME[name].info
        assert info.parameters == sum(p.numel() for p in net.parameters())
        assert info.scales == config.scales
        assert info.scale in info.scales
        assert (info.blur, info.light, info.needs_depth) == ("focal", "encoded", True)


# Through the tool.


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Twelve frames."""
    return lossless(tmp_path / "in.mkv", 12)


def lossless(path: Path, frames: int) -> Path:
    """Frames of 64x64 as a video whose container does not count them."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "bgr0"
        for image in texture(frames).mul(255).round().byte().permute(0, 2, 3, 1).numpy():
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            file.mux(stream.encode(frame.reformat(format="bgr0")))
        file.mux(stream.encode(None))
    return path


def depth_maps(folder: Path, count: int, **change: Any) -> Path:
    """Depth from near on the left to far on the right, 16 bit."""
    folder.mkdir()
    row = np.linspace(0, 65535, change.get("width", SIDE)).round().astype(np.uint16)
    for t in range(count):
        cv2.imwrite(str(folder / f"{t:03}.png"), np.tile(row, (SIDE, 1)) * change.get("times", 1))
    return folder


def read(path: Path) -> Tensor:
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_file_comes_out_at_each_scale_with_each_source_of_depth(
    clip: Path, tmp_path: Path, scale: int
) -> None:
    loaded("dabit-narrow", TINY)
    maps = depth_maps(tmp_path / "maps", 12)
    made = []
    choices: list[dict[str, Any]] = [{}, {"depth": maps}, {"depth": maps, "depth_invert": True}]
    for number, choice in enumerate(choices):
        out = tmp_path / f"{number}.mkv"
        report = unblur.restore(
            clip, out, model="dabit-narrow", scale=scale, codec="ffv1", **choice
        )
        assert (report.frames, report.model) == (12, "dabit-narrow")
        made.append(read(out))
        assert made[-1].shape == (12, 3, scale * SIDE, scale * SIDE)
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[1], made[2])


def test_a_tensor_and_a_preview(clip: Path, tmp_path: Path) -> None:
    loaded("dabit-narrow", TINY)
    frames = texture(3, 40)
    assert unblur.restore(frames, model="dabit-narrow", scale=2).shape == (3, 3, 80, 80)
    assert unblur.restore(frames, model="dabit-narrow", depth="builtin").shape == frames.shape
    unblur.restore(
        clip, tmp_path / "p.mkv", model="dabit-narrow", scale=2, preview=True, codec="ffv1"
    )
    assert read(tmp_path / "p.mkv").shape == (12, 3, 2 * SIDE, 4 * SIDE + 8)


def test_part_of_a_video_takes_maps_of_the_part_or_of_all(clip: Path, tmp_path: Path) -> None:
    loaded("dabit-narrow", TINY)
    made = []
    for count in (3, 12):
        maps = depth_maps(tmp_path / f"maps{count}", count)
        out = tmp_path / f"{count}.mkv"
        unblur.restore(
            clip, out, model="dabit-narrow", depth=maps, start="f4", end="f7", codec="ffv1"
        )
        made.append(read(out))
    assert torch.equal(*made)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "too few": ({"count": 11}, "11 depth maps and the video 12 frames"),
    "size": ({"count": 12, "width": 60}, "is 60x64 and the frames of"),
    "constant": ({"count": 12, "times": 0}, "one value only"),
}


@pytest.mark.parametrize("fault", BAD)
def test_depth_that_does_not_fit_leaves_nothing_behind(
    clip: Path, tmp_path: Path, fault: str
) -> None:
    loaded("dabit-narrow", TINY)
    change, message = BAD[fault]
    maps = depth_maps(tmp_path / "maps", **change)
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "out.mkv"
    with pytest.raises(MediaError, match=message):
        unblur.restore(clip, out, model="dabit-narrow", depth=maps, codec="ffv1")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "dabit-narrow", "scale": 3}, "gives scale 1 or 2, not 3"),
        ({"model": "dabit", "scale": 1}, "gives scale 2, not 1"),
        ({"model": "maxim-stage1", "scale": 2}, "take --model focus-m"),
        ({"model": "dabit-narrow", "depth": "nothing"}, "no depth called 'nothing'"),
        ({"model": "dabit-narrow", "depth_invert": True}, "--depth DIR"),
        ({"model": "none", "depth": "builtin"}, "does not look at depth"),
        ({"model": "bsstnet-tiny", "depth_invert": True}, "leave --depth-invert out"),
    ],
)
def test_wrong_choices_are_named(
    clip: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        unblur.restore(clip, tmp_path / "out.mkv", **options)
    assert not (tmp_path / "out.mkv").exists()
    with pytest.raises(UsageError, match="frames take builtin or depth-anything"):
        unblur.restore(texture(1, 16), model="dabit-narrow", depth=tmp_path)


def test_the_stand_in_for_depth_is_the_blur_map() -> None:
    focus = FocusOfVideo()
    first, second = texture(2).split(1)
    found = [focus(None, rgb) for rgb in (first, second)]
    for depth, blur in found:
        assert depth is blur
        assert blur[..., : SIDE // 2].mean() > 1.2 * blur[..., SIDE // 2 :].mean()
    focus.restart()
    alone, _ = focus(None, second)
    assert not torch.equal(alone, found[1][0])  # it followed the frame before
