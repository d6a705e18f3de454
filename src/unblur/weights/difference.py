"""Weights kept as how they differ from others that ship, a byte for each number.

What a short training changes is small beside the weights themselves, so 255 steps between the least
and the greatest change of a row are as fine as half precision of the whole, in half the space.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.errors import WeightsError
from unblur.weights import PACKAGE_FOLDER, load, save
from unblur.weights import metadata as head

if TYPE_CHECKING:
    from torch import Tensor

STEP = ".step"
"""Ends the name of the tensor that says how much a step is worth in each row of another."""
BASE, HOLDS = "base_numbers", "holds"
"""Entries of the head: `numbers_of` the file that the base ships in, and `holding`."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
STEPS = 127
"""Steps to either side."""


def difference(state: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What to keep of weights that began as others.

    Args:
        state: tensors by name.
        start: those that it began as, with the same names and shapes.

    Returns:
        Of the tensors that differ: those of one axis in half precision; of others the difference in
        steps, int8, and under their name and `.step` the step of each row, (rows,).
    """
    import torch

    kept = {}
    for name, whole in state.items():
        change = whole.float() - start[name].float()
        if not change.any():
            continue
        if change.ndim < 2:
            kept[name] = whole.half()
            continue
        step = (change.abs().flatten(1).amax(1) / STEPS).clamp(min=1e-12)
        kept[name] = (change / by_row(step, change)).round().to(torch.int8)
        kept[name + STEP] = step
    return kept


def added(
    kept: Mapping[str, Tensor], start: Mapping[str, Tensor], any_size: bool = False
) -> dict[str, Tensor]:
    """The weights of which `difference` kept something.

    Args:
        kept: as `difference` gives it, or whole tensors, which take the place of others.
        start: all weights that it began as.
        any_size: whether tensors may be longer or shorter than those of the start: what a network
            is given or gives later stands behind what was there before. The longer size is kept.

    Raises:
        ValueError: a tensor does not fit into that of the start.
    """
    import torch

    state = dict(start)
    for name, part in kept.items():
        if name.endswith(STEP):
            continue
        if name not in start or part.ndim != start[name].ndim:
            raise ValueError(f"{name}: nothing like it to start from")
        if part.shape != start[name].shape and not any_size:
            raise ValueError(f"{name}: {tuple(part.shape)} instead of {tuple(start[name].shape)}")
        sides = (max(pair) for pair in zip(part.shape, start[name].shape, strict=True))
        whole = torch.zeros(*sides)
        corner(whole, start[name].shape).copy_(start[name])
        if part.dtype == torch.int8:
            corner(whole, part.shape).add_(part * by_row(kept[name + STEP], part))
        else:
            corner(whole, part.shape).copy_(part)
        state[name] = whole
    return state


def load_whole(
    path: str | Path,
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    any_size: bool = False,
    following: int = 0,
) -> dict[str, Tensor]:
    """Reads a file that holds all weights, or how they differ from others that ship.

    Args:
        path: of the file; its head names under `base` what the weights differ from.
        adapt: makes of the base's weights those that the network begins as.
        any_size: whether the file may be that of a network that is given or gives more or less.
        following: how many files named this one as their base.

    Raises:
        WeightsError: a file is missing or damaged, or does not fit its base.
    """
    kept, base = load(path), head(path).get("base")
    if base is None:
        return kept
    if not _NAME.fullmatch(base):
        raise WeightsError(f"{path} names {base[:60]!r} as its base, which is no name of weights")
    if following > 3:
        raise WeightsError(f"{path} begins a chain of bases without an end: it cannot be used")
    facts = head(path)
    source = PACKAGE_FOLDER / f"{base}.safetensors"
    if HOLDS in facts and facts[HOLDS] != holding(kept):
        raise WeightsError(f"{path} is damaged: it does not hold what it was written with")
    if BASE in facts and source.is_file() and facts[BASE] != numbers_of(source):
        raise WeightsError(
            f"{path} holds how weights differ from another {base} than ships with this version: "
            "take the version of unblur that it was made by, or the whole weights"
        )
    lacking = [name for name in kept if name.endswith(STEP) and name[: -len(STEP)] not in kept]
    if lacking:
        raise WeightsError(f"{path} is damaged: it lacks {lacking[0][: -len(STEP)]}")
    # Those that ship, even where the user has others of that name.
    start = load_start(source, adapt, following + 1)
    try:
        return added(kept, start, any_size)
    except (ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} does not fit: it holds how weights differ from {base}, and {error}: take the "
            "model that it was made for, or the whole weights"
        ) from error


def load_start(
    path: str | Path,
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    following: int = 0,
) -> dict[str, Tensor]:
    """What a network begins with, made by `adapt` of the weights in a file: see `load_whole`."""
    return adapt(load_whole(path, adapt, any_size=True, following=following))


def save_difference(
    path: str | Path,
    state: Mapping[str, Tensor],
    base: str,
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    metadata: Mapping[str, str],
) -> None:
    """Writes how weights differ from others that ship, for `load_whole` to read.

    Args:
        path: of the file.
        state: all weights.
        base: name of those that ship.
        adapt: as in `load_whole`.
        metadata: text for the head of the file.
    """
    source = PACKAGE_FOLDER / f"{base}.safetensors"
    kept = difference(state, load_start(source, adapt))
    save(path, kept, {**metadata, "base": base, BASE: numbers_of(source), HOLDS: holding(kept)})


def numbers_of(path: Path) -> str:
    """Digest of the numbers in a safetensors file, whatever its head says beside them."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def holding(kept: Mapping[str, Tensor]) -> str:
    """What tells whether a tensor was added or removed, or is of another kind or size."""
    facts = sorted((name, str(x.dtype), list(x.shape)) for name, x in kept.items())
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def corner(x: Tensor, shape: Sequence[int]) -> Tensor:
    """View of the first elements along each axis."""
    return x[tuple(slice(side) for side in shape)]


def by_row(step: Tensor, like: Tensor) -> Tensor:
    """(rows,) to multiply with (rows, ...)."""
    return step.view(-1, *[1] * (like.ndim - 1))
