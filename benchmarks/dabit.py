"""What DaBiT costs on this machine, without flow, depth and blur maps from outside.

    python benchmarks/dabit.py             # 256 x 256 pixels, and the small network at 854 x 480
    python benchmarks/dabit.py --quick     # the small networks at 256 x 256

Windows of the release: 10 frames that are restored and 6 references, blurred everywhere, so the
cost is the most a window of this size can take. `focus-s` restores the 10 without references; size
small of `dabit` is `dabit-narrow`. Costs are per restored frame; those of the flow
network are per frame of the 10, both directions. Each row runs in a process of its own, so that its
peak memory is its own. With `--threads 1` on a CPU the time is the CPU's, so other work
beside it disturbs little. Writes results/dabit.csv and results/dabit.md beside this file.
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
from pathlib import Path

from bsstnet import attention_flop, memory_now, memory_peak

RESULTS = Path(__file__).parent / "results"
LOCAL, REFERENCES = 10, 6
# network, size, scale, height, width
ROWS = (
    ("dabit", "small", 1, 256, 256),
    ("dabit", "small", 2, 256, 256),
    ("flow-refocus", "small", 1, 256, 256),
    ("dabit", "small", 1, 480, 854),
    ("dabit", "small", 2, 480, 854),
    ("flow-refocus", "official", 1, 256, 256),
    ("dabit", "paper", 2, 256, 256),
    ("dabit", "official", 2, 256, 256),
    ("focus-s", "small", 1, 256, 256),
    ("focus-s", "small", 2, 256, 256),
    ("focus-s", "small", 1, 480, 854),
)
QUICK = 3
COLUMNS = {
    "network": "network",
    "size": "size",
    "parameters": "parameters",
    "scale": "scale",
    "width": "width",
    "height": "height",
    "seconds_per_frame": "s/frame",
    "frames_per_second": "frames/s",
    "peak_gb": "peak GB",
    "added_gb": "of it by the clip",
    "gmac_per_frame": "GMAC/frame",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the small networks only")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(*ROWS[options.measure], options)))
        return
    rows = []
    for index in range(QUICK if options.quick else len(ROWS)):
        command = [sys.executable, *sys.argv, "--measure", str(index)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(", ".join(f"{title} {rows[-1][key]}" for key, title in COLUMNS.items()), flush=True)
        write(rows)
    print(f"\n{markdown(rows)}")


def measure(
    network: str, size: str, scale: int, height: int, width: int, options: argparse.Namespace
) -> dict[str, object]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    net, inputs, keywords = build(network, size, scale, height, width)
    net = net.eval().requires_grad_(False).to(options.device)
    inputs = [x.to(options.device) for x in inputs]
    if "radius" in keywords:
        keywords["radius"] = keywords["radius"].to(options.device)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.precision)
    clock = (
        time.process_time if (options.device, options.threads) == ("cpu", 1) else time.perf_counter
    )

    def run(counted: bool = False) -> float:
        started = clock()
        # Fused layers, which run where no gradient is wanted, are not counted.
        wanted = torch.enable_grad() if counted else torch.inference_mode()
        with wanted, torch.autocast(options.device, dtype, dtype is not None):
            net(*inputs, **keywords)
        if options.device == "cuda":
            torch.cuda.synchronize()
        return clock() - started

    before = memory_now(options.device)
    if options.device == "cuda":
        run()  # chooses kernels
    seconds = run()
    peak = memory_peak(options.device)
    # PyTorch counts attention on the GPU only; its CPU kernel computes the same products. An
    # enlargement, which it does not know, it would take apart, and that takes minutes.
    known = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flop,
        torch.ops.aten.upsample_bilinear2d.vec: lambda *_, **__: 0,
    }
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        run(counted=True)
    return {
        "network": network,
        "size": size,
        "parameters": sum(p.numel() for p in net.parameters()),
        "scale": scale,
        "width": width,
        "height": height,
        "seconds_per_frame": round(seconds / LOCAL, 3),
        "frames_per_second": round(LOCAL / seconds, 3),
        "peak_gb": round(peak / 1e9, 3),
        "added_gb": round((peak - before) / 1e9, 3),
        "gmac_per_frame": round(counter.get_total_flops() / 2e9 / LOCAL, 2),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else platform.machine(),
        "precision": options.precision,
        "threads": options.threads,
        "torch": torch.__version__,
    }


def build(network: str, size: str, scale: int, height: int, width: int):
    """A network, the arguments of a call, and its options."""
    import torch

    from unblur.models import aligned, dabit, flow_refocus

    generator = torch.Generator().manual_seed(0)

    def noise(length: int, channels: int):
        return torch.rand(1, length, channels, height, width, generator=generator)

    flow = 4 * noise(LOCAL - 1, 2) - 2
    if network == "flow-refocus":
        config = {"official": flow_refocus.OFFICIAL, "small": flow_refocus.SMALL}[size]
        frames, mask = noise(LOCAL, 3), (noise(LOCAL, 1) > 0.5).float()
        each = (..., slice(None, None, config.stride), slice(None, None, config.stride))
        return flow_refocus.FlowRefocus(config), (flow[each], -flow[each], frames, mask[each]), {}
    if network == "focus-s":
        each = (..., slice(None, None, aligned.FLOW_STRIDE), slice(None, None, aligned.FLOW_STRIDE))
        more = {"radius": 1 + 9 * noise(LOCAL, 1), "enlarge": scale == 2}
        return aligned.Aligned(aligned.FOCUS_S), (noise(LOCAL, 3), flow[each], -flow[each]), more
    config = {"official": dabit.OFFICIAL, "paper": dabit.PAPER, "small": dabit.SMALL}[size]
    length = LOCAL + REFERENCES
    blur = 0.2 + 0.8 * noise(length, 1)
    inputs = (noise(length, 3), noise(length, 1), blur, torch.ones_like(blur))
    if size == "official":  # the release connects references by flow too
        flow = 4 * noise(length - 1, 2) - 2
    return dabit.Dabit(config), (*inputs, flow, -flow), {"outputs": LOCAL, "scale": scale}


def write(rows: list[dict[str, object]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "dabit.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "device", "precision", "threads", "torch"])
        writer.writeheader()
        writer.writerows(rows)
    (RESULTS / "dabit.md").write_text(markdown(rows))


def markdown(rows: list[dict[str, object]]) -> str:
    first = rows[0]
    lines = [
        f"DaBiT, windows of {LOCAL} frames and {REFERENCES} references: {first['device']}, "
        f"{first['threads']} threads, {first['precision']}, torch {first['torch']}. "
        "Per restored frame, references included.",
        "",
        "| " + " | ".join(COLUMNS.values()) + " |",
        "|---" * len(COLUMNS) + "|",
    ]
    lines += ["| " + " | ".join(str(row[key]) for key in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
