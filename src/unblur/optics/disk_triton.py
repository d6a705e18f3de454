"""The disk blur on a GPU, by way of Triton: the sum over all taps itself, in float32.

Each program gathers what arrives at a few pixels, so nothing is written twice and no atomics are
needed. Backward, where each pixel needs what its own disk collects, a program goes no further than
the widest disk of its pixels.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from unblur.optics.disk_kernels import INNER, OUTER, SOFTEST, softness

BLOCK = 128
"""Pixels per program."""
STARTS: tl.constexpr = tl.constexpr(INNER)
ENDS: tl.constexpr = tl.constexpr(OUTER)


def spread(image: Tensor, radius: Tensor, beta: float | None) -> Tensor:
    """As `disk_blur.scatter`, of images and radii that were checked.

    Args:
        image: (N, C, H, W), float32.
        radius: (N, 1, H, W), float32.
        beta: softness, or None.

    Returns:
        (N, C + 1, H, W): light of the image, and of an image of ones.
    """
    return _Spread.apply(image, radius, beta)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, radius, beta):  # type: ignore[no-untyped-def]
        N, C, H, W = image.shape
        radius = radius.contiguous()
        soft, soft_slope = softness_of(radius, beta)
        reach = math.ceil(float((radius + OUTER / soft).max()))
        grid = (triton.cdiv(H * W, BLOCK), N)
        area, area_slope = torch.empty_like(radius), torch.empty_like(radius)
        areas[grid](radius, soft, soft_slope, area, area_slope, H, W, BLOCK=BLOCK)
        ones = torch.ones_like(radius)
        x = channels_last(torch.cat((image, ones), 1) / area)  # (N, H, W, P)
        out = torch.empty_like(x)
        gather[grid](x, radius, soft, out, H, W, reach, CHANNELS=x.shape[-1], BLOCK=BLOCK)
        ctx.save_for_backward(image, radius, soft, soft_slope, area, area_slope)
        return out[..., : C + 1].permute(0, 3, 1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        image, radius, soft, soft_slope, area, area_slope = ctx.saved_tensors
        N, C, H, W = image.shape
        g = channels_last(grad)  # (N, H, W, P)
        light, change = torch.empty_like(g), torch.empty_like(g)
        collect[(triton.cdiv(H * W, BLOCK), N)](
            g, radius, soft, soft_slope, light, change, H, W, CHANNELS=g.shape[-1], BLOCK=BLOCK
        )
        light = light[..., : C + 1].permute(0, 3, 1, 2) / area  # (N, C + 1, H, W)
        change = change[..., : C + 1].permute(0, 3, 1, 2) / area - light * area_slope / area
        x = torch.cat((image, torch.ones_like(radius)), 1)
        return light[:, :C], (x * change).sum(1, keepdim=True), None


def softness_of(radius: Tensor, beta: float | None) -> tuple[Tensor, Tensor]:
    """Softness of each pixel, and how it changes with the radius."""
    if beta is not None:
        return torch.full_like(radius, beta), torch.zeros_like(radius)
    soft = softness(radius)
    return soft, (soft - SOFTEST) * (-2 / 0.8**2) * radius


def channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) as (N, H, W, P), where P is a power of 2 and the rest is zero."""
    P = triton.next_power_of_2(x.shape[1])
    out = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], P)
    out[..., : x.shape[1]] = x.permute(0, 2, 3, 1)
    return out


@triton.jit
def profile(depth, soft):  # type: ignore[no-untyped-def]
    """`disk_kernels.soft_disk`."""
    distance = tl.abs(depth)
    decay = tl.exp(-soft * distance)
    t = tl.minimum(tl.maximum((ENDS - soft * distance) / (ENDS - STARTS), 0.0), 1.0)
    outside = decay / (decay + distance) * t * t * (3 - 2 * t)
    return tl.where(depth >= 0, 1 / (1 - distance * decay), outside)


@triton.jit
def profile_slope(depth, soft, soft_slope):  # type: ignore[no-untyped-def]
    """Derivative of `profile` in the radius, that depth and softness depend on."""
    distance = tl.abs(depth)
    decay = tl.exp(-soft * distance)
    by_soft = distance * distance * decay * soft_slope
    below = 1 - distance * decay
    inside = (decay * (1 - soft * distance) - by_soft) / (below * below)
    below = decay + distance
    t = tl.minimum(tl.maximum((ENDS - soft * distance) / (ENDS - STARTS), 0.0), 1.0)
    slope = (decay * (1 + soft * distance) - by_soft) / (below * below)
    t_slope = (soft - distance * soft_slope) / (ENDS - STARTS)
    outside = slope * t * t * (3 - 2 * t) + decay / below * 6 * t * (1 - t) * t_slope
    return tl.where(depth >= 0, inside, outside)


@triton.jit
def half_width(row, reach):  # type: ignore[no-untyped-def]
    """Columns to either side that lie within `reach`, in a row of the disk."""
    return tl.sqrt((reach * reach - row * row).to(tl.float32)).to(tl.int32)


@triton.jit
def away(at, dy, dx):  # type: ignore[no-untyped-def]
    """Distance of a tap from the middle, as a block like `at`: loops may run over plain numbers."""
    return tl.sqrt((at * 0 + dy * dy + dx * dx).to(tl.float32))


@triton.jit
def areas(radius, soft, soft_slope, area, area_slope, H, W, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum of the kernel of each pixel, and its derivative in the radius."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < H * W
    at += tl.program_id(1) * H * W
    r = tl.load(radius + at, mask=inside, other=0.0)
    b = tl.load(soft + at, mask=inside, other=8.0)
    db = tl.load(soft_slope + at, mask=inside, other=0.0)
    reach = tl.ceil(tl.max(r + ENDS / b, axis=0)).to(tl.int32)
    total = tl.zeros((BLOCK,), tl.float32)
    change = tl.zeros((BLOCK,), tl.float32)
    for dy in range(-reach, reach + 1):
        half = half_width(dy, reach)
        for dx in range(-half, half + 1):
            depth = r - away(at, dy, dx)
            total += profile(depth, b)
            change += profile_slope(depth, b, db)
    tl.store(area + at, total, mask=inside)
    tl.store(area_slope + at, change, mask=inside)


@triton.jit
def gather(x, radius, soft, out, H, W, reach, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Light that arrives at each pixel, from sources `x` already divided by their areas."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < H * W
    row = at // W
    col = at % W
    first = tl.program_id(1) * H * W
    channel = tl.arange(0, CHANNELS)
    total = tl.zeros((BLOCK, CHANNELS), tl.float32)
    for dy in range(-reach, reach + 1):
        half = half_width(dy, reach)
        for dx in range(-half, half + 1):
            y = row + dy
            z = col + dx
            there = inside & (y >= 0) & (y < H) & (z >= 0) & (z < W)
            source = first + y * W + z
            r = tl.load(radius + source, mask=there, other=0.0)
            b = tl.load(soft + source, mask=there, other=8.0)
            weight = profile(r - away(at, dy, dx), b)
            place = source[:, None] * CHANNELS + channel[None, :]
            total += weight[:, None] * tl.load(x + place, mask=there[:, None], other=0.0)
    place = (first + at)[:, None] * CHANNELS + channel[None, :]
    tl.store(out + place, total, mask=inside[:, None])


@triton.jit
def collect(  # type: ignore[no-untyped-def]
    g, radius, soft, soft_slope, light, change, H, W, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):
    """What the disk of each pixel collects of `g`, and the derivative of that in the radius."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < H * W
    row = at // W
    col = at % W
    first = tl.program_id(1) * H * W
    channel = tl.arange(0, CHANNELS)
    r = tl.load(radius + first + at, mask=inside, other=0.0)
    b = tl.load(soft + first + at, mask=inside, other=8.0)
    db = tl.load(soft_slope + first + at, mask=inside, other=0.0)
    reach = tl.ceil(tl.max(r + ENDS / b, axis=0)).to(tl.int32)
    total = tl.zeros((BLOCK, CHANNELS), tl.float32)
    slopes = tl.zeros((BLOCK, CHANNELS), tl.float32)
    for dy in range(-reach, reach + 1):
        half = half_width(dy, reach)
        for dx in range(-half, half + 1):
            y = row + dy
            z = col + dx
            there = inside & (y >= 0) & (y < H) & (z >= 0) & (z < W)
            depth = r - away(at, dy, dx)
            place = (first + y * W + z)[:, None] * CHANNELS + channel[None, :]
            value = tl.load(g + place, mask=there[:, None], other=0.0)
            total += profile(depth, b)[:, None] * value
            slopes += profile_slope(depth, b, db)[:, None] * value
    place = (first + at)[:, None] * CHANNELS + channel[None, :]
    tl.store(light + place, total, mask=inside[:, None])
    tl.store(change + place, slopes, mask=inside[:, None])
