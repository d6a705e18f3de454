"""Draws a frame, its optical flow and its blur map side by side (BSSTNet, CVPR 2024, Fig. 1a).

Usage: python examples/flow_and_blur.py [CLIP] [--frame N] [--out IMAGE.png]

Flow comes from RAFT where its weights were converted (`unblur weights convert raft-things.pth`),
else from OpenCV's DIS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import torch

from unblur.guidance.blur_map import blur_map
from unblur.guidance.flow import bidirectional_flow, dis_flow, load_raft
from unblur.guidance.flow_image import motion_image
from unblur.video import open_video

HERE = Path(__file__).parent


def main() -> None:
    """Reads, measures and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path, nargs="?", default=HERE / "demo_blurred.mp4")
    parser.add_argument("--frame", type=int, help="from 0; by default where the map varies most")
    parser.add_argument("--length", type=int, default=48, help="frames the map is normalised over")
    parser.add_argument("--out", type=Path, default=Path("out/flow_and_blur.png"))
    options = parser.parse_args()

    with open_video(options.clip) as reader:
        frames = torch.stack([f.rgb() for f, _ in zip(reader, range(options.length), strict=False)])
    if len(frames) < 2:
        parser.error(f"{options.clip} has one frame: flow needs two")
    raft = load_raft()
    forward, backward = bidirectional_flow(raft, frames) if raft else dis_flow(frames)
    blur = blur_map(forward, backward)
    at = options.frame
    if at is None:
        at = int(blur[:-1].std((1, 2, 3)).argmax())
    if not 0 <= at < len(forward):
        parser.error(f"--frame must be from 0 to {len(forward) - 1}")
    image = motion_image(frames[at], forward[at], blur[at])

    options.out.parent.mkdir(parents=True, exist_ok=True)
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    cv2.imwrite(str(options.out), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    print(f"frame {at}, flow by {'RAFT' if raft else 'DIS'} and blur map: {options.out}")


if __name__ == "__main__":
    main()
