"""Frames laid over one another: motion between two that are sharp, and moving along it."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.guidance.flow import DIS_MINIMUM
from unblur.ops.pad import pad_to

TALL = 540
"""Rows of half size from which on motion is found in strips: those of 1080p are not."""
STRIP, BEYOND = 360, 90
"""Rows of a strip at most, and what is looked at beyond them on either side: what moves further
down or up in a frame is lost where strips meet."""


class DisAlignment:
    """Motion by OpenCV's DIS (Kroeger et al., ECCV 2016) at half size: `engine.fusion.Alignment`.

    At half size, down to whose pixels it goes, it finds what the preset `MEDIUM`, which ends at
    half size anyhow, finds at full size, in less time.
    """

    def __init__(self) -> None:
        self._dis: cv2.DISOpticalFlow | None = None

    def look(self, half: Tensor) -> np.ndarray:
        """What is kept of an image of half size, (3, h, w), encoded RGB in [0, 1]: gray."""
        least = (max(half.shape[-2], DIS_MINIMUM), max(half.shape[-1], DIS_MINIMUM))
        codes = pad_to(half[None].clamp(0, 1), *least)[0].mul_(255).round_().byte()
        return cv2.cvtColor(codes.permute(1, 2, 0).contiguous().cpu().numpy(), cv2.COLOR_RGB2GRAY)

    def flow(self, here: np.ndarray, there: np.ndarray, guess: Tensor | None = None) -> Tensor:
        """Flow (2, h, w) in pixels of half size; h and w are at least `DIS_MINIMUM`.

        A guess lets DIS follow what moves further than its coarsest level reaches. In tall images
        it is found in strips, as DIS takes about 200 bytes a pixel.
        """
        height, width = here.shape
        count = 1 if height <= TALL else -(-height // STRIP)
        flow = np.empty((height, width, 2), np.float32)
        for number in range(count):
            top, stop = (height * n // count for n in (number, number + 1))
            rows = slice(max(0, top - BEYOND), min(height, stop + BEYOND))
            start = np.zeros((*here[rows].shape, 2), np.float32)
            if guess is not None:
                part = guess[:, rows]
                start[: part.shape[1], : part.shape[2]] = part.permute(1, 2, 0).cpu().numpy()
            found = self._made().calc(here[rows], there[rows], start)
            flow[top:stop] = found[top - rows.start : stop - rows.start]
        return torch.from_numpy(flow).permute(2, 0, 1)

    def rest(self) -> None:
        """Gives back the memory of DIS, which keeps about 220 bytes for each pixel of half size."""
        self._dis = None  # after its own `collectGarbage` DIS crashes

    def _made(self) -> cv2.DISOpticalFlow:
        if self._dis is None:
            self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            self._dis.setFinestScale(0)
            self._dis.setPatchStride(4)
        return self._dis

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
