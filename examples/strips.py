"""Draws strips of a video: a piece of a frame as it is and as models restore it.

Usage: python examples/strips.py CLIP --at FRAME X Y [--at ...] [--average N] --out FOLDER

Pieces are 200 pixels a side, enlarged twice. With `--average` N frames in a row are averaged in
linear light before, as a longer exposure would, and the frame in their middle stands at the end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import torch
from beside import beside
from torch import Tensor

import unblur
from unblur.ops.color import SRGB, from_linear, to_linear
from unblur.video import open_video

SIDE, ENLARGED, GAP = 200, 2, 6
SEEN = 2
"""Frames on either side that a model may look at."""


def main() -> None:
    """Reads, restores and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--at", type=int, nargs=3, action="append", required=True)
    parser.add_argument("--average", type=int, default=1, help="frames of an exposure, odd")
    parser.add_argument("--model", action="append", help="default: motion-s")
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()
    models = options.model or ["motion-s"]
    options.out.mkdir(parents=True, exist_ok=True)
    for frame, x, y in options.at:
        exposures, sharp = around(options.clip, frame, options.average)
        middle = len(exposures) // 2
        pieces = [exposures[middle]]
        pieces += [unblur.restore(exposures, model=name)[middle] for name in models]
        pieces += [sharp] if options.average > 1 else []
        path = options.out / f"{options.clip.stem}_{frame}.jpg"
        strip = beside([p[:, y : y + SIDE, x : x + SIDE] for p in pieces], GAP // ENLARGED)
        large = cv2.resize(strip, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), large)
        print(f"{path}: input, {', '.join(models)}" + (", truth" if options.average > 1 else ""))


def around(clip: Path, frame: int, average: int) -> tuple[Tensor, Tensor]:
    """Exposures (T, 3, H, W) around a frame, one after the other, and the frame itself."""
    reach = SEEN * average + average // 2
    first, last = max(0, frame - reach), frame + reach
    kept = []
    with open_video(clip) as reader:
        for image in reader:
            if image.index > last:
                break
            if image.index >= first:
                kept.append(image.rgb().clamp(0, 1))
    frames = torch.stack(kept)
    light = to_linear(frames, SRGB)
    count = len(frames) // average
    means = light[: count * average].unflatten(0, (count, average)).mean(1)
    return from_linear(means, SRGB), frames[frame - first]


if __name__ == "__main__":
    main()
