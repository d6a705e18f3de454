"""How far the expected time of a job is off, once a part of it has passed.

Usage: python benchmarks/eta.py [--cpu] [--shares .1 .25 .5] CLIP[,OPTION=VALUE...] ...

Each job is a clip with options of `unblur.restore`, such as `in.mp4,quality=fast,end=f40`; what it
makes is thrown away. `--cpu` counts time of the CPU alone, as if the machine had nothing else to
do; set OMP_NUM_THREADS=1 with it. A row: the whole time of the job, what the line before the work
expected of the stage that restores and what that took, and in percent how far elapsed time plus
time left were from the whole when these shares of it had passed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import unblur
from unblur.progress import FINISH, RESTORE, Progress


def job(words: str) -> tuple[str, dict[str, Any]]:
    """A clip and its options."""
    clip, *options = words.split(",")
    return clip, dict(option.split("=", 1) for option in options)


def followed(source: str, options: dict[str, Any]) -> tuple[list[Progress], float]:
    """All that a job tells, and the seconds it took."""
    said: list[Progress] = []
    with tempfile.TemporaryDirectory() as made:
        began = time.monotonic()
        unblur.restore(source, Path(made) / "out.mkv", progress=said.append, **options)
        return said, time.monotonic() - began


def expected(said: list[Progress], at: float) -> float | None:
    """Seconds of the whole job, as expected when so many had passed."""
    known = [p for p in said if p.seconds <= at]
    if not known or known[-1].eta is None:
        return None
    # A person sees the time that is left grow smaller between two calls.
    return max(known[-1].seconds + known[-1].eta, at)


def main() -> None:
    """Runs the jobs, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jobs", nargs="+")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.25, 0.5])
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    if options.cpu:
        time.monotonic = time.perf_counter = time.process_time
    off = " | ".join(f"off after {share:.0%}" for share in options.shares)
    print(f"| job | model | frames | took | restoring: said, took | {off} |")
    print("|---|---|--:|--:|--:|" + "--:|" * len(options.shares))
    for words in options.jobs:
        source, given = job(words)
        said, whole = followed(source, given)
        begun = next(p.seconds for p in said if p.stage == RESTORE)
        ended = next(p.seconds for p in said if p.stage == FINISH)
        plan = said[-1].plan
        assert plan is not None
        planned = "none" if plan.seconds is None else f"{plan.seconds:.0f} s"
        found = [expected(said, share * whole) for share in options.shares]
        cells = ["none" if e is None else f"{100 * (e / whole - 1):+.0f} %" for e in found]
        row = [Path(source).name, *given.values(), "|", plan.model, "|", plan.total, "|"]
        row += [f"{whole:.0f} s |", f"{planned}, {ended - begun:.0f} s |", " | ".join(cells)]
        print("|", *row, "|", flush=True)


if __name__ == "__main__":
    main()
