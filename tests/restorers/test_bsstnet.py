"""BSSTNet as the engine sees it: windows, guidance, tiles, weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur import weights
from unblur.engine.plan import MemoryPlan
from unblur.engine.tiled import run_tiled
from unblur.errors import UnblurWarning, WeightsError
from unblur.models.bsstnet import SMALL, TINY, BSSTNet
from unblur.restorers.base import LoadOptions, Tiling
from unblur.restorers.bsstnet import (
    PRESETS,
    BSSTNetRestorer,
    Memory,
    choose_flow,
    overlapping_windows,
)

BY_NAME = {preset.info.name: preset for preset in PRESETS}
OPTIONS = LoadOptions(torch.device("cpu"), "fp32", None)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder."""
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def restorer() -> BSSTNetRestorer:
    tiny = BY_NAME["bsstnet-tiny"].load(OPTIONS)
    assert isinstance(tiny, BSSTNetRestorer)
    return tiny


@given(st.integers(1, 400), st.integers(1, 60))
def test_windows_put_every_frame_out_once(length: int, size: int) -> None:
    windows = overlapping_windows(length, size)
    assert [t for w in windows for t in w.outputs] == list(range(length))
    for window in windows:
        assert len(window.inputs) == min(size, length)
        assert window.inputs == tuple(
            range(window.inputs[0], window.inputs[0] + len(window.inputs))
        )
        assert set(window.outputs) <= set(window.inputs)
        margin = min(2, (len(window.inputs) - 1) // 2)
        inner = window.inputs[margin : len(window.inputs) - margin]
        ends = {*range(margin), *range(length - margin, length)}
        assert set(window.outputs) <= set(inner) | ends


@pytest.mark.parametrize(
    ("length", "starts"),
    [(1, [0]), (48, [0]), (77, [0, 29]), (100, [0, 44, 52]), (134, [0, 44, 86])],
)
def test_windows_start_where_the_published_code_starts(length: int, starts: list[int]) -> None:
    restorer = BSSTNetRestorer(
        BY_NAME["bsstnet-gopro"].info, BSSTNet(TINY), lambda x: (x, x), Memory(0, 0)
    )
    assert [w.inputs[0] for w in restorer.windows(length)] == starts
    assert max(len(w.inputs) for w in restorer.windows(length, limit=12)) <= 12


def test_a_clip_comes_back_in_its_own_size(restorer: BSSTNetRestorer) -> None:
    for shape in ((1, 3, 8, 16), (3, 3, 66, 97), (5, 3, 64, 64)):
        frames = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        outputs = list(range(shape[0]))[::2]
        out = restorer.run(frames, restorer.guide(frames), outputs)
        assert out.shape == (len(outputs), *shape[1:])
        assert out.dtype == torch.float32
        assert out.isfinite().all()


def test_outputs_are_the_frames_asked_for(restorer: BSSTNetRestorer) -> None:
    frames = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    guidance = restorer.guide(frames)
    every = restorer.run(frames, guidance, [0, 1, 2, 3])
    assert torch.equal(restorer.run(frames, guidance, [1, 3]), every[[1, 3]])


def test_the_tiny_network_is_always_the_same() -> None:
    a, b = (BY_NAME["bsstnet-tiny"].load(OPTIONS).net.state_dict() for _ in range(2))  # type: ignore[attr-defined]
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_tiles_run_with_the_flow_of_the_whole_frame(restorer: BSSTNetRestorer) -> None:
    frames = torch.rand(3, 3, 100, 150, generator=torch.Generator().manual_seed(0))
    for merge in ("hard", "feather"):
        tiling = Tiling(size=64, overlap=16, merge=merge)  # type: ignore[arg-type]
        out = run_tiled(restorer, frames, [0, 1, 2], MemoryPlan(tiling, None))
        assert out.shape == frames.shape
        assert out.isfinite().all()


def test_blur_is_judged_by_the_whole_scene(restorer: BSSTNetRestorer) -> None:
    still = torch.full((2, 3, 64, 64), 0.5)
    limits = restorer.guide(still)["blur_limits"]
    assert limits.shape == (1, 2, 16, 16)
    assert limits[0, :, 0, 0].tolist() == [0, 0.25]  # what hardly moves is not called blurred


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("bsstnet-gopro", "unblur weights convert BSST_gopro.pth"),
        ("bsstnet-dvd", "unblur weights convert BSST_dvd.pth"),
        ("bsstnet-paper", "unblur train bsstnet-paper"),
        ("bsstnet-narrow", "unblur train bsstnet-narrow"),
    ],
)
def test_missing_weights_come_with_a_remedy(name: str, remedy: str) -> None:
    with pytest.raises(WeightsError) as error:
        BY_NAME[name].load(OPTIONS)
    assert remedy in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    weights.save(path, BSSTNet(TINY).state_dict(), {})
    with pytest.raises(WeightsError, match="does not fit"):
        BY_NAME["bsstnet-narrow"].load(OPTIONS._replace(weights=str(path)))


def test_small_weights_are_found_in_the_store() -> None:
    path = weights.user_folder() / "bsstnet-narrow.safetensors"
    weights.save(path, BSSTNet(SMALL).state_dict(), {})
    restorer = BY_NAME["bsstnet-narrow"].load(OPTIONS)
    assert isinstance(restorer, BSSTNetRestorer)
    assert restorer.net.config == SMALL


def test_dis_stands_in_for_raft_with_a_warning() -> None:
    with pytest.warns(UnblurWarning, match=r"unblur weights convert raft-things\.pth"):
        flow = choose_flow("raft", torch.device("cpu"), "bsstnet-gopro")
    forward, backward = flow(torch.rand(3, 3, 70, 90))
    assert forward.shape == backward.shape == (2, 2, 18, 23)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose_flow("dis", torch.device("cpu"), "bsstnet-narrow")


def test_a_preset_can_be_guided_by_flow_s() -> None:
    with pytest.warns(UnblurWarning, match="guided by flow-s instead"):
        flow = choose_flow("raft", torch.device("cpu"), "bsstnet-paper")
    forward, backward = flow(torch.rand(3, 3, 70, 90))
    assert forward.shape == backward.shape == (2, 2, 18, 23)


def test_the_table_tells_the_sizes() -> None:
    for name, config in {"bsstnet-narrow": SMALL, "bsstnet-tiny": TINY}.items():
        own = sum(p.numel() for p in BSSTNet(config).parameters())
        assert BY_NAME[name].info.parameters == own
    for name in ("bsstnet-gopro", "bsstnet-dvd"):
        assert BY_NAME[name].info.parameters == 38_463_754
    assert BY_NAME["bsstnet-paper"].info.parameters == 38_443_018
    assert {preset.info.light for preset in PRESETS} == {"encoded"}


def test_memory_grows_with_frames_and_size(restorer: BSSTNetRestorer) -> None:
    few, more = restorer.peak_bytes(4, 256, 256), restorer.peak_bytes(8, 256, 256)
    assert few < more
    assert restorer.peak_bytes(4, 250, 250) == few  # padded to whole windows
