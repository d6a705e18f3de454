"""Which layer a pixel shows, roughly: from how the clip moves, or by SAM 2 from a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.atlas.fitting.motion import Motion, layer_homographies, residual
from unblur.errors import ResourceError, UsageError
from unblur.ops.warp import warp

NOISE = 0.35
"""Pixels that flow is off even where all is easy."""
TIMES = 2.5
"""A point moves on its own if it is off by more than this many times what is usual."""
SMALLEST = 0.004
"""Share of the frame that an object must take."""
PEAK = 2.0
"""Score that an object must reach somewhere: around what is out of focus, flow is off a little."""
OFTEN = 0.2
"""Share of the frames in which an object must be found."""
KEPT, DOUBTFUL = 0.6, 0.5
"""Share of a region that its main motion is looked for in, at least, and score from which a point
may be left out of that: an object that moves nearly as the background does pulls it along."""
ROUNDS, SETTLED = 6, 0.005
"""Rounds at most, and share of the points that may still change in the last."""
SAMPLE = 100_000
"""Points that a quantile is taken of."""
CLOSE = 0.02
"""Radius over the shorter side: gaps smaller than this are closed, specks are dropped."""


def motion_masks(motion: Motion, frames: int, size: tuple[int, int], layers: int) -> Tensor:
    """Labels of what moves unlike the background: (T, H, W) int64, 0 = background.

    The background is what most of the frame follows as one plane; flows over several gaps are
    compared with its motion.

    Args:
        motion: of the clip.
        frames: T.
        size: (H, W).
        layers: how many, the background counted. There may be fewer in the result.
    """
    labels = torch.zeros(frames, *size, dtype=torch.int64)
    region: Tensor | None = None
    for layer in range(1, layers):
        moving = unlike_main_motion(motion, frames, size, region)
        if not bool(moving.any()):
            break
        labels[moving] = layer
        region = moving
    return labels


def unlike_main_motion(
    motion: Motion, frames: int, size: tuple[int, int], region: Tensor | None
) -> Tensor:
    """Where a clip, or a region (T, H, W) of it, does not follow its main motion: bool."""
    everywhere = torch.ones(frames, *size, dtype=torch.bool) if region is None else region
    inside = everywhere
    score = torch.zeros(everywhere.shape)
    for _ in range(ROUNDS):
        maps = layer_homographies(motion, inside, frames, size, frames // 2)
        score = disagreement(motion, maps, inside, frames, size)
        within = score[everywhere]
        usual = within[:: 1 + len(within) // SAMPLE].quantile(KEPT)
        before, inside = inside, everywhere & (score < max(DOUBTFUL, float(usual)))
        if float((inside != before).float().mean()) < SETTLED:
            break
    return clean(score, everywhere)


def disagreement(
    motion: Motion, maps: Tensor, inside: Tensor, frames: int, size: tuple[int, int]
) -> Tensor:
    """How far off the flows that start in a pixel are, 1 being usual at most: (T, H, W)."""
    total, weight = torch.zeros(2, frames, *size)
    for a, b in motion.pairs:
        off = residual(motion, (a, b), maps)
        trusted = motion.valid[a, b][0]
        usual = off[inside[a] & trusted]
        noise = float(usual.median()) if usual.numel() > 32 else 0.0
        relative = off / (TIMES * noise + NOISE)
        # A long way is better evidence; a flow that cannot be trusted is little.
        share = (0.1 + 0.9 * trusted.float()) * abs(b - a) ** 0.5
        total[a] += relative.clamp(max=4) * share
        weight[a] += share
    score = total / weight.clamp_min(1e-6)
    return over_time(score, motion, frames)


def over_time(score: Tensor, motion: Motion, frames: int) -> Tensor:
    """Mean with what the neighbours say of the same points."""
    out, count = score.clone(), torch.ones_like(score)
    for t in range(frames):
        for other in (t - 1, t + 1):
            if (t, other) in motion.flows:
                flow = motion.flows[t, other].float()[None]
                out[t] += warp(score[other][None, None], flow)[0, 0]
                count[t] += 1
    return out / count


def clean(score: Tensor, region: Tensor) -> Tensor:
    """Scores (T, H, W) above 1 as whole objects: specks dropped, gaps closed, holes filled."""
    import cv2

    _, H, W = score.shape
    radius = max(1, round(CLOSE * min(H, W)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    out = torch.zeros_like(region)
    for t, image in enumerate(score):
        mask = ((image > 1) & region[t]).to(torch.uint8).numpy()
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disk)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disk)
        count, numbers, facts, _ = cv2.connectedComponentsWithStats(mask)
        for i in range(1, count):
            object_ = numbers == i
            small = facts[i, cv2.CC_STAT_AREA] < SMALLEST * H * W
            if small or float(image[torch.from_numpy(object_)].max()) < PEAK:
                mask[object_] = 0
        out[t] = torch.from_numpy(fill_holes(mask)).bool()
    if float(out.flatten(1).any(1).float().mean()) < OFTEN:
        return torch.zeros_like(out)
    return out & region


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) of 0 and 1 with what it surrounds."""
    import cv2

    outside = np.pad(1 - mask, 1, constant_values=1).astype(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2)
    return (outside[1:-1, 1:-1] != 2).astype(np.uint8)


SAM_SIDE = 1024
SAM_MEAN, SAM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAM_MODEL = "facebook/sam2.1-hiera-tiny"


def sam_masks(frames: Tensor, point: tuple[float, float], model: Any = None) -> Tensor:
    """Masks of the object under a point of the first frame, by SAM 2: (T, H, W) int64, 0 or 1.

    Images are prepared here (1024x1024, ImageNet's mean and deviation), since the image processor
    of transformers needs torchvision. Each frame's prompt is the middle of the mask before it.

    Args:
        frames: (T, 3, H, W) encoded RGB in [0, 1].
        point: x and y in pixels of the first frame.
        model: what transformers calls `Sam2Model`; loaded from the local cache by default.

    Raises:
        ResourceError: transformers or the model is missing.
    """
    H, W = frames.shape[-2:]
    if not (0 <= point[0] < W and 0 <= point[1] < H):
        raise UsageError(f"the point {point} lies outside of frames of {W}x{H}: give X,Y in pixels")
    net = load_sam() if model is None else model
    mean, std = (torch.tensor(x)[:, None, None] for x in (SAM_MEAN, SAM_STD))
    labels = torch.zeros(len(frames), H, W, dtype=torch.int64)
    at = point
    for t, frame in enumerate(frames):
        square = F.interpolate(
            frame[None], size=(SAM_SIDE, SAM_SIDE), mode="bilinear", antialias=True
        )
        place = torch.tensor([[[[at[0] * SAM_SIDE / W, at[1] * SAM_SIDE / H]]]])
        with torch.no_grad():
            found = net(
                pixel_values=(square - mean) / std,
                input_points=place,
                input_labels=torch.ones(1, 1, 1, dtype=torch.int64),
                multimask_output=True,
            )
        best = int(found.iou_scores.flatten().argmax())
        logits = found.pred_masks.flatten(0, -3)[best][None, None].float()
        labels[t] = F.interpolate(logits, size=(H, W), mode="bilinear")[0, 0] > 0
        rows, cols = labels[t].nonzero(as_tuple=True)
        if len(rows):
            middle = int(
                (rows - rows.float().mean())
                .square()
                .add((cols - cols.float().mean()).square())
                .argmin()
            )
            at = (float(cols[middle]), float(rows[middle]))
    return labels


def load_sam() -> Any:
    """SAM 2 from the local cache of huggingface_hub; nothing is downloaded."""
    try:
        from transformers import Sam2Model
    except ImportError as error:
        raise ResourceError(
            "masks by SAM 2 need transformers: pip install 'unblur[priors]', or give --masks FOLDER"
        ) from error
    try:
        return Sam2Model.from_pretrained(SAM_MODEL, local_files_only=True).eval()
    except OSError as error:
        raise ResourceError(
            f"{SAM_MODEL} is not in the cache: fetch it with `hf download {SAM_MODEL}`, or give "
            "--masks FOLDER"
        ) from error


def labels_of(images: Sequence[Tensor], layers: int) -> Tensor:
    """Layers (T, H, W) int64 of mask images (1, H, W) in [0, 1].

    Two layers: white (from one half up) is the foreground. More: the greys that occur are the
    layers, the darkest the farthest.

    Raises:
        UsageError: there are other greys than layers.
    """
    stack = torch.stack([image[0] for image in images])
    if layers <= 2:
        return (stack >= 0.5).long()
    greys = stack.mul(255).round().unique()
    if len(greys) != layers:
        raise UsageError(
            f"masks of {layers} layers need {layers} greys, and these have {len(greys)}: paint each"
            " layer in one grey, the farthest black, without soft edges"
        )
    return torch.searchsorted(greys, stack.mul(255).round())
