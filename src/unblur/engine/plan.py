"""What runs when: spatial tiles, temporal windows, and how much of each fits into memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from unblur.engine.fusion import Fusion
from unblur.errors import ResourceError, UnblurWarning
from unblur.restorers.base import Restorer, Tiling

SMALLEST_TILE = 64
"""Side in pixels."""
HELD_BYTES = 6
"""Per pixel of a frame that waits for its window or may become a reference: its own planes, and
depth and blur map in half precision."""
RGB_BYTES = 3 * 4
"""Per pixel of an image."""
TOO_LITTLE = (
    "{more:,.0f} MB more by --max-memory or by closing other programs, or take a smaller --window, "
    "--tile or --model"
)
SPARE = 5_000_000
"""Bytes by which a limit that is recommended is above the least."""
SHORTEST_WINDOW = 3
"""Frames: fewer, and a temporal network has no neighbours on both sides."""


class Tile(NamedTuple):
    """A rectangle of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class MemoryPlan:
    """How a job is cut up so that it fits into memory."""

    tiling: Tiling | None
    """None: whole frames."""
    window: int | None
    """Longest window in frames. None: the restorer's own."""


def choose_fit(
    restorer: Restorer,
    height: int,
    width: int,
    budget: int,
    tile: int | None = None,
    window: int | None = None,
    free: int | None = None,
    limit: int | None = None,
    fusion: Fusion | None = None,
) -> MemoryPlan:
    """The largest pieces whose estimated peak stays within `budget` bytes.

    Whole frames before tiles, tiles before windows in which frames become something else, since
    most of what a temporal network knows comes from other frames; tiles smaller than the restorer's
    own come last.

    Args:
        restorer: gives the estimates.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        budget: bytes that the network, and what puts its frames together, may use.
        tile: side of a tile in pixels if the user wants one; 0 for whole frames.
        window: frames per window if the user wants that.
        free: bytes there are just now. Where they are fewer than the budget and do not suffice,
            pieces get smaller, with a warning: the result then differs a little.
        limit: bytes of which `budget` is what is left beside the program, for messages.
        fusion: what puts the restored frames together, if anything does.

    Raises:
        ResourceError: even the smallest piece needs more than `budget`.
    """
    planned: MemoryPlan | None = None
    room = budget if free is None else min(budget, free)
    least = 0
    for fit in candidates(restorer, height, width, tile, window):
        need = bytes_needed(restorer, fit, height, width, fusion)
        least = need if least == 0 else min(least, need)
        planned = fit if planned is None and need <= budget else planned
        if need <= room:
            if not same_frames(restorer, fit, planned):
                warnings.warn(
                    f"only {room / 1e6:,.0f} MB of memory are free: frames are cut finer than this "
                    "machine would do otherwise, and the result differs a little; close other "
                    "programs for the usual one",
                    UnblurWarning,
                    stacklevel=3,
                )
            return fit
    if limit is not None:
        # Programs differ by a few MB from run to run: what is said is to be enough the next time.
        enough = -(-(limit + least - room + SPARE) // 10_000_000) * 10
        raise ResourceError(
            f"{restorer.info.name} needs --max-memory {enough}MB"
            f" at least for frames of {width}x{height}: allow it, or take a smaller --window,"
            " --tile or --model"
        )
    raise ResourceError(
        f"{restorer.info.name} needs at least {least / 1e6:,.0f} MB beside the program itself for "
        f"frames of {width}x{height}, {room / 1e6:,.0f} MB are left: allow "
        + TOO_LITTLE.format(more=(least - room) / 1e6)
    )


def same_frames(restorer: Restorer, fit: MemoryPlan, other: MemoryPlan | None) -> bool:
    """True where frames become the same whichever of the two is taken."""
    if other is None or fit.tiling != other.tiling:
        return False
    info = restorer.info
    windows = [plan.window or info.window for plan in (fit, other)]
    return fit.window == other.window or (
        info.same_from is not None and min(windows) >= info.same_from
    )


def bytes_needed(
    restorer: Restorer, fit: MemoryPlan, height: int, width: int, fusion: Fusion | None = None
) -> int:
    """Estimated peak in bytes, of the network or of the fusion: they never run at the same time.

    While the network runs there are the frames of its window, and what the fusion keeps of earlier
    ones; while frames are put together the window's restored frames wait.
    """
    info = restorer.info
    frames = fit.window or info.window
    pixels, restored = height * width, info.scale**2 * height * width
    reach = info.reach or 0  # those of the whole clip wait on disk
    held = HELD_BYTES * 2 * reach * min(frames, info.window) // info.window * pixels
    # As stored, as shown; as restored, as given back.
    network = (2 * RGB_BYTES + info.guidance_bytes) * frames * pixels
    network += 2 * RGB_BYTES * frames * restored
    if fit.tiling is None:
        network += restorer.peak_bytes(frames, height, width)
    else:
        sides = (min(side, fit.tiling.size) for side in (height, width))
        network += restorer.peak_bytes(frames, *sides)
    if fusion is None:
        return held + network
    size = info.scale * height, info.scale * width
    waiting = frames * (RGB_BYTES * restored + HELD_BYTES * pixels)
    return held + fusion.held_bytes(*size) + max(network, waiting + fusion.working_bytes(*size))


def candidates(
    restorer: Restorer, height: int, width: int, tile: int | None, window: int | None
) -> Iterator[MemoryPlan]:
    """Ways to cut a job up, from the largest pieces to the smallest."""
    own = restorer.info.tiling
    longest = max(height, width)
    fitting = longest <= own.size
    usual: list[Tiling | None] = (
        [None] if fitting or tile == 0 else [None, *larger(own, longest), own]
    )
    smaller: list[Tiling | None] = []
    if tile or own.always:
        usual = [resized(own, tile) if tile else own]
    elif tile is None:
        side = own.size // 2
        while side >= max(SMALLEST_TILE, restorer.info.sizes.minimum):
            smaller.append(resized(own, side))
            side //= 2
    as_good: list[int | None] = [window]
    shorter: list[int | None] = []
    length, same_from = restorer.info.window, restorer.info.same_from or restorer.info.window
    while window is None and length > SHORTEST_WINDOW:
        length = max(length // 2, same_from if length > same_from else SHORTEST_WINDOW)
        (as_good if length >= same_from else shorter).append(length)
    yield from (MemoryPlan(tiling, frames) for tiling in usual for frames in as_good)
    yield from (MemoryPlan(tiling, frames) for frames in shorter for tiling in usual)
    yield from (MemoryPlan(tiling, [*as_good, *shorter][-1]) for tiling in smaller)


def larger(own: Tiling, longest: int) -> list[Tiling]:
    """Tiles between the own ones and a frame whose longer side is `longest`, largest first."""
    found: list[Tiling] = []
    side = 2 * own.size
    while own.larger and side < longest:
        found.insert(0, resized(own, side))
        side *= 2
    return found


def resized(tiling: Tiling, size: int) -> Tiling:
    """The same way of tiling with another tile size; the overlap shrinks along."""
    return replace(tiling, size=size, overlap=min(tiling.overlap, size // 4), always=True)


def starts(length: int, size: int, overlap: int) -> list[int]:
    """First pixels of tiles along one axis; the last tile ends at the border.

    >>> starts(854, 256, 64)
    [0, 192, 384, 576, 598]
    """
    if length <= size:
        return [0]
    regular = list(range(0, length - size, size - overlap))
    return [*regular, length - size]


def tiles(height: int, width: int, tiling: Tiling | None) -> list[Tile]:
    """Tiles that together cover a frame of that size; the whole frame without a tiling."""
    if tiling is None:
        return [Tile(0, 0, height, width)]
    return [
        Tile(top, left, min(tiling.size, height), min(tiling.size, width))
        for top in starts(height, tiling.size, tiling.overlap)
        for left in starts(width, tiling.size, tiling.overlap)
    ]


def ramp(
    length: int, start: int, size: int, overlap: int, merge: str, device: torch.device
) -> Tensor:  # (size,)
    """Weight of a tile along one axis, before the sum over tiles is divided out.

    1 inside and at the frame's own borders; towards another tile it falls linearly over the
    overlap (`feather`) or is zero over half of it (`hard`, as BSSTNet's published code merges).
    """
    weight = torch.ones(size, device=device)
    if overlap == 0:
        return weight
    if merge == "hard":
        slope = (torch.arange(size, device=device) >= overlap // 2).float()
    else:
        slope = ((torch.arange(size, device=device) + 0.5) / overlap).clamp(max=1.0)
    if start > 0:
        weight = weight * slope
    if start + size < length:
        weight = weight * slope.flip(0)
    return weight


def tile_weight(
    tile: Tile, height: int, width: int, tiling: Tiling | None, device: torch.device
) -> Tensor:  # (tile.height, tile.width)
    """Weight of each pixel of a tile in the blend."""
    overlap, merge = (0, "hard") if tiling is None else (tiling.overlap, tiling.merge)
    rows = ramp(height, tile.top, tile.height, overlap, merge, device)
    cols = ramp(width, tile.left, tile.width, overlap, merge, device)
    return rows[:, None] * cols[None, :]
