"""Depth of a clip: where it comes from, and in what form.

Depth is (T, 1, H, W), 0 = near, 1 = far. It comes from the image (`builtin`), from a network
(`depth-anything`), or from files, which `unblur.video.depth_files` reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from unblur.errors import MediaError, UsageError
from unblur.guidance.coc import DefocusMap
from unblur.guidance.steady import steady

FOLLOW = 0.15
"""Share by which the limits of a network's depth follow those of a new frame."""
OUTER = 0.01
"""Share of the pixels at either end that do not count for the limits."""
MOST_SAMPLES = 100_000


class DepthEstimator(Protocol):
    """Finds the depth of the frames of a scene, in order; remembers the frames before."""

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) RGB in [0, 1] to (T, 1, H, W)."""
        ...

    def restart(self) -> None:
        """Forgets: the next frame is the first of a scene."""
        ...


class DisparityDepth:
    """Depth from a network that gives the inverse of distance in a unit of its own for each frame.

    The limits follow the clip slowly, so that neither unit nor noise makes depth flicker.
    """

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        """`network` takes (1, 3, H, W) RGB and gives (1, 1, H, W), larger = nearer."""
        self._network = network
        self.restart()

    def restart(self) -> None:
        """See `DepthEstimator`."""
        self._limits: Tensor | None = None
        self._before: Tensor | None = None

    def __call__(self, frames: Tensor) -> Tensor:
        """See `DepthEstimator`.

        Raises:
            MediaError: the network finds no depth in a frame.
        """
        found = []
        for frame in frames.split(1):
            near = self._network(frame).float()
            limits = outer_values(near)
            if self._limits is not None:
                limits = self._limits + FOLLOW * (limits - self._limits)
            self._limits = limits
            low, high = limits
            if not bool(torch.isfinite(near).all()) or float(high - low) <= 0:
                raise MediaError(
                    "the network for depth finds none in a frame: give depth from files, or take"
                    " --depth builtin"
                )
            found.append(1 - ((near - low) / (high - low)).clamp(0, 1))
        depth = steady(torch.cat(found), self._before)
        self._before = depth[-1]
        return depth


def outer_values(values: Tensor) -> Tensor:
    """The two values that all but `OUTER` of the rest lie between."""
    flat = values.flatten()
    flat = flat[:: -(-flat.numel() // MOST_SAMPLES)]
    return flat.quantile(torch.tensor([OUTER, 1 - OUTER], device=flat.device))


def per_frame(near: Tensor) -> Tensor:
    """Depth from the inverse of distance, each frame stretched on its own: as DaBiT's release does.

    Args:
        near: (T, 1, H, W), larger = nearer.

    Raises:
        MediaError: a frame has one value only, or one that is not finite.
    """
    low, high = near.amin((1, 2, 3), keepdim=True), near.amax((1, 2, 3), keepdim=True)
    if not bool(torch.isfinite(near).all()) or bool((high <= low).any()):
        raise MediaError(
            "depth of a frame has one value only, or one that is not a number: make it again"
        )
    return 1 - (near - low) / (high - low)


def depth_estimator(name: str, device: torch.device | str = "cpu") -> DepthEstimator:
    """The source of depth that a user names: `builtin` or `depth-anything`.

    `builtin` is a stand-in: what is sharp counts as near, what is blurred as far. It distinguishes
    what lies in focus from what does not, which is what guidance for focal blur needs most; what
    lies in front of the focus comes out as far as what lies behind it.

    Raises:
        UsageError: no such name, or the extra `priors` is not installed.
        WeightsError: the network's weights are not on this machine.
    """
    if name == "builtin":
        return DefocusMap(device)
    if name == "depth-anything":
        from unblur.guidance.depth_anything import load_depth_anything

        return DisparityDepth(load_depth_anything(device))
    raise UsageError(
        f"no depth called '{name}': name a folder of depth maps that exists, builtin or"
        " depth-anything"
    )
