"""From images to numbers, and from numbers to the table."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from unblur.evaluation.clip import Clip
from unblur.evaluation.published import Published
from unblur.metrics import added_gradient, detail, flip, mesh, psnr, sharpness, ssim, tof

CAP = 50.0
"""PSNR in dB that counts as perfect, so that a few untouched frames do not rule a mean."""
MEAN = "mean"


def capped_psnr(x: Tensor, truth: Tensor) -> Tensor:
    """PSNR in dB, at most `CAP`."""
    return psnr(x, truth, cap=CAP)


Metrics = Mapping[str, Callable[[Tensor, Tensor], Tensor]]
METRICS: Metrics = {
    "psnr": capped_psnr,
    "ssim": ssim,
    "detail": detail,
    "sharpness": sharpness,
    "added_gradient": added_gradient,
    "mesh": mesh,
    "flip": flip,
}
"""Functions of images and truth `(S, 3, H, W)` that give S numbers."""
SPARSE = frozenset({"added_gradient", "mesh", "tof", "flip"})
"""Figures that some frames do not have: where nothing is homogeneous, where motion is not watched,
where a frame is too small, in older results. Means are over those that do."""
WORSE = 0.05
"""Loss of PSNR in dB from which on a frame counts as made worse."""
COLUMNS = {
    "psnr": ("PSNR", 2),
    "gain": ("gain", 2),
    "ssim": ("SSIM", 4),
    "tof": ("tOF", 3),
    "detail": ("detail", 3),
    "sharpness": ("sharpness", 3),
    "added_gradient": ("added gradient", 2),
    "mesh": ("mesh", 2),
    "flip": ("FLIP", 4),
    "seconds": ("s/frame", 3),
    "parameters": ("M params", 2),
    "sharpest_quarter": ("sharpest quarter", 2),
    "other_frames": ("other frames", 2),
    "worse": ("% worse", 0),
}
"""Heading and decimals of each column."""
PRINTED = tuple(name for name in COLUMNS if name != "flip")
"""Columns of the table for people, which is wide as it is."""


@dataclass(frozen=True)
class Score:
    """One frame of one clip, restored by one method."""

    clip: str
    frame: int
    method: str
    seconds: float
    psnr: float
    ssim: float
    detail: float
    sharpness: float
    added_gradient: float = math.nan
    mesh: float = math.nan
    flip: float = math.nan
    tof: float = math.nan
    """Of the whole clip that the frame is from."""


def score(
    clip: Clip, method: str, restored: Tensor, seconds: float, metrics: Metrics = METRICS
) -> list[Score]:
    """Compares the frames `(W, 3, H, W)` that a clip wants to their truth."""
    restored, truth = restored.cpu(), clip.truth
    motion = math.nan
    if len(clip.watched) > 1:
        at = [clip.wanted.index(frame) for frame in clip.watched]
        motion = float(tof(restored[at], truth[at]).mean())
    scores = []
    for frame in clip.scored:  # one by one: SSIM takes many times the memory of its images
        i = clip.wanted.index(frame)
        figures = {name: float(metric(restored[i], truth[i])) for name, metric in metrics.items()}
        scores.append(Score(clip.name, frame, method, seconds, **figures, tof=motion))
    return scores


@dataclass(frozen=True)
class Evaluation:
    """What was measured: every score, and what it was measured on."""

    suite: str
    version: int
    methods: tuple[str, ...]
    """The first does nothing, or enlarges the input: what all others are measured against."""
    scores: tuple[Score, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    """Methods that this suite cannot have, and why."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Where the clips come from, and what computed."""
    clips: dict[str, dict[str, float]] = field(default_factory=dict)
    """Figures of the blur of each clip."""
    parameters: dict[str, int] = field(default_factory=dict)
    """Size of the networks, by method."""
    mean: str = "frames"
    """What means are over: `frames`, or `clips`, which then all weigh the same."""
    parts: tuple[str, ...] = ()
    """Suites that this one is put together of: names of clips begin with theirs."""
    published: tuple[Published, ...] = ()
    """Figures of papers, not measured here."""

    def rows(self) -> list[dict[str, Any]]:
        """A row for each clip and method, the mean over its scored frames."""
        return [
            {"clip": clip, "method": method, **self._mean([clip], method)}
            for clip in self.clips
            for method in self.methods
        ]

    def means(self) -> list[dict[str, Any]]:
        """A row for each method: means over all scored frames, and the gain on two parts of them.

        `sharpest_quarter` is the mean change of PSNR on the quarter of frames whose input was
        sharpest, that is, had the highest PSNR: what a method does to those that need no help.
        `other_frames` is the mean change on all others; `worse` is the share of frames, in percent,
        that lost more than `WORSE`. Of a suite of suites each has rows of its own before.
        """
        table = []
        for part in (*self.parts, None):
            clips = [clip for clip in self.clips if part in (None, clip.rpartition("/")[0])]
            if clips:
                heading = MEAN if part is None else f"{MEAN} {part}"
                table += [{"clip": heading, **row} for row in self._means_of(clips)]
        return table

    def _means_of(self, clips: Sequence[str]) -> list[dict[str, Any]]:
        scores = [s for s in self.scores if s.clip in clips]
        before = {(s.clip, s.frame): s.psnr for s in scores if s.method == self.methods[0]}
        order = sorted(before, key=lambda key: -before[key])
        quarter = math.ceil(len(order) / 4)
        parts = {"sharpest_quarter": set(order[:quarter]), "other_frames": set(order[quarter:])}
        table = []
        for method in self.methods:
            changes = {
                (s.clip, s.frame): s.psnr - before[s.clip, s.frame]
                for s in scores
                if s.method == method
            }
            gains = {name: average(changes[key] for key in part) for name, part in parts.items()}
            gains["worse"] = 100 * average(change < -WORSE for change in changes.values())
            table.append({"method": method, **self._mean(clips, method), **gains})
        return table

    def _mean(self, clips: Sequence[str], method: str) -> dict[str, float]:
        def chosen(method: str) -> list[list[Score]]:
            """Frames whose mean is taken, and those means again: of all frames, or clip by clip."""
            own = [s for s in self.scores if s.method == method and s.clip in clips]
            if self.mean == "frames":
                return [own]
            return [[s for s in own if s.clip == clip] for clip in clips]

        def mean(groups: list[list[Score]], name: str) -> float:
            found = (
                average(value for s in group if not lacking(name, value := getattr(s, name)))
                for group in groups
            )
            return average(value for value in found if not lacking(name, value))

        own = chosen(method)
        means = {name: mean(own, name) for name in (*METRICS, "tof", "seconds")}
        means["gain"] = means["psnr"] - mean(chosen(self.methods[0]), "psnr")
        if method in self.parameters:
            means["parameters"] = self.parameters[method] / 1e6
        return {name: means[name] for name in COLUMNS if name in means}

    def markdown(self, rows: Sequence[dict[str, Any]] | None = None) -> str:
        """The table for people, columns aligned: all rows, then the means."""
        rows = [*self.rows(), *self.means()] if rows is None else rows
        header = ["clip", "method", *(COLUMNS[name][0] for name in PRINTED)]
        lines = [
            header,
            *(
                [row["clip"], row["method"], *(decimals(row, name) for name in PRINTED)]
                for row in rows
            ),
        ]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

        def joined(cells: list[str]) -> str:
            names = [c.ljust(w) for c, w in zip(cells[:2], widths[:2], strict=True)]
            numbers = [c.rjust(w) for c, w in zip(cells[2:], widths[2:], strict=True)]
            return f"| {' | '.join(names + numbers)} |"

        rule = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
        return "\n".join([joined(header), f"| {' | '.join(rule)} |", *map(joined, lines[1:])])

    def published_markdown(self) -> str:
        """What papers print of this suite, as a table of its own; nothing where they do not."""
        if not self.published:
            return ""
        lines = [
            "| published, not measured here | PSNR | SSIM | tOF |",
            "| --- | ---: | ---: | ---: |",
        ]
        for row in self.published:
            tof = "" if row.tof is None else f"{row.tof:.3f}"
            lines.append(
                f"| {row.method} ({row.source}) | {row.psnr:.2f} | {row.ssim:.4f} | {tof} |"
            )
        return "\n".join(lines)

    def json(self) -> str:
        """Everything, for programs."""
        whole = {
            "suite": self.suite,
            "version": self.version,
            "facts": self.facts,
            "left_out": self.left_out,
            "means": self.means(),
            "rows": self.rows(),
            "clips": self.clips,
            "parameters": self.parameters,
            "mean": self.mean,
            "published": [row.as_row() for row in self.published],
            "frames": [asdict(s) for s in self.scores],
        }
        return json.dumps(finite(whole), indent=2) + "\n"

    def csv(self) -> str:
        """Rows and means as comma-separated values."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ["clip", "method", *COLUMNS], lineterminator="\n")
        writer.writeheader()
        rows = [*self.rows(), *self.means()]
        writer.writerows({n: x for n, x in row.items() if not lacking(n, x)} for row in rows)
        return text.getvalue()


def average(values: Iterable[float]) -> float:
    """The mean; NaN of nothing."""
    values = list(values)
    return math.fsum(values) / len(values) if values else math.nan


def decimals(row: dict[str, Any], name: str) -> str:
    """A number as its column shows it; nothing where the row has none."""
    if name not in row or lacking(name, row[name]):
        return ""
    return f"{row[name]:.{COLUMNS[name][1]}f}"


def lacking(name: str, value: Any) -> bool:
    """True for a figure that cannot be had, which is no fault of the method."""
    return name in SPARSE and math.isnan(value)


def finite(value: Any) -> Any:
    """What JSON has no word for, NaN and infinity, becomes null."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
