"""Depth Anything V2 Small (Yang et al., NeurIPS 2024; Apache-2.0) through transformers.

An extra, `unblur[priors]`, and only for who requests it. Nothing is fetched: the weights have to be
on this machine.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import UsageError, WeightsError

REPOSITORY = "depth-anything/Depth-Anything-V2-Small-hf"
PATCH = 14
SHORT_SIDE = 518
"""Pixels of the shorter side that the network was trained with."""
RELEASE_SIZE = (294, 518)
"""What DaBiT's released code gives the network, whatever the video's shape."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_depth_anything(
    device: torch.device | str = "cpu", official: bool = False
) -> Callable[[Tensor], Tensor]:
    """The network as a function from (T, 3, H, W) RGB in [0, 1] to (T, 1, H, W), larger = nearer.

    Args:
        device: to run on.
        official: at the size, and with the nearest-neighbour scaling, of DaBiT's released code.

    Raises:
        UsageError: transformers is not installed.
        WeightsError: the weights are not on this machine.
    """
    try:
        from transformers import AutoModelForDepthEstimation
    except ImportError as error:
        raise UsageError(
            "--depth depth-anything needs transformers: pip install 'unblur[priors]'"
        ) from error
    try:
        network = AutoModelForDepthEstimation.from_pretrained(
            REPOSITORY, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"the weights of {REPOSITORY} are not on this machine, and nothing downloads by itself:"
            f" run `hf download {REPOSITORY}`"
        ) from error
    network = network.to(device).eval()

    def depth(frames: Tensor) -> Tensor:
        H, W = frames.shape[-2:]
        size = RELEASE_SIZE if official else network_size(H, W)
        x = frames.to(device).float().clamp(0, 1)
        if official:
            x = F.interpolate(x, size=size, mode="nearest")
        else:
            x = F.interpolate(x, size=size, mode="bicubic", align_corners=False, antialias=True)
        mean, deviation = (x.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
        with torch.inference_mode():
            near = network(pixel_values=(x - mean) / deviation).predicted_depth[:, None]
        near = F.interpolate(near.float(), size=(H, W), mode="bilinear", align_corners=True)
        return near.clamp_min(0).to(frames.device)

    return depth


def network_size(height: int, width: int) -> tuple[int, int]:
    """Whole patches, the shorter side as trained, the shape of the video kept."""
    factor = SHORT_SIDE / min(height, width)
    rows, cols = (max(1, round(side * factor / PATCH)) * PATCH for side in (height, width))
    return rows, cols
