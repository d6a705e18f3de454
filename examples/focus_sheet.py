"""Draws what DaBiT is given about a clip whose focus moves, and what propagation makes of it.

Usage: python examples/focus_sheet.py CLIP [--frames N ...] [--depth SOURCE] [--out IMAGE.jpg]

A column for each of some frames. From the top: the frame; its depth, red near and blue far; its
blur map, black sharp and yellow blurred; the mask, white where that lies above 0.1; the frame with
sharp pixels of other frames in place of blurred ones, as the model `dabit-paper` sees it; what is
then left of the mask.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import cv2
import torch
from torch import Tensor

from unblur.commands.depth import FocusOfVideo, colored
from unblur.guidance.defocus import blur_mask
from unblur.guidance.flow import dis_flow
from unblur.guidance.flow_refocus import load_flow_refocus_s, refocused_flow
from unblur.ops.propagation import propagate_pixels
from unblur.video import open_video

WIDTH = 200
"""Of a frame on the sheet, in pixels."""
GAP = 4
QUALITY = 45
"""Of JPEG, where that is what is written."""


def main() -> None:
    """Reads, finds and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[0, 4, 9], help="from 0")
    parser.add_argument("--depth", default="builtin", help="as of `unblur restore`")
    parser.add_argument("--out", type=Path, default=Path("out/focus_sheet.jpg"))
    options = parser.parse_args()

    frames, depth, blur = guidance_of(options.clip, max(options.frames) + 1, options.depth)
    mask = blur_mask(blur)
    flows = dis_flow(frames, stride=1)
    flows = refocused_flow(load_flow_refocus_s(), frames, *flows, mask, threshold=0.5, stride=1)
    filled, left = propagate_pixels(frames[None], mask[None], *(flow[None] for flow in flows))
    rows = [
        frames,
        torch.stack([colored(x, "depth") for x in depth]),
        torch.stack([colored(x, "blur") for x in blur]),
        mask.expand(-1, 3, -1, -1),
        filled[0],
        left[0].expand(-1, 3, -1, -1),
    ]
    for t in options.frames:
        went = float((mask[t] - left[0, t]).mean())
        print(f"frame {t}: {float(mask[t].mean()):.0%} blurred, {went:.0%} replaced")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    image = sheet([row[options.frames] for row in rows])
    cv2.imwrite(str(options.out), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    print(options.out)


def guidance_of(clip: Path, count: int, depth: str) -> tuple[Tensor, Tensor, Tensor]:
    """The first frames (T, 3, H, W), and their depth and blur map (T, 1, H, W)."""
    images, depths, blurs = [], [], []
    with open_video(clip) as reader:
        focus = FocusOfVideo(depth, reader)
        for frame, _ in zip(reader, range(count), strict=False):
            images.append(frame.rgb()[None].clamp(0, 1))
            far, blurred = focus(frame, images[-1])
            depths.append(far.float())
            blurs.append(blurred.float())
    if len(images) < count:
        raise SystemExit(f"{clip} has {len(images)} frames: name smaller numbers by --frames")
    return torch.cat(images), torch.cat(depths), torch.cat(blurs)


def sheet(rows: list[Tensor]) -> cv2.typing.MatLike:
    """Rows of images (n, 3, H, W) below each other, as 8-bit BGR."""
    shrink = partial(cv2.resize, interpolation=cv2.INTER_AREA)
    lines = []
    for row in rows:
        height = round(WIDTH * row.shape[-2] / row.shape[-1])
        cells = [
            shrink((x * 255).round().byte().permute(1, 2, 0).numpy(), (WIDTH, height))
            for x in row.clamp(0, 1)
        ]
        white = (255, 255, 255)
        edged = [cv2.copyMakeBorder(x, 0, GAP, 0, GAP, 0, value=white) for x in cells]
        lines.append(cv2.hconcat(edged))
    return cv2.cvtColor(cv2.vconcat(lines)[:-GAP, :-GAP], cv2.COLOR_RGB2BGR)


if __name__ == "__main__":
    main()
