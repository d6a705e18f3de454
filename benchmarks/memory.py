"""How much memory the networks that ship take, and whether the estimate holds.

    python benchmarks/memory.py [--model NAME ...] [--size 480p ...] [--tile SIDE]

Restores the middle one of three frames of noise, on the CPU, in a process of its own for each row,
and notes by how much that process grew at its peak. Whole frames, unless `--tile` is given. Writes
results/memory.csv and results/memory.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import table
import torch

import unblur
from unblur.engine.plan import MemoryPlan, bytes_needed, resized
from unblur.engine.tiled import run_tiled
from unblur.ops import memory
from unblur.restorers.base import Priors

SIZES = {"480p": (480, 854), "1080p": (1080, 1920), "4K": (2160, 3840)}
MODELS = ["motion-s", "motion-m", "focus-s", "focus-m", "maxim-stage1"]
RESET = Path("/proc/self/clear_refs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=MODELS)
    parser.add_argument("--size", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--tile", type=int)
    parser.add_argument("--row", action="store_true", help="measure one row, and print it")
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measured(options.model[0], options.size[0], options.tile)))
        return
    about = f"Three frames of noise, fp32, one thread; torch {torch.__version__}."
    rows: list[dict[str, Any]] = [
        row
        for row in table.earlier("memory", "network", [])
        if (row["network"], row["frames"], row["cut"])
        not in {(m, s, said(options.tile)) for m in options.model for s in options.size}
    ]
    for size in options.size:
        for name in options.model:
            words = [sys.executable, __file__, "--row", "--model", name, "--size", size]
            words += ["--tile", str(options.tile)] if options.tile else []
            done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
            rows.append(json.loads(done.stdout))
            table.write("memory", about, rows)


def measured(name: str, size: str, tile: int | None) -> dict[str, Any]:
    """A line of the table."""
    torch.set_num_threads(1)
    height, width = SIZES[size]
    restorer = unblur.load_model(name, device="cpu", precision="fp32")
    tiling = resized(restorer.info.tiling, tile) if tile else None
    frames = torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(0))
    priors = None
    if restorer.info.needs_depth:
        priors = Priors((0, 1, 2), frames[:, :1].clone(), frames[:, 1:2].clone())
    before = memory.resident()
    RESET.write_text("5")  # the peak counts from here on
    began = time.perf_counter()
    run_tiled(restorer, frames, [1], MemoryPlan(tiling, 3), priors)
    return {
        "network": name,
        "frames": size,
        "cut": said(tile),
        "peak MB": round(((memory.peak_resident() or 0) - before) / 1e6),
        "estimate MB": round(bytes_needed(restorer, MemoryPlan(tiling, 3), height, width) / 1e6),
        "seconds": round(time.perf_counter() - began, 1),
    }


def said(tile: int | None) -> str:
    return f"tiles of {tile}" if tile else "whole"


if __name__ == "__main__":
    main()
