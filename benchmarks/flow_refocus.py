"""How exact optical flow is where a lens has blurred: DIS and flow-s, as they are and refocused.

    python benchmarks/flow_refocus.py [--clips N] [--threads N] [--weights FILE]

Scenes of held-out textures, drawn as those of the suite `synth-focus` are, every second one
compressed. The truth is the flow of the scene. End-point errors are in pixels of the frame, over
both directions, where the true radius of the circle of confusion is above 2 pixels. The network is
given where frames are blurred by the true radius, above 1 pixel (`true mask`), or by that which
coc-s finds in them (`found mask`). What a flow is worth to `focus-s` is the gain in PSNR of the
frame in the middle of each clip; the true flow tells what there is to gain at most. Times are per
pair of frames of 854x480, both ways, flow itself included; on one thread they are the CPU's.
Writes results/flow_refocus.csv and results/flow_refocus.md beside this file.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import mean

import cv2
import torch
from table import write
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from unblur.evaluation.rendered import DAYLIGHT, FOCUS, SIDE, spread, unfocused
from unblur.guidance.coc import coc_radius, load_coc_s
from unblur.guidance.flow import dis_flow, flow_s, load_flow_s
from unblur.guidance.flow_refocus import (
    load_flow_refocus_m,
    load_flow_refocus_s,
    refocused_flow,
)
from unblur.metrics import psnr
from unblur.models.flow_refocus import FlowRefocus
from unblur.restorers.base import Restorer
from unblur.restorers.registry import load_model
from unblur.synth import Rendered, TextureBank, held_out, render, sample_scenes

SEED = 470_000
FRAMES = 5
MIDDLE = FRAMES // 2
STRIDE = 4
BLURRED = 2.0
BINS = (2, 4, 8, 100)
"""Radius of the circle of confusion in pixels."""
TIMED = (854, 480)

Flows = tuple[Tensor, Tensor]
Method = Callable[[Tensor, Tensor], Flows]
"""Of frames (T, 3, H, W) and their true radius (T, 1, H, W)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=24, help="scenes (default: 24)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="of refocusing, beside those that ship")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    plain = load_flow_s()
    flows: dict[str, Callable[[Tensor], Flows]] = {
        "DIS": dis_flow,
        "flow-s": lambda frames: flow_s(plain, frames),
    }
    nets = {"flow-refocus-s": load_flow_refocus_s(), "flow-refocus-m": load_flow_refocus_m()}
    if options.weights:
        nets[options.weights.stem] = load_flow_refocus_s(path=options.weights)
    rows = accuracy(flows, nets, options.clips)
    times = {
        (flow, name): milliseconds(method, nets.get(name), options.threads)
        for flow, method in flows.items()
        for name in ("", *nets)
    }
    work = {name: f"{gmac(net):.2f}" for name, net in nets.items()}
    for row in rows:
        flow, _, rest = str(row["method"]).partition(", ")
        name = rest.partition(", ")[0]
        if flow in flows:
            row["ms a pair, 854x480"] = f"{times[flow, name]:.0f}"
            row["GMAC a pair, 256x256"] = work.get(name, "")
    write(
        "flow_refocus",
        "End-point error in pixels of the frame, where the true radius of the circle of confusion "
        f"is above {BLURRED:.0f} pixels; {options.clips} held-out scenes of {SIDE}x{SIDE}, {FRAMES}"
        " frames each. `hidden`: what the other frame does not show. `focus-s`: gain in PSNR, dB, "
        f"of the frame in the middle with this flow. {platform.machine()}, {options.threads} "
        f"threads, torch {torch.__version__}.",
        rows,
    )


def accuracy(
    flows: dict[str, Callable[[Tensor], Flows]],
    nets: dict[str, FlowRefocus],
    clips: int,
    worth: bool = True,
) -> list[dict[str, object]]:
    """A row for each method, and for what each network makes of it.

    Without `worth` masks are the true ones, and what a flow is worth to `focus-s` is left out.
    """
    errors: dict[str, list[Tensor]] = {}
    radii, lengths, hidden = [], [], []
    gains: dict[str, list[float]] = {}
    ranges, coc, restorer = spread(FOCUS), load_coc_s(), load_model("focus-s")
    for i in range(clips):
        made = scene(i, ranges[i % len(ranges)])
        frames, radius = made.blurred[0], known(made.coc)[0]
        truth = torch.cat([at_quarter(x) for x in (made.flow_forward, made.flow_backward)])
        around = torch.nn.functional.avg_pool2d(radius, STRIDE)[:, 0]  # (T, h, w)
        around = torch.cat((around[:-1], around[1:]))
        judged = around > BLURRED
        visible = torch.cat((known(made.visible_forward)[0], known(made.visible_backward)[0]))
        hidden.append((torch.nn.functional.avg_pool2d(visible, STRIDE)[:, 0] < 1)[judged])
        radii.append(around[judged])
        lengths.append(STRIDE * truth.norm(dim=1)[judged])
        found = coc_radius(coc, frames)
        tried: dict[str, Flows] = {}
        for name, method in flows.items():
            raw = method(frames)
            tried[name] = raw
            for how, net in nets.items():
                tried[f"{name}, {how}, true mask"] = refocused_flow(net, frames, *raw, radius)
                if worth:
                    tried[f"{name}, {how}, found mask"] = refocused_flow(net, frames, *raw, found)
        forward, backward = truth.chunk(2)
        tried["the true flow"] = forward, backward
        for title, result in tried.items():
            error = STRIDE * (torch.cat(result) - truth).norm(dim=1)
            errors.setdefault(title, []).append(error[judged])
        sharp = made.sharp[0, MIDDLE]
        for title, image in restored(restorer, frames, tried if worth else {}).items():
            gain = psnr(image, sharp, cap=50) - psnr(frames[MIDDLE], sharp, cap=50)
            gains.setdefault(title, []).append(float(gain))
    return [
        row_of(name, parts, errors["DIS"], torch.cat(radii), torch.cat(hidden))
        | ({"focus-s": f"{mean(gains[name]):+.3f}"} if worth else {})
        for name, parts in errors.items()
    ]


def restored(restorer: Restorer, frames: Tensor, flows: dict[str, Flows]) -> dict[str, Tensor]:
    """The frame in the middle, (3, H, W), by what is guided by each of the flows."""
    guidance = restorer.guide(frames)
    images = {}
    for title, (forward, backward) in flows.items():
        guided = {**guidance, "flow_forward": forward, "flow_backward": backward}
        images[title] = restorer.run(frames, guided, [MIDDLE])[0].clamp(0, 1)
    return images


def row_of(
    name: str, parts: list[Tensor], dis: list[Tensor], radius: Tensor, hidden: Tensor
) -> dict[str, object]:
    """What is said of a method: `parts` are the errors in each clip's blurred regions."""
    error = torch.cat(parts)
    row: dict[str, object] = {"method": name, "mean": f"{error.mean():.3f}"}
    row["median"] = f"{error.median():.3f}"
    row["above 3 px"] = f"{100 * (error > 3).float().mean():.1f} %"
    row["visible"] = f"{error[~hidden].mean():.3f}"
    row["hidden"] = f"{error[hidden].mean():.3f}"
    for low, high in pairwise(BINS):
        inside = (radius >= low) & (radius < high)
        row[f"radius {low} to {high}" if high < BINS[-1] else f"{low} and more"] = (
            f"{error[inside].mean():.3f}"
        )
    blurred = [(a.mean(), b.mean()) for a, b in zip(parts, dis, strict=True) if len(a)]
    row["clips better than DIS"] = f"{sum(bool(a < b) for a, b in blurred)} of {len(blurred)}"
    return row


@cache
def textures() -> TextureBank:
    """Held-out ones."""
    return held_out()


def scene(index: int, radius: tuple[float, float]) -> Rendered:
    """Clip `index`, with 8 bits a sample as a video has."""
    config = unfocused(replace(DAYLIGHT, mode="focus"), radius)
    config = replace(config, compressed=float(index % 2))
    generator = torch.Generator().manual_seed(SEED + index)
    scenes = sample_scenes(config, textures(), 1, generator)
    made = render(scenes, SIDE, SIDE, FRAMES, truth={"flow", "coc"})
    return replace(made, blurred=(made.blurred * 255).round() / 255)


def known(x: Tensor | None) -> Tensor:
    """What the renderer was requested."""
    if x is None:
        raise ValueError("the renderer left out a truth it was requested")
    return x


def at_quarter(flow: Tensor | None) -> Tensor:
    """Flow (1, T-1, 2, H, W) of a clip in elements of a quarter of its size, (T-1, 2, h, w)."""
    return torch.nn.functional.avg_pool2d(known(flow)[0], STRIDE) / STRIDE


def milliseconds(method: Callable[[Tensor], Flows], net: FlowRefocus | None, threads: int) -> float:
    """Per pair of frames."""
    clock = time.process_time if threads == 1 else time.perf_counter
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(4, 3, TIMED[1], TIMED[0], generator=generator)

    def call() -> None:
        flows = method(frames)
        if net is not None:
            refocused_flow(net, frames, *flows, torch.full_like(frames[:, :1], 5.0))

    call()
    started = clock()
    call()
    return 1000 * (clock() - started) / (len(frames) - 1)


def gmac(net: FlowRefocus) -> float:
    """Multiply-adds per pair of frames of 256 x 256, in thousand millions."""
    clip, flow = torch.rand(9, 3, 256, 256), torch.zeros(8, 2, 64, 64)
    with FlopCounterMode(display=False) as counter:
        refocused_flow(net, clip, flow, flow, torch.full_like(clip[:, :1], 5.0))
    return counter.get_total_flops() / 2e9 / len(flow)


if __name__ == "__main__":
    main()
