"""When, on what and by what something was trained."""

from __future__ import annotations

import datetime
import platform
from pathlib import Path

import torch

from unblur import __version__
from unblur.ops.device import choose_device

TRAINED = ("trained", "trained on", "trained by")
"""Columns of an arm's row: the date, the CPU or GPU, and the version."""


def origin(device: str) -> dict[str, str]:
    """Of what is trained now."""
    where = choose_device(device, mps=False)
    on = torch.cuda.get_device_name(where) if where.type == "cuda" else cpu()
    today = datetime.date.today().isoformat()
    return dict(zip(TRAINED, (today, on, f"unblur {__version__}"), strict=True))


def cpu() -> str:
    """Name of the CPU, and what of its instructions matters."""
    lines = []
    if (info := Path("/proc/cpuinfo")).is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    flags = facts.get("flags", "").split()
    widest = "AMX" if "amx_bf16" in flags else "AVX-512" if "avx512f" in flags else ""
    return ", ".join(
        x for x in (facts.get("model name", platform.processor()).strip(), widest) if x
    )
