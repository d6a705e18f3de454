"""Jobs killed at random moments, and whether what is resumed equals what was never interrupted.

    python benchmarks/interruptions.py --kills 30 --seed 0

A clip of two shots with sound is restored once without interruption. Then the same job is killed
(SIGKILL) at a random moment and resumed, again and again until one session comes to its end; the
file, its decoded frames, sound and time stamps are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import unblur.commands.restore
from unblur.cli import main as unblur_main


def make_clip(path: Path, frames: int, size: tuple[int, int]) -> None:
    """Moving noise in two shots, with a tone."""
    rng = np.random.default_rng(0)
    width, height = size
    shots = rng.integers(0, 256, (2, height, width + frames, 3), dtype=np.uint8)
    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.bit_rate = 4_000_000
        sound = file.add_stream("aac", rate=48000)
        for i in range(frames):
            cut = np.ascontiguousarray(shots[i * 2 // frames][:, i : i + width])
            frame = av.VideoFrame.from_ndarray(cut, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode())
        for i in range(frames * 48000 // 25 // 1024):
            noise = rng.standard_normal((1, 1024)).astype(np.float32) / 10
            tone = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            tone.rate, tone.pts = 48000, i * 1024
            file.mux(sound.encode(tone))
        file.mux(sound.encode())


def decoded(path: Path) -> str:
    """A hash of all frames, samples and their times."""
    digest = hashlib.sha256()
    for kind in ("video", "audio"):
        with av.open(str(path)) as file:
            for frame in file.decode(**{kind: 0}):
                digest.update(f"{frame.pts} {frame.time_base}".encode())
                digest.update(frame.to_ndarray().tobytes())
    return digest.hexdigest()


def session(words: list[str], limit: float | None) -> tuple[bool, float]:
    """Whether a job came to its end, and its seconds; it is killed after `limit` seconds.

    It is forked from a process that has computed nothing, so that no time goes to imports.
    """
    began = time.monotonic()
    job = os.fork()
    if job == 0:
        os._exit(unblur_main(words))
    while True:
        done, status = os.waitpid(job, os.WNOHANG)
        spent = time.monotonic() - began
        if done:
            assert status == 0, f"exit status {status}"
            return True, spent
        if limit is not None and spent > limit:
            os.kill(job, signal.SIGKILL)
            os.waitpid(job, 0)
            return False, spent
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--size", type=int, nargs=2, default=(64, 48))
    parser.add_argument("--out", default="out.mp4")
    parser.add_argument("--segment", type=int, default=40, help="frames; 250 in earnest")
    parser.add_argument("--options", default="--model bsstnet-tiny --fuse 2 --window 6")
    given = parser.parse_args()
    random.seed(given.seed)
    unblur.video.kept.MOST_FRAMES = given.segment
    options = ["-q", *given.options.split()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, whole, out = folder / "in.mp4", folder / ("whole_" + given.out), folder / given.out
        make_clip(clip, given.frames, tuple(given.size))
        again = [str(clip), str(whole), "--overwrite", *options]
        seconds = min(session(again, None)[1] for _ in range(3))
        print(f"uninterrupted: {seconds:.1f} s", flush=True)
        kills = jobs = unequal = 0
        while kills < given.kills:
            jobs, sessions, ended = jobs + 1, 0, False
            while not ended:
                sessions += 1
                limit = random.uniform(0, seconds) if kills < given.kills else None
                ended, _ = session([str(clip), str(out), "--resume", *options], limit)
                kills += not ended
                ended |= out.exists()  # killed on its last steps
            same = out.read_bytes() == whole.read_bytes()
            equal = same or decoded(out) == decoded(whole)
            unequal += not equal
            expected = {clip.name, whole.name, out.name}
            left = [path.name for path in folder.iterdir() if path.name not in expected]
            print(
                f"{sessions} sessions: equal {equal}, to the byte {same}, left {left}", flush=True
            )
            out.unlink()
        print(f"{kills} kills in {jobs} jobs: {unequal} unequal")
        sys.exit(unequal > 0)


if __name__ == "__main__":
    main()
