"""The preset that sees its neighbours, as the engine sees it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unblur import weights
from unblur.engine.plan import Fit
from unblur.engine.run import run_tiled
from unblur.errors import WeightsError
from unblur.models.aligned import SMALL, Aligned, AlignedConfig
from unblur.restorers.aligned import PRESETS, AlignedRestorer
from unblur.restorers.base import LoadOptions, Tiling

(PRESET,) = PRESETS
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


def test_stated_parameters_are_the_networks() -> None:
    with torch.device("meta"):
        network = Aligned(SMALL)
    assert PRESET.info.parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("length", [1, 2, 3, 15, 16, 17, 40])
def test_frames_inside_a_clip_are_seen_with_all_their_neighbours(
    restorer: AlignedRestorer, length: int
) -> None:
    windows = restorer.windows(length)
    assert [i for w in windows for i in w.outputs] == list(range(length))
    for window in windows:
        for i in window.outputs:
            around = range(max(0, i - SMALL.neighbours), min(length, i + SMALL.neighbours + 1))
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
    out = run_tiled(restorer, frames, [0, 2], Fit(Tiling(size=64, overlap=16), None))
    assert out.shape == (2, 3, 100, 150)
    assert out.isfinite().all()


def test_weights_of_another_network_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "other.safetensors"
    weights.save(path, Aligned(NARROW).state_dict(), {})
    with pytest.raises(WeightsError, match="does not fit"):
        PRESET.load(LoadOptions(CPU, "fp32", str(path)))
