"""The state of a training run on disk: safetensors shards of at most 15 MB and one JSON.

A checkpoint appears whole or not at all: it is written beside the last one, then renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from unblur.disk import read_bytes, sync, sync_tree
from unblur.errors import MediaError, ResourceError, WeightsError
from unblur.schema import conform, read_json

SHARD_BYTES = 14_700_000
INDEX = "state.json"
LARGEST_INDEX = 100_000_000
LARGEST_SHARD = 1_000_000_000


def save(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes a checkpoint that replaces the one in `folder`.

    Args:
        folder: of this checkpoint alone.
        tensors: weights, averages, optimizer state, by name.
        facts: anything JSON can hold: step, recipe, history.
    """
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    sums = []
    for count, shard in enumerate(shards(tensors), 1):
        path = new / f"state-{count:03}.safetensors"
        content = to_bytes(shard)
        path.write_bytes(content)
        sums.append(zlib.crc32(content))
    index = {"shards": len(sums), "shapes": shapes, "facts": dict(facts), "sums": sums}
    index["check"] = _check(index)
    (new / INDEX).write_text(json.dumps(index, indent=1))
    sync_tree(new)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Reads the checkpoint in `folder`; None where there is none.

    Raises:
        WeightsError: it is damaged.
    """
    old = folder.with_name(folder.name + ".old")
    if not (folder / INDEX).is_file():
        if not (old / INDEX).is_file():
            return None
        folder = old  # killed between the two renames
    try:
        index = read_json(read_bytes(folder / INDEX, LARGEST_INDEX))
        conform(index["shapes"], dict[str, list[int]], "shapes")
        conform(index["shards"], int, "shards")
        conform(index["facts"], dict[str, Any], "facts")
        if "check" in index and index.pop("check") != _check(index):
            raise ValueError(f"{INDEX} is not as it was written")
        parts: dict[str, list[tuple[int, Tensor]]] = {}
        for number in range(1, index["shards"] + 1):
            path = folder / f"state-{number:03}.safetensors"
            content = read_bytes(path, LARGEST_SHARD)
            if "sums" in index and index["sums"][number - 1] != zlib.crc32(content):
                raise ValueError(f"{path.name} is not as it was written")
            for key, piece in from_bytes(content).items():
                name, _, order = key.rpartition("@")
                parts.setdefault(name, []).append((int(order), piece))
        tensors = {
            name: torch.cat([p for _, p in sorted(parts[name], key=lambda x: x[0])]).reshape(shape)
            for name, shape in index["shapes"].items()
        }
    except (MediaError, ResourceError, OSError, ValueError, LookupError, TypeError) as error:
        raise damaged(folder, error) from error
    except (RuntimeError, SafetensorError) as error:
        raise damaged(folder, error) from error
    return tensors, index["facts"]


def _check(index: Mapping[str, Any]) -> int:
    """By which an index is known to be whole, numbers and all."""
    return zlib.crc32(json.dumps(index).encode())


def damaged(folder: Path, error: Exception) -> WeightsError:
    """The error for a checkpoint that is not as it was written."""
    return WeightsError(
        f"the checkpoint in {folder} is damaged ({error}): delete it to start again"
    )


def shards(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Flat pieces of all tensors, named `NAME@NUMBER`, in groups of at most `SHARD_BYTES`."""
    group: dict[str, Tensor] = {}
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous().flatten()
        size, number = flat.element_size(), 0
        while number == 0 or flat.numel():
            if room < size and group:
                yield group
                group, room = {}, SHARD_BYTES
            count = min(flat.numel(), room // size)
            group[f"{name}@{number}"] = flat[:count].clone()
            room -= count * size
            flat, number = flat[count:], number + 1
    if group:
        yield group
