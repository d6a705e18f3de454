"""The network as a whole: any size and length, sound on still clips, and trainable."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.models.bsstnet import OFFICIAL, PAPER, SMALL, TINY, BSSTNet, BSSTNetConfig


def tiny(**changes: object) -> BSSTNet:
    """A narrow network whose residual branches all do something."""
    torch.manual_seed(0)
    net = BSSTNet(replace(TINY, **changes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not parameter.any():
                parameter.normal_(0, 0.2 if name.endswith("beta") else 0.02)
    return net


NET = tiny()


def clip(batch: int, length: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(batch, length, 3, height, width, generator=generator)
    grid = (batch, length - 1, 2, -(-height // 4), -(-width // 4))
    flows = [torch.randn(grid, generator=generator) * 0.7 for _ in range(2)]
    for flow, sign in zip(flows, (1, -1), strict=True):
        flow[..., : grid[-1] // 2] += 4 * sign  # the left half moves, so its windows are blurred
    return frames, *flows


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6), st.integers(1, 90), st.integers(1, 90), st.integers(1, 2))
def test_any_size_and_length(length: int, height: int, width: int, batch: int) -> None:
    inputs = clip(batch, length, height, width)
    with torch.inference_mode():
        out = NET(*inputs)
    assert out.shape == inputs[0].shape
    assert out.isfinite().all()


@pytest.mark.parametrize("selection", ["official", "paper", "random", "dense"])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7])
def test_every_selection_takes_every_length(selection: str, length: int) -> None:
    with torch.inference_mode():
        assert tiny(selection=selection)(*clip(1, length, 64, 128)).isfinite().all()


SWITCHES: dict[str, dict[str, object]] = {
    "Table 5: neither": {"branches": (), "token_blocks": 0},
    "Table 5: BSST": {"branches": ()},
    "Table 5: BBFP": {"token_blocks": 0},
    "Table 6: SFFA": {"alignment": "flow"},
    "nothing aligned": {"alignment": "none"},
    "BFA as in the paper": {"alignment": "paper"},
    "Eq. 1 as in the paper": {"blur": "sum"},
    "Table 7: random": {"selection": "random"},
    "Table 7: top 25 %": {"keep": 0.25},
    "SST": {"selection": "dense"},
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_of_the_paper_learns_and_matters(switch: str) -> None:
    net = tiny(**SWITCHES[switch]).train()
    inputs = clip(1, 4, 64, 64)
    out = net(*inputs)
    out.square().mean().backward()
    refines = net.config.branches and net.config.alignment != "none"
    deaf = [
        name
        for name, p in net.named_parameters()
        # what refines flow learns through the propagation that uses it
        if (p.grad is None or not p.grad.any()) and not (not refines and "refi" in name)
    ]
    assert not deaf
    with torch.inference_mode():
        found, plain = net.eval()(*inputs), NET(*inputs)
    assert (found - plain).abs().max() > 1e-4


def test_random_frames_are_the_same_ones_in_use_and_others_in_each_step() -> None:
    net, inputs = tiny(selection="random"), clip(1, 8, 64, 64)
    blur = torch.rand(1, 8, 1, 64, 64)

    def drawn() -> list[int]:
        return [t for block in net.select(blur) for t in block.keys.flatten().tolist()]

    assert drawn() == drawn()
    with torch.inference_mode():
        assert torch.equal(net(*inputs), net(*inputs))
    net.train()
    assert drawn() != drawn()


@pytest.mark.parametrize("length", [1, 4])
def test_still_clips_stay_finite(length: int) -> None:
    frames, forward, backward = clip(1, length, 64, 64)
    still = frames[:, :1].expand_as(frames)
    with torch.inference_mode():
        for motion in (0.0, 3.0):  # nothing moves; everything moves the same way
            out = NET(still, torch.full_like(forward, motion), torch.full_like(backward, -motion))
            assert out.isfinite().all()


def test_samples_of_a_batch_do_not_touch() -> None:
    a, b = clip(1, 4, 64, 64, seed=1), clip(1, 4, 64, 64, seed=2)
    with torch.inference_mode():
        both = NET(*(torch.cat(pair) for pair in zip(a, b, strict=True)))
        torch.testing.assert_close(both[:1], NET(*a), rtol=0, atol=1e-5)
        torch.testing.assert_close(both[1:], NET(*b), rtol=0, atol=1e-5)


def test_directions_are_told_apart() -> None:
    frames, forward, backward = clip(1, 4, 64, 64)
    with torch.inference_mode():
        assert not torch.allclose(NET(frames, forward, backward), NET(frames, backward, forward))


def test_frames_far_away_are_seen() -> None:
    frames, forward, backward = clip(1, 6, 64, 64)
    changed = frames.clone()
    changed[:, -1] = 1 - changed[:, -1]
    with torch.inference_mode():
        first, other = (NET(f, forward, backward)[:, 0] for f in (frames, changed))
    assert (first - other).abs().max() > 1e-6


def test_limits_of_blur_can_be_given() -> None:
    frames, forward, backward = clip(1, 4, 64, 64)
    net = tiny(threshold=0.9)
    with torch.inference_mode():
        by_clip = net(frames, forward, backward)
        sharp = net(frames, forward, backward, torch.tensor([[0.0, 1e6]]))
    assert not torch.equal(by_clip, sharp)


def test_flows_of_another_size_are_refused() -> None:
    frames, forward, backward = clip(1, 4, 64, 64)
    with pytest.raises(ValueError, match="need flows"):
        NET(frames, forward[..., :-1], backward[..., :-1])


def test_gradients_reach_every_parameter() -> None:
    net = tiny().train()
    frames, forward, backward = clip(1, 4, 64, 64)
    net(frames, forward, backward).square().mean().backward()
    assert not [
        name
        for name, p in net.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]


def test_one_step_of_training_lowers_the_loss() -> None:
    net = tiny().train()
    inputs = clip(1, 3, 64, 64)
    target = inputs[0].flip(-1)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)

    def loss() -> Tensor:
        return (net(*inputs) - target).square().mean()

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype: torch.dtype) -> None:
    inputs = clip(1, 4, 64, 64)
    with torch.inference_mode():
        exact = NET(*inputs) - inputs[0]
        with torch.autocast("cpu", dtype):
            half = NET(*inputs) - inputs[0]
    assert (half - exact).norm() < 0.02 * exact.norm()


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="deform_groups"):
        replace(TINY, deform_groups=7)


def test_what_frames_hand_on_in_the_decoder_comes_back() -> None:
    features = torch.rand(1, 5, SMALL.stem_channels, 8, 8)
    assert torch.equal(BSSTNet(SMALL).decoder.shift(features), features)


def test_an_odd_number_of_exchanges_is_refused() -> None:
    with pytest.raises(ValueError, match="shift_rounds is 1, must be even"):
        replace(TINY, shift_rounds=1)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(OFFICIAL, 38_463_754), (PAPER, 38_443_018), (SMALL, 2_525_022), (TINY, 156_270)],
)
def test_sizes_of_the_presets(config: BSSTNetConfig, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in BSSTNet(config).parameters()) == parameters
