"""Lens blur whose radius changes from pixel to pixel, differentiable in image and radius.

Every pixel spreads over its own disk. A disk of any radius is a mix of few fixed ones, so the blur
is a handful of convolutions:

    sum over pixels q of  K(r_q, p - q) x_q  =  sum over nodes j of  (C_j * (b_j(r) x))(p)

with `K(r) = sum of b_j(r) C_j`: cubic B-splines `b_j` over the radius, and kernels `C_j` fitted to
the true disks once and for all. Where all radii are the same the kernels are mixed first, and it is
one convolution. The mix is smooth in the radius; its derivative is exact. From the
true disk it differs by at most 2 % of the light (sum of absolute differences), by less than 1 % on
average.

On a GPU where Triton is present, `disk_triton` sums over all taps instead.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unblur.errors import UnblurWarning
from unblur.optics.disk_kernels import OUTER, SOFTEST, soft_disk, softness

LARGEST = 64.0
"""Greatest radius in pixels."""
BETAS = 0.5, 16.0
"""Softest and sharpest rim."""
FLOOR = 0.02
"""Where less light than this arrives at a pixel, the pixel itself fills up the rest."""
KEPT = 250_000
"""Pixels of the largest transform that is kept for the next image: at most 130 MB in all."""
SAMPLES = 8
"""Disks that the kernels are fitted to, per node."""


def disk_blur(image: Tensor, radius: Tensor, beta: float | None = None) -> Tensor:
    """Blurs an image by a disk of its own for every pixel.

    Each pixel spreads its light over its disk (weights that sum to 1); what arrives is divided by
    what arrives from an image of ones, so that constants stay, at the border too.

    Args:
        image: (N, C, H, W), linear light.
        radius: (N, 1, H, W) pixels, 0 to 64: the radius of the circle of confusion.
        beta: softness of the rim. None: as in `softness`, so that radius 0 is the identity; a
            number, 0.5 to 16: eq. 2 as the paper has it, where radius 0 blurs a little.

    Returns:
        (N, C, H, W), differentiable in image and radius.

    Raises:
        ValueError: shapes do not fit together, or radius or beta is out of range.
    """
    dtype = torch.promote_types(torch.promote_types(image.dtype, radius.dtype), torch.float32)
    x = image.to(dtype)
    light, weight = scatter(x, radius.to(dtype), beta)
    return normalised(light, weight, x).to(image.dtype)


def layered_blur(
    layers: Sequence[tuple[Tensor, Tensor, Tensor]], beta: float | None = None
) -> Tensor:
    """Blurs layers each by its own radius and lays them over each other, back to front.

    Colour times alpha, and alpha, are blurred with the same disks and divided by the blur of ones:
    no dark seam where a layer ends, and light of what lies behind where a layer in front is blurred
    away. Behind the last layer is black.

    Args:
        layers: back to front, of (colour (N, C, H, W) in linear light, alpha (N, 1, H, W) in
            [0, 1], radius (N, 1, H, W) in pixels). Colour and radius count where alpha is 0 too:
            give each layer the radius it would have there.
        beta: as in `disk_blur`.

    Returns:
        (N, C, H, W), differentiable in every tensor.
    """
    out: Tensor | None = None
    for colour, alpha, radius in layers:
        light = colour * alpha
        if out is None:
            out = disk_blur(light, radius, beta)  # hides nothing
            continue
        blurred = disk_blur(torch.cat((light, alpha), 1), radius, beta)  # (N, C + 1, H, W)
        out = blurred[:, :-1] + (1 - blurred[:, -1:]) * out
    if out is None:
        raise ValueError("there is no layer to blur")
    return out


def normalised(light: Tensor, weight: Tensor, image: Tensor) -> Tensor:
    """Light over weight; smoothly towards the image itself where there is hardly any weight."""
    missing = (FLOOR - weight).clamp_min(0) ** 2 / (2 * FLOOR)  # weight + missing >= FLOOR / 2
    return (light + missing * image) / (weight + missing)


def scatter(image: Tensor, radius: Tensor, beta: float | None = None) -> tuple[Tensor, Tensor]:
    """Light that arrives when every pixel spreads over its disk; what leaves the frame is lost.

    Args:
        image: (N, C, H, W), float32 or float64.
        radius: (N, 1, H, W) pixels, 0 to 64, of the same type.
        beta: as in `disk_blur`.

    Returns:
        (N, C, H, W) of the image, and (N, 1, H, W) of an image of ones.
    """
    if image.ndim != 4 or radius.shape != (image.shape[0], 1, *image.shape[2:]):
        raise ValueError(
            f"an image (N, C, H, W) needs a radius (N, 1, H, W): they have the shapes "
            f"{tuple(image.shape)} and {tuple(radius.shape)}"
        )
    if beta is not None and not BETAS[0] <= beta <= BETAS[1]:
        raise ValueError(f"beta must lie in {BETAS[0]:g} to {BETAS[1]:g}, not {beta:g}")
    low, high = (float(value) for value in radius.detach().aminmax())
    if not (low >= 0 and high <= LARGEST):
        raise ValueError(f"radii must lie in 0 to {LARGEST:g} pixels, not {low:g} to {high:g}")
    if beta is None and high == 0 and not radius.requires_grad:
        return image, torch.ones_like(radius)
    if image.is_cuda and image.dtype == torch.float32 and builds_kernels(image.device):
        from unblur.optics.disk_triton import spread

        light = spread(image, radius, beta)  # (N, C + 1, H, W)
    else:
        light = _Scatter.apply(image, radius, beta, nodes(low, high, beta), low == high)
    return light[:, :-1], light[:, -1:]


@lru_cache(maxsize=8)
def builds_kernels(device: torch.device) -> bool:
    """Whether Triton builds kernels for the device: it needs a C compiler, which may be missing."""
    if importlib.util.find_spec("triton") is None:
        return False
    one = torch.ones(1, 1, 1, 1, device=device)
    try:
        from unblur.optics.disk_triton import spread

        with torch.no_grad():
            spread(one, one, None)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        warnings.warn(
            f"Triton builds no kernels here ({reason}): the disk blur takes longer",
            UnblurWarning,
            stacklevel=2,
        )
        return False
    return True


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, radius, beta, used, even):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(image, radius)
        ctx.beta, ctx.used = beta, used
        x = with_ones(image)
        plane = Plane(x, used, beta)
        if even:  # the same disk everywhere: the kernels are mixed, not what they make of the image
            at = position(radius[:1, :, :1, :1], beta)
            kernel = sum(bump(at - node)[0, 0] * plane.kernel(node) for node in used)
            wave = pairs(plane.forward(torch.ones_like(at), x)).mul_(kernel)
            return plane.inverse(complexes(wave)).contiguous()
        at = position(radius, beta)
        total = torch.zeros_like(pairs(plane.wave))
        for node in used:
            total.addcmul_(pairs(plane.forward(bump(at - node), x)), plane.kernel(node))
        return plane.inverse(complexes(total)).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        image, radius = ctx.saved_tensors
        for_image, for_radius, *_ = ctx.needs_input_grad
        C = image.shape[1]
        if not for_radius:  # then nothing depends on the light of the ones
            grad = grad[:, :C]
        x = with_ones(image)
        plane = Plane(grad, ctx.used, ctx.beta)
        at = position(radius, ctx.beta)
        wave = pairs(plane.forward(torch.ones_like(at), grad))
        part = torch.empty_like(wave)
        grad_image = torch.zeros_like(image) if for_image else None
        grad_at = torch.zeros_like(radius) if for_radius else None
        for node in ctx.used:
            # The kernel is even: spreading light and collecting it are the same convolution.
            torch.mul(wave, plane.kernel(node), out=part)
            collected = plane.inverse(complexes(part))
            if grad_image is not None:
                grad_image.addcmul_(collected[:, :C], bump(at - node))
            if grad_at is not None:
                grad_at.addcmul_(collected.mul_(x).sum(1, keepdim=True), slope(at - node))
        if grad_at is not None:
            grad_at *= stretch(radius, ctx.beta)
        return grad_image, grad_at, None, None, None


class Plane:
    """Fourier transforms of images of one size, by way of buffers that are made once.

    Waves lie transposed, (N, C, W' / 2 + 1, H'): transforms are fast along the last axis.
    """

    def __init__(self, like: Tensor, used: range, beta: float | None) -> None:
        self.shape = (like.shape[-2], like.shape[-1])
        self.size = fft_size(self.shape, used, beta)
        self.beta = beta
        half = self.size[1] // 2 + 1
        kind = torch.complex128 if like.dtype == torch.float64 else torch.complex64
        planes = like.shape[:2]
        self.padded = like.new_zeros(*planes, self.shape[0], self.size[1])
        self.rows = like.new_empty(*planes, self.shape[0], half, dtype=kind)
        self.wave = like.new_zeros(*planes, half, self.size[0], dtype=kind)

    def forward(self, factor: Tensor, x: Tensor) -> Tensor:
        """Transform of `factor * x`, of (N, 1, H, W) and (N, C, H, W)."""
        torch.mul(factor, x, out=self.padded[..., : self.shape[1]])
        self.wave[..., : self.shape[0]] = torch.fft.rfft(self.padded).mT
        return torch.fft.fft(self.wave)

    def inverse(self, wave: Tensor) -> Tensor:
        """Image of a wave, cut to the frame."""
        self.rows.copy_(torch.fft.ifft(wave)[..., : self.shape[0]].mT)
        return torch.fft.irfft(self.rows, n=self.size[1])[..., : self.shape[1]]

    def kernel(self, node: int) -> Tensor:
        """Transform of the kernel of a node, (W' / 2 + 1, 2 H')."""
        like = self.padded
        make = spectrum if math.prod(self.size) <= KEPT else spectrum.__wrapped__
        return make(node, self.beta, self.shape, self.size, like.dtype, like.device)


def with_ones(image: Tensor) -> Tensor:
    """(N, C + 1, H, W): one more channel, of ones."""
    return torch.cat((image, torch.ones_like(image[:, :1])), 1)


def pairs(wave: Tensor) -> Tensor:
    """Real and imaginary parts side by side, (..., 2 H'): products with real numbers are faster."""
    return torch.view_as_real(wave).flatten(-2)


def complexes(wave: Tensor) -> Tensor:
    """Inverse of `pairs`."""
    return torch.view_as_complex(wave.unflatten(-1, (-1, 2)))


# Nodes lie at whole numbers on a scale of their own, denser where kernels change faster.


def scale(beta: float | None) -> tuple[float, float, float]:
    """Nodes per pixel at radius 0, at large radii, and over how many pixels they thin out."""
    if beta is None:
        return 1 / 0.2, 1 / 0.7, 1.5
    finer = max(1.0, beta / SOFTEST) ** 0.75
    return finer / 0.25, finer / 0.7, 2.0


def position(radius: Tensor, beta: float | None) -> Tensor:
    """Where a radius lies on the scale of the nodes; 0 at radius 0."""
    near, far, over = scale(beta)
    return radius * far + (near - far) * over * -torch.expm1(-radius / over)


def stretch(radius: Tensor, beta: float | None) -> Tensor:
    """Derivative of `position`."""
    near, far, over = scale(beta)
    return far + (near - far) * torch.exp(-radius / over)


def nodes(low: float, high: float, beta: float | None) -> range:
    """Nodes that radii from `low` to `high` need."""
    ends = position(torch.tensor([low, high], dtype=torch.float64), beta).tolist()
    return range(math.floor(ends[0]) - 1, math.floor(ends[1]) + 3)


def bump(offset: Tensor) -> Tensor:
    """Cubic B-spline, at a distance in nodes from its middle."""
    wide = (2 - offset.abs()).clamp_min_(0)
    narrow = (wide - 1).clamp_min_(0)
    return (wide * wide).mul_(wide).sub_(4 * narrow * narrow * narrow).div_(6)


def slope(offset: Tensor) -> Tensor:
    """Derivative of `bump`."""
    wide = (2 - offset.abs()).clamp_min_(0)
    narrow = (wide - 1).clamp_min_(0)
    return (4 * narrow).mul_(narrow).sub_(wide * wide).mul_(offset.sign()).div_(2)


# Kernels of the nodes.


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept may meet gradients later
def node_kernels(beta: float | None) -> tuple[Tensor, Tensor]:
    """Kernels whose mixes are nearest to the true disks, in the sense of least squares.

    A kernel is even and symmetric: values are kept for the rows `i` and columns `j <= i` of an
    eighth of it. The kernels sum to 1 each; radius 0 is met best of all.

    Returns:
        (J, M) values, of nodes -1 to J - 2, and (M, 2) the places i, j. float64.
    """
    top = nodes(LARGEST, LARGEST, beta)[-1]
    at = torch.linspace(0, top - 1, (top - 1) * SAMPLES + 1, dtype=torch.float64)
    radius = radius_at(at, beta)
    reach = math.ceil(float(radius[-1]) + rim(beta))
    axis = torch.arange(reach + 1)
    places = torch.cartesian_prod(axis, axis)
    places = places[places[:, 1] <= places[:, 0]]  # (M, 2)
    rho = places.double().norm(dim=1)
    soft = softness(radius) if beta is None else torch.full_like(radius, beta)
    disks = soft_disk(radius[:, None] - rho, soft[:, None])  # (S, M)
    disks /= (disks * copies(places)).sum(1, keepdim=True)
    splines = bump(at[:, None] - torch.arange(-1, top + 1))  # (S, J)
    weight = torch.ones(len(at), dtype=torch.float64)
    weight[0] = 1e8
    weighted = (splines * weight[:, None]).T  # (J, S)
    return torch.linalg.solve(weighted @ splines, weighted @ disks), places


def copies(places: Tensor) -> Tensor:
    """How often a value of the eighth occurs in the whole kernel: 1, 4 or 8 times."""
    i, j = places.unbind(1)
    twin = (i == j) | (j == 0)
    return torch.where(i == 0, 1, torch.where(twin, 4, 8))


def radius_at(at: Tensor, beta: float | None) -> Tensor:
    """Inverse of `position`, by Newton's method."""
    radius = at / scale(beta)[0]  # too small, and `position` is concave: steps go up to the root
    for _ in range(60):
        radius = radius + (at - position(radius, beta)) / stretch(radius, beta)
    return radius


def rim(beta: float | None) -> float:
    """How far light reaches beyond the edge of a disk, in pixels."""
    return OUTER / (SOFTEST if beta is None else beta)


def reach_of(node: int, beta: float | None) -> int:
    """Pixels from the middle of a node's kernel to where it is negligible."""
    last = radius_at(torch.tensor(float(max(node, 0) + 3), dtype=torch.float64), beta)
    return math.ceil(float(last) + rim(beta))


def farthest(radius: float, beta: float | None) -> int:
    """Pixels that light goes from where it is, at most, by radii up to this one."""
    return reach_of(nodes(0.0, radius, beta)[-1], beta)


def fft_size(shape: tuple[int, int], used: range, beta: float | None) -> tuple[int, int]:
    """A size that transforms fast, with room for what would wrap around the frame."""
    reach = reach_of(used[-1], beta)
    height, width = (n + min(reach, n - 1) for n in shape)
    return smooth_number(height, 4), smooth_number(width, 16)


def smooth_number(least: int, step: int) -> int:
    """Smallest multiple of `step`, at least `least`, that has no prime factor above 5."""
    n = math.ceil(least / step) * step
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += step


@lru_cache(maxsize=128)
@torch.inference_mode(False)  # what is kept may meet gradients later
def spectrum(
    node: int,
    beta: float | None,
    shape: tuple[int, int],
    size: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Fourier transform of a node's kernel: real, since that is even; (W' / 2 + 1, 2 H') pairs."""
    values, places = node_kernels(beta)
    reach = reach_of(node, beta)
    inside = places[:, 0] <= reach
    value, (i, j) = values[node + 1][inside].clone(), places[inside].unbind(1)
    value /= (value * copies(places[inside])).sum()
    kernel = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    for a, b in ((i, j), (j, i)):
        for up in (-1, 1):
            for left in (-1, 1):
                kernel[reach + up * a, reach + left * b] = value
    # No light of the frame goes further than its height and width.
    rows, cols = (min(reach, n - 1) for n in shape)
    kernel = kernel[reach - rows : reach + rows + 1, reach - cols : reach + cols + 1]
    field = torch.zeros(size, dtype=torch.float64)
    field[: 2 * rows + 1, : 2 * cols + 1] = kernel
    field = field.roll((-rows, -cols), (0, 1))
    wave = torch.fft.rfft2(field.to(device, dtype)).real
    return wave.mT.repeat_interleave(2, -1)
