"""Frames that show the same, put together so that what is sharp in any of them remains.

A blur takes away fine detail and adds none: of aligned frames the one with the strongest component
at some frequency was blurred least there. So each frequency is a mean weighted by a power of its
magnitude, tile by tile (Delbracio and Sapiro, Hand-held Video Deblurring via Efficient Fourier
Aggregation, IEEE TCI 2015, equations 5 to 7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.ops.warp import warp

TILE, RAMP = 64, 16
"""Side of a tile, and what neighbouring ones share, in pixels."""
TILES_AT_ONCE = 8
"""Whose spectra a CPU holds: they stay in its cache."""
POWER = 4.0
OWN = 2.0
"""Cycles per tile."""
LEAST, SHARE = 0.006, 2.0
"""Difference that is always allowed, of images of range 1, and what part of the change that a
restorer made is allowed beside it: where that changed little, there is little to repair."""
CHANGE = 8
"""Pixels per element of the map of that change, along each side."""
FORTH_AND_BACK = 0.75
"""Pixels of half size by which the way back may miss where it began."""


def spectral_mean(
    frames: Tensor, power: float = POWER, tile: int = TILE, ramp: int = RAMP, own: float = OWN
) -> Tensor:
    """Mean of aligned frames, weighted at each frequency by magnitude to a power.

    Args:
        frames: (K, C, H, W) that show the same, that which the others are to repair first; any K,
            C, H, W from 1 up.
        power: of the magnitude, at least 0; 0 gives the plain mean.
        tile: side of the tiles in pixels, even.
        ramp: pixels that neighbouring tiles share, at most half a tile.
        own: cycles per tile up to which, about, only the first frame counts: its brightness stays
            its own in fades and where light flickers; 0: none.

    Returns:
        (C, H, W) float32. Weights sum to 1: frames that are all the same come back.
    """
    return torch.cat(list(spectral_rows([frames], power, tile, ramp, own)), 1)


def spectral_rows(
    bands: Iterable[Tensor],
    power: float = POWER,
    tile: int = TILE,
    ramp: int = RAMP,
    own: float = OWN,
) -> Iterator[Tensor]:
    """`spectral_mean` of frames that come some rows at a time, so that few are held.

    Args:
        bands: (K, C, h, W) of the frames, from top to bottom; h a multiple of `tile - ramp`, but in
            the last.
        power: as in `spectral_mean`, like those below.
        tile: likewise.
        ramp: likewise.
        own: likewise.

    Yields:
        (C, h, W) float32 rows of the mean, from top to bottom, as soon as they are complete.
    """
    hop = tile - ramp
    lines = mixed = None
    height = done = 0
    for rows in (part for band in bands for part in band.float().split(hop, 2)):
        count, width = rows.shape[2:]
        if lines is None or mixed is None:
            columns = -(-(width + ramp) // hop)
            lines = rows.new_empty(*rows.shape[:2], tile, columns * hop + ramp)
            mixed = rows.new_zeros(rows.shape[1], *lines.shape[2:])
            put_beside(lines[:, :, :ramp], rows[:, :, :1], ramp)
        put_beside(lines[:, :, ramp : ramp + count], rows, ramp)
        height += count
        if count < hop:
            lines[:, :, ramp + count :] = lines[:, :, ramp + count - 1 : ramp + count]
        begin = ramp if height == count else 0
        stop = min(hop, ramp + count)
        yield spectral_line(lines, mixed, power, own, hop)[:, begin:stop, ramp : ramp + width]
        done += stop - begin
        go_on(lines, mixed, hop)
    if lines is not None and mixed is not None and done < height:
        lines[:, :, ramp:] = lines[:, :, ramp - 1 : ramp]
        yield spectral_line(lines, mixed, power, own, hop)[:, : height - done, ramp : ramp + width]


def put_beside(lines: Tensor, rows: Tensor, ramp: int) -> None:
    """Puts rows (..., w) into lines from column `ramp` on, and their ends on either side."""
    stop = ramp + rows.shape[-1]
    lines[..., ramp:stop] = rows
    lines[..., :ramp] = rows[..., :1]
    lines[..., stop:] = rows[..., -1:]


def go_on(lines: Tensor, mixed: Tensor, hop: int) -> None:
    """Makes the last rows, those that the next tiles share, the first."""
    ramp = lines.shape[-2] - hop
    lines[..., :ramp, :] = lines[..., hop:, :]
    mixed[:, :ramp] = mixed[:, hop:]
    mixed[:, ramp:] = 0


def spectral_line(
    lines: Tensor,  # (K, C, tile, n * hop + ramp)
    mixed: Tensor,  # (C, tile, n * hop + ramp)
    power: float,
    own: float,
    hop: int,
) -> Tensor:
    """Adds to `mixed` the mean of a line of tiles, some at a time, and gives a copy of it."""
    tile = lines.shape[2]
    count = (lines.shape[3] - tile + hop) // hop
    window = tile_window(tile, tile - hop, lines.device)
    lowest = low_pass(tile, own, lines.device)
    step = TILES_AT_ONCE if lines.device.type == "cpu" else count
    for first in range(0, count, step):
        part = slice(first * hop, min(first + step, count) * hop + tile - hop)
        tiles = lines[..., part].unfold(-1, tile, hop).transpose(2, 3)  # (K, C, n, tile, tile)
        spectrum = torch.fft.rfft2(tiles * window)  # (K, C, n, tile, tile / 2 + 1)
        total = weighted_sum(spectrum, spectral_weights(spectrum, power, lowest))
        tiles = torch.fft.irfft2(total, s=(tile, tile)) * window  # (C, n, tile, tile)
        add_side_by_side(mixed[..., part], tiles, hop)
    return mixed.clone()


def spectral_weights(
    spectrum: Tensor,  # (K, C, n, h, w)
    power: float,
    lowest: Tensor,  # (h, w)
) -> Tensor:  # (K, n, h, w)
    """Weights that sum to 1 over the frames; all for the first where `lowest` is 1."""
    parts = real_parts(spectrum)  # (K, C, n, h, 2 w)
    energy = parts[:, 0].square()
    for channel in range(1, spectrum.shape[1]):
        energy.addcmul_(parts[:, channel], parts[:, channel])
    weight = smoothed_bins(energy[..., 0::2] + energy[..., 1::2])
    # The strongest is 1, so that no power of it leaves the range; where all are 0 all are equal.
    most = weight.amax(0)
    weight = torch.where(most > 0, weight / most.clamp_min(torch.finfo(most.dtype).tiny), 1.0)
    weight = weight.square_() if power == 4 else weight.pow_(power / 2)
    weight *= (1 - lowest) / weight.sum(0)
    weight[0] += lowest
    return weight


def weighted_sum(
    spectrum: Tensor,  # (K, C, n, h, w)
    weights: Tensor,  # (K, n, h, w)
) -> Tensor:  # (C, n, h, w)
    """Sum over the frames; by real and imaginary parts, which takes half of the time."""
    parts, twice = real_parts(spectrum), weights.repeat_interleave(2, -1)
    total = parts[0] * twice[0]
    for part, weight in zip(parts[1:], twice[1:], strict=True):
        total.addcmul_(part, weight)
    return torch.view_as_complex(total.unflatten(-1, (-1, 2)))


def real_parts(spectrum: Tensor) -> Tensor:
    """(..., w) complex as (..., 2 w): real and imaginary parts in turn."""
    return torch.view_as_real(spectrum).flatten(-2)


def smoothed_bins(energy: Tensor) -> Tensor:
    """Each bin of real spectra (..., h, w) with its neighbours, 1-2-1 both ways, times 16."""
    # Rows are whole and go round; the columns that are left out mirror the others at the origin.
    down = torch.roll(energy, 1, -2) + torch.roll(energy, -1, -2)
    down.add_(energy, alpha=2)
    ends = torch.roll(down[..., [1, -2]].flip(-2), 1, -2)
    result = 2 * down
    result[..., 1:] += down[..., :-1]
    result[..., :-1] += down[..., 1:]
    result[..., [0, -1]] += ends
    return result


def low_pass(tile: int, cycles: float, device: torch.device) -> Tensor:
    """(tile, tile / 2 + 1), a Gaussian that falls to 1 / e at that frequency; 0 for none."""
    if cycles == 0:
        return torch.zeros(tile, tile // 2 + 1, device=device)
    down = torch.fft.fftfreq(tile, 1 / tile, device=device)
    across = torch.arange(tile // 2 + 1, device=device)
    return torch.exp(-(down[:, None] ** 2 + across**2) / cycles**2)


def tile_window(tile: int, ramp: int, device: torch.device) -> Tensor:
    """(tile, tile), 1 within; shifted by `tile - ramp` its squares add up to 1."""
    rise = torch.sin((torch.arange(ramp, device=device) + 0.5) / ramp * (torch.pi / 2))
    line = torch.cat((rise, torch.ones(tile - 2 * ramp, device=device), rise.flip(0)))
    return line[:, None] * line


def add_side_by_side(band: Tensor, parts: Tensor, hop: int) -> None:
    """Adds tiles (C, n, tile, tile), `hop` apart, to a band (C, tile, n * hop + tile - hop)."""
    count, tile = parts.shape[1:3]
    line = parts.transpose(1, 2)  # (C, tile, n, tile)
    # A tile is its first `hop` columns, which fill the band side by side, and a rest that reaches
    # into the next tile's.
    band[..., : count * hop].unflatten(-1, (count, hop)).add_(line[..., :hop])
    rest = F.pad(line[..., hop:], (0, 2 * hop - tile))  # (C, tile, n, hop)
    band[..., hop:].add_(rest.flatten(-2)[..., : band.shape[-1] - hop])


def agreement(
    difference: Tensor, change: Tensor, least: float = LEAST, share: float = SHARE
) -> Tensor:
    """How far an aligned frame can be believed: 1 where it agrees, falling to 0.

    Two restorations of the same thing differ by their errors, which are large where much had to be
    restored. What differs by more than that shows something else, or is not well aligned. Where
    little was restored every pixel counts by itself: fine detail that is not well aligned differs
    in signs that cancel each other at half size.

    Args:
        difference: (3, H, W) to the frame it is laid over.
        change: (1, ceil(H / 2), ceil(W / 2)) mean square of what the restorer changed there.
        least: root of the mean square over RGB that is always allowed.
        share: of the root of `change` that is allowed beside it.

    Returns:
        (1, ceil(H / 2), ceil(W / 2)), 1 / e where the difference is what is allowed.
    """
    allowed = least**2 + share**2 * change
    coarse = halved(difference).square().mean(0, keepdim=True)
    fine = halved(difference.square().mean(0, keepdim=True))
    return torch.exp(-torch.lerp(coarse, fine, least**2 / allowed) / allowed)


def change_map(before: Tensor, after: Tensor) -> Tensor:
    """Mean square of what changed around a pixel, for `agreement`.

    Args:
        before: (3, H, W), [0, 1].
        after: (3, H, W), likewise.

    Returns:
        (1, ceil(H / 8), ceil(W / 8)).
    """
    rows = 16 * CHANGE  # at once
    parts = zip(before.split(rows, 1), after.split(rows, 1), strict=True)
    squares = ((b - a).square_().mean(0, keepdim=True) for a, b in parts)
    coarse = torch.cat([F.avg_pool2d(x[None], CHANGE, ceil_mode=True) for x in squares], 2)
    around = F.pad(coarse, (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(around, 3, 1)[0]


def returns(flow: Tensor, back: Tensor, limit: float = FORTH_AND_BACK) -> Tensor:
    """True where going along `flow` and returning along `back` ends within `limit` pixels.

    Unlike `ops.consistency` it forgives quick motion no more than slow: what is laid over a frame
    has to lie right.

    Args:
        flow: (B, 2, H, W) pixels, from frame a to frame b.
        back: (B, 2, H, W) pixels, from frame b to frame a; zero outside.
        limit: pixels.

    Returns:
        (B, 1, H, W) bool.
    """
    missed = (flow + warp(back, flow)).square().sum(1, keepdim=True)
    return missed < limit**2


def smoothed(mask: Tensor) -> Tensor:
    """(C, H, W), each element with its neighbours, 1-4-6-4-1 both ways: a Gaussian of 1 pixel."""
    line = mask.new_tensor([1, 4, 6, 4, 1]) / 16
    padded = F.pad(mask[:, None], (2, 2, 2, 2), mode="replicate")
    across = F.conv2d(padded, line.view(1, 1, 1, 5))
    return F.conv2d(across, line.view(1, 1, 5, 1))[:, 0]


def halved(x: Tensor) -> Tensor:
    """Means of 2 x 2 elements: (C, H, W) to (C, ceil(H / 2), ceil(W / 2)); at odd ends, of 2."""
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        x = F.pad(x[None], (0, width % 2, 0, height % 2), mode="replicate")[0]
    # In the order of `avg_pool2d`, which takes twice as long.
    total = x[:, 0::2, 0::2] + x[:, 0::2, 1::2]
    return total.add_(x[:, 1::2, 0::2]).add_(x[:, 1::2, 1::2]).div_(4)


def enlarged(x: Tensor, size: tuple[int, int], factor: int = 2) -> Tensor:
    """Bilinear, (C, h, w) to (C, *size): the way back from `halved`, or from other factors."""
    height, width = size
    larger = F.interpolate(x[None], scale_factor=factor, mode="bilinear")
    return larger[0, :, :height, :width]
