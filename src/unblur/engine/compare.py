"""Before and after: side by side, and as a page with a slider."""

from __future__ import annotations

import base64
import html

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GAP = 4
"""Pixels of white between the images; even, so that subsampled chroma stays aligned."""


def side_by_side(*images: Tensor) -> Tensor:
    """Puts images `(3, H, W)` of one height beside each other, `(3, H, n * W + (n - 1) * gap)`.

    Images of another height are resized to that of the last one; the gap grows along.
    """
    height = images[-1].shape[-2]
    wide = GAP * height // images[0].shape[-2]
    fitted = [p if p.shape[-2] == height else _to_height(p, height) for p in images]
    gap = torch.ones(3, height, wide, dtype=fitted[0].dtype, device=fitted[0].device)
    parts = [part for image in fitted for part in (image, gap)]
    return torch.cat(parts[:-1], dim=-1)


def _to_height(image: Tensor, height: int) -> Tensor:
    width = round(image.shape[-1] * height / image.shape[-2])
    resized = F.interpolate(image[None], (height, width), mode="bicubic", antialias=True)
    return resized[0].clamp(0, 1)


BEFORE, AFTER = "before", "after"


def labelled(image: Tensor, text: str) -> Tensor:
    """The image (3, H, W), encoded RGB, with a word in its upper left corner, dark on light."""
    height = image.shape[-2]
    scale = max(0.35, height / 900)
    thick = max(1, round(1.5 * scale))
    (wide, high), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    edge = max(2, high // 2)
    box = np.full((high + base + 2 * edge, wide + 2 * edge), 255, np.uint8)
    at = (edge, edge + high)
    cv2.putText(box, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0,), thick, cv2.LINE_AA)
    drawn = image.clone()
    room = drawn[:, : box.shape[0], : box.shape[1]]
    ink = torch.from_numpy(box).to(room) / 255
    room.copy_(ink[: room.shape[1], : room.shape[2]].expand_as(room))
    return drawn


def before_and_after(before: Tensor, after: Tensor) -> Tensor:
    """Both, labelled and side by side; see `side_by_side`."""
    return side_by_side(labelled(before, BEFORE), labelled(after, AFTER))


def as_png(image: Tensor) -> bytes:
    """An image (3, H, W), encoded RGB in [0, 1], as an 8-bit PNG."""
    codes = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return bytes(cv2.imencode(".png", np.ascontiguousarray(codes[..., ::-1]))[1])


def slider_page(before: Tensor, after: Tensor, title: str) -> str:
    """A page that shows one image over the other, with a limit between them to be drawn.

    Everything is in it, and nothing is fetched from elsewhere.
    """
    if before.shape != after.shape:
        before = _to_height(before, after.shape[-2])
    sources = (base64.b64encode(as_png(x)).decode() for x in (before, after))
    return PAGE.format(html.escape(title), *sources)


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{0}</title>
<style>
body {{ margin: 0; background: #222; color: #eee; font: 14px sans-serif; text-align: center }}
.both {{ position: relative; display: inline-block; --at: 50% }}
.both img {{ display: block; max-width: 100vw; max-height: 88vh }}
.both .after {{ position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at)) }}
.both i {{ position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; background: #fff }}
.both b {{ position: absolute; top: 8px; padding: 2px 6px; background: #000a }}
input {{ width: 80vw }}
</style>
<p>{0}</p>
<div class="both"><img src="data:image/png;base64,{1}" alt="before">
<img class="after" src="data:image/png;base64,{2}" alt="after"><i></i>
<b style="left: 8px">before</b><b style="right: 8px">after</b></div>
<p><input type="range" min="0" max="100" step="0.1" value="50" aria-label="limit"
oninput="document.querySelector('.both').style.setProperty('--at', this.value + '%')"></p>
</html>
"""
