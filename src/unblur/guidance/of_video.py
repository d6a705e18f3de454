"""Depth and blur maps of the frames of a video as they come, from files or found in the frames."""

from __future__ import annotations

import os
import warnings
from typing import Any

from torch import Tensor

from unblur.errors import UnblurWarning
from unblur.guidance.defocus import BlurFromDepth
from unblur.guidance.depth import DepthEstimator, depth_estimator
from unblur.ops.device import choose_device
from unblur.video import Frame, VideoReader
from unblur.video.depth_files import DepthFiles
from unblur.video.sequence import find_images, is_sequence


class DepthOfVideo:
    """Depth of the frames of a video as they come, from files or found in the frames."""

    def __init__(
        self, choice: str | os.PathLike[str], reader: VideoReader | None, invert: bool, device: str
    ) -> None:
        """Opens the source of depth; `choice` as in `unblur.depth`. Files need a video."""
        self._files: DepthFiles | None = None
        self._estimator: DepthEstimator | None = None
        if reader is None or not is_sequence(choice):
            self._estimator = depth_estimator(os.fspath(choice), choose_device(device))
        else:
            whole, part = reader.info.frames, reader.frames
            # Of a part of a video, either all maps are given or those of the part.
            self._of_part = part != whole and len(find_images(choice).files) == part
            count = part if self._of_part else whole
            self._files = DepthFiles(choice, reader.info, invert=invert, frames=count)
            self._unused = self._of_part or part == whole
        self._seen = 0
        self._first = 0

    def __call__(self, frame: Frame, rgb: Tensor) -> Tensor:
        """Depth (1, 1, H, W) of a frame, whose image is `rgb` (1, 3, H, W)."""
        if self._files is None:
            assert self._estimator is not None  # noqa: S101
            return self._estimator(rgb)
        if self._seen == 0 and self._of_part:
            self._first = frame.index
        self._seen += 1
        return self._files.read(frame.index - self._first)[None]

    def skip(self, frame: Frame) -> None:
        """A frame comes whose depth is not wanted."""
        if self._files is not None and self._seen == 0 and self._of_part:
            self._first = frame.index
        self._seen += 1

    def restart(self) -> None:
        """The next frame is the first of a shot."""
        if self._estimator is not None:
            self._estimator.restart()

    def expect(self, frames: int) -> None:
        """Says how many frames will come, for videos that do not tell when they are opened.

        Raises:
            MediaError: there are fewer depth maps.
        """
        if self._files is not None and self._unused and frames > len(self._files):
            self._files.check_count(frames)

    def finish(self) -> None:
        """Warns of depth maps that no frame came for."""
        if self._files is not None and self._unused and self._seen < len(self._files):
            warnings.warn(
                f"{len(self._files)} depth maps were given and {self._seen} frames came: are they"
                " of this video?",
                UnblurWarning,
                stacklevel=3,
            )


class FocusOfVideo:
    """Depth and blur map of the frames of a video as they come: what the engine requests.

    Args:
        choice: where depth comes from, as in `unblur.depth`.
        reader: the video; None for a tensor, to which no files belong.
        invert: near is bright in depth maps from files.
        device: where depth and blur are found.
    """

    def __init__(
        self,
        choice: str | os.PathLike[str] = "builtin",
        reader: VideoReader | None = None,
        invert: bool = False,
        device: str = "auto",
    ) -> None:
        self._depth = DepthOfVideo(choice, reader, invert, device)
        self._by_depth = None if choice == "builtin" else BlurFromDepth(choose_device(device))

    def __call__(self, image: Any, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and blur map (1, 1, H, W) of a frame, in half precision: many are held."""
        depth = self._depth(image, rgb)
        held = depth.cpu().half()
        if self._by_depth is None:  # the stand-in for depth is itself a measure of blur
            return held, held
        return held, self._by_depth(rgb, depth.to(rgb)).cpu().half()

    def skip(self, frame: Frame) -> None:
        """A frame comes whose maps are not wanted."""
        self._depth.skip(frame)

    def restart(self) -> None:
        """The next frame is the first of a shot."""
        self._depth.restart()
        if self._by_depth is not None:
            self._by_depth.restart()

    def expect(self, frames: int) -> None:
        """See `DepthOfVideo`."""
        self._depth.expect(frames)

    def finish(self) -> None:
        """Warns of depth maps that no frame came for."""
        self._depth.finish()
