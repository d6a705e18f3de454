"""The state of a fit on disk: one safetensors file that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unblur.atlas.fitting.fit import Fitter
from unblur.atlas.fitting.model import LayerStart
from unblur.atlas.fitting.presets import FitConfig
from unblur.disk import sync
from unblur.errors import WeightsError
from unblur.schema import conform, read_json

FOLDER, STATE = "fit", "state.safetensors"
OPACITY = "opacity"
FIELDS = ("homographies", "texture", OPACITY, "radius")


def fingerprint(
    frames: Tensor, labels: Tensor | None, radii: Tensor | None, config: FitConfig, layers: int
) -> str:
    """Of all that a fit depends on."""
    text = hashlib.sha256(json.dumps([asdict(config), layers]).encode())
    for tensor in (frames, labels, radii):
        if tensor is not None:
            text.update(str(tuple(tensor.shape)).encode())
            text.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return text.hexdigest()


def save_state(
    folder: Path, fitter: Fitter, starts: list[LayerStart], labels: Tensor, of: str
) -> None:
    """Writes the state of a fit into `folder`; it replaces the one there."""
    tensors: dict[str, Tensor] = {"labels": labels.to(torch.uint8)}
    for i, start in enumerate(starts):
        for field in FIELDS:
            value = getattr(start, field)
            if value is not None:
                tensors[f"start.{i}.{field}"] = value
    for name, value in fitter.model.state_dict().items():
        tensors[f"model.{name}"] = value
    for kind, optimizer in optimizers(fitter).items():
        for number, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"{kind}.{number}.{name}"] = value
    facts = {
        "step": fitter.step,
        "done": fitter.done,
        "upright": fitter.upright,
        "prepared": fitter.prepared,
        "seconds": fitter.seconds,
        "psnr": None if fitter.psnr != fitter.psnr else fitter.psnr,
        "names": fitter.model.names,
        "of": of,
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{STATE}.part"
    clean = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    facts["check"] = _check(clean, facts)
    save_file(clean, part, metadata={"facts": json.dumps(facts)})
    sync(part)
    os.replace(part, folder / STATE)
    sync(folder)


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts of the state in `folder`; None where there is none.

    Raises:
        WeightsError: it is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = conform(read_json(file.metadata()["facts"]), dict[str, Any], "facts")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if "check" in facts and facts.pop("check") != _check(tensors, facts):
            raise ValueError("it is not as it was written")
        return tensors, facts
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        raise damaged(folder, error) from error


def _check(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> int:
    """By which a state is known to be whole."""
    check = zlib.crc32(json.dumps(facts).encode())
    for name, tensor in sorted(tensors.items()):
        check = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), check)
        check = zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, check)
    return check


def damaged(folder: Path, error: Exception) -> WeightsError:
    """The error for a state that is not as it was written."""
    return WeightsError(
        f"the state of the fit in {folder / STATE} is damaged ({error}): delete it to start again"
    )


def starts_of(tensors: Mapping[str, Tensor], names: list[str]) -> list[LayerStart]:
    """Where a saved fit started."""
    return [
        LayerStart(name, *(tensors.get(f"start.{i}.{field}") for field in FIELDS))  # type: ignore[arg-type]
        for i, name in enumerate(names)
    ]


def restore(fitter: Fitter, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Puts a fitter where the saved one was."""
    model = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    fitter.model.load_state_dict(model)
    for kind, optimizer in optimizers(fitter).items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"{kind}."):
                _, number, name = key.split(".", 2)
                state.setdefault(int(number), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    fitter.step, fitter.seconds = int(facts["step"]), float(facts["seconds"])
    fitter.done = int(facts.get("done", fitter.step))
    fitter.upright = int(facts.get("upright", fitter.upright_steps))
    fitter.prepared = float(facts.get("prepared", 0.0))
    fitter.psnr = float("nan") if facts["psnr"] is None else float(facts["psnr"])


def optimizers(fitter: Fitter) -> dict[str, torch.optim.Optimizer]:
    """Those of the fit's stages, under the names that their state is kept by."""
    found: dict[str, torch.optim.Optimizer] = {"optimizer": fitter.optimizer}
    if fitter.step == 0 and fitter.upright_steps:  # later it has nothing left to do
        found["upright"] = fitter.upright_optimizer
    return found
