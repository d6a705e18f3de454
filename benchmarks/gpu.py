"""What unblur costs on a GPU: one command, one table.

    python benchmarks/gpu.py --minutes 3
    python benchmarks/gpu.py --device cpu --tiny      # the rehearsal: every row at a tiny size

Rows in the order of their worth, until the time is up: networks that ship at 480p, 720p, 1080p and
4K in fp32, bf16 and fp16; flow-s and fusion beside them; the papers' networks at their official
sizes, BSSTNet with 12 to 60 frames, dense and sparse; the disk blur against what memory can move.
`GB` is the peak of the device's memory. Each row is measured after one run that chooses kernels.
Needs neither PyAV nor OpenCV. Writes results/gpu.csv and results/gpu.md beside this file, or the
same into --out.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import table
import torch
from torch import Tensor

from unblur import weights
from unblur.guidance.flow import flow_s, load_flow_s
from unblur.models import aligned, bsstnet, dabit
from unblur.models.maxim import Maxim, MaximConfig
from unblur.models.raft import Raft
from unblur.ops.device import choose_device
from unblur.optics.disk_blur import disk_blur
from unblur.weights.difference import load_whole

SIZES = {"480p": (480, 854), "720p": (720, 1280), "1080p": (1080, 1920), "4K": (2160, 3840)}
TINY = {"tiny": (64, 96)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = {"480p": ("bf16", "fp32", "fp16"), "tiny": ("fp32", "bf16")}
REPEATS = 3
Case = tuple[dict[str, object], Callable[[], object], int]
"""What a row is called, what it runs, and the frames that this restores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal: tiny sizes")
    parser.add_argument("--out", type=Path, default=None, help="folder of the results")
    options = parser.parse_args()
    if options.out is not None:
        table.RESULTS = options.out
    measure(choose_device(options.device, mps=False), options.minutes, options.tiny)


@torch.inference_mode()
def measure(device: torch.device, minutes: float, tiny: bool) -> list[dict[str, object]]:
    """All rows that the time holds."""
    end = time.monotonic() + 60 * minutes
    rows: list[dict[str, object]] = []
    repeats = 1 if tiny else REPEATS
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    for case in cases(device, tiny):
        row = timed(case, device, repeats)
        rows.append(row)
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
        if time.monotonic() > end:
            break
    about = f"{name}, torch {torch.__version__}; mean of {repeats} run(s) after one."
    table.write("gpu", about + (" A rehearsal." if tiny else ""), rows)
    return rows


def cases(device: torch.device, tiny: bool) -> Iterator[Callable[[], Case]]:
    """The rows, each opened when its turn has come."""
    sizes = TINY if tiny else SIZES
    for size in sizes:
        for network in ("motion-m", "focus-m", "motion-s", "focus-s", "maxim-stage1"):
            for precision in PRECISIONS.get(size, ("bf16",)):
                yield partial(shipped, network, size, sizes[size], precision, device)
        yield partial(flow, size, sizes[size], device)
    for length in (4,) if tiny else (12, 24, 48, 60):
        for attention in ("sparse", "dense"):
            yield partial(bsstnet_case, length, attention, tiny, device)
    yield partial(dabit_case, tiny, device)
    yield partial(raft_case, *next(iter(sizes.items())), device)
    for radius in (4.0, 16.0):
        yield partial(disk_case, *list(sizes.items())[-1], radius, device)


def timed(opened: Callable[[], Case], device: torch.device, repeats: int) -> dict[str, object]:
    """A row; an error, such as too little memory, stands in place of its figures."""
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    about, run, frames = opened()
    try:
        run()
        if gpu:
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        for _ in range(repeats):
            run()
        if gpu:
            torch.cuda.synchronize(device)
    except (RuntimeError, NotImplementedError) as error:
        return about | {"error": str(error).splitlines()[0][:60]}
    seconds = (time.perf_counter() - began) / repeats
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if gpu else 0.0
    row = about | {
        "frames/s": f"{frames / seconds:.2f}",
        "ms/frame": f"{1e3 * seconds / frames:.1f}",
    }
    if "GB moved" in about:
        moved = float(str(about["GB moved"]))
        row["GB/s"] = f"{moved / seconds:.1f}"
    return row | {"GB": f"{peak:.2f}"}


def noise(device: torch.device, *shape: int) -> Tensor:
    """The same numbers each time, in [0, 1]."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)).to(device)


def shipped(
    network: str, size: str, shape: tuple[int, int], precision: str, device: torch.device
) -> Case:
    """One frame of a network that ships, as its restorer runs it."""
    about: dict[str, object] = {"what": network, "size": size, "precision": precision}
    dtype = DTYPES[precision]
    H, W = (side + -side % 64 for side in shape)
    path = weights.PACKAGE_FOLDER / f"{network}.safetensors"
    if network == "maxim-stage1":
        maxim = Maxim(MaximConfig())
        maxim.load_state_dict(weights.load(path))
        maxim.to(device, dtype).eval()
        frame = noise(device, 1, 3, H, W).to(dtype)
        return about, lambda: maxim(frame), 1
    config = {
        "motion-m": aligned.MOTION_M,
        "motion-s": aligned.MOTION_S,
        "focus-m": aligned.FOCUS_M,
        "focus-s": aligned.FOCUS_S,
    }[network]
    net = aligned.Aligned(config)
    net.load_state_dict(load_whole(path, partial(aligned.begin_from, config=config)))
    net.to(device, dtype).eval()
    frames = 1 + 2 * config.neighbours
    clip = noise(device, 1, frames, 3, H, W)
    flows = [None, None]
    if config.neighbours:
        stride = aligned.FLOW_STRIDE
        each = noise(device, 1, frames - 1, 2, -(-H // stride), -(-W // stride))
        flows = [each, -each]
    radius = 5 * noise(device, 1, frames, 1, H, W) if config.guided else None
    return about, lambda: net(clip, *flows, [frames // 2], radius), 1


def flow(size: str, shape: tuple[int, int], device: torch.device) -> Case:
    """flow-s both ways between two frames."""
    net = load_flow_s(device)
    clip = noise(device, 2, 3, *shape)
    return {"what": "flow-s", "size": size, "precision": "fp32"}, lambda: flow_s(net, clip), 1


def bsstnet_case(length: int, attention: str, tiny: bool, device: torch.device) -> Case:
    """BSSTNet on clips of 256 x 256, as in Tables 3 and 4 of its paper."""
    size, side = (bsstnet.TINY, 64) if tiny else (bsstnet.OFFICIAL, 256)
    selection, keep = ("paper", 0.5) if attention == "sparse" else ("dense", 1.0)
    net = bsstnet.BSSTNet(dataclasses.replace(size, selection=selection, keep=keep))
    net.to(device).eval()
    clip = noise(device, 1, length, 3, side, side)
    each = noise(device, 1, length - 1, 2, side // 4, side // 4)
    about = {"what": f"BSSTNet, {attention}, T = {length}", "size": f"{side}x{side}"}
    return about | {"precision": "fp32"}, lambda: net(clip, each, -each), length


def dabit_case(tiny: bool, device: torch.device) -> Case:
    """DaBiT, 10 frames and 6 references."""
    config, side = (dabit.TINY, 64) if tiny else (dabit.OFFICIAL, 256)
    local, length = 10, 16
    net = dabit.Dabit(config).to(device).eval()
    clip, blur = noise(device, 1, length, 3, side, side), noise(device, 1, length, 1, side, side)
    each = 2 * noise(device, 1, length - 1, 2, side, side)
    about: dict[str, object] = {"what": "DaBiT", "size": f"{side}x{side}", "precision": "fp32"}
    mask = torch.ones_like(blur)
    return (
        about,
        lambda: net(clip, blur, blur, mask, each, -each, outputs=local, scale=config.scales[-1]),
        local,
    )


def raft_case(size: str, shape: tuple[int, int], device: torch.device) -> Case:
    """RAFT, 20 iterations, one way."""
    net = Raft().to(device).eval()
    H, W = (max(128, side + -side % 8) for side in shape)
    first, second = noise(device, 2, 1, 3, H, W)
    return {"what": "RAFT", "size": size, "precision": "fp32"}, lambda: net(first, second), 1


def disk_case(size: str, shape: tuple[int, int], radius: float, device: torch.device) -> Case:
    """The disk blur of a frame: what it reads and writes at least, against its time."""
    image = noise(device, 1, 3, *shape)
    radii = torch.full((1, 1, *shape), radius, device=device)
    moved = (2 * image.numel() + radii.numel()) * 4 / 1e9
    about = {"what": f"disk blur, radius {radius:.0f}", "size": size, "precision": "fp32"}
    return about | {"GB moved": f"{moved:.4f}"}, lambda: disk_blur(image, radii), 1


if __name__ == "__main__":
    main()
