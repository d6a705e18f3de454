"""Frames laid over one another: motion between two that are sharp, and moving along it."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.guidance.flow import DIS_MINIMUM
from unblur.ops.fusion import halved
from unblur.ops.pad import pad_to


class DisAlignment:
    """Motion by OpenCV's DIS (Kroeger et al., ECCV 2016) at half size: `engine.fusion.Alignment`.

    At half size, down to whose pixels it goes, it finds what the preset `MEDIUM`, which ends at
    half size anyhow, finds at full size, in less time.
    """

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._dis.setFinestScale(0)
        self._dis.setPatchStride(4)

    def look(self, image: Tensor) -> np.ndarray:
        """What is kept of an image (3, H, W), encoded RGB in [0, 1]: gray at half size."""
        small = halved(image)
        least = (max(small.shape[-2], DIS_MINIMUM), max(small.shape[-1], DIS_MINIMUM))
        codes = pad_to(small[None].clamp(0, 1), *least)[0].mul(255).round().byte()
        return cv2.cvtColor(codes.permute(1, 2, 0).contiguous().cpu().numpy(), cv2.COLOR_RGB2GRAY)

    def flow(self, here: np.ndarray, there: np.ndarray, guess: Tensor | None = None) -> Tensor:
        """Flow (2, h, w) in pixels of half size; h and w are at least `DIS_MINIMUM`.

        A guess lets DIS follow what moves further than its coarsest level reaches.
        """
        start = np.zeros((*here.shape, 2), np.float32)
        if guess is not None:
            start[: guess.shape[1], : guess.shape[2]] = guess.permute(1, 2, 0).cpu().numpy()
        found = self._dis.calc(here, there, start)
        return torch.from_numpy(found).permute(2, 0, 1)

    def take(self, image: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
        """Bicubic values (3, h, w) of an image (3, H, W) at places (h, w) in its pixels.

        Past the border it goes on as it ends.
        """
        if image.is_cuda:
            height, width = image.shape[-2:]
            grid = torch.stack(
                (2 * (columns + 0.5) / width - 1, 2 * (rows + 0.5) / height - 1), dim=-1
            )
            return F.grid_sample(
                image[None],
                grid[None],
                mode="bicubic",
                padding_mode="border",
                align_corners=False,
            )[0]
        taken = cv2.remap(
            image.permute(1, 2, 0).contiguous().cpu().numpy(),
            columns.cpu().numpy(),
            rows.cpu().numpy(),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return torch.from_numpy(taken).permute(2, 0, 1).to(image.device)
