"""The whole network against the published code, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.bsstnet.stages import official_net, stages

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
Golden = Mapping[str, np.ndarray]


def inputs(golden: Golden) -> tuple[Tensor, Tensor, Tensor]:
    """Frames and flows under our names: the published code swaps the two directions."""
    frames = torch.from_numpy(golden["lq_u8"]).float() / 255
    return (
        frames[None],
        torch.from_numpy(golden["flows_backward"]),
        torch.from_numpy(golden["flows_forward"]),
    )


def assert_stages(found: dict[str, Tensor], golden: Golden) -> None:
    """Compares all that the golden holds: samples, and mean and spread of each channel."""
    names = [key[:-5] for key in golden if key.endswith("__sub")]
    worst = {}
    for name in names:
        tensor = found[name]
        assert tuple(tensor.shape) == tuple(golden[f"{name}__shape"]), name
        _, c, h, w = golden[f"{name}__stride"]
        expected = torch.from_numpy(golden[f"{name}__sub"])
        worst[name] = (tensor[:, ::c, ::h, ::w] - expected).abs().max().item()
        for statistic, values in {
            "mean": tensor.double().mean((2, 3)),
            "std": tensor.double().std((2, 3), correction=0),
        }.items():
            difference = values - torch.from_numpy(golden[f"{name}__{statistic}"])
            worst[f"{name} {statistic}"] = difference.abs().max().item()
    assert not {n: d for n, d in worst.items() if not d <= TOLERANCE}


def test_six_frames_equal_the_published_code(shared: Path) -> None:
    """A quarter of six frames is one: the released code rounds down."""
    folder = shared / "goldens" / "bsstnet"
    golden = dict(np.load(folder / "g4_flows_given_256_T6.npz"))
    golden["lq_u8"] = np.load(folder / "g2_flows_given_256_T8.npz")["lq_u8"][:6]
    net = official_net()
    with stages(net) as found, torch.inference_mode():
        out = net(*inputs(golden))[0]
    found["output"] = out
    assert_stages(found, golden)
    for key in golden:
        if key.startswith(("qmask", "kvmask")):
            assert torch.equal(found[key].to(torch.uint8), torch.from_numpy(golden[key])), key


@pytest.mark.parametrize("name", ["g1_full_256_T4", "g2_flows_given_256_T8"])
def test_every_stage_equals_the_published_code(shared: Path, name: str) -> None:
    golden = np.load(shared / "goldens" / "bsstnet" / f"{name}.npz")
    net = official_net()
    with stages(net) as found, torch.inference_mode():
        out = net(*inputs(golden))[0]
    found["output"] = out
    assert_stages(found, golden)
    for ours, theirs in {"forward": "backward", "backward": "forward"}.items():
        expected = torch.from_numpy(golden[f"refined_{theirs}"])
        torch.testing.assert_close(found[f"refined_{ours}"], expected, rtol=0, atol=TOLERANCE)
    expected = torch.from_numpy(golden["blur"])
    torch.testing.assert_close(found["blur"], expected, rtol=0, atol=TOLERANCE)
    for key in golden:
        if key.startswith(("qmask", "kvmask", "valid_")):
            assert torch.equal(found[key].to(torch.uint8), torch.from_numpy(golden[key])), key
    frames = golden["out_frames_idx"] if "out_frames_idx" in golden else slice(None)
    expected = torch.from_numpy(golden["out_frames" if "out_frames" in golden else "out"])
    torch.testing.assert_close(out[frames], expected, rtol=0, atol=2e-6)


def test_every_stage_with_large_residual_scales(shared: Path) -> None:
    folder = shared / "goldens" / "bsstnet"
    golden = np.load(folder / "g5_beta20_flows_given_256_T8.npz")
    net = official_net(beta=20)
    with stages(net) as found, torch.inference_mode():
        found_output = net(*inputs(np.load(folder / "g2_flows_given_256_T8.npz")))[0]
    found["output"] = found_output
    assert_stages(found, golden)


def test_tiles_of_a_larger_frame_and_their_merge(shared: Path) -> None:
    golden = np.load(shared / "goldens" / "bsstnet" / "g3_tiled_320x384_T4.npz")
    frames, forward, backward = inputs(golden)
    net = official_net()
    height, width = frames.shape[-2:]
    merged = torch.zeros(frames.shape[1:])
    weight = torch.zeros(height, width)
    for y in golden["h_starts"]:
        for x in golden["w_starts"]:
            tile = np.s_[..., y : y + 256, x : x + 256]
            flow_tile = np.s_[..., y // 4 : y // 4 + 64, x // 4 : x // 4 + 64]
            with torch.inference_mode():
                out = net(frames[tile], forward[flow_tile], backward[flow_tile])[0]
            expected = torch.from_numpy(golden[f"tile_{y}_{x}"])
            torch.testing.assert_close(out[..., ::8, ::8], expected, rtol=0, atol=2e-6)
            keep = torch.zeros(256, 256)
            keep[
                32 * (y > 0) : 256 - 32 * (y + 256 < height),
                32 * (x > 0) : 256 - 32 * (x + 256 < width),
            ] = 1
            merged[tile] += out * keep
            weight[y : y + 256, x : x + 256] += keep
    assert torch.equal(weight.to(torch.uint8), torch.from_numpy(golden["weight"]))
    merged /= weight
    expected = torch.from_numpy(golden["out_frame1"])
    torch.testing.assert_close(merged[1], expected, rtol=0, atol=2e-6)
