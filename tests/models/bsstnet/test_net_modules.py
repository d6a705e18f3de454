"""Single modules against the published code, from the numbers that lie in the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.bsstnet.stages import official_net
from tests.recipe import random_input
from unblur.models.bsstnet.propagation import Reference
from unblur.models.bsstnet.selection import Selection
from unblur.ops.blur_map import spread, squared_motion
from unblur.ops.warp import warp


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    file = np.load(Path(__file__).parents[2] / "goldens" / "bsstnet_modules.npz")
    return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.inference_mode():
        yield


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_blur_map(golden: dict[str, Tensor]) -> None:
    # the published code's forward flow lives on a frame and points to the previous one
    backward, forward = (
        random_input(13, (1, 4, 2, 12, 20), 2),
        random_input(14, (1, 4, 2, 12, 20), 2),
    )
    assert_equal(spread(squared_motion(forward, backward)), golden["blur_map"])


def test_sharpness_guided_convolution(golden: dict[str, Tensor]) -> None:
    x = random_input(20, (1, 384, 16, 20))
    condition = random_input(21, (1, 581, 16, 20))  # as if from elsewhere than what follows
    flows = [random_input(seed, (1, 2, 16, 20), 2) for seed in (22, 23)]
    trust = [torch.sigmoid(random_input(seed, (1, 1, 16, 20))) for seed in (24, 25)]
    first, second = (
        Reference(feature, feature, flow, sharp, torch.ones_like(sharp), sharp)
        for feature, flow, sharp in zip(x.chunk(2, 1), flows, trust, strict=True)
    )
    layer = official_net().propagation.passes["forward_2"].align
    replaced = layer.offset.register_forward_pre_hook(
        lambda _, __: (torch.cat((condition, *flows), 1),)
    )
    try:
        out = layer(condition[:, 192:384], condition[:, :1], first, second)
    finally:
        replaced.remove()
    assert_equal(out, golden["deform_align"])


@pytest.mark.parametrize(
    ("name", "seed", "shape"),
    [
        ("reconstruction_T4", 30, (1, 4, 960, 16, 24)),
        ("reconstruction_T5_pad", 31, (1, 5, 960, 12, 20)),
    ],
)
def test_reconstruction(
    golden: dict[str, Tensor], name: str, seed: int, shape: tuple[int, ...]
) -> None:
    x = random_input(seed, shape)
    out = official_net().reconstruction([frame.split(192, 1) for frame in x.unbind(1)])
    assert_equal(out[:, :, ::6], golden[name])


def test_temporal_shift_stage(golden: dict[str, Tensor]) -> None:
    out = official_net(beta=20).decoder.shift1(random_input(40, (1, 4, 64, 24, 40)))
    assert_equal(out[0][:, ::4], golden["decoder_level1_beta20"])


def test_fusion(golden: dict[str, Tensor]) -> None:
    out = official_net(beta=20).fusion(random_input(41, (2, 384, 16, 24)))
    assert_equal(out[:, ::6], golden["cabattn_beta20"])


def test_merge_of_a_pass(golden: dict[str, Tensor]) -> None:
    layer = official_net(beta=20).propagation.passes["forward_2"].merge
    assert_equal(
        layer(random_input(42, (1, 960, 16, 24)))[:, ::4], golden["backbone_forward_2_beta20"]
    )


def propagation_inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames, flow forward, flow backward, sharpness."""
    x = torch.stack([random_input(50 + i, (1, 192, 32, 48)) for i in range(5)], 1)
    backward = random_input(60, (1, 4, 2, 1, 1), 3) + random_input(61, (1, 4, 2, 32, 48), 0.3)
    forward = -backward + random_input(62, (1, 4, 2, 32, 48), 0.3)
    return x, forward, backward, torch.sigmoid(random_input(63, (1, 5, 1, 32, 48)))


def propagated(*inputs: Tensor) -> dict[str, Tensor]:
    """What each pass finds, as far as the reference holds it."""
    net = official_net(beta=20).propagation
    passes = zip(*net(*inputs), strict=True)
    next(passes)  # the frames themselves
    names = [f"prop_{name}" for name in net.passes]
    return {n: torch.cat(x)[:, ::12, ::2, ::2] for n, x in zip(names, passes, strict=True)}


def test_propagation(golden: dict[str, Tensor]) -> None:
    for name, found in propagated(*propagation_inputs()).items():
        assert_equal(found, golden[name])


@pytest.mark.slow
def test_propagation_notices_swapped_inputs(golden: dict[str, Tensor]) -> None:
    x, forward, backward, sharp = propagation_inputs()
    swapped = {
        "flows": (x, backward, forward, sharp),
        "time of sharpness": (x, forward, backward, sharp.flip(1)),
        "time of frames": (x.flip(1), forward, backward, sharp),
    }
    for what, inputs in swapped.items():
        for name, found in propagated(*inputs).items():
            assert (found - golden[name]).abs().max() > 1e-3, (what, name)


def test_flow_refiner(golden: dict[str, Tensor]) -> None:
    blur = torch.sigmoid(random_input(70, (1, 6, 1, 32, 48)))
    backward, forward = (random_input(seed, (1, 5, 2, 32, 48), 3) for seed in (71, 72))
    refiner = official_net().refiner
    assert_equal(refiner(forward, blur[:, 1:]), golden["refine_backward"])
    out = refiner(backward.flip(1), blur[:, :-1].flip(1)).flip(1)
    assert_equal(out, golden["refine_forward"])


def test_soft_split_and_composition(golden: dict[str, Tensor]) -> None:
    transformer = official_net().transformer
    tokens = transformer.split(random_input(80, (1, 2, 192, 32, 48)))
    assert_equal(tokens[..., ::8], golden["softsplit_32x48"])
    out = transformer.compose(random_input(81, (1, 2, 16, 24, 512)), 32, 48)
    assert_equal(out[0][:, ::6], golden["softcomp_32x48"])


def test_feed_forward(golden: dict[str, Tensor]) -> None:
    x = random_input(82, (1, 768, 512)).reshape(1, 2, 16, 24, 512)
    out = official_net().transformer.blocks[0].mlp(x, 32, 48)
    assert_equal(out.reshape(1, 768, 512)[..., ::8], golden["mlp_32x48"])


def test_sparse_attention(golden: dict[str, Tensor]) -> None:
    x = random_input(91, (1, 8, 32, 32, 512))
    queries, keys = (golden[f"attn_{name}mask"][None].bool() for name in ("q", "kv"))
    selection = Selection(queries.any(1), *(frames_of(m) for m in (queries, keys)))
    block = official_net().transformer.blocks[1]
    assert_equal(block.attention(x, selection)[0, :, ::2, ::2, ::16], golden["attn"])
    assert_equal(block(x, selection, 64, 64)[0, :, ::2, ::2, ::16], golden["attn_block"])


def frames_of(mask: Tensor) -> Tensor:
    """(B, T, Wy, Wx) masks -> (B, K, Wy, Wx) frames; those of windows without any do not count."""
    count = int(mask.sum(1).max())
    return mask.int().sort(dim=1, descending=True, stable=True).indices[:, :count].sort(1).values


def test_stem(golden: dict[str, Tensor]) -> None:
    assert_equal(
        official_net().encoder.stem(random_input(100, (2, 3, 16, 24)))[:, ::2], golden["concat"]
    )


def test_step_to_half_resolution(golden: dict[str, Tensor]) -> None:
    decoder = official_net().decoder
    x, skip = random_input(101, (2, 192, 8, 12)), random_input(102, (2, 64, 16, 24))
    # the reference adds the skip as it is
    out = decoder.to_half(x, skip) - decoder.skip_half(skip) + skip
    assert_equal(out[:, ::2], golden["up21"])


def test_step_to_full_resolution(golden: dict[str, Tensor]) -> None:
    out = official_net().decoder.to_full[:2](random_input(103, (2, 64, 8, 12)))
    assert_equal(out[:, ::2], golden["upsample0"])


def test_warp(golden: dict[str, Tensor]) -> None:
    x, flow = random_input(11, (2, 5, 12, 20)), random_input(10, (2, 2, 12, 20), 3)
    assert_equal(warp(x, flow), golden["flow_warp"])
