"""What kind of scenes are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from unblur.errors import UsageError

Mode = Literal["motion", "focus", "joint"]
Range = tuple[float, float]


@dataclass(frozen=True)
class SceneConfig:
    """Ranges that scenes are drawn from. Shares are probabilities, ranges are (low, high).

    Lengths are pixels of the rendered frame; times are in units of the time between two frames.
    """

    mode: Mode = "motion"
    """What blurs: motion; a lens (`focus`, with an exposure too short to matter); or both."""

    layers: tuple[int, int] = (2, 8)
    """Number of layers, background included."""
    scale: Range = (0.8, 1.6)
    """Pixels of a texture per pixel of the frame."""
    object_size: Range = (0.12, 0.5)
    """Radius of a cut-out over the frame's shorter side."""
    edge: Range = (0.6, 3.0)
    """Width of the soft edge of a cut-out."""

    motion: Range = (2.0, 40.0)
    """Usual motion of the quickest layer from one frame to the next; nothing ever moves further
    than the higher number, but for the corners of a turning frame."""
    static: float = 0.06
    """Share of scenes in which nothing moves."""
    light: float = 0.1
    """Share of scenes that move less than 2 px a frame."""
    camera: Range = (0.3, 1.0)
    """The camera's part in the motion; the rest is the objects' own."""
    knots: Range = (0.15, 2.0)
    """Changes of direction per frame; above 1 the camera turns round within an exposure."""
    exposure: Range = (0.2, 1.0)
    """Time the shutter is open."""
    frame_step: Range = (0.5, 1.5)
    """Time from one frame to the next: a factor on the speed of everything, and on nothing else."""
    repeated: float = 0.08
    """Share of clips in which frames are shown twice, as after a change of frame rate."""
    reversed: float = 0.08
    """Share of clips that turn round in time."""
    max_samples: int = 63
    """Sub-frames per exposure at the most."""
    sample_step: float = 1.5
    """Distance between sub-frames. Below 2 px their mean has no steps that a pixel could show: the
    copies of the spectrum that sampling makes begin beyond the finest detail of an image."""

    coc: Range = (2.0, 14.0)
    """Greatest radius of the circle of confusion of a scene."""
    in_focus: float = 0.06
    """Share of focus scenes in which everything is sharp."""
    pull: float = 0.6
    """Share of scenes whose focus moves."""

    simulated: float = 0.0
    """Share of scenes with a lens that are blurred as DaBiT's training and test sets are, in place
    of the lens: each frame, as it is encoded, by square Gaussians whose side grows with the
    distance from the depth in focus (`optics.focal.layered_blur`, `paper`)."""
    kernel: Range = (3.0, 13.0)
    """Side of the largest Gaussian of such a scene."""
    sigma: Range = (2.0, 6.0)
    """Of all its Gaussians."""
    sharp_range: Range = (10.0, 110.0)
    """Depths around the focus that stay sharp, of 255."""

    averaged: float = 0.0
    """Share of clips in which an exposure is the mean of a few frames of sharp video, evenly over
    the frame time: as in data sets made so, what moves far shows as steps."""
    averaged_frames: tuple[int, int] = (3, 7)
    """How many; an even number counts as the next odd one, for a frame stands in the middle."""
    encoded_average: float = 0.1
    """Share of scenes whose sub-frames are averaged as encoded values, as in GoPro's `blur`."""
    srgb: float = 0.4
    """Share of sRGB response curves; the others are powers."""
    gamma: Range = (1.8, 2.4)
    shoulder: float = 0.4
    """Share of response curves that roll off before white."""
    gain: Range = (0.5, 1.4)
    """Brightness of the whole scene."""
    highlights: float = 0.35
    """Share of scenes with lights brighter than white."""
    highlight: Range = (2.0, 12.0)
    """Brightness of those lights; white is 1."""
    noise: float = 0.7
    """Share of scenes with noise."""
    read_noise: Range = (0.0005, 0.012)
    """Sigma in linear light."""
    shot_noise: Range = (0.0001, 0.004)
    """Variance at white in linear light."""
    compressed: float = 0.5
    """Share of clips that went through lossy compression."""
    quality: Range = (30.0, 95.0)
    """Quality of that compression on JPEG's scale."""

    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How textures are sampled. Bicubic keeps more detail and takes twice as long on a CPU."""

    def __post_init__(self) -> None:
        if self.mode not in ("motion", "focus", "joint"):
            raise UsageError(f"mode {self.mode!r} is not known: motion, focus or joint")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise UsageError(f"interpolation {self.interpolation!r}: take bilinear or bicubic")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                low, high = value
                if not (0 <= low <= high < math.inf):
                    raise UsageError(f"{field.name}={value} must be (low, high), low >= 0")
            elif field.name == "sample_step":
                if not 0 < value < 10:
                    raise UsageError(f"sample_step={value} must lie in (0, 10)")
            elif isinstance(value, float) and not 0 <= value <= 1:
                raise UsageError(f"{field.name}={value} must lie in [0, 1]")
        if not 1 <= self.layers[0] <= self.layers[1] <= 16:
            raise UsageError(f"layers={self.layers} must lie in 1 to 16")
        if self.kernel[0] < 3:
            raise UsageError(f"kernel={self.kernel} must be 3 or more")
        if not 2 <= self.averaged_frames[0] <= self.averaged_frames[1] <= 63:
            raise UsageError(f"averaged_frames={self.averaged_frames} must lie in 2 to 63")
        if self.exposure[1] > 1 or self.exposure[0] <= 0:
            raise UsageError(f"exposure={self.exposure} must lie in (0, 1]")
        if self.static + self.light > 1:
            raise UsageError("static + light must be at most 1")
        if self.max_samples < 1:
            raise UsageError(f"max_samples={self.max_samples} must be at least 1")
        for name in (
            "scale",
            "object_size",
            "motion",
            "knots",
            "frame_step",
            "gamma",
            "gain",
            "edge",
            "coc",
            "sigma",
            "highlight",
            "read_noise",
            "shot_noise",
        ):
            if getattr(self, name)[0] <= 0:
                raise UsageError(f"{name} must be above 0")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise UsageError(f"quality={self.quality} must lie in 1 to 100")
