"""How much memory the networks that ship take, and whether the estimate holds.

    python benchmarks/memory.py [--model NAME ...] [--size 480p ...] [--tile SIDE]
    python benchmarks/memory.py --fusion [--model NAME ...] [--size 480p ...]
    python benchmarks/memory.py --jobs [--model NAME ...] [--size 480p ...] [--frames 5] [--limits]

Restores the middle one of three frames of noise, on the CPU, in a process of its own for each row,
and notes by how much that process grew at its peak. Whole frames, unless `--tile` is given. Writes
results/memory.csv and results/memory.md beside this file.

With `--fusion` instead what putting restored frames together takes, by as many neighbours as the
network's preset asks for. Writes results/memory_fusion.csv and .md.

With `--jobs` whole jobs: `unblur restore` as it runs by default, and with `--limits` also with the
least `--max-memory` that is not refused; what is noted is the peak of the whole process. Writes
results/memory_jobs.csv and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import table
import torch

import unblur
from unblur.commands.request import choose_fusion
from unblur.engine.fusion import fuse
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
    parser.add_argument("--jobs", action="store_true", help="whole jobs")
    parser.add_argument("--limits", action="store_true", help="with --jobs")
    parser.add_argument("--frames", type=int, default=5, help="of a job")
    parser.add_argument("--fusion", action="store_true", help="frames put together")
    options = parser.parse_args()
    if options.jobs:
        jobs(options.model, options.size, options.frames, options.limits)
        return
    if options.row:
        name, size = options.model[0], options.size[0]
        row = fused(name, size) if options.fusion else measured(name, size, options.tile)
        print(json.dumps(row))
        return
    if options.fusion:
        fusions(options.model, options.size)
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


def fusions(models: list[str], sizes: list[str]) -> None:
    """Measures each, and writes the table."""
    about = f"Shifted noise, fp32, one thread; torch {torch.__version__}."
    for size in sizes:
        for name in models:
            words = [sys.executable, __file__, "--row", "--fusion", "--model", name, "--size", size]
            done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
            rows: list[dict[str, Any]] = [
                row
                for row in table.earlier("memory_fusion", "network", [])
                if (row["network"], row["frames"]) != (name, size)
            ]
            table.write("memory_fusion", about, [*rows, json.loads(done.stdout)])


def fused(name: str, size: str) -> dict[str, Any]:
    """A line of the table: as many frames as are held at once, and two more."""
    torch.set_num_threads(1)
    height, width = SIZES[size]
    device = torch.device("cpu")
    fusion = choose_fusion("auto", unblur.load_model(name, device="cpu").info, device)
    assert fusion is not None
    noise = torch.rand(3, height // 4, width // 4, generator=torch.Generator().manual_seed(0))
    noise = torch.nn.functional.interpolate(noise[None], (height, width), mode="bilinear")[0]
    count = 2 * fusion.reach + 3

    def frame(n: int) -> tuple[None, Callable[[], torch.Tensor], torch.Tensor]:
        # What a frame was before is made when it is asked for, as in a job.
        return None, lambda: 0.9 * noise.roll(3 * n, -1), noise.roll(3 * n, -1)

    small = torch.rand(3, 64, 64)  # loads what the libraries load at their first use
    list(fuse(((None, 0.9 * small, small) for _ in range(count)), fusion))
    memory.give_back_heap()
    before = memory.resident()
    RESET.write_text("5")  # the peak counts from here on
    began = time.perf_counter()
    for _, image in fuse(map(frame, range(count)), fusion):
        del image, _
    return {
        "network": name,
        "frames": size,
        "on either side": fusion.radius,
        "peak MB": round(((memory.peak_resident() or 0) - before) / 1e6),
        "estimate MB": round(fusion.peak_bytes(height, width) / 1e6),
        "seconds": round(time.perf_counter() - began, 1),
    }


def jobs(models: list[str], sizes: list[str], frames: int, limits: bool) -> None:
    """Restores a clip of each size by each model, and writes the table."""
    about = f"`unblur restore` of moving noise, fp32, one thread; torch {torch.__version__}."
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            clip = made(Path(folder) / f"{size}.mkv", size, frames)
            for name in models:
                again = [str(clip), str(Path(folder) / "out.mkv"), "--overwrite", "--json", "-q"]
                again += ["--model", name, "--device", "cpu", "--precision", "fp32"]
                tried: list[int | None] = [None]
                if limits:
                    refused, _ = run([*again, "--max-memory", "1MB"])
                    tried += map(int, re.findall(r"--max-memory (\d+)MB", refused))
                for limit in tried:
                    began = time.perf_counter()
                    words = [] if limit is None else ["--max-memory", f"{limit}MB"]
                    printed, peak = run([*again, *words])
                    report = json.loads(printed.splitlines()[-1])
                    rows = [
                        row
                        for row in table.earlier("memory_jobs", "network", [])
                        if (row["network"], row["size"], row["limit MB"] == "")
                        != (name, size, limit is None)
                    ]
                    rows.append(
                        {
                            "network": name,
                            "size": size,
                            "frames": frames,
                            "limit MB": "" if limit is None else limit,
                            "peak MB": round(peak / 1e6),
                            "tile": report["tile"] or "whole",
                            "window": report["window"],
                            "seconds": round(time.perf_counter() - began, 1),
                        }
                    )
                    table.write("memory_jobs", about, rows)


def made(path: Path, size: str, frames: int) -> Path:
    """A clip of noise that moves by 3 pixels a frame."""
    height, width = SIZES[size]
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    noise = noise.repeat(4, 0).repeat(4, 1)[:height, :width]
    noise = np.pad(noise, ((0, height - len(noise)), (0, width - noise.shape[1]), (0, 0)), "edge")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * n, 1), "rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def run(words: list[str]) -> tuple[str, int]:
    """What `unblur restore` printed, and the most bytes that it held."""
    program = [sys.executable, "-m", "unblur", "restore", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert child.stdout is not None
    printed = child.stdout.read()
    _, _, used = os.wait4(child.pid, 0)
    return printed, used.ru_maxrss << 10


def said(tile: int | None) -> str:
    return f"tiles of {tile}" if tile else "whole"


if __name__ == "__main__":
    main()
