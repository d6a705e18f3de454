"""What a user calls a device, as torch's."""

from __future__ import annotations

import torch

from unblur.errors import ResourceError, UsageError


def choose_device(device: str, mps: bool = True) -> torch.device:
    """The device of that name if it is there; `auto` takes CUDA, then MPS, then the CPU.

    Args:
        device: `auto`, or what `torch.device` takes.
        mps: whether the work can be done on Apple's GPUs.

    Raises:
        UsageError: there is no device of that name, or the work cannot be done there.
        ResourceError: it is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if mps and torch.backends.mps.is_available() else "cpu")
    names = "auto, cpu, cuda, cuda:N" + " or mps" * mps
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{device}': use {names}") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (wanted.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted.type not in there or (wanted.type == "mps" and not mps):
        raise UsageError(f"this does not run on '{device}': use {names}")
    if not there[wanted.type]:
        raise ResourceError(f"device '{device}' is not available on this machine: use --device cpu")
    return wanted
