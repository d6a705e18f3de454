"""Deblurs the demo clip, measures the gain against its sharp truth, and shows it.

Usage: python examples/run_demo.py [--model NAME] [--out FOLDER]

Writes restored.mp4, side_by_side.mp4 (blurred beside restored) and before_after.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

import unblur
from unblur.engine.compare import GAP, side_by_side
from unblur.video import Frame, create_video, open_video

if TYPE_CHECKING:
    from torch import Tensor

HERE = Path(__file__).parent
BLURRED, SHARP = HERE / "demo_blurred.mp4", HERE / "demo_sharp.mp4"
SHOWN = 10  # the frame in the image: it gains about what the clip does
LEFT, TOP, WIDTH, HEIGHT = 24, 165, 320, 180  # of the part shown twice as large, on the sign


def main() -> None:
    """Restores, measures and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="motion-m", help="a name from `unblur models`")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder of the results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    restored, video, image = (
        options.out / name for name in ("restored.mp4", "side_by_side.mp4", "before_after.png")
    )

    report = unblur.restore(
        BLURRED, restored, model=options.model, overwrite=True, progress=show_progress
    )
    print()

    before, after, truth = read(BLURRED), read(restored), read(SHARP)
    psnr_before, psnr_after = mean_psnr(before, truth), mean_psnr(after, truth)
    draw(image, blurred=before[SHOWN], restored=after[SHOWN], truth=truth[SHOWN])
    write_beside(video, before, after)

    print(f"{report.frames} frames in {report.seconds:.0f} s with {report.model}")
    print(
        f"PSNR against the sharp truth: blurred {psnr_before:.2f} dB, "
        f"restored {psnr_after:.2f} dB, gained {psnr_after - psnr_before:+.2f} dB"
    )
    for name, path in (("restored", restored), ("side by side", video), ("image", image)):
        print(f"{name + ':':14}{path}")


def show_progress(at: unblur.Progress) -> None:
    """One line that counts up, once it is known what will be done."""
    if at.plan is None:
        print("\ropening ...", end="", flush=True)
        return
    left = "" if at.eta is None else f", about {at.eta:.0f} s left"
    stage = f"{at.stage}: frame {at.done} of {at.total}" if at.total else at.stage
    print(f"\r{at.plan.model}: {stage}{left}".ljust(60), end="", flush=True)


def read(path: Path) -> list[Frame]:
    """All frames of a short clip."""
    with open_video(path) as reader:
        return list(reader)


def mean_psnr(frames: list[Frame], truth: list[Frame]) -> float:
    """Peak signal-to-noise ratio in dB over pixels and channels, averaged over frames."""
    errors = [
        (frame.rgb() - sharp.rgb()).square().mean().item()
        for frame, sharp in zip(frames, truth, strict=True)
    ]
    return sum(-10 * math.log10(max(error, 1e-10)) for error in errors) / len(errors)


def write_beside(path: Path, before: list[Frame], after: list[Frame]) -> None:
    """A video of both, blurred on the left."""
    with open_video(BLURRED) as reader:
        info = dataclasses.replace(reader.info, width=2 * reader.info.width + GAP)
    with create_video(path, info, source=None, overwrite=True) as writer:
        for b, a in zip(before, after, strict=True):
            writer.write(b.with_rgb(side_by_side(b.rgb(), a.rgb())))


def draw(path: Path, **columns: Frame) -> None:
    """A PNG with one column for each frame: the whole above, a part twice as large below."""
    drawn = []
    for name, frame in columns.items():
        whole = to_bgr(frame.rgb())
        part = whole[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]
        zoomed = cv2.resize(part, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        label = np.full((34, whole.shape[1], 3), 255, np.uint8)
        cv2.putText(label, name, (8, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 1, cv2.LINE_AA)
        drawn.append(np.vstack([label, whole, zoomed]))
    gap = np.full((drawn[0].shape[0], 6, 3), 255, np.uint8)
    cv2.imwrite(str(path), np.hstack([drawn[0], gap, drawn[1], gap, drawn[2]]))


def to_bgr(rgb: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] to (H, W, 3) 8 bit, in the order OpenCV writes."""
    return (rgb.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()[:, :, ::-1].copy()


if __name__ == "__main__":
    main()
