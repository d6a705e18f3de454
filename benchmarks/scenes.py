"""How fast scenes are rendered on this machine.

    python benchmarks/scenes.py [--device cuda] [--threads N] [--repeat N]

A row per mode, size and batch, with frames and truth made the same way: scenes and megapixels of
finished frames a second, first without truth beside the frames, then with all of it. On a CPU
the seconds are those of the process, so that a neighbour's work does not count. Writes
results/scenes_DEVICE.csv beside this file.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from pathlib import Path

import torch

from unblur.synth import TRUTHS, Mode, SceneConfig, held_out, render, sample_scenes

RESULTS = Path(__file__).parent / "results"
MODES: tuple[Mode, ...] = ("motion", "focus", "joint")
CASES = {
    "cpu": ((8, 5, 96), (4, 5, 128), (1, 5, 256)),
    "cuda": ((8, 5, 96), (32, 5, 128), (64, 7, 128), (16, 7, 256)),
}


def seconds(
    mode: Mode, case: tuple[int, int, int], truth: frozenset[str], device: str, repeat: int
) -> float:
    """Mean time of a batch, after one that does not count."""
    batch, frames, size = case
    textures = held_out().to(device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    for i in range(repeat + 1):
        if i == 1:
            finish(device)
            start = clock()
        generator = torch.Generator().manual_seed(i)
        scenes = sample_scenes(SceneConfig(mode=mode), textures, batch, generator)
        render(scenes, size, size, frames, truth=truth)
    finish(device)
    return (clock() - start) / repeat


def finish(device: str) -> None:
    """Waits until the device has done its work."""
    if device != "cpu":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    name = platform.CPU() or platform.machine()
    if options.device == "cuda":
        name = torch.cuda.get_device_name()
    rows = []
    for mode in MODES:
        for case in CASES[options.device]:
            batch, frames, size = case
            shape = f"{batch}x{frames}x{size}x{size}"
            row: dict[str, object] = {"device": name, "mode": mode, "batch": shape}
            for label, truth in (("frames", frozenset[str]()), ("truth", TRUTHS)):
                took = seconds(mode, case, truth, options.device, options.repeat)
                row |= {
                    f"{label} s": f"{took:.4f}",
                    f"{label} scenes/s": f"{batch / took:.1f}",
                    f"{label} MP/s": f"{batch * frames * size * size / took / 1e6:.2f}",
                }
            print(row, flush=True)
            rows.append(row)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"scenes_{options.device}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
