"""Real motion blur: means of neighbouring frames of sharp video at a high frame rate."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.data.clips import is_image, read_frames
from unblur.errors import MediaError, UnblurWarning, UsageError
from unblur.metrics.functional import gradient_energy
from unblur.training.batches import Batch, Source, drawing, drawn
from unblur.training.recipe import Recipe

AVERAGED = (5, 13)
"""Frames that an exposure is the mean of."""
CLOSED = 3
"""Frames between two exposures at the most."""
EXPONENT = 3.2
"""Response of a GoPro, measured: code 128 is .125 of the light of code 245, so light is the code to
this power."""
SIZES = (1.0, 0.75, 0.5)
"""To which frames are shrunk, at random."""
PLACES = 4
"""Places that are drawn for a crop; the one with the most detail is taken."""


class Averages:
    """Clips whose exposures are means of real frames, with their real neighbours.

    Args:
        videos: files of sharp video at a high frame rate, or folders of its frames. All frames are
            held in memory, a byte for each value.
        frames: of a clip.
        side: of a clip, in pixels.

    Raises:
        MediaError: a video cannot be read.
        UsageError: it is too short or too small for a clip.
    """

    def __init__(self, videos: Sequence[Path], frames: int, side: int) -> None:
        self.frames, self.side = frames, side
        self.videos = [read_video(path) for path in videos]  # (N, 3, H, W) uint8 each
        for path, video in zip(videos, self.videos, strict=True):
            if len(video) < frames * AVERAGED[0] or min(video.shape[-2:]) < side:
                raise UsageError(
                    f"{path} has {len(video)} frames of {video.shape[-1]}x{video.shape[-2]}: clips "
                    f"of {frames} exposures of {side}x{side} need {frames * AVERAGED[0]} or more"
                )
        self.pixels_per_clip = frames * side * side

    def batch(self, clips: int, seed: int) -> Batch:
        """Draws clips: where, how long an exposure, at what size, and which way in time."""
        return drawn(self._clip, clips, seed)

    def _clip(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        draw = drawing(generator)
        lengths = torch.tensor([float(len(video)) for video in self.videos])
        video = self.videos[int(torch.multinomial(lengths, 1, generator=generator))]
        longest = min(AVERAGED[1], len(video) // self.frames)
        averaged = AVERAGED[0] + draw(longest - AVERAGED[0] + 1)
        closed = min(draw(CLOSED + 1), len(video) // self.frames - averaged)
        step = averaged + closed
        start = draw(len(video) - self.frames * step + 1)
        height, width = video.shape[-2:]
        sizes = [size for size in SIZES if min(height, width) * size >= self.side]
        cut = round(self.side / sizes[draw(len(sizes))])
        places = [(draw(height - cut + 1), draw(width - cut + 1)) for _ in range(PLACES)]
        clip = video[start : start + self.frames * step]
        pieces = [clip[..., top : top + cut, left : left + cut] for top, left in places]
        piece = max(pieces, key=lambda x: float(gradient_energy(x[0].float()).mean()))
        mirrored, back = draw(2), draw(2)
        pair = exposures(piece, self.frames, averaged, self.side)  # 2 x (T, 3, side, side)
        pair = pair.flip(-1) if mirrored else pair
        pair = pair.flip(1) if back else pair
        return pair[0], pair[1]


class Mixture:
    """Batches of one source or, in a share of the steps, of another with clips of the same size."""

    def __init__(self, usual: Source, other: Source, share: float) -> None:
        self.usual, self.other, self.share = usual, other, share
        self.pixels_per_clip = usual.pixels_per_clip

    def batch(self, clips: int, seed: int) -> Batch:
        """A batch of that seed, of the source that it draws."""
        generator = torch.Generator().manual_seed(seed ^ 0x317)
        other = float(torch.rand((), generator=generator)) < self.share
        return (self.other if other else self.usual).batch(clips, seed)


def with_real(source: Source, recipe: Recipe, videos: Sequence[str | Path]) -> Source:
    """The source, with real frames in the share of steps that the recipe names."""
    if recipe.real > 0 and not videos:
        warnings.warn(
            f"the recipe wants {recipe.real:.0%} of real clips: name sharp video at a high frame "
            "rate by --real, or go on without",
            UnblurWarning,
            stacklevel=2,
        )
    if not recipe.real or not videos:
        return source
    real = Averages([Path(video) for video in videos], recipe.frames, recipe.crop)
    return Mixture(source, real, recipe.real)


def exposures(frames: Tensor, count: int, averaged: int, side: int) -> Tensor:
    """Blurred frames and the sharp ones in their middle.

    Args:
        frames: (N, 3, H, W) uint8, square, in the order of time.
        count: of exposures; they begin `N // count` frames apart.
        averaged: frames in each.
        side: that both are shrunk to.

    Returns:
        (2, count, 3, side, side) in [0, 1].
    """
    step = len(frames) // count
    shown = frames[: count * step].unflatten(0, (count, step))[:, :averaged].float() / 255
    mean = shown.pow(EXPONENT).mean(1).pow(1 / EXPONENT)  # (count, 3, H, W)
    both = torch.cat((mean, shown[:, averaged // 2]))
    if both.shape[-1] != side:
        both = F.interpolate(both, (side, side), mode="bilinear", antialias=True)
    # A video has 8 bits.
    return ((both * 255).round() / 255).unflatten(0, (2, count))


def read_video(path: Path) -> Tensor:
    """All frames (N, 3, H, W) of a video file, or of a folder of images, uint8.

    Raises:
        MediaError: it is not there, or cannot be read.
    """
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if is_image(p))
        if not images:
            raise MediaError(f"{path} holds no frames: name a video or a folder of frames")
        return torch.cat([(read_frames([p]) * 255).round().byte() for p in images])
    import av

    try:
        with av.open(os.fspath(path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            frames = [
                torch.from_numpy(image.to_ndarray(format="rgb24")).permute(2, 0, 1)
                for image in container.decode(video=0)
            ]
    except (OSError, av.error.FFmpegError, IndexError) as error:
        raise MediaError(f"{path} cannot be read as video: {error}") from error
    return torch.stack(frames)
