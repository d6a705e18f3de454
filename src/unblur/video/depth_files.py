"""Depth maps of a video from images: 16-bit PNG, EXR, or any other gray images."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.errors import MediaError
from unblur.video.frame import Frame
from unblur.video.images import read_image
from unblur.video.info import VideoInfo
from unblur.video.probe import MAX_PIXELS
from unblur.video.sequence import find_images, is_sequence

if TYPE_CHECKING:
    from torch import Tensor


class DepthFiles:
    """The depth of each frame of a video, one image a frame, as a player shows them: upright.

    All images are looked at before the first is requested, so that hours of work do not end at
    a bad one. The least value of the clip becomes 0 and the greatest 1, whatever their unit.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: VideoInfo,
        *,
        invert: bool = False,
        first: int = 0,
        frames: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Checks every image.

        Args:
            path: a folder or a pattern.
            info: the video that they belong to.
            invert: in the files near is bright, not dark.
            first: frame of the video that is read first.
            frames: how many frames the video has, where that is known.
            max_pixels: largest image that is read.

        Raises:
            MediaError: images are missing or too many, have another size than the frames, are
                not gray, hold NaN, or all hold one and the same value.
        """
        self._path, self._invert, self._first = Path(path), invert, first
        self._max_pixels = max_pixels
        self._turn = info.rotation if info.rotation in (90, 180, 270) else 0
        self._size = (info.width, info.height)
        if self._turn in (90, 270):
            self._size = (info.height, info.width)
        self._video = info.path
        if not is_sequence(path):
            raise MediaError(f"{path} is no folder of depth maps: name a folder or a pattern")
        self._files = [image.path for image in find_images(path).files]
        self.check_count(frames)
        self._low, self._high = math.inf, -math.inf
        for file in self._files:
            values = self._values(file)
            self._low = min(self._low, float(values.min()))
            self._high = max(self._high, float(values.max()))
        if self._high <= self._low:
            raise MediaError(
                f"depth maps in {path} hold one value only, {self._low:g}, which says nothing:"
                " make them again"
            )

    def __len__(self) -> int:
        return len(self._files)

    def check_count(self, frames: int | None) -> None:
        """Compares the number of images with that of the frames.

        Raises:
            MediaError: they differ.
        """
        if frames is not None and frames != len(self):
            raise MediaError(
                f"{self._path} holds {len(self)} depth maps and the video {frames} frames:"
                " one for each is needed"
            )

    def read(self, index: int) -> Tensor:
        """Depth of the frame with this index in the video, (1, H, W), 0 = near, 1 = far.

        Raises:
            MediaError: there is none.
        """
        import torch

        place = index - self._first
        if not 0 <= place < len(self):
            raise MediaError(
                f"{self._path} holds {len(self)} depth maps and the video more frames: one for"
                " each is needed"
            )
        depth = (self._values(self._files[place]) - self._low) / (self._high - self._low)
        depth = torch.rot90(depth.clamp(0, 1), self._turn // 90, (1, 2)).contiguous()
        return 1 - depth if self._invert else depth

    def _values(self, file: Path) -> Tensor:
        """An image's values as they are stored, (1, H, W), upright."""
        decoded = read_image(file, self._max_pixels)
        if decoded.damage:
            raise MediaError(f"{file} is damaged ({decoded.damage}): make it again")
        frame = Frame(decoded.image, 0, 0, Fraction(1))
        if (frame.width, frame.height) != self._size:
            raise MediaError(
                f"{file} is {frame.width}x{frame.height} and the frames of {self._video} are"
                f" {self._size[0]}x{self._size[1]}: make depth maps of the same size"
            )
        if frame.non_finite():
            raise MediaError(f"{file} holds NaN or infinity: make it again")
        values = frame.rgb()
        if not bool((values[0] == values[1:]).all()):
            raise MediaError(f"{file} is coloured, and depth maps are gray: make it again")
        return values[:1]
