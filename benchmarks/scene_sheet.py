"""Draws scenes with every truth beside them: the image sheet of docs/scenes.md.

    python benchmarks/scene_sheet.py OUT.jpg [--textures DIR] [--seed N]

A row per scene: sharp, blurred, flow to the next frame, depth, circle of confusion, length of the
motion blur, layers, and what stays visible in the next frame. Made of the held-out textures unless
set otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from unblur.guidance.flow_image import flow_to_rgb
from unblur.synth import Mode, SceneConfig, TextureBank, held_out, render, sample_scenes

SIZE = 160
ROWS: tuple[tuple[Mode, int], ...] = (("motion", 4), ("focus", 2), ("joint", 2))
NAMES = ("sharp", "blurred", "flow", "depth", "circle of confusion", "path", "layers", "visible")
GAP, HEAD = 3, 22
COLOURS = torch.tensor(
    [(60, 60, 60), (228, 87, 46), (76, 175, 80), (66, 133, 244), (250, 204, 21),
     (171, 71, 188), (38, 198, 218), (245, 245, 245)]
) / 255.0  # fmt: skip


def row(mode: Mode, textures: TextureBank, batch: int, seed: int) -> Tensor:
    """(batch, 8, 3, H, W) images of some scenes."""
    config = SceneConfig(mode=mode, interpolation="bicubic", static=0, motion=(8, 40), light=0.1)
    scenes = sample_scenes(config, textures, batch, torch.Generator().manual_seed(seed))
    r = render(scenes, SIZE, SIZE, 2)
    grey = [x[:, 0].expand(-1, 3, -1, -1) for x in (r.depth, r.coc / 14, r.extent / 25)]
    layers = torch.einsum("blhw,lc->bchw", r.layers[:, 0], COLOURS)
    flow = torch.stack([flow_to_rgb(f[None], 30.0)[0] for f in r.flow_forward[:, 0]])
    seen = r.visible_forward[:, 0].expand(-1, 3, -1, -1)
    return torch.stack((r.sharp[:, 0], r.blurred[:, 0], flow, *grey, layers, seen), 1)


def sheet(rows: Tensor) -> np.ndarray:
    """Puts (N, 8, 3, H, W) images on one, names on top; BGR uint8."""
    step = SIZE + GAP
    height, width = HEAD + len(rows) * step, rows.shape[1] * step - GAP
    page = np.full((height, width, 3), 255, np.uint8)
    for i, name in enumerate(NAMES):
        spot = (i * step + 2, 15)
        cv2.putText(page, name, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    for y, images in enumerate(rows):
        for x, image in enumerate(images):
            top, left = HEAD + y * step, x * step
            rgb = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            page[top : top + SIZE, left : left + SIZE] = rgb[:, :, ::-1]
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--textures", type=Path, help="a folder of textures")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    textures = held_out() if options.textures is None else TextureBank.load(options.textures)
    rows = torch.cat([row(mode, textures, n, options.seed + i) for i, (mode, n) in enumerate(ROWS)])
    cv2.imwrite(str(options.out), sheet(rows), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
