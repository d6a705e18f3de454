"""How frames of a data set count: as a paper's released code counts them, or every one once.

| | `paper` (BSSTNet, on GoPro and DVD) | `fair` |
|---|---|---|
| seen at once | 48 frames, 4 shared with the window before | 48 frames, 8 shared |
| what counts | never the first and last two of a sequence | every frame, once |
| frames | whole, rounded to 8 bits | whole, as they come |
| PSNR | of 8-bit values, no border left out | that of every other suite |
| SSIM | `metrics.ssim_volume` | `metrics.ssim` |
| mean | over windows, however few frames of one count | over frames |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from unblur.errors import UsageError
from unblur.evaluation.scores import METRICS
from unblur.metrics import psnr, ssim_volume

Mean = Literal["frames", "clips"]

LENGTH = 48
"""Frames of a window."""
PAPER_SHARED, PAPER_DROPPED = 4, 2
"""Frames that windows share, and those at either end of each that do not count."""
FAIR_AROUND = 4
"""Frames on either side of those that count, which methods may use."""
EQUAL = 100.0
"""PSNR in dB of frames that are equal, where the released code has infinity."""


@dataclass(frozen=True)
class Window:
    """Frames `start` to `stop - 1` of a sequence, of which some count."""

    start: int
    stop: int
    scored: tuple[int, ...]
    """Counted from the first frame of the window."""


@dataclass(frozen=True)
class Protocol:
    """How a data set is counted."""

    name: str
    windows: Callable[[int], list[Window]]
    """From the length of a sequence to its windows."""
    metrics: Mapping[str, Callable[[Tensor, Tensor], Tensor]]
    mean: Mean
    flicker: bool
    """True where tOF is taken, over the frames that count."""


def paper_windows(length: int) -> list[Window]:
    """The windows of BSSTNet's released test: 44 frames apart, and a last one at the end.

    Of each the first and last two frames do not count, nor those that counted before. A sequence
    shorter than a window, which that test cannot take, is one window.

    >>> [(w.start, w.start + w.scored[0], w.start + w.scored[-1]) for w in paper_windows(100)]
    [(0, 2, 45), (44, 46, 89), (52, 90, 97)]
    """
    if length <= 2 * PAPER_DROPPED:
        raise UsageError(
            f"a sequence of {length} frames: the paper's protocol leaves out four of each, "
            "take --protocol fair"
        )
    starts = [*range(0, length - LENGTH, LENGTH - PAPER_SHARED), max(0, length - LENGTH)]
    windows, free = [], 0
    for start in starts:
        stop = min(start + LENGTH, length)
        first = max(free, start + PAPER_DROPPED)
        free = stop - PAPER_DROPPED
        windows.append(Window(start, stop, tuple(range(first - start, free - start))))
    return windows


def fair_windows(length: int) -> list[Window]:
    """Windows in which every frame counts once, with up to four around them to see.

    >>> [(w.start, w.stop, w.scored[0], len(w.scored)) for w in fair_windows(50)]
    [(0, 44, 0, 40), (36, 50, 4, 10)]
    """
    step = LENGTH - 2 * FAIR_AROUND
    windows = []
    for first in range(0, length, step):
        last = min(first + step, length)
        start, stop = max(0, first - FAIR_AROUND), min(length, last + FAIR_AROUND)
        windows.append(Window(start, stop, tuple(range(first - start, last - start))))
    return windows


def psnr_of_codes(x: Tensor, truth: Tensor) -> Tensor:
    """PSNR in dB of what 8-bit files would hold."""
    return psnr(codes(x), codes(truth), cap=EQUAL)


def ssim_of_codes(x: Tensor, truth: Tensor) -> Tensor:
    """The released code's SSIM of what 8-bit files would hold."""
    return ssim_volume(codes(x), codes(truth))


def codes(x: Tensor) -> Tensor:
    """Rounded as in a file of 8 bits, still in [0, 1]."""
    return (x.clamp(0, 1) * 255).round() / 255


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "paper",
            paper_windows,
            {**METRICS, "psnr": psnr_of_codes, "ssim": ssim_of_codes},
            "clips",
            flicker=False,
        ),
        Protocol("fair", fair_windows, METRICS, "frames", flicker=True),
    )
}
