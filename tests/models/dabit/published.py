"""The published networks of DaBiT with the weights that the reference outputs were made with."""

from __future__ import annotations

import math
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unblur.models import load_state
from unblur.models.convert.dabit import convert, convert_flow
from unblur.models.dabit import OFFICIAL, Dabit
from unblur.models.flow_refocus import OFFICIAL as OFFICIAL_FLOW
from unblur.models.flow_refocus import FlowRefocus

GOLDENS = Path(__file__).parents[2] / "goldens"


def published_state(
    table: Path, gain: float, encoder_gain: float | None = None
) -> dict[str, Tensor]:
    """Every entry of a published checkpoint: random numbers that follow from its name."""
    state = {}
    for line in table.read_text().splitlines():
        key, shape, dtype = line.split("\t")
        size = tuple(int(n) for n in shape.strip("()").split(",") if n)
        if not dtype.startswith("float"):
            state[key] = torch.zeros(size, dtype=getattr(torch, dtype))
            continue
        own_gain = encoder_gain if encoder_gain and key.startswith("encoder.") else gain
        fan = math.prod(size[1:]) if len(size) >= 2 else 100
        scale = np.float32((own_gain if len(size) >= 2 else 0.5) / np.sqrt(max(1, fan)))
        values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(size)
        numbers = values.astype(np.float32) * scale
        if len(size) == 1 and key.endswith("weight"):
            numbers += 1
        state[key] = torch.from_numpy(numbers)
    return state


def dabit_state() -> dict[str, Tensor]:
    """All 430 entries of `dabit.pth`."""
    return published_state(GOLDENS / "dabit_keys.tsv", gain=1.0, encoder_gain=1.6)


def flow_state() -> dict[str, Tensor]:
    """All 74 entries of the flow refocusing network."""
    return published_state(GOLDENS / "dabit_flow_keys.tsv", gain=1.4)


@cache
def official_net() -> Dabit:
    """DaBiT of official size."""
    return load_state(Dabit(OFFICIAL), convert(dabit_state()), "recipe").requires_grad_(False)


@cache
def official_flow_net() -> FlowRefocus:
    """The flow refocusing network as published."""
    state = convert_flow(flow_state())
    return load_state(FlowRefocus(OFFICIAL_FLOW), state, "recipe").requires_grad_(False)
