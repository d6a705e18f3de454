"""What cameras, editors and codecs do to clips after they were blurred.

In the order in which it happens: a source that is smaller than the frame, a camera that smooths
noise and sharpens edges, letters that an editor lays over the image, and real encoders
(`data.codec`), sometimes two one after the other; where PyAV is not installed, as on many machines
with a GPU, `synth.compression` stands in, and there are no letters without OpenCV. The truth stays
as it was, letters apart: a network that learns on these clips learns to undo it or to leave it
alone.
"""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.data.codec import Encoding, through
from unblur.ops.gaussian import gaussian_blur
from unblur.ops.resize import bicubic
from unblur.synth.compression import compress, compress_video
from unblur.training.batches import Batch, Source

HAS_ENCODERS = find_spec("av") is not None
HAS_LETTERS = find_spec("cv2") is not None
SHRUNK, SMOOTHED, SHARPENED, TWICE, LED_IN = 0.15, 0.25, 0.3, 0.12, 0.5
"""Shares of clips whose source was smaller, that a camera smoothed, and sharpened; that went
through two encoders; and whose first frame is none that the encoder began with."""
TITLED = 0.08
"""Share of clips with letters over them, blurred or not: subtitles, logos, clocks."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz 0123456789:.,!?"
SMALLEST = 0.55
"""Least size of a smaller source, of the frame's."""
SMALLEST_X265 = 64
"""Least side in pixels that x265 is given: below that of its blocks it writes past its memory."""
CODECS: dict[str, float] = {
    "libx264": 0.52,
    "libx265": 0.16,
    "libvpx-vp9": 0.1,
    "libsvtav1": 0.06,
    "mpeg4": 0.07,
    "mjpeg": 0.09,
}
"""Share of each encoder."""


class Filmed:
    """The clips of another source as they come out of a camera's or an editor's file.

    Args:
        source: of clean clips.
        share: of clips that go through encoders; of these some went through a camera before.
    """

    def __init__(self, source: Source, share: float) -> None:
        self.source, self.share = source, share
        self.pixels_per_clip = source.pixels_per_clip

    def batch(self, clips: int, seed: int) -> Batch:
        """The source's batch of that seed, its blurred frames degraded."""
        made = self.source.batch(clips, seed)
        draw = Draws(seed)
        if draw.chance(TITLED * self.share) and HAS_LETTERS:
            titles = Titles(made.blurred.shape[-2:], draw)
            made = replace(made, blurred=titles(made.blurred), sharp=titles(made.sharp))
        if not HAS_ENCODERS:
            return replace(made, blurred=without_encoders(made.blurred, self.share, draw))
        blurred = [
            degraded(clip, draw) if draw.chance(self.share) else clip for clip in made.blurred
        ]
        return replace(made, blurred=torch.stack(blurred))


class Draws:
    """Random numbers of one seed, apart from those that a source draws from it."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed ^ 0x5EED)

    def between(self, low: float, high: float) -> float:
        """Evenly out of [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def chance(self, share: float) -> bool:
        """True in so many cases out of one."""
        return self.between(0, 1) < share

    def one_of(self, shares: dict[str, float]) -> str:
        """A name, each with its share."""
        weights = torch.tensor(list(shares.values()))
        return list(shares)[int(torch.multinomial(weights, 1, generator=self.generator))]


class Titles:
    """Letters that stand still over a clip, with a dark rim or a box."""

    def __init__(self, size: torch.Size, draw: Draws) -> None:
        import cv2

        height, width = size
        self.ink, self.cover = (np.zeros((height, width), np.uint8) for _ in range(2))
        self.colour = torch.tensor([draw.between(0.7, 1) for _ in range(3)])
        scale = draw.between(0.35, 1.1)
        stroke = 1 + round(scale * draw.between(0, 1.5))
        for _ in range(1 + draw.chance(0.5)):
            count = round(draw.between(4, 24))
            text = "".join(LETTERS[int(draw.between(0, len(LETTERS)))] for _ in range(count))
            at = (round(draw.between(-10, width / 2)), round(draw.between(10, height)))
            face = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)
            font = face[int(draw.between(0, len(face)))]
            cv2.putText(self.ink, text, at, font, scale, 255, stroke, cv2.LINE_AA)
            if draw.chance(0.8):
                cv2.putText(self.cover, text, at, font, scale, 255, stroke + 2, cv2.LINE_AA)

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames (..., 3, H, W) with the letters over them."""
        ink, cover = (torch.from_numpy(x).to(frames) / 255 for x in (self.ink, self.cover))
        colour = self.colour.to(frames)[:, None, None]
        return (frames * (1 - cover)).lerp(colour.expand_as(frames), ink)


def degraded(
    frames: Tensor,  # (T, 3, H, W) in [0, 1]
    draw: Draws,
) -> Tensor:  # (T, 3, H, W) in [0, 1]
    """One clip after camera and encoders, each step drawn."""
    shot = by_camera(frames, draw)
    for _ in range(1 + draw.chance(TWICE)):
        shot = encoded(shot, draw)
    return at_size(shot, frames.shape[-2:])


def without_encoders(
    clips: Tensor,  # (B, T, 3, H, W) in [0, 1]
    share: float,
    draw: Draws,
) -> Tensor:  # (B, T, 3, H, W) in [0, 1]
    """Block quantisation stands in for encoders, on the device that the clips are on.

    Of all clips at once that are of one size: one after the other they would be thousands of
    operations too small for a GPU.
    """
    shots: dict[int, Tensor] = {}
    passes: tuple[dict[int, tuple[float, bool]], ...] = ({}, {})  # quality, and as a video
    for i, clip in enumerate(clips):
        if draw.chance(share):
            shots[i] = by_camera(clip, draw)
            for drawn in passes[: 1 + draw.chance(TWICE)]:
                drawn[i] = (draw.between(12, 95), draw.chance(0.8))
    for drawn in passes:
        alike: dict[tuple[torch.Size, bool], list[int]] = {}
        for i, (_, video) in drawn.items():
            alike.setdefault((shots[i].shape, video), []).append(i)
        for (_, video), some in alike.items():
            quality = torch.tensor([drawn[i][0] for i in some], device=clips.device)
            kind = compress_video if video else compress
            made = kind(torch.stack([shots[i] for i in some]), quality)
            shots.update(zip(some, made, strict=True))
    size = clips.shape[-2:]
    return torch.stack(
        [at_size(shots[i], size) if i in shots else clip for i, clip in enumerate(clips)]
    )


def by_camera(
    frames: Tensor,  # (T, 3, H, W) in [0, 1]
    draw: Draws,
) -> Tensor:  # (T, 3, h, w) in [0, 1]
    """One clip as a camera hands it to the encoder, maybe at a smaller size; each step drawn."""
    size = frames.shape[-2:]
    early = draw.chance(0.5)
    factor = draw.between(SMALLEST, 0.95) if draw.chance(SHRUNK) else 1.0
    if factor < 1:
        small = [max(16, round(side * factor)) for side in size]
        frames = F.interpolate(frames, small, mode="bicubic", antialias=True).clamp(0, 1)
        if early:
            frames = bicubic(frames, size)
    if draw.chance(SMOOTHED):
        frames = smoothed(frames, draw.between(0.3, 1), draw.between(0.01, 0.04))
    if draw.chance(SHARPENED):
        frames = sharpened(frames, draw.between(0.7, 1.8), draw.between(0.2, 1.2))
    return frames


def at_size(frames: Tensor, size: torch.Size) -> Tensor:
    """Frames (T, 3, h, w) brought back to a size."""
    return bicubic(frames, size) if frames.shape[-2:] != size else frames


def encoded(frames: Tensor, draw: Draws) -> Tensor:
    """Through an encoder that is drawn, and settings that are drawn."""
    encoding = draw_encoding(draw)
    if encoding.codec == "libx265" and min(frames.shape[-2:]) < SMALLEST_X265:
        encoding = Encoding("libx264", {"crf": encoding.options["crf"], "preset": "veryfast"})
    if not draw.chance(LED_IN):
        return through(frames.cpu(), encoding).to(frames)
    # The clip before the clip: what counts are then not only frames coded by themselves.
    lead = frames[1:].flip(0)
    return through(torch.cat((lead, frames)).cpu(), encoding)[len(lead) :].to(frames)


def draw_encoding(draw: Draws) -> Encoding:
    """An encoder, and a quality between that of good cameras and that of messengers."""
    codec = draw.one_of(CODECS)
    worse = draw.between(0, 1)  # 0 the best, 1 the worst quality
    if codec == "libx264":
        speed = draw.one_of({"veryfast": 0.4, "fast": 0.2, "medium": 0.4})
        bframes = draw.one_of({"0": 0.3, "2": 0.3, "3": 0.4})
        crf = f"{17 + 17 * worse:.1f}"
        return Encoding(codec, {"crf": crf, "preset": speed, "bf": bframes})
    if codec == "libx265":
        quiet = "log-level=none:pools=none:frame-threads=1"
        crf = f"{19 + 17 * worse:.1f}"
        return Encoding(codec, {"crf": crf, "preset": "veryfast", "x265-params": quiet})
    if codec == "libvpx-vp9":
        options = {"crf": str(round(22 + 28 * worse)), "b": "0", "deadline": "realtime"}
        return Encoding(codec, {**options, "cpu-used": "5"})
    if codec == "libsvtav1":
        options = {"crf": str(round(24 + 28 * worse)), "preset": "10"}
        return Encoding(codec, {**options, "svtav1-params": "lp=1"})
    scale = 2 * math.exp(worse * math.log(6))  # of quantisers, 2 to 12
    return Encoding(codec, {"flags": "+qscale", "global_quality": str(round(scale * 118))})


def smoothed(frames: Tensor, share: float, threshold: float) -> Tensor:
    """Cameras' noise reduction: fine differences below a threshold fade, colour more than luma."""
    soft = gaussian_blur(frames, 1.0)
    detail = frames - soft
    luma = detail.mean(-3, keepdim=True)
    kept = luma.square() / (luma.square() + threshold**2)
    colour = (detail - luma) * (1 - share)
    return (soft + luma * (1 - share * (1 - kept)) + colour).clamp(0, 1)


def sharpened(frames: Tensor, sigma: float, amount: float) -> Tensor:
    """An unsharp mask, as cameras and phones apply it."""
    return (frames + amount * (frames - gaussian_blur(frames, sigma))).clamp(0, 1)
