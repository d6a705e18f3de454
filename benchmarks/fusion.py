"""What restored frames gain by being fused with their neighbours, and by which way of doing it.

Usage: python benchmarks/fusion.py SUITE MODEL --cache DIR [--limit CLIPS] [--step N]
       [--data DIR ...] [--rows NAME ...]

Restores the clips of a suite once (for `real-average`: of five frames), keeps them in DIR, and
fuses them as each row says. Empty DIR when weights have changed. Rows of other suites and models,
and of earlier calls, are kept. Writes results/fusion.csv and results/fusion.md beside this file.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import table
import torch
from torch import Tensor

from unblur.engine.fusion import Fusion, fuse
from unblur.evaluation.clip import Clip
from unblur.evaluation.models import Rows, methods
from unblur.evaluation.scores import Score, score
from unblur.evaluation.suites import Sources, find_suite
from unblur.guidance.align import DisAlignment

CPU = torch.device("cpu")
ROWS: dict[str, dict[str, Any] | None] = {
    "network alone": None,
    "as it ships": {},
    **{f"radius {n}": {"radius": n} for n in (1, 3, 4, 5)},
    "magnitude^2": {"power": 2.0},
    "magnitude^6": {"power": 6.0},
    "plain mean": {"power": 0.0},
    "one gate for all, .1": {"least": 0.1, "share": 0.0, "again": 0},
    "gate half as wide": {"share": 1.0},
    "only once": {"again": 0},
}


def main() -> None:
    """Restores what is missing, then fuses and measures row after row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite")
    parser.add_argument("model")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--step", type=int, default=1, help="every so many clips only")
    parser.add_argument("--data", type=Path, nargs="+", default=[])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    options.cache.mkdir(parents=True, exist_ok=True)
    frames = 5 if options.suite == "real-average" else None
    sources = Sources(data=tuple(options.data), frames=frames)
    clips = [
        restored_clip(make(), options.suite, options.model, options.cache)
        for make in find_suite(options.suite, sources).clips(sources)[
            : options.limit : options.step
        ]
    ]
    key = f"{options.suite}, {options.model}, {len(clips)} clips"
    found = [measured(name, clips) for name in options.rows]
    anew = {f"{key}: {name}" for name in options.rows}
    rows = [{"what": f"{key}: {row.pop('row')}", **row} for row in found]
    about = (
        "Gain in dB over the network alone; `worst clip`: what the clip gains that gains least; "
        "seconds of one thread for a frame of that suite. `python benchmarks/fusion.py`"
    )
    table.write("fusion", about, [*table.earlier("fusion", "what", anew), *rows])


def restored_clip(clip: Clip, suite: str, model: str, cache: Path) -> tuple[Clip, Tensor]:
    """A clip and all of its frames (T, 3, H, W) as the network alone restores them."""
    path = cache / f"{suite}-{model}-{clip.name}.pt"
    if not path.is_file():
        (method,) = methods(f"{model}@unfused", Rows(), "cpu")
        whole = replace(clip, scored=tuple(range(len(clip.blurred))), watched=())
        torch.save({"restored": method.restore(whole).half()}, path)
    return clip, torch.load(path, weights_only=True)["restored"].float()


def measured(name: str, clips: list[tuple[Clip, Tensor]]) -> dict[str, object]:
    """A row of the table."""
    changes = ROWS[name]
    scores: list[Score] = []
    gains: list[float] = []
    seconds, count = 0.0, 0
    for clip, restored in clips:
        result = restored
        if changes is not None:
            began = time.process_time()
            result = fused(clip.blurred, result, changes)
            seconds, count = seconds + time.process_time() - began, count + len(result)
        own = score(clip, name, result[list(clip.wanted)], 0.0)
        alone = score(clip, name, restored[list(clip.wanted)], 0.0)
        gains += [mean([a.psnr - b.psnr for a, b in zip(own, alone, strict=True)])]
        scores += own
    tofs = [s.tof for s in scores if s.tof == s.tof]
    print(name, round(mean(gains), 3), flush=True)
    return {
        "row": name,
        "gain": f"{mean(gains):.2f}",
        "worst clip": f"{min(gains):.2f}",
        "detail": f"{mean([s.detail for s in scores]):.3f}",
        "sharpness": f"{mean([s.sharpness for s in scores]):.3f}",
        "tOF": f"{mean(tofs):.3f}" if tofs else "",
        "s/frame": f"{seconds / count:.3f}" if count else "",
    }


def fused(blurred: Tensor, restored: Tensor, changes: dict[str, Any]) -> Tensor:
    """(T, 3, H, W) of a clip."""
    fusion = Fusion(**{"radius": 2, "alignment": DisAlignment(), "device": CPU, **changes})
    items = ((None, before, after) for before, after in zip(blurred, restored, strict=True))
    return torch.stack([image for _, image in fuse(items, fusion)])


def mean(values: list[float]) -> float:
    """Of at least one."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
