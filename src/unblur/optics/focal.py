"""Focal blur put onto sharp images whose depth is known.

`layered_blur` is the simulator of DaBiT (arXiv 2407.01230), once as its released code computes and
once as the paper writes; `defocus` is what a lens does: disks, linear light, occlusion.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import UsageError
from unblur.ops.gaussian import gaussian
from unblur.optics.thin_lens import NO_BLUR, lens_blur

Mode = Literal["official", "paper"]
TOP = 255.0
LAYERS_PER_PIXEL = 2
"""Layers of `defocus` for each pixel of the greatest radius."""
MOST_LAYERS = 64
EDGE = 3.0
"""Layers between neighbouring pixels from which on one occludes the other."""


@dataclass(frozen=True)
class LayeredBlur:
    """How DaBiT's simulator blurs; depths are 0 to 255."""

    max_kernel: float
    """Side of the largest Gaussian kernel; made odd."""
    focus_range: float
    """Extent of the depths around the focus that stay sharp."""
    sigma: float
    """Of every kernel: only the side changes with depth."""
    layers: int = 254
    """Steps of depth, fewer than 255."""
    min_kernel: float = 0
    """Side of the smallest kernel outside the sharp range; below 2 it blurs nothing."""
    mode: Mode = "official"

    def __post_init__(self) -> None:
        if not 1 <= self.layers < TOP or self.sigma <= 0 or self.focus_range < 0:
            raise UsageError(
                "focal blur needs 1 to 254 layers, a sigma above 0 and a focus range of 0 or more"
            )

    def kernels(self, focus: float) -> list[int]:
        """Side of the kernel of each layer, odd; 1 blurs nothing."""
        step = TOP / self.layers
        return [self._kernel(i * step, focus) for i in range(self.layers)]

    def sides(self, depth: Tensor, focus: float) -> Tensor:
        """Side of the kernel (1, H, W) at each pixel of a depth (1, H, W), 0 to 255."""
        if self.mode == "paper":
            focus = min(max(focus, 0.0), TOP)
        sides = torch.tensor(self.kernels(focus))
        edges = torch.arange(1, self.layers, dtype=torch.float64) * (TOP / self.layers)
        # A layer holds its upper edge and not its lower one.
        return sides.to(depth.device)[torch.bucketize(depth.contiguous(), edges.to(depth))]

    def radii(self, depth: Tensor, focus: float) -> Tensor:
        """Radius (1, H, W) of the disk that spreads light as far as the kernel at each pixel.

        As far: with as great a variance, which for a disk is a quarter of its radius squared.
        """
        side = self.sides(depth, focus)
        radius = torch.zeros_like(depth)
        for k in side.unique().tolist():
            line = gaussian(k // 2, self.sigma)
            x = torch.arange(k) - k // 2
            radius[side == k] = 2 * math.sqrt(float((line * x**2).sum()))
        return radius

    def _kernel(self, depth: float, focus: float) -> int:
        least, span = self.min_kernel, self.max_kernel - self.min_kernel
        low, high = focus - self.focus_range // 2, focus + self.focus_range // 2
        if low <= depth <= high:
            return 1
        if self.mode == "paper":
            # One slope on both sides, such that the depth farthest from the focus blurs most.
            reach = self.focus_range / 2
            longest = max(focus, TOP - focus) - reach
            side = int(least + (abs(depth - focus) - reach) / longest * span)
        elif depth < low:
            side = int(self.max_kernel - depth / low * span)
        else:
            side = int(least + (depth - high) / (TOP - high) * span)
        return side + (side % 2 == 0)


def focus_path(start: float, rate: float, frames: int, reverse: bool = False) -> list[float]:
    """Depth in focus of each frame: `rate` further with each, backwards in time if `reverse`."""
    path = [start + rate * t for t in range(frames)]
    return path[::-1] if reverse else path


def layered_blur(
    image: Tensor, depth: Tensor, focus: float, setting: LayeredBlur
) -> tuple[Tensor, Tensor]:
    """Blurs an image layer by layer of depth, by Gaussians of a fixed sigma and a growing side.

    Each layer is cut out of a blurred copy of the whole image, so nothing is occluded. `official`
    has a slope of its own on each side of the focus, cuts blurred values to whole numbers, and
    stretches the result to 0..255; `paper` does neither.

    Args:
        image: (3, H, W), 0 to 255 as in an 8-bit file: the whole numbers matter in `official`.
        depth: (1, H, W), 0 to 255.
        focus: the depth in focus; in `official` it may lie outside 0..255.
        setting: how to blur.

    Returns:
        The blurred image, 0 to 255, and the side of the kernel at each pixel (1, H, W).
    """
    side = setting.sides(depth, focus)
    blurred = torch.zeros_like(image)
    for k in side.unique().tolist():
        copy = gaussian_blur(image, k, setting.sigma) if k > 1 else image
        if setting.mode == "official":
            copy = copy.trunc()
        blurred = torch.where(side == k, copy, blurred)
    if setting.mode == "official":
        low, high = blurred.min(), blurred.max()
        if high > low:
            blurred = (blurred - low) / (high - low) * TOP
    return blurred, side.to(image)


def gaussian_blur(image: Tensor, side: int, sigma: float) -> Tensor:
    """Blurs (3, H, W) by a Gaussian cut off to `side` pixels, the image mirrored at its rim."""
    half = side // 2
    if half >= min(image.shape[-2:]):
        raise UsageError(
            f"an image of {image.shape[-1]}x{image.shape[-2]} is too small for a kernel of"
            f" {side} pixels: lower the blur"
        )
    line = gaussian(half, sigma).to(image)
    kernel = torch.outer(line, line).expand(len(image), 1, -1, -1)
    padded = F.pad(image[None], (half, half, half, half), mode="reflect")
    return F.conv2d(padded, kernel, groups=len(image))[0]


@dataclass(frozen=True)
class FocusPull:
    """The depth in focus over time: straight lines between keyframes."""

    times: tuple[float, ...]
    """Seconds, in order."""
    depths: tuple[float, ...]

    def __call__(self, time: float) -> float:
        """Depth in focus at a time in seconds; constant before the first key and after the last."""
        i = bisect_right(self.times, time)
        if i == 0 or i == len(self.times):
            return self.depths[max(0, i - 1)]
        share = (time - self.times[i - 1]) / (self.times[i] - self.times[i - 1])
        return self.depths[i - 1] + share * (self.depths[i] - self.depths[i - 1])

    @classmethod
    def through(cls, keys: Sequence[tuple[float, float]]) -> FocusPull:
        """From pairs of seconds and depth, in any order.

        Raises:
            UsageError: there is none, or two at the same time.
        """
        ordered = sorted(keys)
        times = tuple(time for time, _ in ordered)
        if not times or len(set(times)) < len(times):
            raise UsageError("a focus pull needs at least one key, and no two at the same time")
        return cls(times, tuple(depth for _, depth in ordered))


def defocus(light: Tensor, depth: Tensor, focus: float, radius: float) -> tuple[Tensor, Tensor]:
    """Blurs a sharp image as a thin lens with a round aperture would.

    The circle of confusion grows with the distance in 1 / metres from the plane in focus, which is
    what `depth` counts. Light of each layer is spread over its disk and layers are put together
    from front to back, each getting what those in front leave open: so a sloping plane keeps its
    light, nothing behind bleeds over what is in focus, and what is behind a blurred edge shines
    through it. Of that the image shows nothing: the nearest visible light behind stands in.

    Args:
        light: (3, H, W) linear light.
        depth: (1, H, W), 0 = near, 1 = far, linear in 1 / distance, with sharp edges.
        focus: the depth in focus.
        radius: of the circle of confusion in pixels, one unit of depth away from the focus.

    Returns:
        Light (3, H, W), and the radius of the circle of confusion (1, H, W) in pixels.
    """
    coc = radius * (depth - focus).abs()
    if float(coc.max()) < NO_BLUR:
        return light, coc
    count = min(MOST_LAYERS, max(2, math.ceil(LAYERS_PER_PIXEL * radius) + 1))
    places = depth * (count - 1)  # (1, H, W), whole at the middle of a layer
    hidden, behind, hidden_places = uncovered(light, places, math.ceil(float(coc.max())))
    out = torch.zeros_like(light)
    left = torch.ones_like(depth)
    for i in range(count):
        own = (1 - (places - i).abs()).clamp_min(0)
        back = (1 - (hidden_places - i).abs()).clamp_min(0) * hidden
        if not bool((own + back).any()):
            continue
        r = radius * abs(i / (count - 1) - focus)
        spread = disk_blur(torch.cat((light * own + behind * back, own + back)), r)
        cover = spread[3:]
        share = torch.minimum(cover, left)
        out += spread[:3] * (share / cover.clamp_min(1e-6))
        left -= share
    return out / (1 - left).clamp_min(1e-6), coc


def uncovered(light: Tensor, places: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """Grows what lies behind an edge of depth under what lies in front, `reach` pixels far.

    Args:
        light: (3, H, W).
        places: (1, H, W) depth in layers.
        reach: pixels.

    Returns:
        Where something was found (1, H, W), 0 or 1; its light (3, H, W); its place (1, H, W).
    """
    found, color = places, light
    for _ in range(reach):
        farthest = F.max_pool2d(found[None], 3, 1, 1)[0]
        grows = farthest - found > EDGE
        if not bool(grows.any()):
            break
        # The mean of those neighbours that are about as far as the farthest.
        near = F.unfold(found[None], 3, padding=1).view(9, *found.shape[1:])
        here = F.unfold(torch.ones_like(found)[None], 3, padding=1).view(9, *found.shape[1:])
        weight = ((near > farthest - EDGE) & (here > 0)).to(light)  # (9, H, W)
        around = F.unfold(color[None], 3, padding=1).view(3, 9, *found.shape[1:])
        mean = (around * weight).sum(1) / weight.sum(0).clamp_min(1)
        color = torch.where(grows, mean, color)
        found = torch.where(grows, farthest, found)
    hidden = (found - places > EDGE).to(light)
    return hidden, color, found


def disk_blur(x: Tensor, radius: float) -> Tensor:
    """Blurs (C, H, W) by a disk; beyond its rim the image goes on as it ends."""
    if radius < NO_BLUR:
        return x
    reach = math.ceil(radius) + 1
    padded = F.pad(x[None], (reach, reach, reach, reach), mode="replicate")
    blurred = lens_blur(padded, torch.tensor([radius], device=x.device), reach)
    return blurred[0, :, reach:-reach, reach:-reach]
