"""What a network was trained as, in the head of its weights: a preset takes no others.

Two networks of the same sizes can have the same tensors and mean different things by them: another
blur map, other frames attended to. Nothing but the head of the file can tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unblur.errors import WeightsError
from unblur.schema import read_json
from unblur.weights import load, metadata

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch import Tensor

KEY = "switches"


def switches_of(config: DataclassInstance, **further: Any) -> dict[str, Any]:
    """Sizes and choices of a network, and `further` ones of how it is fed, as plain values."""
    values: dict[str, Any] = json.loads(json.dumps({**asdict(config), **further}))
    return values


def read_switches(path: str | Path) -> dict[str, Any] | None:
    """What the weights in a file were trained as; None where the file does not say.

    Raises:
        WeightsError: the file is missing, or is not safetensors, or says it in no known way.
    """
    text = metadata(path).get(KEY)
    if text is None:
        return None
    try:
        found = read_json(text)
    except ValueError as error:
        raise WeightsError(f"{path}: its head is damaged ({KEY}): copy the file again") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path}: its head is damaged ({KEY}): copy the file again")
    return found


def load_as(path: str | Path, preset: str, expected: Mapping[str, Any]) -> dict[str, Tensor]:
    """Reads weights, and refuses those that were trained as another network, see below."""
    state = load(path)
    check_switches(path, preset, expected)
    return state


def check_switches(path: str | Path, preset: str, expected: Mapping[str, Any]) -> None:
    """Refuses weights that were trained as another network than a preset runs.

    Args:
        path: of the weights. Files that do not say are taken: converted ones, and older ones.
        preset: its name, for the message.
        expected: `switches_of` the preset. What one of both does not know is not compared.

    Raises:
        WeightsError: something differs; the message names it.
    """
    found = read_switches(path) or {}
    other = [name for name in expected if name in found and found[name] != expected[name]]
    if other:
        facts = metadata(path)
        trained = facts.get("name", facts.get("network"))
        said = ", ".join(f"{n} = {found[n]} instead of {expected[n]}" for n in other[:4])
        own = trained in (None, preset)
        remedy = "train them without these options" if own else f"use --model {trained}"
        raise WeightsError(f"{path} was not trained as {preset} runs: {said}; {remedy}")
