"""How exact the maps that guide restoring are, flow and the circle of confusion, and layers.

The clips are those of `synth-motion` and `synth-focus`, and pulls of focus for layers, as they are
or out of a video file.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import UsageError
from unblur.evaluation import rendered
from unblur.evaluation.clip import Clip
from unblur.evaluation.encoded import encoded_clips
from unblur.evaluation.focus_pulls import focus_pulls
from unblur.evaluation.layered import layered_errors, layered_methods
from unblur.evaluation.run import Reporter
from unblur.evaluation.scores import MEAN, finite
from unblur.guidance.coc import coc_radius, load_coc_m, load_coc_s
from unblur.guidance.defocus import energies, width_of
from unblur.guidance.flow import bidirectional_flow, dis_flow, flow_s, load_flow_s, load_raft
from unblur.ops.device import choose_device
from unblur.progress import Listener, Plan, Rounds
from unblur.synth import held_out

STRIDE = 4
"""Pixels of a frame per element of the flow that guides networks, along each side."""
FAR = 3.0
"""Pixels beyond which a flow vector counts as wrong."""
SPEEDS = (0, 1, 5, 15, 30, math.inf)
"""Pixels that a point moves to the next frame: bounds of the columns."""
SHARP, BETWEEN, BLURRED = 0.7, 1.0, 1.3
"""Radii in pixels: what is below the first should be found below the second, what is above the
third above it."""
MIDDLE, WIDEST = 4.0, 14.0
"""Radii of `synth-focus` in pixels: one in the middle, and the largest."""

Flows = tuple[Tensor, Tensor]
"""To the next frame and back, (T-1, 2, h, w) each."""
Errors = dict[str, Tensor]
"""Values of one clip by name, each of any length; a figure is a mean of them over all clips."""
Method = Callable[[Clip], Any]
"""Gives the maps of a clip: both flows, or the radii of its scored frames."""


@dataclass(frozen=True)
class MapEvaluation:
    """What was measured: a row for each clip and method, and means over all pixels."""

    suite: str
    version: int
    columns: Mapping[str, tuple[str, int]]
    """Heading and decimals of each figure."""
    rows: tuple[Mapping[str, Any], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Methods that could not be had, and why."""

    def means(self) -> list[Mapping[str, Any]]:
        """The rows of all clips together."""
        return [row for row in self.rows if row["clip"] == MEAN]

    def markdown(self, rows: Sequence[Mapping[str, Any]] | None = None) -> str:
        """The table for people."""
        header = ["clip", "method", *(heading for heading, _ in self.columns.values())]
        lines = [header, ["---"] * 2 + ["---:"] * len(self.columns)]
        for row in self.rows if rows is None else rows:
            numbers = [
                "" if math.isnan(row[name]) else f"{row[name]:.{places}f}"
                for name, (_, places) in self.columns.items()
            ]
            lines.append([row["clip"], row["method"], *numbers])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def json(self) -> str:
        """Everything, for programs."""
        whole = {
            "suite": self.suite,
            "version": self.version,
            "facts": dict(self.facts),
            "left_out": dict(self.left_out),
            "means": self.means(),
            "rows": [row for row in self.rows if row["clip"] != MEAN],
        }
        return json.dumps(finite(whole), indent=2) + "\n"

    def csv(self) -> str:
        """All rows as comma-separated values."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ["clip", "method", *self.columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class MapSuite:
    """A kind of map, and how it is measured."""

    of: str
    """The rendered suite that its clips are of."""
    version: int
    clips: Callable[[], Sequence[Callable[[], Any]]]
    methods: Callable[[torch.device], Mapping[str, Any]]
    """By name; the reason in place of what cannot be had."""
    errors: Callable[[Any, Method], Errors]
    columns: Mapping[str, tuple[str, int]]


def evaluate_maps(
    suite: str,
    *,
    methods: Sequence[str] = (),
    limit: int | None = None,
    encoded: int | None = None,
    device: str = "auto",
    progress: Listener | None = None,
) -> MapEvaluation:
    """Measures optical flow (`flow`), circles of confusion (`coc`) or layers (`atlas`) by truth.

    `flow`: end-point errors in pixels of the frame, at a quarter of its size, over all pixels of
    all pairs of frames, both ways; `visible` leaves out points that are hidden in the other frame
    or leave it. `coc`: errors of the diameter in pixels over all pixels of the scored frames.
    `atlas`: sharp frames, diameters, and flow to the next frame at full size, of layers fitted to
    pulls of focus of 48 frames of 256x144; its seconds are the CPU's.

    Args:
        suite: `flow`, on the clips of `synth-motion`; `coc`, on those of `synth-focus`; `atlas`.
        methods: of `flow`: `still`, `dis`, `flow-s`, `raft`, and behind a name `@sharp` for the
            sharp frames; of `coc`: `constant`, `details`, `coc-s`, `coc-m`; of `atlas`: `input`,
            with the flow of DIS and the radii of `coc-s`, `focus-m`, `atlas`, which is given
            nothing but the clip, and with painted layers `atlas@masks` and, without a lens,
            `plain@masks`. All by default.
        limit: only the first clips.
        encoded: 23 or 29: frames out of H.264 files of that rate factor.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        progress: called after each clip and method.

    Raises:
        UsageError: an unknown suite, method or rate factor.
    """
    if suite not in SUITES:
        raise UsageError(f"no maps are called '{suite}': use {', '.join(SUITES)}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: take at least 1 clip")
    chosen = SUITES[suite]
    makers = chosen.clips()
    if encoded is not None:
        makers = encoded_clips(makers, chosen.of, encoded)
    makers = makers[:limit]
    place = choose_device(device)
    known = chosen.methods(place)
    for name in methods:
        if name not in known:
            raise UsageError(f"{suite} has no method '{name}': there are {', '.join(known)}")
    found = {name: known[name] for name in methods or known}
    left_out = {name: why for name, why in found.items() if isinstance(why, str)}
    able = {name: run for name, run in found.items() if not isinstance(run, str)}

    rows: list[Mapping[str, Any]] = []
    total: dict[str, list[Errors]] = {name: [] for name in able}
    report = Reporter(progress, Plan(", ".join(able), str(place), "fp32"))
    rounds = Rounds(["clip", *able], len(makers))
    for number, make in enumerate(makers):
        made = time.monotonic()
        clip = make()
        rounds.note("clip", time.monotonic() - made)
        for at, (name, run) in enumerate(able.items()):
            ran = time.monotonic()
            errors = chosen.errors(clip, run)
            rounds.note(name, time.monotonic() - ran)
            total[name].append(errors)
            rows.append({"clip": clip.name, "method": name, **figures([errors], chosen.columns)})
            report(number * len(able) + at + 1, len(makers) * len(able), rounds.left())
    rows += [
        {"clip": MEAN, "method": name, **figures(errors, chosen.columns)}
        for name, errors in total.items()
    ]
    facts: dict[str, Any] = {"clips": len(makers), "of": chosen.of}
    if encoded is not None:
        facts["encoded"] = f"H.264, crf {encoded}"
    return MapEvaluation(suite, chosen.version, chosen.columns, tuple(rows), facts, left_out)


def figures(clips: Sequence[Errors], columns: Mapping[str, Any]) -> dict[str, float]:
    """Means over all values of all clips; NaN of none. `median` and `rmse` are what they say."""
    found = {}
    for name in columns:
        values = torch.cat([errors[name].flatten().double() for errors in clips])
        if not len(values):
            found[name] = math.nan
        elif name == "median":
            found[name] = float(values.median())
        elif name == "rmse":
            found[name] = float(values.square().mean().sqrt())
        else:
            found[name] = float(values.mean())
    return found


def flow_clips() -> list[rendered.Maker]:
    """Those of `synth-motion`, with true flow."""
    return rendered.motion_clips(rendered.Making(held_out(), flow=True), seed=rendered.MOTION_SEED)


def focus_clips() -> list[rendered.Maker]:
    """Those of `synth-focus`."""
    return rendered.focus_clips(rendered.Making(held_out()), seed=rendered.FOCUS_SEED)


def flow_methods(device: torch.device) -> dict[str, Method | str]:
    """What finds flow, on frames as they are and on sharp ones."""
    network, raft = load_flow_s(device), load_raft(device)
    finders: dict[str, Callable[[Tensor], Flows] | str] = {
        "dis": dis_flow,
        "flow-s": lambda frames: flow_s(network, frames.to(device)),
        "raft": "convert its weights first: unblur weights convert"
        if raft is None
        else lambda frames: bidirectional_flow(raft, frames.to(device)),
    }

    def on(kind: str, find: Callable[[Tensor], Flows] | str) -> Method | str:
        return find if isinstance(find, str) else lambda clip: find(getattr(clip, kind))

    return {
        "still": lambda clip: no_flow(clip.blurred),
        **{name: on("blurred", find) for name, find in finders.items()},
        **{f"{name}@sharp": on("sharp", find) for name, find in finders.items()},
    }


def no_flow(frames: Tensor) -> Flows:
    """Flows of frames (T, 3, H, W) in which nothing moves."""
    T, _, H, W = frames.shape
    still = torch.zeros(T - 1, 2, -(-H // STRIDE), -(-W // STRIDE))
    return still, still


def flow_errors(clip: Clip, method: Method) -> Errors:
    """End-point errors of all elements of the flow, in pixels."""
    assert clip.flow is not None  # noqa: S101 the suite renders it
    assert clip.visible is not None  # noqa: S101
    began = time.perf_counter()
    found = torch.cat(method(clip)).cpu() * STRIDE
    seconds = (time.perf_counter() - began) / (len(clip.blurred) - 1)
    truth = F.avg_pool2d(torch.cat(clip.flow), STRIDE)  # (2 (T - 1), 2, h, w)
    visible = F.avg_pool2d(torch.cat(clip.visible), STRIDE)[:, 0] == 1
    error, speed = (found - truth).norm(dim=1), truth.norm(dim=1)
    ranges = {
        speed_name(low, high): error[(speed >= low) & (speed < high)]
        for low, high in pairwise(SPEEDS)
    }
    whole = {"mean": error, "median": error, "visible": error[visible]}
    wrong = 100.0 * (error > FAR)
    return {**whole, "wrong": wrong, **ranges, "seconds": torch.tensor([seconds])}


def speed_name(low: float, high: float) -> str:
    """Of a column.

    >>> speed_name(5, 15), speed_name(30, math.inf)
    ('5 to 15', '30 and more')
    """
    return f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} and more"


def coc_methods(device: torch.device) -> dict[str, Method | str]:
    """What finds the radii of the scored frames, (S, 1, H, W) in pixels."""
    network, larger = load_coc_s(device), load_coc_m(device)
    return {
        "constant": lambda clip: torch.full_like(shown(clip)[:, :1], MIDDLE),
        "details": lambda clip: details(shown(clip)),
        "coc-s": lambda clip: coc_radius(network, shown(clip).to(device)),
        "coc-m": lambda clip: coc_radius(larger, shown(clip).to(device)),
    }


def shown(clip: Clip) -> Tensor:
    """The scored frames as they came, (S, 3, H, W)."""
    return clip.blurred[list(clip.scored)]


def details(frames: Tensor) -> Tensor:
    """By the energy of details before and after a second blur, which needs no network.

    A Gaussian of width s has the second moment of a disk of radius 2 s.
    """
    width = width_of(*energies(frames)).clamp(max=WIDEST / 2)  # (S, 1, h, w)
    return 2 * F.interpolate(width, frames.shape[-2:], mode="bilinear")


def coc_errors(clip: Clip, method: Method) -> Errors:
    """Errors of the diameter, and what of sharp and of blurred pixels is found so."""
    assert clip.radius is not None  # noqa: S101 the suite renders it
    scored = list(clip.scored)
    began = time.perf_counter()
    found = method(clip).cpu()
    seconds = (time.perf_counter() - began) / len(scored)
    truth = clip.radius[scored]
    off = 2 * (found - truth)
    return {
        "rmse": off,
        "mae": off.abs(),
        "sharp": 100.0 * (found < BETWEEN)[truth < SHARP],
        "blurred": 100.0 * (found > BETWEEN)[truth > BLURRED],
        "seconds": torch.tensor([seconds]),
    }


SECONDS = ("s/frame", 3)
SUITES: dict[str, MapSuite] = {
    "flow": MapSuite(
        "synth-motion",
        1,
        flow_clips,
        flow_methods,
        flow_errors,
        {
            "mean": ("mean", 3),
            "median": ("median", 3),
            "visible": ("visible", 3),
            "wrong": (f"% above {FAR:g} px", 1),
            **{speed_name(*bounds): (speed_name(*bounds), 3) for bounds in pairwise(SPEEDS)},
            "seconds": ("s/pair", 3),
        },
    ),
    "coc": MapSuite(
        "synth-focus",
        1,
        focus_clips,
        coc_methods,
        coc_errors,
        {
            "rmse": ("RMSE", 2),
            "mae": ("MAE", 2),
            "sharp": ("% sharp found", 1),
            "blurred": ("% blurred found", 1),
            "seconds": SECONDS,
        },
    ),
    "atlas": MapSuite(
        "atlas",
        1,
        focus_pulls,
        layered_methods,
        layered_errors,
        {
            "psnr": ("PSNR", 2),
            "gain": ("gain", 2),
            "soft": ("out of focus", 2),
            "ssim": ("SSIM", 4),
            "rmse": ("COC, RMSE", 2),
            "flow": ("flow", 3),
            "visible": ("visible", 3),
            "seconds": SECONDS,
        },
    ),
}
"""Maps that can be measured."""
