"""DaBiT as a whole: any size and length, what it looks at, and that it can be trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.models.dabit import OFFICIAL, PAPER, SMALL, TINY, Dabit, DabitConfig
from unblur.ops.pad import pad_flow, pad_to


def tiny(**changes: object) -> Dabit:
    """A narrow network in which no layer is zero."""
    torch.manual_seed(0)
    net = Dabit(replace(TINY, **changes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return net


NET = tiny()


def clip(
    batch: int, length: int, height: int, width: int, joined: int | None = None, seed: int = 0
) -> list[Tensor]:
    """Frames, depth, blur, mask and both flows; `joined` frames are connected by flow."""
    generator = torch.Generator().manual_seed(seed)

    def draw(channels: int) -> Tensor:
        return torch.rand(batch, length, channels, height, width, generator=generator)

    joined = length if joined is None else joined
    flows = torch.randn(2, batch, joined - 1, 2, height, width, generator=generator) * 2
    blur = draw(1)
    return [draw(3), draw(1), blur, (blur > 0.5).float(), flows[0], flows[1]]


def run(net: Dabit, inputs: list[Tensor], **options: int) -> Tensor:
    with torch.inference_mode():
        return net(*inputs, **options)


@settings(max_examples=15, deadline=None)
@given(
    length=st.integers(1, 6),
    height=st.integers(1, 70),
    width=st.integers(1, 120),
    batch=st.integers(1, 2),
    scale=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_any_size_and_length(
    length: int, height: int, width: int, batch: int, scale: int, data: st.DataObject
) -> None:
    joined, outputs = (data.draw(st.integers(1, length)) for _ in range(2))
    inputs = clip(batch, length, height, width, joined)
    out = run(NET, inputs, outputs=outputs, scale=scale)
    assert out.shape == (batch, outputs, 3, scale * height, scale * width)
    assert out.isfinite().all()


@pytest.mark.parametrize("scale", [1, 2])
def test_odd_sizes_are_continued_by_reflection(scale: int) -> None:
    inputs = clip(1, 3, 30, 49)
    padded = [pad_to(x, 32, 52) for x in inputs[:4]] + [pad_flow(x, 32, 52) for x in inputs[4:]]
    out = run(NET, padded, scale=scale)[..., : 30 * scale, : 49 * scale]
    torch.testing.assert_close(run(NET, inputs, scale=scale), out, rtol=0, atol=1e-6)


def test_frames_not_asked_for_change_nothing_but_the_cost() -> None:
    inputs = clip(1, 5, 40, 60)
    torch.testing.assert_close(
        run(NET, inputs, outputs=2), run(NET, inputs)[:, :2], rtol=0, atol=1e-5
    )


def test_features_may_be_kept_between_the_steps() -> None:
    frames, depth, blur, mask, *flows = clip(1, 3, 32, 44)
    with torch.inference_mode():
        each = [
            NET.encode(*(x[:, t : t + 1] for x in (frames, depth, blur, mask))) for t in range(3)
        ]
        mixed = NET.mix(torch.cat(each, 1), blur, mask, *flows)
        both = NET.decode(mixed, frames, (1, 2))
        for scale, image in both.items():
            whole = NET(frames, depth, blur, mask, *flows, scale=scale)
            torch.testing.assert_close(image, whole, rtol=0, atol=1e-5)


def test_samples_of_a_batch_do_not_touch() -> None:
    a, b = clip(1, 3, 40, 60, seed=1), clip(1, 3, 40, 60, seed=2)
    both = run(NET, [torch.cat(pair) for pair in zip(a, b, strict=True)])
    torch.testing.assert_close(both[:1], run(NET, a), rtol=0, atol=1e-5)
    torch.testing.assert_close(both[1:], run(NET, b), rtol=0, atol=1e-5)


def test_every_input_matters() -> None:
    inputs = clip(1, 3, 40, 60)
    before = run(NET, inputs)
    for i, x in enumerate(inputs):
        changed = [*inputs]
        changed[i] = 1 - x
        assert not torch.allclose(run(NET, changed), before, atol=1e-5), i


def test_references_are_seen_but_only_through_the_transformer() -> None:
    inputs = clip(1, 5, 40, 60, joined=3)
    changed = [x.clone() for x in inputs]
    changed[0][:, -1] = 1 - changed[0][:, -1]  # the last frame, a reference
    for stride in (1, 2):
        net = tiny(temporal_stride=stride)
        assert not torch.equal(run(net, inputs, outputs=4), run(net, changed, outputs=4))
    sharp = [x.clone() for x in inputs]
    sharp[2].zero_()
    sharp[3].zero_()
    changed = [x.clone() for x in sharp]
    changed[0][:, -1] = 1 - changed[0][:, -1]
    first, other = (run(NET, x, outputs=4) for x in (sharp, changed))
    assert torch.equal(first, other), "windows without blur look at their own frame only"


def test_the_threshold_decides_what_looks_elsewhere() -> None:
    inputs = clip(1, 4, 40, 60)
    inputs[2] *= 0.05
    without = tiny(propagation=False)
    changed = [x.clone() for x in inputs]
    changed[0][:, -1] = 1 - changed[0][:, -1]
    below, above = (run(without, x, outputs=1) for x in (inputs, changed))
    assert torch.equal(below, above)
    eager = tiny(propagation=False, threshold=0.0)
    assert not torch.equal(run(eager, inputs, outputs=1), run(eager, changed, outputs=1))


def test_training_begins_with_the_input() -> None:
    frames = (inputs := clip(1, 2, 24, 38))[0]
    net = Dabit(TINY).eval()
    assert torch.equal(run(net, inputs, scale=1), frames)
    padded = pad_to(frames, 24, 40).flatten(0, 1)
    large = F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.equal(run(net, inputs, scale=2)[0], large[..., :76])


@pytest.mark.parametrize("config", [TINY, replace(SMALL, token_blocks=2)], ids=["tiny", "small"])
def test_gradients_reach_every_parameter(config: DabitConfig) -> None:
    torch.manual_seed(0)
    net = Dabit(config).train()
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    frames, depth, blur, mask, *flows = clip(1, 3, 60, 120)
    blur[..., 60:] = 0  # a sharp window beside a blurred one
    mixed = net.mix(net.encode(frames, depth, blur, mask), blur, mask, *flows)
    images = net.decode(mixed, frames, (1, 2))
    sum(image.square().mean() for image in images.values()).backward()
    assert not [
        name
        for name, p in net.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]


def test_one_step_of_training_lowers_the_loss() -> None:
    net = tiny().train()
    inputs = clip(1, 2, 32, 40)
    target = inputs[0].flip(-1)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)

    def loss() -> Tensor:
        return (net(*inputs, scale=1) - target).square().mean()

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype: torch.dtype) -> None:
    inputs = clip(1, 3, 40, 60)
    exact = run(NET, inputs, scale=1) - inputs[0]
    with torch.autocast("cpu", dtype):
        half = run(NET, inputs, scale=1) - inputs[0]
    assert (half - exact).norm() < 0.03 * exact.norm()


def test_what_does_not_fit_is_refused() -> None:
    inputs = clip(1, 3, 24, 32)
    with pytest.raises(ValueError, match="depth of"):
        NET(inputs[0], inputs[1][..., :-1], *inputs[2:])
    with pytest.raises(ValueError, match="flow_backward of"):
        NET(*inputs[:5], inputs[5][..., :-1])
    with pytest.raises(ValueError, match="scale"):
        tiny(scales=(1,))(*inputs, scale=2)
    with pytest.raises(ValueError, match="deform_groups"):
        replace(TINY, deform_groups=3)
    with pytest.raises(ValueError, match="encoder widths"):
        replace(SMALL, encoder=(24, 48, 96, 128, 162, 128, 96))
    with pytest.raises(ValueError, match="scales"):
        replace(TINY, scales=(3,))


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(OFFICIAL, 40_355_110), (PAPER, 36_537_030), (SMALL, 2_648_814), (TINY, 58_534)],
)
def test_sizes_of_the_presets(config: DabitConfig, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Dabit(config).parameters()) == parameters
