"""Optical flow as files: Middlebury's `.flo`, KITTI's PNG, an image for people."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from unblur.atlas.project.flow import AtlasFlow
from unblur.atlas.project.maps import png
from unblur.atlas.project.output import check_apart
from unblur.atlas.project.project import Project
from unblur.errors import UsageError
from unblur.guidance.flow_image import FLOW_STEP, FLOW_ZERO, flow_to_rgb, kitti
from unblur.video.output import check_target, write_whole

FLO_MAGIC = 202021.25
"""The first four bytes of a `.flo`, which spell PIEH."""
MOST_MOTION = (FLOW_ZERO - 1) / FLOW_STEP
"""Longest motion along an axis that KITTI's PNG holds, in pixels."""


def write_flow(
    flow: AtlasFlow,
    path: str | os.PathLike[str],
    *,
    image: str | os.PathLike[str] | None = None,
    mask: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    project: Project | None = None,
) -> None:
    """Writes a flow; each file appears when it is complete.

    Args:
        flow: from `unblur.atlas.project.flow.flow`.
        path: `.flo` (the flow of every pixel), or `.png` as KITTI has it: 16-bit, red and green
            are `64 * x + 32768` and the same of y, blue is 1 where the flow is valid.
        image: PNG of direction as hue and length as saturation; invalid pixels are dark.
        mask: PNG, white where the flow is valid.
        overwrite: replace files.
        project: whose flow it is: nothing is written over its own files.

    Raises:
        UsageError: a file exists, or its name ends otherwise, or the motion is too long for it.
        ResourceError: the disk is full.
    """
    wanted = {path: encode_flow(flow, Path(path))}
    if image is not None:
        rgb = flow_to_rgb(flow.flow[None])[0] * (0.4 + 0.6 * flow.valid)
        wanted[must_be_png(image)] = png(as_bgr(rgb * 255, np.uint8))
    if mask is not None:
        wanted[must_be_png(mask)] = png(as_bgr(flow.valid * 255, np.uint8))
    if project is not None:
        for name in wanted:
            check_apart(project, name)
    targets = [check_target(name, source=None, overwrite=overwrite) for name in wanted]
    if len(set(targets)) < 1 + (image is not None) + (mask is not None):
        raise UsageError("flow, image and mask need names of their own")
    for target, data in zip(targets, wanted.values(), strict=True):
        write_whole(target, data, overwrite=overwrite)


def encode_flow(flow: AtlasFlow, path: Path) -> bytes:
    """The bytes of a `.flo` or of a KITTI PNG, as the name says."""
    suffix = path.suffix.lower()
    if suffix == ".flo":
        _, H, W = flow.flow.shape
        head = np.float32(FLO_MAGIC).tobytes() + np.array([W, H], "<i4").tobytes()
        return head + flow.flow.permute(1, 2, 0).contiguous().numpy().astype("<f4").tobytes()
    if suffix != ".png":
        raise UsageError(f"{path}: flow is written as .flo or .png")
    if float(flow.flow.abs().max()) > MOST_MOTION:
        raise UsageError(
            f"{path}: motion of more than {MOST_MOTION:g} pixels does not fit"
            " into a PNG: write a .flo"
        )
    return png(as_bgr(kitti(flow.flow[None], flow.valid[None])[0], np.uint16))


def must_be_png(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The path, whose suffix is checked."""
    if Path(path).suffix.lower() != ".png":
        raise UsageError(f"{path}: images of flow and masks are written as .png")
    return path


def as_bgr(values: torch.Tensor, kind: type[np.unsignedinteger]) -> np.ndarray:
    """(1 or 3, H, W) values, rounded, as OpenCV takes them."""
    codes = values.round().clamp(0, float(np.iinfo(kind).max)).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(codes.astype(kind)[:, :, ::-1])
