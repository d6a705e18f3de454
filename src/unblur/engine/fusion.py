"""Restored frames put together with their restored neighbours, in a stream.

A network restores each frame by itself or nearly so, and what it finds differs from frame to frame:
laid over one another, neighbours repair what this one lacks (`ops.fusion`). Only what agrees with a
frame takes part, by as much as can be expected of how much was restored; a frame that the network
left as it was stays so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from unblur.errors import UsageError, is_out_of_memory
from unblur.ops import memory
from unblur.ops.fusion import (
    CHANGE,
    LEAST,
    POWER,
    RAMP,
    SHARE,
    TILE,
    agreement,
    change_map,
    enlarged,
    returns,
    smoothed,
    spectral_mean,
)
from unblur.ops.warp import compose
from unblur.restorers.base import RestorerInfo

Fuse = int | str
"""Frames on either side that a restored frame is fused with, `auto` or `off`."""
WIDEST = 8
"""Frames on either side that can be requested where frames are fused."""
HOP = TILE - RAMP
ROWS = 8 * HOP
"""Rows of a frame that are put together at once; a multiple of `HOP`: tiles keep one grid."""
SLACK = 16
"""Rows beyond the last tile that the smoothing of gates looks at; even."""
KEPT_BYTES = 6 + 1
"""Per pixel of each frame within reach: its codes, and what motion is found in."""
BEFORE_BYTES = 12
"""Per pixel of each of them in the first pass: the frame as it was before it was restored."""
PAIR_BYTES = 6
"""Per pixel of each pair of frames: motion both ways, of half size."""
PASSING_BYTES = 60
"""Per pixel: a frame that comes, before and after, and one that is put together or goes on."""
STRICTER = 0.35
"""Part of the share of change that is allowed when fused frames are put together again: they differ
by less than restored ones."""
BESIDE = 3
"""Rows on either side of a place that values there depend on, and one more."""
FOUND = 0.75
"""Part of the restored frame in what motion is found in; the rest is the frame as it came, which
shows motion better where much was restored wrongly."""
BLOCK_BYTES = 100
"""Per pixel of a block and frame within reach, at the peak."""

P = TypeVar("P")


class Alignment(Protocol):
    """Lays frames over one another."""

    def look(self, image: Tensor) -> Any:
        """What it needs of an image (3, H, W), encoded RGB in [0, 1], to find motion."""
        ...

    def flow(self, here: Any, there: Any, guess: Tensor | None = None) -> Tensor:
        """Flow (2, h, w) between two of them in pixels of half size, at least half the frame.

        It begins with a guess, (2, half the height, half the width), where there is one.
        """
        ...

    def take(self, image: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
        """Values (3, h, w) of an image (3, H, W) at places (h, w), without loss of sharpness."""
        ...


@dataclass(frozen=True)
class Fusion:
    """How restored frames are put together."""

    radius: int
    """Frames on either side, at least 1."""
    alignment: Alignment
    device: torch.device
    """Where it computes."""
    power: float = POWER
    least: float = LEAST
    share: float = SHARE
    """As in `ops.fusion`."""
    again: int = 1
    """Frames on either side that the fused frames are put together with again; 0: not again."""

    @property
    def reach(self) -> int:
        """Frames on either side that a frame depends on."""
        return self.radius + self.again

    def held_bytes(self, height: int, width: int) -> int:
        """What it keeps of restored frames of that size, also while the network runs."""
        first, again = self._within()
        held = first * (KEPT_BYTES + BEFORE_BYTES) + again * KEPT_BYTES + PASSING_BYTES
        held += PAIR_BYTES * (pairs(self.radius) + pairs(self.again))
        return held * height * width

    def working_bytes(self, height: int, width: int) -> int:
        """What it takes beside that while a frame is put together; the network then rests."""
        rows = min(height, ROWS + 2 * HOP + SLACK)
        return max(self._within()) * BLOCK_BYTES * rows * width

    def peak_bytes(self, height: int, width: int) -> int:
        """What it adds to memory at its own peak."""
        return self.held_bytes(height, width) + self.working_bytes(height, width)

    def _within(self) -> tuple[int, int]:
        """Frames within reach of one, the first time and again."""
        return 2 * self.radius + 1, 2 * self.again + 1 if self.again else 0


def pairs(radius: int) -> int:
    """Pairs of frames whose motion is held at once: with the frame in the middle, across it, and
    between those that come after it.
    """
    return 2 * radius + radius * (radius - 1) // 2 + max(radius - 1, 0)


def choose_radius(fuse: Fuse, info: RestorerInfo) -> int:
    """Frames on either side that a restored frame is fused with; 0 for none.

    Args:
        fuse: their number, `off`, or `auto` for what the preset was measured to do best with.
        info: of the preset, with the scale that is wanted; enlarged frames were not measured.

    Raises:
        UsageError: it is none of these.
    """
    if fuse == "auto":
        return info.fuse if info.scale == 1 else 0
    if fuse == "off":
        return 0
    if isinstance(fuse, str) and fuse.isdecimal():
        fuse = int(fuse)
    if isinstance(fuse, str) or not 1 <= fuse <= WIDEST:
        raise UsageError(f"fuse '{fuse}': use auto, off, or 1 to {WIDEST} frames on either side")
    return fuse


def choose_fusion(fuse: Fuse, info: RestorerInfo, device: torch.device) -> Fusion | None:
    """How the frames that a model restored are put together; None where they are left alone."""
    from unblur.guidance.align import DisAlignment  # OpenCV, which nothing else here needs

    radius = choose_radius(fuse, info)
    return Fusion(radius, DisAlignment(), device) if radius else None


class Kept(NamedTuple):
    """A restored frame as it waits for its neighbours."""

    codes: Tensor
    """(3, H, W) int16, the range [0, 1] in 65,536 steps."""
    features: Any
    """What the alignment computed of it."""
    change: Tensor
    """`ops.fusion.change_map` of what was restored."""

    def image(self, device: torch.device, rows: slice = slice(None)) -> Tensor:
        """Rows of it, (3, h, W) float32."""
        return (self.codes[:, rows].to(device).float() + 32768) / 65535


class Motion(NamedTuple):
    """From one frame to another, both of half size."""

    flow: Tensor
    """(2, h, w)."""
    valid: Tensor
    """(1, h, w), 1 where the way back returns."""


def fuse(
    restored: Iterable[tuple[P, Tensor, Tensor]], fusion: Fusion, first: int = 0
) -> Iterator[tuple[P, Tensor]]:
    """Puts the frames of one shot together with their neighbours.

    Fused frames agree better than restored ones, and are put together once more.

    Args:
        restored: what belongs to each frame, its image before and after it was restored,
            (3, H, W) each, encoded RGB in [0, 1].
        fusion: how.
        first: so many at the beginning are neighbours, and do not come out.

    Yields:
        What belongs to each frame, and its image; no more are held than lie within reach.
    """
    if not fusion.again:
        yield from fuse_once(restored, fusion, first)
        return
    begin = max(0, first - fusion.again)
    items = (((belonging, before), before, after) for belonging, before, after in restored)
    fused = (
        (belonging, before, image) for (belonging, before), image in fuse_once(items, fusion, begin)
    )
    second = replace(fusion, radius=fusion.again, share=STRICTER * fusion.share)
    yield from fuse_once(fused, second, first - begin)


def fuse_once(
    restored: Iterable[tuple[P, Tensor, Tensor]], fusion: Fusion, first: int = 0
) -> Iterator[tuple[P, Tensor]]:
    """As `fuse`, without a second time."""
    radius = fusion.radius
    kept: dict[int, tuple[P, Kept]] = {}
    motions: dict[tuple[int, int], Motion] = {}
    arrived = 0

    def motion(here: int, there: int) -> Motion:
        if (here, there) not in motions:
            # Always from the earlier frame, so that it is the same wherever a shot is gone on with.
            a, b = sorted((here, there))
            guesses = None
            if b - a > 1:
                guesses = (
                    compose(motion(a, b - 1).flow[None], motion(b - 1, b).flow[None])[0],
                    compose(motion(b, b - 1).flow[None], motion(b - 1, a).flow[None])[0],
                )
            found = both_ways(kept[a][1], kept[b][1], fusion.alignment, guesses)
            motions[a, b], motions[b, a] = found
        return motions[here, there]

    def finished(index: int) -> tuple[P, Tensor]:
        others = [(kept[i][1], motion(index, i)) for i in kept if i != index]
        belonging, this = kept[index]
        image = put_together(this, others, fusion)
        for pair in [pair for pair in motions if max(pair) <= index]:
            del motions[pair]
        kept.pop(index - radius, None)
        return belonging, image

    for belonging, before, after in restored:
        codes = (after.clamp(0, 1) * 65535 - 32768).round().to(torch.int16)
        features = fusion.alignment.look(torch.lerp(before, after, FOUND))
        kept[arrived] = belonging, Kept(codes, features, change_map(before, after))
        arrived += 1
        if arrived - 1 - radius >= first:
            yield finished(arrived - 1 - radius)
        else:
            kept.pop(arrived - 1 - 2 * radius, None)
    for index in range(max(first, arrived - radius), arrived):
        yield finished(index)


def both_ways(
    here: Kept, there: Kept, alignment: Alignment, guesses: tuple[Tensor, Tensor] | None
) -> tuple[Motion, Motion]:
    """Motion between two frames, and where it can be relied on; `guesses` as the result."""
    on, home = guesses or (None, None)
    flows = (
        alignment.flow(here.features, there.features, on),
        alignment.flow(there.features, here.features, home),
    )
    height, width = (-(-side // 2) for side in here.codes.shape[-2:])
    there_, back = (flow[:, :height, :width] for flow in flows)
    return (
        Motion(there_, returns(there_[None], back[None])[0]),
        Motion(back, returns(back[None], there_[None])[0]),
    )


def put_together(this: Kept, others: list[tuple[Kept, Motion]], fusion: Fusion) -> Tensor:
    """The frame (3, H, W) with what its neighbours add; in smaller pieces where memory is short."""
    ways = [(fusion, rows) for rows in (ROWS, ROWS // 4, HOP)]
    if fusion.device.type != "cpu":
        ways.append((replace(fusion, device=torch.device("cpu")), ROWS))
    for way, rows in ways[:-1]:
        try:
            return in_blocks(this, others, way, rows)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        memory.give_back_all()
    return in_blocks(this, others, *ways[-1])


def in_blocks(this: Kept, others: list[tuple[Kept, Motion]], fusion: Fusion, size: int) -> Tensor:
    """The frame (3, H, W) with what its neighbours add, in blocks of so many rows."""
    device = fusion.device
    centre = this.image(device)
    if not others:
        return centre.to(this.codes.device)
    height, width = centre.shape[-2:]
    change = enlarged(this.change.to(device), (-(-height // 2), -(-width // 2)), CHANGE // 2)
    blocks = []
    for top in range(0, height, size):
        start, stop = max(0, top - HOP), min(height, top + size + HOP + SLACK)
        frames = centre.new_empty(1 + len(others), 3, stop - start, width)
        frames[0] = centre[:, start:stop]
        for i, other in enumerate(others):
            frames[1 + i] = laid_over(centre, change, *other, (start, stop), fusion)
        mixed = spectral_mean(frames, fusion.power)
        blocks.append(mixed[:, top - start : top - start + min(size, height - top)].clone())
    return torch.cat(blocks, 1).clamp(0, 1).to(this.codes.device)


def laid_over(
    centre: Tensor,  # (3, H, W)
    change: Tensor,  # (1, h, w), half size
    other: Kept,
    motion: Motion,
    block: tuple[int, int],
    fusion: Fusion,
) -> Tensor:  # (3, rows, W)
    """Some rows of a frame as its neighbour shows them; where that disagrees, its own."""
    start, stop = block
    half = slice(start // 2, -(-stop // 2))
    flow, valid = (x[:, half].to(centre.device) for x in motion)
    width = centre.shape[-1]
    moved = 2 * enlarged(flow, (stop - start, width))
    columns = torch.arange(width, device=centre.device) + moved[0]
    rows = torch.arange(start, stop, device=centre.device)[:, None] + moved[1]
    # No more of the other frame than lies there, with what bicubic interpolation looks at beside.
    height = centre.shape[-2]
    first = min(height - 1, max(0, int(rows.min()) - BESIDE))
    last = max(first + 1, min(height, int(rows.max()) + 1 + BESIDE))
    shown = other.image(centre.device, slice(first, last))
    taken = fusion.alignment.take(shown, columns, rows - first)
    own = centre[:, start:stop]
    difference = taken - own
    gate = valid * agreement(difference, change[:, half], fusion.least, fusion.share)
    return torch.addcmul(own, enlarged(smoothed(gate), (stop - start, width)), difference)
