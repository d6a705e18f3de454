"""Single modules against the published code, with weights so large that a wrong wire shows.

With weak weights a module gives much the same whatever it is fed: such a test proves nothing. So
each module here is also run with two of its inputs swapped, and must then miss the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.bsstnet.stages import strong_net
from tests.models.bsstnet.test_net_modules import frames_of
from tests.recipe import random_input
from unblur.models.bsstnet import BSSTNet
from unblur.models.bsstnet.propagation import Reference
from unblur.models.bsstnet.selection import Selection

EXACT = 5e-5
"""Largest error, as a share of the reference's spread."""
PLAIN = 1e-2
"""Error of a module that is wired wrongly, at least."""

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A module, what it is fed, and inputs that it must not mistake for each other."""

    run: Callable[[BSSTNet, Inputs], Tensor]
    inputs: Callable[[], Inputs]
    swaps: tuple[tuple[str, str], ...]
    exact: float = EXACT


def halves(seed: int, shape: tuple[int, ...], axis: int = 1) -> Inputs:
    """One random tensor as two inputs."""
    first, second = random_input(seed, shape).chunk(2, axis)
    return {"first": first, "second": second}


def joined(inputs: Inputs, axis: int = 1) -> Tensor:
    return torch.cat((inputs["first"], inputs["second"]), axis)


def refine_inputs() -> Inputs:
    blur = torch.sigmoid(random_input(70, (1, 6, 1, 32, 48)))
    return {
        "to last": random_input(71, (1, 5, 2, 32, 48), 3),
        "to next": random_input(72, (1, 5, 2, 32, 48), 3),
        "blur": blur[:, :-1],
        "next blur": blur[:, 1:],
    }


def refine(net: BSSTNet, x: Inputs, forward: bool) -> Tensor:
    # the published code calls forward what lives on a frame and points to the previous one
    if forward:
        return net.refiner(x["to last"].flip(1), x["blur"].flip(1)).flip(1)
    return net.refiner(x["to next"], x["next blur"])


def align_inputs() -> Inputs:
    first, second = random_input(20, (1, 384, 16, 20)).chunk(2, 1)
    found = {"first": first, "second": second, "condition": random_input(21, (1, 581, 16, 20))}
    for i, name in enumerate(("first", "second")):
        found[f"{name} flow"] = random_input(22 + i, (1, 2, 16, 20), 2)
        found[f"{name} trust"] = torch.sigmoid(random_input(24 + i, (1, 1, 16, 20)))
    return found


def align(net: BSSTNet, x: Inputs) -> Tensor:
    earlier = [
        Reference(x[n], x[n], x[f"{n} flow"], trust, torch.ones_like(trust), trust)
        for n in ("first", "second")
        for trust in [x[f"{n} trust"]]
    ]
    layer = net.propagation.passes["backward_1"].align
    condition = torch.cat((x["condition"], x["first flow"], x["second flow"]), 1)
    given = layer.offset.register_forward_pre_hook(lambda _, __: (condition,))
    try:
        return layer(x["first"], x["first trust"], *earlier)
    finally:
        given.remove()


def attention_inputs() -> Inputs:
    file = np.load(GOLDEN)
    masks = {n: torch.from_numpy(file[f"attn_{n}mask"])[None].bool() for n in ("q", "kv")}
    return {"tokens": random_input(91, (1, 8, 32, 32, 512)), **masks}


def attend(net: BSSTNet, x: Inputs) -> Tensor:
    selection = Selection(x["q"].any(1), frames_of(x["q"]), frames_of(x["kv"]))
    out = net.transformer.blocks[1].attention(x["tokens"], selection)
    return out[0, :, ::2, ::2, ::64]


def two_groups(net: BSSTNet, x: Inputs) -> Tensor:
    tokens = joined(x, 2).permute(0, 2, 3, 4, 1)  # (B, T, h, w, C)
    for group in net.reconstruction.groups:
        tokens = group(tokens)
    return tokens.permute(0, 4, 1, 2, 3)[:, ::16]


def on_features(path: str, step: int) -> Callable[[BSSTNet, Inputs], Tensor]:
    """A module that takes features, every `step`-th channel of what it gives."""
    return lambda net, x: net.get_submodule(path)(joined(x))[:, ::step]


HALVES = (("first", "second"),)
GOLDEN = Path(__file__).parents[2] / "goldens" / "bsstnet_strong.npz"
CASES = {
    "refine_forward": Case(
        partial(refine, forward=True),
        refine_inputs,
        (("to last", "to next"), ("blur", "next blur")),
    ),
    "refine_backward": Case(
        partial(refine, forward=False),
        refine_inputs,
        (("to last", "to next"), ("blur", "next blur")),
    ),
    "deform_align_backward_1": Case(
        lambda net, x: align(net, x)[:, ::4],
        align_inputs,
        (
            ("first", "second"),
            ("first flow", "second flow"),
            ("first trust", "second trust"),
        ),
    ),
    "backbone_forward_2": Case(
        on_features("propagation.passes.forward_2.merge", 8),
        partial(halves, 42, (1, 960, 16, 24)),
        HALVES,
    ),
    "rstb_pair": Case(two_groups, partial(halves, 33, (1, 192, 4, 16, 24), 2), HALVES),
    "attn": Case(attend, attention_inputs, (("q", "kv"),)),
    "cabattn": Case(on_features("fusion", 12), partial(halves, 41, (2, 384, 16, 24)), HALVES),
    "decoder_level1": Case(
        lambda net, x: net.decoder.shift1(joined(x, 0)[None])[0][:, ::16],
        partial(halves, 40, (4, 64, 24, 40), 0),
        HALVES,
        exact=1e-3,  # in float64 it is 5e-4 from the reference, which is rounded as much
    ),
    "concat": Case(
        lambda net, x: net.encoder.stem(joined(x, 0))[:, ::8],
        partial(halves, 100, (2, 3, 16, 24), 0),
        HALVES,
    ),
    "out_conv": Case(on_features("decoder.last", 8), partial(halves, 104, (2, 64, 16, 24)), HALVES),
}


def error(name: str, swapped: tuple[str, str] | None = None) -> float:
    """Largest error of a module, as a share of the spread of its reference."""
    case = CASES[name]
    inputs = case.inputs()
    if swapped is not None:
        one, other = swapped
        inputs[one], inputs[other] = inputs[other], inputs[one]
    with torch.inference_mode():
        found = case.run(strong_net(), inputs)
    expected = torch.from_numpy(np.load(GOLDEN)[name])
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.std())


@pytest.mark.parametrize("name", CASES)
def test_equals_the_published_code(name: str) -> None:
    assert error(name) < CASES[name].exact


@pytest.mark.parametrize(
    ("name", "swapped"), [(name, pair) for name, case in CASES.items() for pair in case.swaps]
)
def test_swapped_inputs_are_noticed(name: str, swapped: tuple[str, str]) -> None:
    assert error(name, swapped) > PLAIN


@torch.inference_mode()
def test_each_flow_is_refined_by_the_blur_of_the_frame_it_points_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The network feeds its refiner as the published one does, in both directions."""
    net, x = strong_net(), refine_inputs()
    blur = torch.cat((x["blur"], x["next blur"][:, -1:]), 1)
    monkeypatch.setattr(net, "blur_of", lambda *_: blur)
    to_next, to_last = net.refine(x["to next"], x["to last"])
    golden = np.load(GOLDEN)
    for found, name in ((to_next, "refine_backward"), (to_last, "refine_forward")):
        expected = torch.from_numpy(golden[name])
        assert float((found - expected).abs().max() / expected.std()) < EXACT, name
