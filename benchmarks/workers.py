"""How much faster two workers are than one, in turns, so that what else runs slows both equally.

    OMP_NUM_THREADS=1 python benchmarks/workers.py --rounds 3

Each job is a process of its own. Its time is that of `Progress.seconds` between the first restored
frames and the last, so that neither imports nor loading counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from interruptions import make_clip

ONE = """
import sys, time, unblur
seen = []
def hear(now):
    if now.stage == "restore":
        seen.append((now.done, time.monotonic()))
options = eval(sys.argv[3])
unblur.restore(sys.argv[1], sys.argv[2], overwrite=True, progress=hear, **options)
first = next(each for each in seen if each[0] > 0)
print((seen[-1][1] - first[1]) / (seen[-1][0] - first[0]))
"""


def seconds_per_frame(clip: Path, out: Path, options: dict[str, object]) -> float:
    """Of one job, measured from its first frame on."""
    words = [sys.executable, "-c", ONE, str(clip), str(out), repr(options)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--size", type=int, nargs=2, default=(160, 96))
    parser.add_argument("--model", default="motion-s")
    given = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        clip, out = Path(name) / "in.mp4", Path(name) / "out.mkv"
        make_clip(clip, given.frames, tuple(given.size))
        for _ in range(given.rounds):
            begun = time.monotonic(), os.getloadavg()[0]
            options = {"model": given.model, "window": 8}
            one = seconds_per_frame(clip, out, {**options, "device": "cpu"})
            content = out.read_bytes()
            two = seconds_per_frame(clip, out, {**options, "device": "cpu,cpu"})
            assert out.read_bytes() == content
            ratios.append(one / two)
            print(
                f"{one:.3f} s a frame by one, {two:.3f} s by two: {ratios[-1]:.2f} times"
                f" ({time.monotonic() - begun[0]:.0f} s, load {begun[1]:.0f})",
                flush=True,
            )
    print(f"median {statistics.median(ratios):.2f} times")


if __name__ == "__main__":
    main()
