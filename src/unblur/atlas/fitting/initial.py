"""What is known before anything is learned: maps from flow, opacity from masks, atlases from the
sharpest frames, radii from how soft details are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.atlas.fitting.canvas import Canvas
from unblur.atlas.fitting.mapping import project
from unblur.atlas.fitting.model import LayerStart, to_working
from unblur.atlas.fitting.motion import Motion, layer_homographies
from unblur.atlas.fitting.presets import FitConfig
from unblur.atlas.fitting.texture import look_up
from unblur.atlas.project.store import dilate
from unblur.guidance.defocus import energies, width_of
from unblur.optics.lens import evenly, ideal_radius, lens_radius

LARGEST_ATLAS = 8.0
"""Pixels of an atlas over those of a frame."""
SHARP_EDGE = 0.62
"""Width in pixels that edges in focus are measured to have."""
CELL = 8
CANDIDATES = 9
UNSURE = 1.0
"""Radius in pixels that frames in focus may be taken to have."""
SEARCHED = 3
"""Frames from one whose radius is searched for to the next."""
SHARPEST = 0.15
"""Share of the frames whose blur is taken to be that of the first atlas."""


class Placed(NamedTuple):
    """A layer's way through the clip."""

    homographies: Tensor
    """(T, 3, 3) to pixels of the atlas."""
    size: tuple[int, int]
    """(Ha, Wa)."""


def masks_of(labels: Tensor, layers: int) -> Tensor:
    """(layers, T, H, W) bool: where each layer is what is seen. Labels (T, H, W), 0 = farthest."""
    return torch.stack([labels == layer for layer in range(layers)])


def place_layers(motion: Motion, masks: Tensor, config: FitConfig, margin: int) -> list[Placed]:
    """Maps of all layers from optical flow, and atlases just large enough for them."""
    _, T, H, W = masks.shape
    centre = T // 2
    placed = []
    for layer, mask in enumerate(masks):
        homographies = layer_homographies(motion, mask, T, (H, W), centre)
        box = region_boxes(mask if layer else torch.ones_like(mask), margin)
        placed.append(fit_atlas(homographies, box, config.density, H * W))
    return placed


def region_boxes(mask: Tensor, margin: int) -> Tensor:
    """(T, 4) left, top, right, bottom of a mask (T, H, W) with a margin; the frame where empty."""
    T, _H, _W = mask.shape
    boxes = torch.zeros(T, 4)
    for t in range(T):
        rows, cols = mask[t].any(1).nonzero()[:, 0], mask[t].any(0).nonzero()[:, 0]
        if len(rows):
            boxes[t] = torch.stack((cols[0], rows[0], cols[-1], rows[-1])).float()
            boxes[t] += torch.tensor([-margin, -margin, margin, margin])
        else:
            boxes[t] = torch.nan
    return boxes


def fit_atlas(homographies: Tensor, boxes: Tensor, density: float, pixels: int) -> Placed:
    """Moves and scales maps so that all boxes fill one atlas that keeps all detail."""
    here = ~boxes[:, 0].isnan()
    if not bool(here.any()):
        return Placed(homographies, (16, 16))
    matrices, boxes = homographies[here], boxes[here]
    corners, scales = [], []
    for matrix, (left, top, right, bottom) in zip(matrices, boxes, strict=True):
        x, y = torch.stack((left, (left + right) / 2, right)), torch.stack((top, bottom))
        corners.append(project(matrix.float()[None], x, y)[0].flatten(1))  # (2, 6)
        scales.append(float(torch.linalg.det(matrix[:2, :2]).abs().sqrt()))
    points = torch.cat(corners, 1)
    low, high = points.amin(1), points.amax(1)
    zoom = density * min(2.0, max(1.0, 1 / min(scales)))
    area = float((high - low).prod()) * zoom**2
    zoom *= min(1.0, (LARGEST_ATLAS * pixels / max(area, 1.0)) ** 0.5)
    move = torch.eye(3, dtype=homographies.dtype)
    move[0, 0] = move[1, 1] = zoom
    move[:2, 2] = -low.double() * zoom
    cols, rows = ((high - low) * zoom).ceil().int().tolist()
    return Placed(move @ homographies, (max(16, rows + 1), max(16, cols + 1)))


def to_atlas(
    images: Tensor, placed: Placed, frames: Sequence[int], cols: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Frames (B, C, H, W) as the atlas lies, (B, C, Ha, Wa), and where they reach, (B, 1, Ha, Wa).

    `cols` and `rows` are pixels of the atlas.
    """
    back = torch.linalg.inv(placed.homographies[list(frames)]).float()
    place = project(back, cols, rows)
    H, W = images.shape[-2:]
    inside = (place[:, 0] > -0.5) & (place[:, 0] < W - 0.5)
    inside &= (place[:, 1] > -0.5) & (place[:, 1] < H - 0.5)
    unit = torch.tensor([2 / W, 2 / H])[:, None, None]
    grid = ((place + 0.5) * unit - 1).permute(0, 2, 3, 1)
    found = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return found, inside[:, None].to(found)


def mean_atlas(
    images: Tensor, masks: Tensor, placed: Placed, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean of all frames in the atlas of a layer.

    Args:
        images: (T, 3, H, W) working values.
        masks: (T, H, W) bool, where the layer is seen.
        placed: its maps.
        weights: (T,) of the frames.

    Returns:
        Colours (3, Ha, Wa), filled where nothing is seen; the opacity (1, Ha, Wa), share of the
        frames that reach a point whose mask covers it; whether it is seen at all (1, Ha, Wa).
    """
    Ha, Wa = placed.size
    total = torch.zeros(3, Ha, Wa)
    weight, cover, reach = torch.zeros(3, 1, Ha, Wa)
    cols, rows = torch.arange(Wa, dtype=torch.float32), torch.arange(Ha, dtype=torch.float32)
    for t in range(len(images)):
        both = torch.cat((images[t], masks[t, None].to(images)))[None]
        found, inside = to_atlas(both, placed, [t], cols, rows)
        shown = found[0, 3:] * inside[0]
        share = (shown > 0.99) * weights[t] + 1e-4 * shown * weights[t]
        total += found[0, :3] * share
        weight += share
        cover += shown
        reach += inside[0]
    seen = (weight > 1e-12).to(total)
    colour = dilate(total / weight.clamp_min(1e-12), seen)
    return colour, cover / reach.clamp_min(1.0), seen


def shrunk(masks: Tensor, pixels: int) -> Tensor:
    """Masks (T, H, W) without what lies within some pixels of their rim."""
    outside = F.max_pool2d((~masks)[:, None].float(), 2 * pixels + 1, 1, pixels)
    return outside[:, 0] < 0.5


def radii_from_details(frames: Tensor, masks: Tensor) -> Tensor:
    """Radius of an ideal disk for each frame and layer, from how soft the layer's details are.

    Args:
        frames: (T, 3, H, W) encoded.
        masks: (layers, T, H, W) bool.

    Returns:
        (layers, T) pixels; NaN where a layer has nothing to see in a frame.
    """
    parts = [energies(frame[None]) for frame in frames]
    once, twice = (torch.cat([p[i] for p in parts]) for i in (0, 1))  # (T, 1, h, w)
    out = torch.full(masks.shape[:2], torch.nan)
    for layer, mask in enumerate(masks):
        inner = torch.where(shrunk(mask, 3).flatten(1).any(1)[:, None, None], shrunk(mask, 3), mask)
        share = F.interpolate(inner[:, None].float(), size=once.shape[-2:], mode="area")
        share = (share > 0.9) * share
        enough = share.sum((1, 2, 3)) > 2
        a, b = ((x * share).sum((1, 2, 3)) for x in (once, twice))
        width = width_of(a, b)
        radius = 2 * (width.square() - SHARP_EDGE**2).clamp_min(0).sqrt()
        out[layer] = torch.where(enough & (a > 0), radius, torch.nan)
    return out


def filled(series: Tensor) -> Tensor:
    """NaN of a series (T,) by what lies before and after; 1 where there is nothing."""
    known = (~series.isnan()).nonzero()[:, 0]
    if not len(known):
        return torch.ones_like(series)
    t = torch.arange(len(series))
    right = torch.searchsorted(known, t).clamp(max=len(known) - 1)
    left = (torch.searchsorted(known, t, right=True) - 1).clamp_min(0)
    a, b = known[left], known[right]
    share = ((t - a) / (b - a).clamp_min(1)).clamp(0, 1)
    return torch.lerp(series[a], series[b], share)


def smoothed(series: Tensor) -> Tensor:
    """Median of five, then mean of three, of a series (T,)."""
    wide = F.pad(series[None], (2, 2), mode="replicate")[0].unfold(0, 5, 1)
    return F.pad(wide.median(1).values[None], (1, 1), mode="replicate")[0].unfold(0, 3, 1).mean(1)


def search_radii(
    images: Tensor,
    mask: Tensor,
    placed: Placed,
    texture: Tensor,
    sharpest: float,
    largest: float,
    config: FitConfig,
) -> Tensor:
    """Radii (T,) of an ideal disk that make a first atlas look like the frames.

    The atlas is not quite sharp itself: what it lacks, `sharpest`, is added in squares.

    Args:
        images: (T, 3, H, W) working values.
        mask: (T, H, W) bool.
        placed: maps of the layer.
        texture: (3, Ha, Wa) the first atlas.
        sharpest: radius in pixels that the atlas itself is blurred by.
        largest: radius to try.
        config: of the lens.
    """
    T, _, H, W = images.shape
    more = torch.linspace(0, 1, CANDIDATES).square() * largest
    tries = lens_radius(more, config.beta)
    canvas = Canvas(H, W, int(largest) + 10)
    found = torch.full((T,), torch.nan)
    inner = shrunk(mask, 4)
    x, y = canvas.axes()
    for t in sorted({*range(0, T, SEARCHED), T - 1}):
        if int(inner[t].sum()) < 64:
            continue
        place = project(placed.homographies[t : t + 1].float(), x, y)
        shown = look_up(texture, place)
        light = shown.square() if config.linear else shown
        errors = []
        for radius in tries:
            blurred = canvas.crop(evenly(light, radius.view(1, 1, 1, 1), config.beta))
            values = blurred.clamp_min(0).sqrt() if config.linear else blurred
            errors.append((values - images[t]).abs().mean(1)[0][inner[t]].mean())
        found[t] = lowest(more, torch.stack(errors))
    return (found.square() + sharpest**2).sqrt()


def least_blur(*series: Tensor) -> float:
    """Radius of a layer in its sharpest frames, the least of some measures (T,) of it.

    Too large a radius there makes all frames ring, too small a one leaves them a little soft.
    """
    least = min(float(filled(one).quantile(SHARPEST)) for one in series)
    return max(0.0, least**2 - UNSURE**2) ** 0.5


def lowest(at: Tensor, values: Tensor) -> Tensor:
    """Where a parabola through the least of `values` and its neighbours is lowest."""
    i = int(values.argmin())
    if i in (0, len(at) - 1):
        return at[i]
    (x0, x1, x2), (y0, y1, y2) = at[i - 1 : i + 2], values[i - 1 : i + 2]
    a, b = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    curve = (b - a) / (x2 - x0)
    return (0.5 * (x0 + x1) - a / (2 * curve)).clamp(float(x0), float(x2))


def start_layers(
    frames: Tensor,
    motion: Motion,
    masks: Tensor,
    names: Sequence[str],
    config: FitConfig,
    radii: Tensor | None = None,
    search: bool = True,
) -> list[LayerStart]:
    """Where the fit of each layer starts, back to front.

    Args:
        frames: (T, 3, H, W) encoded RGB in [0, 1].
        motion: of the clip.
        masks: (layers, T, H, W) bool, back to front.
        names: of the layers.
        config: what is fitted.
        radii: (layers, T) of ideal disks, NaN where a layer is not seen; from details if None.
        search: `radii` are rough: those are taken that make a first atlas look like the frames.
    """
    images = to_working(frames, config.linear)
    margin = int(config.largest_radius) if config.coc != "none" else 4
    placed = place_layers(motion, masks, config, margin)
    known = config.coc in ("given", "estimated")
    details = radii_from_details(frames, masks) if search or radii is None else None
    guess = details if radii is None else radii
    assert guess is not None  # noqa: S101
    starts = []
    for i, (where, mask) in enumerate(zip(placed, masks, strict=True)):
        ideal = smoothed(filled(guess[i])).clamp(0, config.largest_radius)
        weights = (0.5 + ideal) ** -4 if known else torch.ones(len(frames))
        seen = shrunk(mask, 1)
        texture, opacity, _ = mean_atlas(images, seen, where, weights)
        if config.coc == "estimated" and search:
            sharpest = least_blur(guess[i], details[i] if details is not None else guess[i])
            largest = min(config.largest_radius, 2 * float(ideal.max()) + 2)
            found = search_radii(images, mask, where, texture, sharpest, largest, config)
            ideal = smoothed(filled(found))
            weights = (0.5 + ideal) ** -4
            texture, opacity, _ = mean_atlas(images, seen, where, weights)
        lens = lens_radius(ideal, config.beta) if known else torch.ones_like(ideal)
        starts.append(
            LayerStart(
                names[i],
                where.homographies,
                texture,
                opacity if i else None,
                lens.view(-1, 1, 1, 1),
            )
        )
    return starts


def report_radii(starts: Sequence[LayerStart], beta: float | None) -> Tensor:
    """(layers, T) radii of ideal disks that the layers start with."""
    return torch.stack([ideal_radius(s.radius.mean((1, 2, 3)), beta) for s in starts])
