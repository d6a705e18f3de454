"""Metrics of images `(..., C, H, W)` in [0, 1]: one number for each of the leading axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.ops.color import PQ_PEAK, from_linear, to_linear
from unblur.ops.gaussian import gaussian, gaussian_blur

XYZ = (
    (0.4123908, 0.3575843, 0.1804808),
    (0.2126390, 0.7151687, 0.0721923),
    (0.0193308, 0.1191948, 0.9505322),
)
"""Linear sRGB to CIE XYZ, white at D65 with Y = 1."""
FLAT, FLAT_SIGMA = 3 / 255, 4.0
"""Gradient below which a truth is homogeneous: root of the mean square over a Gaussian."""
LATTICE, LATTICE_TILE = 16, 128
"""Period of a mesh, of which those of 8 and 4 pixels are a part, and the side of the tiles in which
it is looked for, in pixels."""
LEAST_FLAT = 0.01
"""Part of an image that has to be homogeneous."""
BLUR_EFFECT_RADIUS, FLAT_GRADIENT = 5, float(torch.finfo(torch.float64).eps)
"""Of the mean that `blur_effect` compares with, in pixels, and the least gradient that counts."""
LUMA = (0.2125, 0.7154, 0.0721)
"""Weights of R, G and B as scikit-image has them."""


def psnr(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
    cap: float = torch.inf,
) -> Tensor:  # (...)
    """Peak signal-to-noise ratio in dB over all channels, for a peak of 1.

    Args:
        x: image.
        truth: what it should be.
        cap: largest value given, so that frames that are equal do not rule a mean.

    >>> float(psnr(torch.full((3, 4, 4), 0.6), torch.full((3, 4, 4), 0.5)).round())
    20.0
    """
    error = (x.double() - truth.double()).square().mean(dim=(-3, -2, -1))
    return (-10 * error.log10()).clamp(max=cap).float()


def ssim(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
) -> Tensor:  # (...)
    """Structural similarity (Wang et al. 2004), mean over channels.

    Gaussian window with sigma 1.5 cut at 11x11, constants .01 and .03, biased covariances, the
    outer 5 pixels left out: scikit-image's with `gaussian_weights` and no sample covariance, and
    that of DaBiT's released code. Images must be at least 11x11.
    """
    require_side(x, 11)
    moments = moments_of(x, truth)
    return similarity(gaussian_blur(moments, 1.5, radius=5)[..., 5:-5, 5:-5])


def ssim_uniform(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
    side: int = 65,
) -> Tensor:  # (...)
    """SSIM with a flat window and unbiased covariances, half a window left out at the border.

    With a side of 65 that of DaBiT's first code; scikit-image's with `win_size`. It does not
    compare with `ssim`. Images must be at least `side` x `side`.
    """
    require_side(x, side)
    moments = moments_of(x, truth)
    planes = moments.reshape(-1, 1, *moments.shape[-2:])
    means = F.avg_pool2d(planes, side, stride=1).squeeze(1)
    return similarity(means.reshape(*moments.shape[:-2], *means.shape[-2:]), pixels=side**2)


def ssim_volume(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
) -> Tensor:  # (...)
    """SSIM with a Gaussian window that also runs across the colour channels, border and all.

    Sigma 1.5 cut at 4 sigma along all three axes, images mirrored at their borders, nothing left
    out: what BSSTNet's released code calls SSIM. It does not compare with `ssim`.
    """
    moments = moments_of(x, truth)  # (5, ..., C, H, W)
    for axis in (-1, -2, -3):
        moments = mirrored_gaussian(moments, 1.5, axis)
    return similarity(moments)


def mirrored_gaussian(x: Tensor, sigma: float, axis: int) -> Tensor:
    """Blurs one axis by a Gaussian cut at 4 sigma; beyond a border comes the mirror image."""
    weights = gaussian(int(4 * sigma + 0.5), sigma, torch.empty(0).double())
    return mirrored_filter(x, weights.tolist(), axis)


def mirrored_filter(x: Tensor, weights: Sequence[float], axis: int) -> Tensor:
    """Correlates one axis with an odd number of weights; beyond a border comes the mirror image."""
    radius, length = len(weights) // 2, x.shape[axis]
    at = torch.arange(-radius, length + radius, device=x.device) % (2 * length)
    wide = x.index_select(axis, torch.minimum(at, 2 * length - 1 - at))
    out = torch.zeros_like(x)
    for i, weight in enumerate(weights):
        out = out.add_(wide.narrow(axis, i, length), alpha=weight)
    return out


def require_side(x: Tensor, side: int, metric: str = "SSIM") -> None:
    """Refuses images that are smaller than a window."""
    if min(x.shape[-2:]) < side:
        size = tuple(x.shape[-2:])
        raise ValueError(f"{metric} needs images of at least {side}x{side}, not {size}")


def moments_of(x: Tensor, truth: Tensor) -> Tensor:  # (5, ..., C, H, W)
    """What SSIM takes means of."""
    a, b = x.double(), truth.double()
    return torch.stack([a, b, a * a, b * b, a * b])


def similarity(
    means: Tensor,  # (5, ..., C, H, W)
    pixels: float = torch.inf,
) -> Tensor:  # (...)
    """SSIM from the means of `moments_of`, taken over so many pixels if they are to be unbiased."""
    mean_a, mean_b, aa, bb, ab = means
    c1, c2 = 0.01**2, 0.03**2
    unbiased = 1.0 if pixels == torch.inf else pixels / (pixels - 1)
    variances = (aa - mean_a**2 + bb - mean_b**2) * unbiased
    covariance = (ab - mean_a * mean_b) * unbiased
    similar = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    )
    return similar.mean(dim=(-3, -2, -1)).float()


def detail(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
) -> Tensor:  # (...)
    """Correlation of the high-pass with the truth's: is the fine structure in its place? 1 is best.

    Contrast does not matter to it, only position: see `sharpness` for contrast.
    """
    a, b = high_pass(x).flatten(-3).double(), high_pass(truth).flatten(-3).double()
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    return ((a * b).sum(-1) / norms.clamp(min=1e-12)).float()


def sharpness(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
) -> Tensor:  # (...)
    """Root of the gradient energy over the truth's: 1 is right, less is soft, more is harsh."""
    return (_gradient_energy(x) / _gradient_energy(truth).clamp(min=1e-12)).sqrt().float()


def blur_effect(
    x: Tensor,  # (..., 3, H, W)
) -> Tensor:  # (...)
    """How blurred an image looks, without its truth (Crete et al. 2007): 0 is sharp, 1 is blurred.

    What a mean over 11 pixels leaves of an image's gradient, along its rows or along its columns,
    whichever keeps more: one that was blurred already loses little. scikit-image's function of this
    name. Compare frames of the same scene only; noise and ringing count as sharp.

    Raises:
        ValueError: the image is smaller than 11x11.
    """
    require_side(x, 2 * BLUR_EFFECT_RADIUS + 1, "blur_effect")
    luma = torch.einsum("...chw,c->...hw", x.double(), x.new_tensor(LUMA, dtype=torch.float64))
    return torch.maximum(blur_along(luma, -1), blur_along(luma, -2)).float()


def blur_along(luma: Tensor, axis: int) -> Tensor:  # (..., H, W) -> (...)
    """Share of the gradient along an axis that is left after a mean along it."""
    across = -3 - axis
    mean = torch.ones(2 * BLUR_EFFECT_RADIUS + 1) / (2 * BLUR_EFFECT_RADIUS + 1)

    def gradient(y: Tensor) -> Tensor:  # Sobel's; the outer 2 pixels are left out
        steps = mirrored_filter(y, (-0.5, 0.0, 0.5), axis)
        return mirrored_filter(steps, (0.25, 0.5, 0.25), across).abs().clamp(min=FLAT_GRADIENT)

    sharp, blurred = gradient(luma), gradient(mirrored_filter(luma, mean.tolist(), axis))
    inner = (..., slice(2, -1), slice(2, -1))
    lost = (sharp - blurred).clamp(min=0)[inner].sum((-2, -1))
    return 1 - lost / sharp[inner].sum((-2, -1))


def added_gradient(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
) -> Tensor:  # (...)
    """Gradient that an image has where its truth has none, in steps of an 8-bit file.

    Root of the energy of the gradient on homogeneous areas (skies, walls) less the truth's there: 0
    for an image without artefacts. Areas are those where the root mean square of the truth's
    gradient, over a Gaussian of 4 px, is below 3 steps; NaN if they make less than a hundredth.
    """
    energy, own = (gradient_energy(y.double()) for y in (x, truth))  # (..., H-1, W-1)
    flat = gaussian_blur(own, FLAT_SIGMA) < FLAT**2
    part = flat.double().mean(dim=(-2, -1))
    added = ((energy - own) * flat).mean(dim=(-2, -1)) / part.where(part >= LEAST_FLAT, torch.nan)
    return (255 * added.clamp(min=0).sqrt()).float()


def mesh(
    x: Tensor,  # (..., C, H, W)
    truth: Tensor,  # (..., C, H, W)
) -> Tensor:  # (...)
    """Pattern that repeats every 4, 8 or 16 pixels and is not in the truth, in 8-bit steps.

    Networks draw canvas, codecs blocks on such a lattice. Root of the energy of the part of the
    error's gradient that is the same in all cells of 16x16 pixels of a tile of 128x128 (of the
    whole image where it is smaller), less what the same number of unlike cells would have in
    common by chance; mean over tiles and channels. 0 for an error without a lattice. NaN below
    33x33 pixels.
    """
    error = (x - truth).double()
    if min(error.shape[-2:]) <= 2 * LATTICE:
        return torch.full(error.shape[:-3], torch.nan)
    energies = []
    for top in tile_starts(error.shape[-2]):
        for left in tile_starts(error.shape[-1]):
            tile = error[..., top : top + LATTICE_TILE + 1, left : left + LATTICE_TILE + 1]
            energies.append(lattice_energy(tile))
    energy = torch.stack(energies).mean(0)
    return (255 * energy.clamp(min=0).sqrt()).float()


def tile_starts(length: int) -> range:
    """Where tiles begin along an axis; what is left at the end is not looked at."""
    return range(0, max(1, length - LATTICE_TILE + 1), LATTICE_TILE)


def lattice_energy(
    error: Tensor,  # (..., C, h, w)
) -> Tensor:  # (...)
    """Mean square of the gradient that all cells have in common, without bias."""
    across = (error[..., 1:] - error[..., :-1])[..., :-1, :]
    down = (error[..., 1:, :] - error[..., :-1, :])[..., :, :-1]
    gradient = torch.stack((across, down), -3)  # (..., C, 2, h - 1, w - 1)
    rows, columns = (side // LATTICE for side in gradient.shape[-2:])
    cells = gradient[..., : rows * LATTICE, : columns * LATTICE]
    cells = cells.unflatten(-2, (rows, LATTICE)).unflatten(-1, (columns, LATTICE))
    cells = cells - cells.mean(dim=(-4, -3, -2, -1), keepdim=True)
    common = cells.mean(dim=(-4, -2), keepdim=True)
    own = cells - common
    many = rows * columns
    # Of independent cells the mean has 1 / many of their variance.
    chance = own.square().sum(dim=(-4, -2)) / (many * (many - 1))
    return (common.square().squeeze((-4, -2)) - chance).mean(dim=(-4, -3, -2, -1))


def tpsnr_pq(
    x: Tensor,  # (..., 3, H, W)
    truth: Tensor,  # (..., 3, H, W)
    cap: float = torch.inf,
    peak: float = 1000.0,
) -> Tensor:  # (...)
    """PSNR in dB of X, Y and Z as PQ encodes them, for a peak of 1.

    The "transfer-function" PSNR of HDR video for images in sRGB, one of two readings of "tPSNR":
    sRGB to light, to CIE XYZ, to PQ. Some dB above `psnr`, the fewer the darker the error.

    Args:
        x: image.
        truth: what it should be.
        cap: largest value given.
        peak: candela per square metre that white stands for.
    """
    return psnr(pq_xyz(x, peak), pq_xyz(truth, peak), cap)


def pq_xyz(
    x: Tensor,  # (..., 3, H, W)
    peak: float,
) -> Tensor:  # (..., 3, H, W)
    """The PQ signal of X, Y and Z of an image in sRGB."""
    matrix = torch.tensor(XYZ, dtype=torch.float64, device=x.device)
    light = torch.einsum("ij,...jhw->...ihw", matrix, to_linear(x.double()))
    return from_linear(light * (peak / PQ_PEAK), "smpte2084")


def end_point_error(
    flow: Tensor,  # (..., 2, H, W)
    truth: Tensor,  # (..., 2, H, W)
    valid: Tensor | None = None,  # (..., 1, H, W)
) -> Tensor:  # (...)
    """Mean length of the difference of two flows in pixels, where `valid` is not 0."""
    distance = (flow - truth).norm(dim=-3, keepdim=True)  # (..., 1, H, W)
    weight = torch.ones_like(distance) if valid is None else (valid > 0).to(distance)
    return (distance * weight).sum(dim=(-3, -2, -1)) / weight.sum(dim=(-3, -2, -1)).clamp(min=1)


def high_pass(x: Tensor, sigma: float = 2.0) -> Tensor:
    """The image less its Gaussian blur."""
    return x - gaussian_blur(x, sigma)


def gradient_energy(x: Tensor) -> Tensor:  # (..., C, H, W) -> (..., H-1, W-1)
    """Square of the gradient to the right and down, mean over channels."""
    across = (x[..., 1:] - x[..., :-1]).square()[..., :-1, :]
    down = (x[..., 1:, :] - x[..., :-1, :]).square()[..., :, :-1]
    return (across + down).mean(-3)


def _gradient_energy(x: Tensor) -> Tensor:  # (..., C, H, W) -> (...)
    x = x.double()
    across = (x[..., 1:] - x[..., :-1]).square().mean(dim=(-3, -2, -1))
    down = (x[..., 1:, :] - x[..., :-1, :]).square().mean(dim=(-3, -2, -1))
    return across + down
