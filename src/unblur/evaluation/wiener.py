"""Wiener's filter with the true blur of each layer: how far a linear filter gets that knows it all.

For each layer, and for each cell of a grid over the frame, the whole frame is restored with the
blur of that layer in that place, in linear light; the results are put together with the layers'
masks. Occlusion, saturation and noise are what keeps it from being perfect.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.evaluation.clip import Blur
from unblur.ops.color import from_linear, to_linear
from unblur.ops.gaussian import gaussian_blur
from unblur.optics.thin_lens import disk
from unblur.synth.paths import apply

NOISE_TO_SIGNAL = 0.6
"""At the highest frequency of an axis; falls with the square of the frequency, as the spectrum of
photographs rises (Field 1987). Chosen on scenes of other seeds: docs/evaluation.md."""
CELLS = 4
"""Cells of the grid along each axis, for blur that differs from place to place."""
BORDER = 64
"""Pixels added around a frame, which ease it into its own mean, so that it goes round without a
step."""
LEAST_SHARE = 4
"""Pixels of a layer in a cell below which it is left to its neighbours."""
SIMILAR = 2.0
"""Pixels that the blur of two layers may differ by before the one disturbs the other."""
ROUNDS = 15
"""Multiplications of Richardson-Lucy; each takes as long as Wiener's filter does twice."""
DARK = 1e-4
"""Least light that is divided by."""
Undo = Callable[[Tensor, Tensor], Tensor]
"""From light (3, h, w) and the transfer function of a blur to light without that blur."""
Transfer = Callable[[Tensor, float, Tensor, tuple[int, int]], Tensor]
"""`transfer_function`, or another reading of the same blur."""
FILL = 8.0
"""Sigma in pixels of the blur that goes on with a layer's colours past its edge."""


def restore_known_blur(
    blurred: Tensor,  # (S, 3, H, W)
    blur: Blur,
    noise_to_signal: float = NOISE_TO_SIGNAL,
) -> Tensor:  # (S, 3, H, W)
    """Takes known blur away, frame by frame; encoded RGB (sRGB) in [0, 1] in and out."""

    def undo(light: Tensor, transfer: Tensor) -> Tensor:
        size = (light.shape[-2], light.shape[-1])
        prior = noise_to_signal * squared_frequency(size)
        spectrum = torch.fft.rfft2(light) * transfer.conj() / (transfer.abs() ** 2 + prior)
        return torch.fft.irfft2(spectrum, s=size)

    return restored_by(undo, blurred, blur)


def richardson_lucy(
    blurred: Tensor,  # (S, 3, H, W)
    blur: Blur,
    rounds: int = ROUNDS,
) -> Tensor:  # (S, 3, H, W)
    """Takes blur away by Richardson's and Lucy's multiplications (1972, 1974), as above.

    They stop early, which is all that holds noise and ringing back.
    """

    def undo(light: Tensor, transfer: Tensor) -> Tensor:
        size = (light.shape[-2], light.shape[-1])

        def through(x: Tensor, transfer: Tensor) -> Tensor:
            return torch.fft.irfft2(torch.fft.rfft2(x) * transfer, s=size)

        light = light.clamp_min(DARK)
        found = light
        for _ in range(rounds):
            ratio = light / through(found, transfer).clamp_min(DARK)
            found = (found * through(ratio, transfer.conj())).clamp_min(DARK)
        return found

    return restored_by(undo, blurred, blur, transfer_of_light)


def restored_by(
    undo: Undo, blurred: Tensor, blur: Blur, transfer_of: Transfer | None = None
) -> Tensor:
    """Each frame by one way to undo the blur of one place."""
    way = undo, transfer_of or transfer_function
    frames = [
        _restore(to_linear(blurred[i]), blur.paths[i], blur.radius[i], blur.share[i], *way)
        for i in range(len(blurred))
    ]
    return from_linear(torch.stack(frames).clamp(0, 1)).clamp(0, 1)


def _restore(
    light: Tensor,  # (3, H, W)
    paths: Tensor,  # (L, N, 3, 3)
    radius: Tensor,  # (L,)
    share: Tensor,  # (L, H, W)
    undo: Undo,
    transfer_of: Transfer,
) -> Tensor:  # (3, H, W)
    height, width = light.shape[-2:]
    size = (height + 2 * BORDER, width + 2 * BORDER)
    inside = (..., slice(BORDER, BORDER + height), slice(BORDER, BORDER + width))
    total, weight = torch.zeros_like(light), torch.zeros_like(light[0])
    for layer in range(len(share)):
        parts = [
            part
            for cell in cells(height, width)
            if (part := share[layer] * cell).sum() >= LEAST_SHARE
        ]
        if not parts:
            continue
        similar = likeness(paths, radius, layer)[:, None, None] * share  # (L, H, W)
        filled = padded(alone(light, similar.sum(0)))
        for part in parts:
            transfer = transfer_of(paths[layer], float(radius[layer]), middle(part), size)
            total += part * undo(filled, transfer)[inside]
            weight += part
    return torch.where(weight > 1e-3, total / weight.clamp_min(1e-3), light)


def likeness(
    paths: Tensor,  # (L, N, 3, 3)
    radius: Tensor,  # (L,)
    layer: int,
) -> Tensor:  # (L,)
    """How similar the blur of each layer is to that of one: 1 the same, 0 for SIMILAR pixels."""
    shifts = apply(paths, torch.zeros(2))  # (L, N, 2) of the middle of the frame
    apart = (shifts - shifts[layer]).norm(dim=-1).mean(1) + (radius - radius[layer]).abs()
    return (1 - apart / SIMILAR).clamp(0, 1)


def alone(
    light: Tensor,  # (3, H, W)
    share: Tensor,  # (H, W)
) -> Tensor:  # (3, H, W)
    """The layers of one blur by themselves, the rest filled with their own colours.

    What other blur has made would ring far into them, sharp things worst of all.
    """
    mean = (light * share).sum((-2, -1), keepdim=True) / share.sum()
    near = gaussian_blur(torch.cat((light * share, share[None])), FILL)  # (4, H, W)
    fill = (near[:3] + 0.01 * mean) / (near[3:] + 0.01)
    return fill + (light - fill) * share


def transfer_function(
    paths: Tensor,  # (N, 3, 3)
    radius: float,
    place: Tensor,  # (2,)
    size: tuple[int, int],
) -> Tensor:  # (size[0], size[1] // 2 + 1) complex
    """Fourier transform of the blur of one place: the mean of its shifts, times that of a disk."""
    shifts = apply(paths, place) - place  # (N, 2)
    across = torch.fft.rfftfreq(size[1])
    down = torch.fft.fftfreq(size[0])
    waves_x = torch.exp(-2j * torch.pi * shifts[:, :1] * across)  # (N, size[1] // 2 + 1)
    waves_y = torch.exp(-2j * torch.pi * shifts[:, 1:] * down)  # (N, size[0])
    return waves_y.T @ waves_x / len(paths) * lens(radius, size)


def transfer_of_light(
    paths: Tensor,  # (N, 3, 3)
    radius: float,
    place: Tensor,  # (2,)
    size: tuple[int, int],
) -> Tensor:  # (size[0], size[1] // 2 + 1) complex
    """As `transfer_function`, with shifts by bilinear weights, so that no light is negative.

    Shifts by a part of a pixel swing below 0 otherwise, and what multiplies and divides by light
    runs away.
    """
    shifts = apply(paths, place) - place  # (N, 2)
    low = shifts.floor()
    part = shifts - low
    kernel = torch.zeros(size)
    for x, y in product((0, 1), (0, 1)):
        share = (part[:, 0] - (1 - x)).abs() * (part[:, 1] - (1 - y)).abs()
        rows, columns = (low[:, 1] + y).long() % size[0], (low[:, 0] + x).long() % size[1]
        kernel.index_put_((rows, columns), share / len(paths), accumulate=True)
    return torch.fft.rfft2(kernel) * lens(radius, size)


def lens(radius: float, size: tuple[int, int]) -> Tensor:
    """Fourier transform of the disk of a lens, (size[0], size[1] // 2 + 1)."""
    if radius < 0.5:  # lies inside one pixel
        return torch.ones(())
    reach = int(radius) + 2
    kernel = disk(torch.tensor([radius]), reach)[0]
    side = 2 * reach + 1
    kernel = F.pad(kernel, (0, size[1] - side, 0, size[0] - side)).roll((-reach, -reach), (0, 1))
    return torch.fft.rfft2(kernel)


def squared_frequency(size: tuple[int, int]) -> Tensor:
    """Square of the frequency over that of the highest of an axis; 0 for the mean."""
    across, down = torch.fft.rfftfreq(size[1]) * 2, torch.fft.fftfreq(size[0]) * 2
    return down[:, None] ** 2 + across**2


def padded(
    light: Tensor,  # (3, H, W)
) -> Tensor:  # (3, H + 2 BORDER, W + 2 BORDER)
    """The frame with borders that repeat its rim and fade to its mean at the outer edge."""
    height, width = light.shape[-2:]
    mean = light.mean((-2, -1), keepdim=True)
    wide = F.pad(light[None], (BORDER,) * 4, mode="replicate")[0]
    fade_y, fade_x = fade(height), fade(width)
    return mean + (wide - mean) * fade_y[:, None] * fade_x


def fade(length: int) -> Tensor:  # (length + 2 BORDER,)
    """1 over the frame, to 0 as half a cosine over each border."""
    ramp = 0.5 - 0.5 * torch.cos(torch.pi * (torch.arange(BORDER) + 0.5) / BORDER)
    return torch.cat((ramp, torch.ones(length), ramp.flip(0)))


def cells(height: int, width: int) -> list[Tensor]:
    """Weights (H, W) of the cells of a grid, linear between their centres; they sum to 1."""
    return [y[:, None] * x for y in hats(height) for x in hats(width)]


def hats(length: int) -> Tensor:  # (CELLS, length)
    """Triangles around the centres of equal parts of an axis, flat at its ends."""
    at = (torch.arange(length) + 0.5) / length * CELLS - 0.5
    return (1 - (at.clamp(0, CELLS - 1) - torch.arange(CELLS)[:, None]).abs()).clamp_min(0)


def middle(
    part: Tensor,  # (H, W)
) -> Tensor:  # (2,)
    """Centre of gravity of weights, in pixels from the middle of the frame."""
    height, width = part.shape
    x = torch.arange(width) + 0.5 - width / 2
    y = torch.arange(height) + 0.5 - height / 2
    return torch.stack(((part.sum(0) * x).sum(), (part.sum(1) * y).sum())) / part.sum()
