"""How exact optical flow is on blurred and on sharp frames: DIS, flow-s, and RAFT if it is there.

    python benchmarks/flow.py [--clips N] [--threads N] [--weights FILE]

Scenes of held-out textures, drawn as those of the suite `synth-motion` are, every second one
compressed. The truth is the flow between the middles of two exposures. End-point errors are in
pixels of the frame, over all pixels of all pairs, both ways; `visible` leaves out those that are
hidden in the other frame or leave it. Times are per pair of frames of 854x480, both ways; on one
thread they are the CPU's, so other work beside disturbs little. Writes results/flow.csv and
results/flow.md beside this file.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import torch
from table import write
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unblur.evaluation.rendered import MOTION, SIDE, moving, spread
from unblur.guidance.flow import (
    bidirectional_flow,
    dis_flow,
    flow_s,
    load_flow_s,
    load_raft,
)
from unblur.models import fit
from unblur.models.flow_s import FlowS
from unblur.synth import Rendered, held_out, render, sample_scenes
from unblur.weights import load

SEED = 450_000
FRAMES = 5
STRIDE = 4
BINS = (0, 1, 5, 15, 30, 1000)
"""Pixels that a point moves to the next frame."""
TIMED = (854, 480)

Method = Callable[[Tensor], tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=24, help="scenes (default: 24)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="of flow-s (default: those that ship)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    net = fit(FlowS(), load(options.weights), "") if options.weights else load_flow_s()
    methods: dict[str, tuple[Method, nn.Module | None]] = {
        "nothing moves": (still, None),
        "DIS": (dis_flow, None),
        "flow-s, untrained": (partial(flow_s, FlowS().eval()), net),
        "flow-s": (partial(flow_s, net), net),
    }
    raft = load_raft()
    if raft is not None:
        methods["RAFT"] = (partial(bidirectional_flow, raft), raft)
    rows = accuracy({name: method for name, (method, _) in methods.items()}, options.clips)
    for row in rows:
        row |= cost(*methods[str(row["method"])], options.threads)
    write(
        "flow",
        f"End-point error in pixels of the frame; {options.clips} held-out scenes of {SIDE}x{SIDE},"
        f" {FRAMES} frames each. Columns of ranges: by the true motion in pixels a frame. "
        f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}.",
        rows,
    )


def still(frames: Tensor) -> tuple[Tensor, Tensor]:
    """No motion at all."""
    forward, backward = dis_flow(frames)
    return 0 * forward, 0 * backward


def accuracy(methods: dict[str, Method], clips: int) -> list[dict[str, object]]:
    """A row for each method and kind of frame."""
    errors: dict[tuple[str, str], list[Tensor]] = {}
    lengths, seen = [], []
    ranges = spread(MOTION)
    for i in range(clips):
        made = scene(i, ranges[i % len(ranges)])
        truth = both(at_quarter(made.flow_forward), at_quarter(made.flow_backward))
        lengths.append(STRIDE * truth.norm(dim=1).flatten())
        if made.visible_forward is None or made.visible_backward is None:
            raise ValueError("the renderer left out what is visible")
        visible = both(made.visible_forward[0], made.visible_backward[0])
        seen.append(torch.nn.functional.avg_pool2d(visible, STRIDE).flatten() == 1)
        for kind, frames in (("blurred", made.blurred[0]), ("sharp", made.sharp[0])):
            for name, method in methods.items():
                error = STRIDE * (both(*method(frames)) - truth).norm(dim=1)
                errors.setdefault((name, kind), []).append(error.flatten())
    length, visible = torch.cat(lengths), torch.cat(seen)
    rows = []
    for (name, kind), parts in errors.items():
        error = torch.cat(parts)
        row: dict[str, object] = {"method": name, "frames": kind}
        row["mean"] = f"{error.mean():.3f}"
        row["median"] = f"{error.median():.3f}"
        row["visible"] = f"{error[visible].mean():.3f}"
        row["above 3 px"] = f"{100 * (error > 3).float().mean():.1f} %"
        for low, high in pairwise(BINS):
            inside = (length >= low) & (length < high)
            title = f"{low} to {high}" if high < BINS[-1] else f"{low} and more"
            row[title] = f"{error[inside].mean():.3f}" if inside.any() else ""
        row["clips better than DIS"] = better(parts, errors["DIS", kind])
        rows.append(row)
    return rows


def better(mine: list[Tensor], theirs: list[Tensor]) -> str:
    """In how many clips the mean error is smaller."""
    count = sum(bool(a.mean() < b.mean()) for a, b in zip(mine, theirs, strict=True))
    return f"{count} of {len(mine)}"


def scene(index: int, speed: tuple[float, float]) -> Rendered:
    """Clip `index`, with 8 bits a sample as a video has."""
    config = moving("motion", speed)
    config = type(config)(**{**vars(config), "compressed": float(index % 2)})
    generator = torch.Generator().manual_seed(SEED + index)
    scenes = sample_scenes(config, held_out(), 1, generator)
    made = render(scenes, SIDE, SIDE, FRAMES, truth={"flow"})
    rounded = {n: (getattr(made, n) * 255).round() / 255 for n in ("blurred", "sharp")}
    return type(made)(**{**vars(made), **rounded})


def at_quarter(flow: Tensor | None) -> Tensor:
    """Flow (1, T-1, 2, H, W) of a clip in elements of a quarter of its size, (T-1, 2, h, w)."""
    if flow is None:
        raise ValueError("the renderer left out the flow")
    return torch.nn.functional.avg_pool2d(flow[0], STRIDE) / STRIDE


def both(forward: Tensor, backward: Tensor) -> Tensor:
    """The two directions in one."""
    return torch.cat((forward, backward))


def cost(method: Method, network: nn.Module | None, threads: int) -> dict[str, object]:
    """Milliseconds per pair of frames, and multiply-adds per frame of 256 x 256."""
    clock = time.process_time if threads == 1 else time.perf_counter
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(4, 3, TIMED[1], TIMED[0], generator=generator)
    method(frames)
    started = clock()
    method(frames)
    spent = (clock() - started) / (len(frames) - 1)
    gmac = 0.0
    if network is not None:
        clip = torch.rand(9, 3, 256, 256, generator=generator)
        with FlopCounterMode(display=False) as counter:
            method(clip)
        gmac = counter.get_total_flops() / 2e9 / (len(clip) - 1)
    return {"ms a pair, 854x480": f"{1000 * spent:.0f}", "GMAC a pair, 256x256": f"{gmac:.2f}"}


if __name__ == "__main__":
    main()
