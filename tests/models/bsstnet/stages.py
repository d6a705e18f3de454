"""Reads the stages of a BSSTNet through forward hooks, under the names that the goldens use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.recipe import recipe_state
from unblur.models import load_state
from unblur.models.bsstnet import OFFICIAL, BSSTNet
from unblur.models.convert.bsstnet import convert

KEYS = Path(__file__).parents[2] / "goldens" / "bsstnet_keys.tsv"


@cache
def official_net(beta: float = 1.0) -> BSSTNet:
    """The network of official size with the goldens' weights, `beta` times the residual scales."""
    state = {
        key: value * beta if key.endswith("beta") else value
        for key, value in recipe_state(KEYS, skip=(".mask_padding",)).items()
    }
    return load_state(BSSTNet(OFFICIAL), convert(state), "recipe").requires_grad_(False)


@cache
def strong_net() -> BSSTNet:
    """The same with weights so large that a wrong wire shows in every module."""

    def gain(key: str) -> float:
        return 1.2 if key.startswith("blur_motion_refine") else 1.5

    state = recipe_state(KEYS, skip=(".mask_padding",), gain=gain)
    return load_state(BSSTNet(OFFICIAL), convert(state), "recipe").requires_grad_(False)


def masks(windows: Tensor, frames: Tensor, length: int) -> Tensor:
    """(B, K, Wy, Wx) frames of (B, Wy, Wx) windows -> (B, T, Wy, Wx) of 0 and 1."""
    out = torch.zeros(len(windows), length, *windows.shape[1:], dtype=torch.uint8)
    return out.scatter_(1, frames, 1) * windows[:, None]


@contextmanager
def stages(net: BSSTNet) -> Iterator[dict[str, Tensor]]:
    """Fills a dictionary with the stages of the next call (batch of one)."""
    calls: dict[str, list[tuple[tuple, object]]] = {}
    found: dict[str, Tensor] = {}
    handles = []

    def listen(name: str, module: nn.Module) -> None:
        calls[name] = []
        handles.append(module.register_forward_hook(lambda _, x, y: calls[name].append((x, y))))

    encoder, decoder, transformer = net.encoder, net.decoder, net.transformer
    modules = {
        "refiner": net.refiner,
        "concat": encoder.stem,
        "enc11": encoder.at_half,
        "spatial": encoder.at_quarter,
        "propagation": net.propagation,
        "reconstruction": net.reconstruction,
        "softsplit": transformer.split,
        "softcomp": transformer.compose,
        "cabattn": net.fusion,
        "decoder_level1": decoder.shift1,
        "decoder_level1_1": decoder.shift2,
        "out_conv": decoder.last,
    }
    for name, module in modules.items():
        listen(name, module)
    for i, block in enumerate(transformer.blocks):
        listen(f"block{i}", block)
        listen(f"attn{i}", block.attention)
    for name, layer in net.propagation.passes.items():
        listen(name, layer)
        listen(f"valid_{name}", layer.align)
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()

    def output(name: str) -> Tensor:
        return torch.cat([y for _, y in calls[name]])

    (_, refined_forward), (_, refined_backward) = calls["refiner"]
    found["refined_forward"], found["refined_backward"] = refined_forward, refined_backward.flip(1)
    found["blur"] = 1 - calls["propagation"][0][0][3]
    length = found["blur"].shape[1]
    for name in ("concat", "enc11", "spatial", "cabattn", "out_conv"):
        found[name] = output(name)[:length]  # the stem runs a second time
    for name in ("reconstruction", "softcomp", "decoder_level1", "decoder_level1_1"):
        found[name] = output(name)[0]
    found["up21"] = calls["decoder_level1"][0][0][0][0]
    for name in net.propagation.passes:
        ordered = calls[name][0][1]
        ordered = ordered if name.startswith("forward") else ordered[::-1]
        found[name] = torch.stack(ordered, 1)[0]
        checks = [[r.valid for r in x[2:]] for x, _ in calls[f"valid_{name}"]]
        found[f"valid_{name}"] = torch.cat([checks[0][0], *(v for c in checks[1:] for v in c)])[
            :, 0
        ]
    found["softsplit"] = output("softsplit")[0].permute(0, 3, 1, 2)
    for i in range(len(transformer.blocks)):
        for name in (f"attn{i}", f"block{i}"):
            found[name] = output(name)[0].permute(0, 3, 1, 2)
        selection = calls[f"attn{i}"][0][0][1]
        found[f"qmask{i}"] = masks(selection.windows, selection.queries, length)[0]
        found[f"kvmask{i}"] = masks(selection.windows, selection.keys, length)[0]
