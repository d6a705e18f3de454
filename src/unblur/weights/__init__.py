"""Where weights lie, and reading and writing them. Safetensors only.

A preset's weights are `NAME.safetensors`, looked for in the user's folder first
(`$UNBLUR_HOME/weights`, by default in the platform's user data folder), then among those that
ship with the package.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.disk import check_name, hidden_name, put_file
from unblur.errors import ResourceError, UsageError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE_FOLDER = Path(__file__).parent
_KINDS = {f"torch.{kind}" for kind in ("float64", "float32", "float16", "bfloat16")}
_KINDS |= {f"torch.{kind}" for kind in ("int8", "uint8", "int16", "int32", "int64")}
MOST_TENSORS = 20_000
"""Of a file; networks here have up to some 2,000."""
RENAMED = {
    "bsstnet-s": "motion-s",
    "bsstnet-m": "motion-m",
    "dabit-s": "focus-s",
    "dabit-m": "focus-m",
}
"""Former names of models. A file that bears one is read, a request by one is answered."""


@dataclass(frozen=True)
class StoredWeights:
    """A weights file on disk."""

    name: str
    path: Path
    ships: bool
    """True where it came with the package."""


def home() -> Path:
    """`$UNBLUR_HOME`, or the platform's folder for a user's application data."""
    try:
        return _home()
    except RuntimeError as error:
        raise UsageError(f"no folder for weights ({error}): set UNBLUR_HOME to one") from error


def _home() -> Path:
    if "UNBLUR_HOME" in os.environ:
        return Path(os.environ["UNBLUR_HOME"]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "unblur"


def user_folder() -> Path:
    """Folder that converted weights go to."""
    return home() / "weights"


def find(name: str) -> Path | None:
    """Path of the weights called `name`, the user's own before the shipped ones, or None."""
    for folder in (user_folder(), PACKAGE_FOLDER):
        path = folder / f"{name}.safetensors"
        if path.is_file():
            return path
    return None


def require(name: str, remedy: str) -> Path:
    """As `find`, but raises `WeightsError` with the remedy where there are none."""
    path = find(name)
    if path is None:
        raise WeightsError(f"no weights for '{name}' in {user_folder()}: {remedy}")
    return path


def stored() -> list[StoredWeights]:
    """All weights that can be found by name, the user's own first."""
    found: dict[str, StoredWeights] = {}
    for folder in (user_folder(), PACKAGE_FOLDER):
        for path in sorted(folder.glob("*.safetensors")):
            found.setdefault(path.stem, StoredWeights(path.stem, path, folder == PACKAGE_FOLDER))
    return list(found.values())


def load(path: str | Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Returns:
        Tensors by name, in the precision they are stored in.

    Raises:
        WeightsError: the file is missing, is not safetensors, or holds values that are not finite.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights file not found: {path}: check the path")
    try:
        with safe_open(str(path), framework="pt") as file:
            count = len(file.keys())
        if count > MOST_TENSORS:
            raise WeightsError(
                f"{path} holds {count:,} tensors, more than any network: take another file"
            )
        state = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"{path} is not a safetensors file: convert a published checkpoint first with "
            f"`unblur weights convert {path.name}`"
        ) from error
    kinds = sorted({str(tensor.dtype) for tensor in state.values()} - _KINDS)
    if kinds:
        raise WeightsError(
            f"{path} holds numbers of the kind {' and '.join(kinds)}, which no network here has: "
            "convert them to 16-bit floating point"
        )
    bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise WeightsError(
            f"{path} holds values that are not finite in {len(bad)} of {len(state)} tensors "
            f"(first: {bad[0]}): it is damaged; convert or download it again"
        )
    return state


def metadata(path: str | Path) -> dict[str, str]:
    """The text entries in the head of a safetensors file (source, licence, recipe).

    Where they name a model by a former name, they are given with the present one.

    Raises:
        WeightsError: the file is missing, or is not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise WeightsError(f"weights file not found: {path}: check the path")
    try:
        with safe_open(str(path), framework="pt") as file:
            facts: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a safetensors file: `unblur weights convert` makes one of a checkpoint"
        ) from error
    return {
        key: RENAMED.get(value, value) if key in ("name", "network", "base") else value
        for key, value in facts.items()
    }


def model_names(path: str | Path) -> list[str]:
    """What a file calls the model it is of: its own name, then the network it was trained as.

    Raises:
        WeightsError: the file is missing, or is not safetensors.
    """
    facts = metadata(path)
    return [facts[key] for key in ("name", "network") if key in facts]


def save(
    path: str | Path,
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    overwrite: bool = True,
) -> None:
    """Writes a safetensors file; it appears under its name only when complete.

    Raises:
        UsageError: the name is none, or there is something else than a file, or a file that is not
            to be replaced.
        ResourceError: the disk fails.
    """
    from safetensors.torch import save as to_bytes

    check_name(path)
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise UsageError(f"cannot write {path}: it is not a regular file; name another")
    part = target.with_name(hidden_name(target.name))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        content = to_bytes({k: v.cpu().contiguous() for k, v in state.items()}, dict(metadata))
        with open(part, "wb") as file:  # safetensors' own writing would keep others from reading
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        put_file(part, target, overwrite=overwrite)
    except FileExistsError as error:
        raise UsageError(f"{path} exists: choose another name, or add --overwrite") from error
    except OSError as error:
        raise ResourceError(f"cannot write weights to {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """Digest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
