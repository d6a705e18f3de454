"""Restored frames put together with their restored neighbours, in a stream.

A network restores each frame by itself or nearly so, and what it finds differs from frame to frame:
laid over one another, neighbours repair what this one lacks (`ops.fusion`). Only what agrees with a
frame takes part, by as much as can be expected of how much was restored; a frame that the network
left as it was stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    halved,
    returns,
    smoothed,
    spectral_rows,
)
from unblur.ops.warp import compose
from unblur.restorers.base import RestorerInfo

Fuse = int | str
"""Frames on either side that a restored frame is fused with, `auto` or `off`."""
WIDEST = 8
"""Frames on either side that can be requested where frames are fused."""
HOP = TILE - RAMP
ROWS, ROWS_OF_GPU = HOP, 8 * HOP
"""Rows of a frame that are put together at once; multiples of `HOP`: tiles keep one grid."""
SLACK = 8
"""Rows beyond these, on either side, that the smoothing of gates looks at; even."""
KEPT_BYTES = 6 + 1
"""Per pixel of each frame within reach: its codes, and what motion is found in."""
MOTION_BYTES = 2.25
"""Per pixel of each motion, of half size; 1.25 of large frames."""
GIVEN_BYTES = 12
"""Per pixel of a frame that is put together, and then somebody else's."""
PASSING_BYTES = 60
"""Per pixel of a frame that comes, before and after, or of one that goes on."""
SEARCH_BYTES, SEARCH_ROWS = 60, 1080
"""Per pixel where motion is searched, and how many rows of a frame that are at most."""
HEAP_BYTES = 40 << 20
"""That the C library keeps of what was freed since it was last asked for it."""
LARGE = 1 << 20
"""Pixels of frames from which on freed memory is given back at once and motion is int16."""
STRICTER = 0.35
"""Part of the share of change that is allowed when fused frames are put together again: they differ
by less than restored ones."""
BESIDE = 3
"""Rows on either side of a place that values there depend on, and one more."""
FOUND = 0.75
"""Part of the restored frame in what motion is found in; the rest is the frame as it came, which
shows motion better where much was restored wrongly."""
BLOCK_BYTES = 100
"""Per pixel of the rows that are put together at once and frame within reach."""

CPU = torch.device("cpu")

P = TypeVar("P")
Before = Tensor | Callable[[], Tensor]
"""An image, or what makes it: so it need not be kept."""


class Alignment(Protocol):
    """Lays frames over one another."""

    def look(self, half: Tensor) -> Any:
        """What it needs of an image, encoded RGB in [0, 1], at half size, to find motion."""
        ...

    def flow(self, here: Any, there: Any, guess: Tensor | None = None) -> Tensor:
        """Flow (2, h, w) between two of them in pixels of half size, at least half the frame.

        It begins with a guess, (2, half the height, half the width), where there is one.
        """
        ...

    def rest(self) -> None:
        """Gives back the memory that it took to find motion."""
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
    def rows(self) -> int:
        """That are put together at once."""
        return ROWS if self.device.type == "cpu" else ROWS_OF_GPU

    @property
    def reach(self) -> int:
        """Frames on either side that a frame depends on."""
        return self.radius + self.again

    def held_bytes(self, height: int, width: int) -> int:
        """What it keeps of restored frames of that size, also while the network runs."""
        moves = motions(self.radius) + (motions(self.again) if self.again else 0)
        held = sum(self._within()) * KEPT_BYTES + moves * MOTION_BYTES + GIVEN_BYTES
        return int(held * height * width)

    def working_bytes(self, height: int, width: int) -> int:
        """What it takes beside that while a frame is put together; the network then rests."""
        rows = min(height, self.rows + TILE + 2 * SLACK)
        passing = PASSING_BYTES * height * width
        searching = SEARCH_BYTES * min(height, SEARCH_ROWS) * width
        together = max(self._within()) * BLOCK_BYTES * rows * width
        return HEAP_BYTES + max(passing, searching, together)

    def peak_bytes(self, height: int, width: int) -> int:
        """What it adds to memory at its own peak."""
        return self.held_bytes(height, width) + self.working_bytes(height, width)

    def _within(self) -> tuple[int, int]:
        """Frames within reach of one, the first time and again."""
        return 2 * self.radius + 1, 2 * self.again + 1 if self.again else 0


def motions(radius: int) -> int:
    """From frame to frame, as many as are held at once: from the frame in the middle to all others,
    from those behind it to that one and across it, and both ways between these.
    """
    return 3 * radius + radius * (radius - 1) // 2 + 2 * (radius - 1)


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

    def image(self, device: torch.device, rows: slice) -> Tensor:
        """Rows of it, (3, h, W) float32."""
        return self.codes[:, rows].to(device).float().add_(32768).div_(65535)


class Motion(NamedTuple):
    """From one frame to another, both of half size."""

    codes: Tensor
    """(2, h, w), the flow in steps of `step`: int16 of large frames, else as it was found."""
    step: float
    """Pixels; of large frames the longest way is 32,767 of them."""
    valid: Tensor
    """(1, h, w) bool: where the way back returns."""

    def flow(self, device: torch.device, rows: slice = slice(None)) -> Tensor:
        """Rows of it, (2, h, w) float32."""
        return self.codes[:, rows].to(device).float() * self.step


def fuse(
    restored: Iterable[tuple[P, Before, Tensor]], fusion: Fusion, first: int = 0
) -> Iterator[tuple[P, Tensor]]:
    """Puts the frames of one shot together with their neighbours.

    Fused frames agree better than restored ones, and are put together once more.

    Args:
        restored: what belongs to each frame, its image before it was restored, or what makes that
            anew, and its image after, (3, H, W) each, encoded RGB in [0, 1].
        fusion: how.
        first: so many at the beginning are neighbours, and do not come out.

    Yields:
        What belongs to each frame, and its image; no more are held than lie within reach.
    """
    if not fusion.again:
        yield from fuse_once(restored, fusion, first)
        return
    # By `map`, as the loops of generators would keep images while these wait.
    begin = max(0, first - fusion.again)
    fused = fuse_once(map(with_before, restored), fusion, begin)
    second = replace(fusion, radius=fusion.again, share=STRICTER * fusion.share)
    yield from fuse_once(map(before_aside, fused), second, first - begin)


def with_before(item: tuple[P, Before, Tensor]) -> tuple[tuple[P, Before], Before, Tensor]:
    """What is fused twice, for the first time: what it was before belongs to the frame."""
    belonging, before, after = item
    return (belonging, before), before, after


def before_aside(item: tuple[tuple[P, Before], Tensor]) -> tuple[P, Before, Tensor]:
    """For the second time."""
    (belonging, before), after = item
    return belonging, before, after


def fuse_once(
    restored: Iterable[tuple[P, Before, Tensor]], fusion: Fusion, first: int = 0
) -> Iterator[tuple[P, Tensor]]:
    """As `fuse`, without a second time."""
    radius = fusion.radius
    kept: dict[int, Kept] = {}
    belongings: dict[int, P] = {}
    motions: dict[tuple[int, int], Motion] = {}
    arrived = 0

    def motion(here: int, there: int) -> Motion:
        if (here, there) not in motions:
            # Always from the earlier frame, so that it is the same wherever a shot is gone on with.
            a, b = sorted((here, there))
            guesses: list[Tensor] = []
            if b - a > 1:
                steps = [(motion(a, b - 1), motion(b - 1, b)), (motion(b, b - 1), motion(b - 1, a))]
                guesses = [compose(*(x.flow(CPU)[None] for x in step))[0] for step in steps]
                del steps
            found = both_ways(kept[a], kept[b], fusion.alignment, guesses)
            motions[a, b], motions[b, a] = found
        return motions[here, there]

    def forget(before: int) -> None:
        """Motion from frames that are done, on which no guess depends any more."""
        for pair in [pair for pair in motions if pair[0] < before]:
            del motions[pair]

    def finished(index: int) -> tuple[P, Tensor]:
        others = []
        for i in kept:
            if i != index:
                others.append((kept[i], motion(index, i)))
            else:
                forget(index)
        give_back(kept[index].codes)
        image = put_together(kept[index], others, fusion)
        give_back(image)
        forget(index + 1)
        kept.pop(index - radius, None)
        return belongings.pop(index), image

    waiting = iter(restored)
    while (item := next(waiting, None)) is not None:
        belonging, before, after = item
        if callable(before):
            before = before()
        kept[arrived] = keep(before, after, fusion)
        if arrived >= first:
            belongings[arrived] = belonging
        del item, belonging, before, after  # while others are put together
        give_back(kept[arrived].codes)
        arrived += 1
        if arrived - 1 - radius >= first:
            yield finished(arrived - 1 - radius)
        else:
            kept.pop(arrived - 1 - 2 * radius, None)
    for index in range(max(first, arrived - radius), arrived):
        yield finished(index)


def give_back(image: Tensor) -> None:
    """Returns what was freed, of large frames; of small ones it is not worth its time."""
    if image[0].numel() >= LARGE:
        memory.give_back_heap()


def keep(before: Tensor, after: Tensor, fusion: Fusion) -> Kept:
    """What is kept of a frame, (3, H, W) before and after it was restored."""
    codes = torch.empty_like(after, dtype=torch.int16)
    half = after.new_empty(3, *(-(-side // 2) for side in after.shape[1:]))
    # A few rows at a time, which takes little memory beside.
    for top in range(0, after.shape[1], HOP):
        rows = slice(top, top + HOP)
        codes[:, rows] = after[:, rows].clamp(0, 1).mul_(65535).sub_(32768).round_()
        mixed = torch.lerp(before[:, rows], after[:, rows], FOUND)
        half[:, top // 2 : (top + HOP) // 2] = halved(mixed)
    features = fusion.alignment.look(half)
    return Kept(codes, features, change_map(before, after))


def both_ways(
    here: Kept, there: Kept, alignment: Alignment, guesses: list[Tensor]
) -> tuple[Motion, Motion]:
    """Motion between two frames, and where it can be relied on.

    Guesses, as the result or none at all, are used up.
    """
    height, width = (-(-side // 2) for side in here.codes.shape[-2:])
    ways = [(here, there), (there, here)]
    flows = []
    for a, b in ways:
        guess = guesses.pop(0) if guesses else None
        flows.append(alignment.flow(a.features, b.features, guess))
    alignment.rest()
    give_back(here.codes)
    there_, back = (flow[:, :height, :width] for flow in flows)
    valid = returns(there_[None], back[None])[0], returns(back[None], there_[None])[0]
    return as_kept(there_, valid[0]), as_kept(back, valid[1])


def as_kept(flow: Tensor, valid: Tensor) -> Motion:
    """Motion of large frames at half of the memory.

    Cubic interpolation rounds to 1 / 32 of a pixel anyhow.
    """
    if 4 * flow[0].numel() < LARGE:
        return Motion(flow, 1.0, valid)
    step = max(1e-6, float(flow.abs().max()) / 32767)
    return Motion((flow / step).round_().to(torch.int16), step, valid)


def put_together(this: Kept, others: list[tuple[Kept, Motion]], fusion: Fusion) -> Tensor:
    """The frame (3, H, W) with what its neighbours add; in smaller pieces where memory is short."""
    ways = [(fusion, rows) for rows in sorted({fusion.rows, HOP}, reverse=True)]
    if fusion.device.type != "cpu":
        ways.append((replace(fusion, device=torch.device("cpu")), HOP))
    for way, rows in ways[:-1]:
        try:
            return in_bands(this, others, way, rows)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        memory.give_back_all()
    return in_bands(this, others, *ways[-1])


def in_bands(this: Kept, others: list[tuple[Kept, Motion]], fusion: Fusion, size: int) -> Tensor:
    """The frame (3, H, W) with what its neighbours add, so many rows at a time."""
    height, width = this.codes.shape[-2:]
    if not others:
        return this.image(this.codes.device, slice(None))
    change = enlarged(this.change.to(fusion.device), (-(-height // 2), -(-width // 2)), CHANGE // 2)
    bands = (
        aligned_rows(this, change, others, (top, min(height, top + size)), fusion)
        for top in range(0, height, size)
    )
    image = torch.empty_like(this.codes, dtype=torch.float32)
    top = 0
    for rows in spectral_rows(bands, fusion.power):
        stop = top + rows.shape[1]
        image[:, top:stop] = rows.clamp(0, 1)
        top = stop
    return image


def aligned_rows(
    this: Kept,
    change: Tensor,  # (1, h, w), half size
    others: list[tuple[Kept, Motion]],
    band: tuple[int, int],
    fusion: Fusion,
) -> Tensor:  # (1 + len(others), 3, rows, W)
    """Some rows of a frame, and as its neighbours show them; where those disagree, its own."""
    begin, end = band
    start, stop = max(0, begin - SLACK), min(this.codes.shape[1], end + SLACK)
    own = this.image(fusion.device, slice(start, stop))
    within = slice(begin - start, end - start)
    frames = own.new_empty(1 + len(others), 3, end - begin, own.shape[-1])
    frames[0] = own[:, within]
    for frame, other in zip(frames[1:], others, strict=True):
        difference, gate = laid_over(own, change, *other, start, this.codes.shape[1], fusion)
        torch.addcmul(frames[0], gate[:, within], difference[:, within], out=frame)
    return frames


def laid_over(
    own: Tensor,  # (3, rows, W)
    change: Tensor,  # (1, h, w), half size
    other: Kept,
    motion: Motion,
    start: int,
    height: int,
    fusion: Fusion,
) -> tuple[Tensor, Tensor]:  # (3, rows, W), (1, rows, W)
    """By what a neighbour differs from some rows of a frame, and how far it is believed."""
    rows, width = own.shape[1:]
    half = slice(start // 2, -(-(start + rows) // 2))
    across, down = enlarged(motion.flow(own.device, half), (rows, width)).mul_(2)
    across += torch.arange(width, device=own.device)
    down += torch.arange(start, start + rows, device=own.device)[:, None]
    # No more of the other frame than lies there, with what bicubic interpolation looks at beside.
    first = min(height - 1, max(0, int(down.min()) - BESIDE))
    last = max(first + 1, min(height, int(down.max()) + 1 + BESIDE))
    down -= first
    difference = fusion.alignment.take(other.image(own.device, slice(first, last)), across, down)
    difference -= own
    gate = agreement(difference, change[:, half], fusion.least, fusion.share).mul_(
        motion.valid[:, half].to(own.device)
    )
    return difference, enlarged(smoothed(gate), (rows, width))
