"""The random weights that the reference outputs in `goldens` were computed with."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def recipe_tensor(key: str, shape: tuple[int, ...], gain: float = 0.5) -> Tensor:
    """The tensor that the official network has under `key`, in float32; vectors keep .5."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    fan, gain = (math.prod(shape[1:]), gain) if len(shape) >= 2 else (100, 0.5)
    v = rng.standard_normal(shape).astype(np.float32) * np.float32(gain / np.sqrt(max(1, fan)))
    if key.endswith("weight") and len(shape) == 1:
        v += 1
    if key.endswith("running_var"):
        v = np.abs(v) + np.float32(0.5)
    return torch.from_numpy(np.asarray(v, np.float32))


def recipe_state(
    table: Path, skip: tuple[str, ...] = (), gain: Callable[[str], float] = lambda key: 0.5
) -> dict[str, Tensor]:
    """All floating tensors of a table of official keys (columns: key, shape, dtype, kind).

    Args:
        table: a `.tsv` of `goldens`.
        skip: ends of keys to leave out.
        gain: of each key's matrix or kernel.
    """
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    return {
        key: recipe_tensor(key, tuple(int(n) for n in shape.split("x") if n), gain(key))
        for key, shape, dtype, _ in rows
        if dtype.startswith("float") and not key.endswith(skip or ("\n",))
    }


def random_input(seed: int, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """Standard normal numbers times `scale`, as the reference inputs were made."""
    v = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(v * np.float32(scale))
