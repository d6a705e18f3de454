"""What BSSTNet costs on this machine: the cost columns of Tables 3 and 4 of its paper.

    python benchmarks/bsstnet.py            # T = 12, 24, 36, 48, 60
    python benchmarks/bsstnet.py --quick    # T = 12 only

Clips of 256 x 256 pixels in which every window is blurred at some time, so the cost is the most
that a clip of its length can take. Flow from outside (RAFT) is not counted, as in the paper, whose
GFLOPs are multiply-adds. Each row runs in a process of its own, so that its peak memory is its own.
With `--threads 1` on a CPU the time is the CPU's, so other work beside it disturbs little.
Writes results/bsstnet.csv and results/bsstnet.md beside this file, a row at a time; rows that are
there already stay, if device, precision, threads and PyTorch are the same.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LENGTHS = (12, 24, 36, 48, 60)
SIZE = 256
# preset, attention: released code (a quarter of the frames), paper (half of them), dense
ROWS = (
    ("official", "BSST, released code"),
    ("official", "BSST, paper"),
    ("official", "SST"),
    ("small", "BSST, paper"),
    ("small", "SST"),
)
# Table 4 of the paper (an NVIDIA GPU it does not name): ms per clip, GB, GFLOPs per frame
PAPER = {
    ("SST", 12): (470, 6.35, 171),
    ("SST", 24): (925, 13.10, 251),
    ("SST", 36): (1332, 20.40, 277),
    ("SST", 48): (1776, 28.27, 329),
    ("BSST, paper", 12): (336, 2.40, 122),
    ("BSST, paper", 24): (684, 4.79, 127),
    ("BSST, paper", 36): (1026, 7.30, 130),
    ("BSST, paper", 48): (1368, 9.97, 133),
    ("BSST, paper", 60): (1712, 12.78, 137),
}
COLUMNS = {
    "preset": "size",
    "attention": "attention",
    "frames": "T",
    "ms_per_clip": "ms/clip",
    "ms_per_frame": "ms/frame",
    "frames_per_second": "frames/s",
    "peak_gb": "peak GB",
    "added_gb": "of it by the clip",
    "gmac_per_frame": "GMAC/frame",
    "gflop_per_frame": "GFLOP/frame",
    "windows_selected": "windows selected",
    "paper_ms_per_clip": "paper ms/clip",
    "paper_gb": "paper GB",
    "paper_gflops_per_frame": "paper GFLOPs/frame",
}
CONDITIONS = ("device", "precision", "threads", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="T = 12 only")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        preset, attention, length = options.measure
        print(json.dumps(measure(preset, attention, int(length), options)))
        return
    lengths = LENGTHS[:1] if options.quick else LENGTHS
    rows = earlier(options)
    known = {(row["preset"], row["attention"], row["frames"]) for row in rows}
    started = time.perf_counter()
    for length in lengths:
        for preset, attention in ROWS:
            if (preset, attention, str(length)) in known:
                continue
            row = run_alone(preset, attention, length)
            rows.append(row)
            print(
                f"{preset:9}{attention:21}T={length:<3}{row['ms_per_clip']:>9.0f} ms/clip "
                f"{row['frames_per_second']:>7.2f} frames/s {row['peak_gb']:>6.2f} GB "
                f"{row['gmac_per_frame']:>7.1f} GMAC/frame",
                flush=True,
            )
            write(rows)
    print(f"\n{markdown(rows)}\n{time.perf_counter() - started:.0f} s in all")


def earlier(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows that an earlier run left, measured as this one would."""
    path = RESULTS / "bsstnet.csv"
    if not path.is_file():
        return []
    here = {name: str(value) for name, value in conditions(options).items()}
    with open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if here.items() <= row.items()]


def conditions(options: argparse.Namespace) -> dict[str, object]:
    """What rows have in common that compare with each other."""
    import torch

    return {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else platform.machine(),
        "precision": options.precision,
        "threads": options.threads,
        "torch": torch.__version__,
    }


def write(rows: list[dict[str, Any]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    rows.sort(key=lambda row: (int(row["frames"]), ROWS.index((row["preset"], row["attention"]))))
    path = RESULTS / "bsstnet.csv"
    part = path.with_suffix(".part")  # a run that is stopped leaves the rows before
    with open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *CONDITIONS])
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
    path.with_suffix(".md").write_text(markdown(rows))


def run_alone(preset: str, attention: str, length: int) -> dict[str, Any]:
    """One row, measured in a process of its own."""
    command = [sys.executable, *sys.argv, "--measure", preset, attention, str(length)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    preset: str, attention: str, length: int, options: argparse.Namespace
) -> dict[str, object]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from unblur.models.bsstnet import OFFICIAL, SMALL, BSSTNet
    from unblur.models.bsstnet.transformer import SparseAttention

    torch.set_num_threads(options.threads)
    size = {"official": OFFICIAL, "small": SMALL}[preset]
    mode, keep = {
        "BSST, released code": ("official", 0.25),
        "BSST, paper": ("paper", 0.5),
        "SST": ("dense", 1.0),
    }[attention]
    torch.manual_seed(0)
    net = BSSTNet(replace(size, selection=mode, keep=keep)).eval().to(options.device)
    inputs = [x.to(options.device) for x in shaken_clip(length)]
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.precision)
    selected: list[float] = []
    for module in net.modules():
        if isinstance(module, SparseAttention):
            module.register_forward_hook(
                lambda _, x, __: selected.append(x[1].windows.float().mean().item())
            )

    clock = (
        time.process_time if (options.device, options.threads) == ("cpu", 1) else time.perf_counter
    )

    def run() -> float:
        started = clock()
        with torch.inference_mode(), torch.autocast(options.device, dtype, dtype is not None):
            net(*inputs)
        if options.device == "cuda":
            torch.cuda.synchronize()
        return clock() - started

    before = memory_now(options.device)
    if options.device == "cuda":
        run()  # chooses kernels
        seconds = run()
        peak = memory_peak(options.device)
    # PyTorch counts attention on the GPU only; its CPU kernel computes the same products.
    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flop}
    with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
        counted = run()  # on a CPU the counter takes no time worth a second run
    if options.device != "cuda":
        seconds, peak = counted, memory_peak(options.device)
    flop = counter.get_total_flops() / length
    paper = PAPER.get((attention, length)) if preset == "official" else None
    paper_ms, paper_gb, paper_gflops = paper or ("", "", "")
    return {
        "preset": preset,
        "attention": attention,
        "frames": length,
        "ms_per_clip": round(1000 * seconds, 1),
        "ms_per_frame": round(1000 * seconds / length, 1),
        "frames_per_second": round(length / seconds, 3),
        "peak_gb": round(peak / 1e9, 3),
        "added_gb": round((peak - before) / 1e9, 3),
        "gmac_per_frame": round(flop / 2e9, 2),
        "gflop_per_frame": round(flop / 1e9, 2),
        "windows_selected": round(sum(selected) / len(selected), 3),
        "paper_ms_per_clip": paper_ms,
        "paper_gb": paper_gb,
        "paper_gflops_per_frame": paper_gflops,
        **conditions(options),
    }


def attention_flop(query, key, value, *_, out_shape=None, **__) -> int:
    """Of two matrix products, from the shapes (batch, heads, tokens, channels)."""
    batch, heads, asking, dim = query
    return 2 * batch * heads * asking * key[2] * (dim + value[3])


def shaken_clip(length: int):
    """Frames (1, T, 3, 256, 256) and flows (1, T-1, 2, 64, 64): noise, seen by a shaken camera."""
    import torch

    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(1, length, 3, SIZE, SIZE, generator=generator)
    steps = torch.arange(length - 1)
    speed = 3 * torch.stack((torch.sin(steps * 1.1), torch.cos(steps * 0.7)), 1)  # (T-1, 2)
    noise = 0.2 * torch.randn(length - 1, 2, SIZE // 4, SIZE // 4, generator=generator)
    flow = (speed[:, :, None, None] + noise)[None]
    return frames, flow, -flow


def memory_now(device: str) -> int:
    """Bytes in use."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_peak(device: str) -> int:
    """Bytes in use at the most since the start of the process."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def markdown(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    lines = [
        f"BSSTNet on 256 x 256 pixels: {first['device']}, {first['threads']} threads, "
        f"{first['precision']}, torch {first['torch']}. The paper's figures are its Table 4.",
        "",
        "| " + " | ".join(COLUMNS.values()) + " |",
        "|---" * len(COLUMNS) + "|",
    ]
    lines += ["| " + " | ".join(str(row[key]) for key in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
