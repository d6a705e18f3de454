"""Jobs killed at random moments, and whether what is resumed equals what was never interrupted.

    python benchmarks/interruptions.py --kills 30 --seed 0
    python benchmarks/interruptions.py --kills 10 --of batch
    python benchmarks/interruptions.py --kills 5 --of driver     # needs Ray
    python benchmarks/interruptions.py --kills 5 --of worker

A clip of two shots with sound is restored once without interruption. Then the same job is killed
(SIGKILL) at a random moment and resumed, again and again until one session comes to its end; the
file, its decoded frames, sound and time stamps are compared. A batch has three such clips. With
`driver` two workers of a Ray cluster do the work and the job is killed that drives them, with
`worker` it is one of them, and nothing is resumed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import unblur.commands.batch
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


def session(
    words: list[str], limit: float | None, kill_worker: bool = False
) -> tuple[bool, bool, float]:
    """Whether a job came to its end, whether anything was killed, and its seconds.

    It is killed after `limit` seconds.

    It is forked from a process that has computed nothing, so that no time goes to imports. With
    `kill_worker` one of its workers is killed in its place, as soon as there is one.
    """
    began, killed = time.monotonic(), False
    job = os.fork()
    if job == 0:
        os._exit(unblur_main(words))
    while True:
        done, status = os.waitpid(job, os.WNOHANG)
        spent = time.monotonic() - began
        if done:
            assert status == 0, f"exit status {status}"
            return True, killed, spent
        if limit is not None and not killed and spent > limit:
            if kill_worker:
                if found := workers():
                    os.kill(random.choice(found), signal.SIGKILL)
                    killed = True
            else:
                os.kill(job, signal.SIGKILL)
                os.waitpid(job, 0)
                return False, True, spent
        time.sleep(0.01)


def workers() -> list[int]:
    """Processes of the cluster that restore frames."""
    rows = subprocess.run(
        ["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    pairs = [row.split(None, 1) for row in rows[1:]]
    return [int(pid) for pid, words in pairs if words.startswith("ray::Worker.restore")]


@contextmanager
def cluster(wanted: bool) -> Iterator[list[str]]:
    """A Ray cluster of two workers on this machine, and the options that name it."""
    if not wanted:
        yield []
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - others come first by default
    words = ["ray", "start", "--head", "--block", "--num-cpus=2", f"--port={port}"]
    words += ["--include-dashboard=false", "--disable-usage-stats"]
    started = subprocess.Popen(
        [str(Path(sys.executable).parent / "ray"), *words[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(120):
            time.sleep(1)
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
        time.sleep(5)
        yield ["--cluster", f"127.0.0.1:{port}"]
    finally:
        started.terminate()
        started.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--of", choices=("restore", "batch", "driver", "worker"), default="restore")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--size", type=int, nargs=2, default=(64, 48))
    parser.add_argument("--out", default="out.mp4")
    parser.add_argument("--segment", type=int, default=40, help="frames; 250 in earnest")
    parser.add_argument("--options", default=None)
    given = parser.parse_args()
    if given.options is None:
        window = "" if given.of == "batch" else " --window 6"  # which batch chooses by itself
        given.options = f"--model bsstnet-tiny --fuse 2{window}"
    random.seed(given.seed)
    unblur.video.kept.MOST_FRAMES = given.segment
    shared = given.of in ("driver", "worker")
    with tempfile.TemporaryDirectory() as name, cluster(shared) as place:
        folder, options = Path(name), ["-q", *given.options.split()]
        ins, outs = folder / "in", folder / "out"
        ins.mkdir()
        outs.mkdir()
        ending = Path(given.out).suffix
        count = 3 if given.of == "batch" else 1
        clips = [ins / f"{number}{ending}" for number in range(count)]
        for clip in clips:
            make_clip(clip, given.frames, tuple(given.size))
        wholes = [folder / clip.name for clip in clips]
        seconds = 0.0
        for clip, whole in zip(clips, wholes, strict=True):
            session([str(clip), str(whole), *options], None)
        made = [outs / clip.name for clip in clips]
        if given.of == "batch":
            words = ["batch", str(ins), str(outs), "--resume", *options]
        else:
            words = [str(clips[0]), str(made[0]), "--resume", *options, *place]
        seconds = session(words, None)[2]
        print(f"uninterrupted: {seconds:.1f} s", flush=True)
        kills = jobs = unequal = 0
        while True:
            for path in made:
                path.unlink()
            if kills >= given.kills:
                break
            jobs, sessions, ended = jobs + 1, 0, False
            while not ended:
                sessions += 1
                limit = random.uniform(0, seconds) if kills < given.kills else None
                ended, killed, _ = session(words, limit, given.of == "worker")
                kills += killed
                ended |= all(path.exists() for path in made)  # killed on its last steps
            pairs = list(zip(made, wholes, strict=True))
            same = all(out.read_bytes() == whole.read_bytes() for out, whole in pairs)
            equal = same or all(decoded(out) == decoded(whole) for out, whole in pairs)
            unequal += not equal
            left = [path.name for path in outs.iterdir() if path not in made]
            print(
                f"{sessions} sessions: equal {equal}, to the byte {same}, left {left}", flush=True
            )
        print(f"{kills} kills in {jobs} jobs: {unequal} unequal")
        sys.exit(unequal > 0)


if __name__ == "__main__":
    main()
