"""Codes of an image to RGB and back: matrices, ranges, and the size of chroma."""

from __future__ import annotations

import math
from functools import lru_cache

import av
import numpy as np
from numpy.typing import NDArray

from unblur.errors import MediaError
from unblur.video.info import MATRICES, Siting
from unblur.video.pixels.layout import Layout, layout_of
from unblur.video.pixels.planes import Array, codes_of, put_codes


def decode_rgb(image: av.VideoFrame, siting: Siting) -> Array:
    """RGB `(3, H, W)` of an image with plain samples."""
    layout = layout_of(image.format.name)
    out = np.empty((3, image.height, image.width), np.float32)
    if layout.family == "rgb":
        for channel, samples in enumerate(layout.color):
            codes = codes_of(image, layout, samples, layout.bits_of(channel))
            if layout.is_float:
                out[channel] = codes
            else:
                np.divide(codes, np.float32(2 ** layout.bits_of(channel) - 1), out=out[channel])
        return out

    luma = codes_of(image, layout, layout.color[0], layout.bits)
    black, white, _ = _code_range(image, layout)
    luma -= np.float32(black)
    luma /= np.float32(white - black)
    if layout.family == "gray":
        out[:] = luma
        return out

    cb, cr = _chroma(image, layout, siting)
    _, inverse = _matrices(matrix_code(image.colorspace, image.height, image.width))
    scratch = np.empty_like(luma)
    for channel in range(3):
        row = out[channel]
        row[:] = luma  # whose weight is 1 in each
        for weight, chroma in zip(inverse[channel, 1:], (cb, cr), strict=True):
            if weight:
                np.multiply(chroma, weight, out=scratch)
                row += scratch
    return out


def recodable(old: Layout, new: Layout) -> bool:
    """Whether `recode` can store samples of one layout in the other."""
    pairs = zip(old.subsampling, new.subsampling, strict=True)
    return old.family == new.family and all(after in (before, 1) for before, after in pairs)


def recode(source: av.VideoFrame, target: av.VideoFrame, siting: Siting) -> None:
    """Stores the samples of an image in one of the same size and family.

    Depth and range may differ, and chroma may be finer in the target: then it is interpolated in
    that direction alone, and in the other one neither moved nor filtered.
    """
    old, new = layout_of(source.format.name), layout_of(target.format.name)
    (down, down_after), (across, across_after) = zip(old.subsampling, new.subsampling, strict=True)
    finer = down // down_after, across // across_after
    height, width = -(-source.height // down_after), -(-source.width // across_after)
    (black, white, span), (dark, bright, wide) = _code_range(source, old), _code_range(target, new)
    if old.family == "rgb":
        black = dark = 0.0
        white, bright = 2.0**old.bits - 1, 2.0**new.bits - 1
    for channel, (samples, place) in enumerate(zip(old.color, new.color, strict=True)):
        codes = codes_of(source, old, samples, old.bits)
        if old.family == "yuv" and channel:
            codes -= np.float32(2 ** (old.bits - 1))
            codes *= np.float32(wide / span)
            codes += np.float32(2 ** (new.bits - 1))
            codes = _upsample(codes, finer, siting, height, width)
        else:
            codes -= np.float32(black)
            codes *= np.float32((bright - dark) / (white - black))
            codes += np.float32(dark)
        put_codes(target, new, place, new.bits, codes)


def encode_rgb(
    image: av.VideoFrame,
    rgb: Array,  # (3, H, W)
    siting: Siting,
    reference: av.VideoFrame | None = None,
) -> None:
    """Stores RGB in the image's colour channels.

    Subsampled chroma is low-passed, which would soften it a little each time. With the image
    that `rgb` was made from as `reference`, only the difference to its chroma is low-passed and
    added to its samples: colours that did not change keep their codes.
    """
    layout = layout_of(image.format.name)
    if layout.family == "rgb":
        for channel, samples in enumerate(layout.color):
            bits = layout.bits_of(channel)
            top = np.float32(1 if layout.is_float else 2**bits - 1)
            put_codes(image, layout, samples, bits, rgb[channel] * top)
        return

    matrix, _ = _matrices(matrix_code(image.colorspace, image.height, image.width))
    black, white, span = _code_range(image, layout)
    # Luma's weights add up to 1 and chroma's to 0. Written in differences to green, gray stays
    # exactly gray, also in floats.
    red, blue = rgb[0] - rgb[1], rgb[2] - rgb[1]
    luma = _weighted(red, blue, matrix[0])
    luma += rgb[1]
    luma *= np.float32(white - black)
    luma += np.float32(black)
    put_codes(image, layout, layout.color[0], layout.bits, luma)
    if layout.family == "gray":
        return

    middle = np.float32(2 ** (layout.bits - 1))
    before = _chroma(reference, layout, siting) if reference is not None else (None, None)
    for samples, weights, old in zip(layout.color[1:], matrix[1:], before, strict=True):
        chroma = _weighted(red, blue, weights)
        if old is not None and reference is not None:
            chroma -= old
        codes = _downsample(chroma, layout.subsampling, siting)
        codes *= np.float32(span)
        if reference is not None:
            codes += codes_of(reference, layout, samples, layout.bits)
        else:
            codes += middle
        put_codes(image, layout, samples, layout.bits, codes)


def _chroma(image: av.VideoFrame, layout: Layout, siting: Siting) -> tuple[Array, Array]:
    """Cb and Cr at luma's size, `(H, W)` each, in [-0.5, 0.5]."""
    _, _, span = _code_range(image, layout)
    planes = []
    for samples in layout.color[1:]:
        codes = codes_of(image, layout, samples, layout.bits)
        codes -= np.float32(2 ** (layout.bits - 1))
        codes /= np.float32(span)
        planes.append(_upsample(codes, layout.subsampling, siting, image.height, image.width))
    return planes[0], planes[1]


def _weighted(red: Array, blue: Array, weights: NDArray[np.float32]) -> Array:
    """A row of a matrix times RGB, without green's share: see `encode_rgb`."""
    out = red * weights[0]
    out += blue * weights[2]
    return out


def _code_range(image: av.VideoFrame, layout: Layout) -> tuple[float, float, float]:
    """Codes of black and white, and the codes that chroma spans from -0.5 to 0.5."""
    if layout.is_float:
        return 0.0, 1.0, 1.0
    tagged = int(image.color_range)
    limited = tagged != 2 and not layout.full_range
    if layout.family == "gray":
        limited = tagged == 1
    if not limited:
        top = float(2**layout.bits - 1)
        return 0.0, top, top
    unit = 2.0 ** (layout.bits - 8)
    return 16 * unit, 235 * unit, 224 * unit


_LUMA_WEIGHTS = {  # of red and of blue, by the code of ITU-T H.273 table 4
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_YCGCO = 8
_UNTAGGED = (0, 2, 3)  # 0 says RGB, which contradicts an image of Y, Cb and Cr


def matrix_code(tag: int, height: int, width: int) -> int:
    """H.273's number of the matrix in force: the tagged one, else by the size of the image."""
    code = int(tag)
    if code in _UNTAGGED:
        return 1 if height >= 720 or width >= 1280 else 6
    if code != _YCGCO and code not in _LUMA_WEIGHTS:
        known = MATRICES.get(code, f"number {code}")
        raise MediaError(
            f"colour matrix {known} is not supported; convert the video to bt2020nc or bt709 "
            "first, for example with FFmpeg's filter `zscale=matrix=2020_ncl`"
        )
    return code


@lru_cache(maxsize=16)
def _matrices(code: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """RGB to Y, Cb, Cr (chroma in [-0.5, 0.5]), and back."""
    if code == _YCGCO:
        forward = np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    else:
        red, blue = _LUMA_WEIGHTS[code]
        luma = np.array([red, 1 - red - blue, blue])
        cb = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - blue))
        cr = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - red))
        forward = np.stack([luma, cb, cr])
    inverse = np.linalg.inv(forward)
    inverse[np.abs(inverse) < 1e-12] = 0
    inverse[:, 0] = 1
    return forward.astype(np.float32), inverse.astype(np.float32)


# Chroma at luma's size and back. `siting` says where it lies.


def _upsample(
    plane: Array, factors: tuple[int, int], siting: Siting, height: int, width: int
) -> Array:
    down, across = factors
    first, left = _places(siting, factors)
    plane = _interpolate(plane, down, first)[:height]
    return _interpolate(plane.T, across, left).T[:, :width]


def _places(siting: Siting, factors: tuple[int, int]) -> tuple[float, float]:
    """Down and across, how many luma samples behind the first of its block a chroma sample lies."""
    down, across = (factor - 1 for factor in factors)
    lines = 0 if "top" in siting else down if "bottom" in siting else down / 2
    return lines, 0 if "left" in siting else across / 2


def _interpolate(plane: Array, factor: int, origin: float) -> Array:
    """Linear interpolation to `factor` times as many rows; rows beyond the edge repeat it."""
    if factor == 1:
        return plane
    rows = len(plane)
    across = plane.T.flags.c_contiguous  # keep the memory order that the caller's view has
    shape = (rows * factor, plane.shape[1])
    out = np.empty(shape[::-1], np.float32).T if across else np.empty(shape, np.float32)
    for phase in range(factor):
        where = (phase - origin) / factor
        first = math.floor(where)  # -1 or 0: the sample before
        late = np.float32(where - first)
        target = out[phase::factor]
        if not late:
            target[:] = plane
            continue
        before, after = (plane[:-1], plane[1:])
        inner = target[1:] if first < 0 else target[:-1]
        np.multiply(before, 1 - late, out=inner)
        inner += after * late
        edge = 0 if first < 0 else -1
        target[edge] = plane[edge]
    return out


def _downsample(plane: Array, factors: tuple[int, int], siting: Siting) -> Array:
    down, across = factors
    first, left = _places(siting, factors)
    # Across first would read each line once, down first halves the work: down first.
    plane = _low_pass(plane, down, first)
    return np.ascontiguousarray(_low_pass(plane.T, across, left).T)


def _low_pass(plane: Array, factor: int, origin: float) -> Array:
    """One row of `factor`: the mean around a place between rows, else a triangle around the row."""
    if factor == 1:
        return plane
    rows = -(-len(plane) // factor)
    behind = rows * factor - len(plane)
    centered = origin != int(origin) or factor == 1
    place = int(origin)
    low = 0 if centered else place - factor + 1
    high = factor if centered else place + factor
    padded = np.pad(plane, ((-low, max(behind + high - factor, behind)), (0, 0)), mode="edge")
    total = np.zeros((rows, plane.shape[1]), np.float32)
    for offset in range(low, high):
        weight = 1 / factor if centered else (factor - abs(offset - place)) / factor**2
        start = offset - low
        total += padded[start : start + (rows - 1) * factor + 1 : factor] * np.float32(weight)
    return total
