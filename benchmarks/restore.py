"""Where the time of `unblur restore` goes: seconds per frame by stage, and the peak of memory.

    python benchmarks/restore.py [--model NAME ...] [--size 854x480] [--frames N] [--threads N]

A clip of that size is made from the demo clip. Each stage is timed alone, wall clock: decoding,
conversion to RGB, looking for cuts, optical flow and other guidance, the network, conversion back
and encoding. Then the whole job runs in a process of its own, file to file, which overlaps reading
and writing with the network; `peak GB` is the memory of that process. Writes results/restore.csv
and results/restore.md beside this file.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from unblur.engine.rendition import choose_rendition
from unblur.engine.run import find_shots
from unblur.restorers.registry import DEFAULT, load_model
from unblur.video import create_video, open_video

HERE = Path(__file__).parent
DEMO = HERE.parent / "examples" / "demo_blurred.mp4"


def make_clip(path: Path, width: int, height: int, frames: int) -> None:
    """The first frames of the demo clip at another size."""
    with open_video(DEMO) as reader:
        info = dataclasses.replace(reader.info, width=width, height=height)
        with create_video(path, info, source=None, codec="ffv1") as writer:
            for _, frame in zip(range(frames), reader, strict=False):
                larger = F.interpolate(frame.rgb()[None], (height, width), mode="bicubic")
                writer.write(frame.with_rgb(larger[0].clamp(0, 1)))


def timed(work: Callable[[], object]) -> tuple[object, float]:
    """What `work` gives, and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def stages(clip: Path, model: str, folder: Path) -> dict[str, float]:
    """Seconds per frame of each stage, run one after the other."""
    restorer = load_model(model)

    def decoded() -> list:
        with open_video(clip) as reader:
            return list(reader)

    frames, decode = timed(decoded)
    n = len(frames)
    images, rgb = timed(lambda: torch.stack([frame.rgb() for frame in frames]))
    _, cuts = timed(lambda: find_shots(frames))
    look = choose_rendition(restorer, "auto", None, 1.0)
    shown = look.show(images)
    with torch.inference_mode():
        restorer.run(shown[:1], restorer.guide(shown[:1]), [0])  # the first run takes longer
        guidance, guide = timed(lambda: restorer.guide(shown))
        some = list(range(n))[:: max(1, n // 4)]
        restored, network = timed(lambda: restorer.run(shown, guidance, some))

    def encode() -> None:
        with (
            open_video(clip) as reader,
            create_video(folder / f"{model}.mp4", reader.info, source=clip) as writer,
        ):
            for frame in frames:
                writer.write(frame.with_rgb(look.take_back(restored[0].clamp(0, 1))))

    _, encoding = timed(encode)
    return {
        "decode": decode / n,
        "to RGB": rgb / n,
        "find cuts": max(0.0, cuts - rgb) / n if restorer.info.window > 1 else 0.0,
        "guidance": guide / n,
        "network": network / len(some),
        "encode": encoding / n,
    }


def whole(clip: Path, model: str, folder: Path, threads: int) -> tuple[float, float]:
    """Seconds per frame of the whole job, start-up left out, and its peak of memory in GB."""
    code = (
        "import torch, unblur\n"
        "from unblur.ops.memory import peak_resident\n"
        f"torch.set_num_threads({threads})\n"
        f"report = unblur.restore({str(clip)!r}, {str(folder / 'whole.mp4')!r}, model={model!r}, "
        "overwrite=True)\n"
        "print(report.seconds / report.frames, peak_resident())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), int(peak) / 1e9


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, str]]:
    """A row for each model."""
    width, height = (int(side) for side in arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "clip.mkv"
        make_clip(clip, width, height, arguments.frames)
        for model in arguments.model or [DEFAULT]:
            found = stages(clip, model, folder)
            seconds, peak = whole(clip, model, folder, arguments.threads)
            figures = {**found, "sum": sum(found.values()), "whole job": seconds}
            yield {
                "model": model,
                **{stage: f"{x:.3f}" for stage, x in figures.items()},
                "peak GB": f"{peak:.2f}",
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    table = list(rows(arguments))
    out = HERE / "results" / "restore"
    out.parent.mkdir(exist_ok=True)
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    head = f"Seconds per frame of {arguments.size}, {arguments.frames} frames, {arguments.threads} "
    head += f"threads, torch {torch.__version__}, {platform.machine()}.\n\n"
    lines = [list(table[0]), ["---"] * len(table[0]), *(list(row.values()) for row in table)]
    text = head + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
