"""The whole of DaBiT against the published code, stage by stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.dabit.published import official_net
from unblur.models.dabit.net import shrink
from unblur.models.dabit.transformer import find_windows
from unblur.ops.propagation import agreement

TOLERANCE = 1e-4
"""Of the spread of each stage. Deep in the network float32 differs by a tenth of that."""


def load(path: Path) -> dict[str, Tensor]:
    file = np.load(path)
    return {key: torch.from_numpy(file[key]).float() for key in file.files}


def arguments(golden: dict[str, Tensor]) -> list[Tensor]:
    return [golden[key] for key in ("frames", "depths", "blur", "mask", "flow_f", "flow_b")]


def stages(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every stage of the release with ours, under the goldens' names."""
    net = official_net()
    found: dict[str, Tensor] = {}
    handles = []

    def listen(name: str, module: torch.nn.Module) -> None:
        def keep(_: object, __: object, y: Tensor) -> None:
            found[name] = y

        handles.append(module.register_forward_hook(keep))

    listen("ss", net.transformer.split)
    listen("sc", net.transformer)
    listen("feat_prop", net.propagation)
    listen("block0_attn", net.transformer.blocks[0].attention)
    for i, block in enumerate(net.transformer.blocks):
        listen(f"block{i}", block)
    frames, depth, blur, mask, forward, backward = arguments(golden)
    try:
        with torch.inference_mode():
            features = net.encode(frames, depth, blur, mask)
            mixed = net.mix(features, blur, mask, forward, backward)
            found["sr"] = net.decode(mixed, frames, (2,))[2]
            found["dec"] = torch.tanh(net.decoder(mixed.flatten(0, 1))).unflatten(
                0, frames.shape[:2]
            )
            found["ds_flow_f"], found["ds_flow_b"] = shrink(forward), shrink(backward)
            guides = torch.cat((blur, mask), 2)[..., ::4, ::4]
            found["prop_mask"] = guides
            layer = net.propagation.backwards
            last = layer.alone([features[:, -1]], [guides[:, -1]])[0]
            valid = agreement(found["ds_flow_f"], found["ds_flow_b"], dilated=True)
            found["dcn_bwd_first"] = layer.align(
                last, features[:, -2], found["ds_flow_f"][:, -1], valid[:, -1], guides[:, -2]
            )
    finally:
        for handle in handles:
            handle.remove()
    found["enc"] = features.flatten(0, 1)
    found["sc"] = found["sc"].flatten(0, 1)
    return found


def with_stride_two(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the published network gives where every block sees every other frame."""
    net = official_net()
    net.transformer.stride = 2
    try:
        with torch.inference_mode():
            return {"sr_tdil2": net(*arguments(golden))}
    finally:
        net.transformer.stride = 1


def assert_stages(found: dict[str, Tensor], golden: dict[str, Tensor]) -> None:
    """Compares what the golden holds: all of a stage, or every so many elements along each axis."""
    wrong = {}
    for name in golden.keys() & found.keys():
        steps = [round(a / b) for a, b in zip(found[name].shape, golden[name].shape, strict=True)]
        own = found[name][tuple(slice(None, None, step) for step in steps)]
        difference = (own - golden[name]).abs().max() / golden[name].std()
        if not difference <= TOLERANCE:
            wrong[name] = float(difference)
    assert not wrong


def blurred_windows(token_mask: Tensor) -> Tensor:
    """Windows that the published code takes for blurred, from its mask (B, T, M, N, 1)."""
    mask = token_mask[..., 0]
    mask = F.pad(mask, (0, -mask.shape[-1] % 9, 0, -mask.shape[-2] % 5))
    return (F.max_pool2d(mask, (5, 9)).sum(1) != 0).flatten(1)


def test_every_stage_equals_the_published_code(goldens: Path) -> None:
    golden = load(goldens / "dabit_small.npz")
    assert_stages(stages(golden) | with_stride_two(golden), golden)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dabit_B_small", "dabit_B_mid"])
def test_every_number_equals_the_published_code(shared: Path, name: str) -> None:
    golden = load(shared / "goldens" / "dabit" / f"{name}.npz")
    assert_stages(stages(golden) | with_stride_two(golden), golden)
    windows = find_windows(golden["blur"][..., ::4, ::4], 0.0)
    assert torch.equal(windows.blurred, blurred_windows(golden["mask_pool"]))
    if name == "dabit_B_mid":
        assert windows.blurred.any()
        assert not windows.blurred.all()
