"""What others do without a network: FFmpeg's filters, deconvolution, and a burst laid together.

Deconvolution by estimated blur takes what can be had from the blurred frames alone: the motion of
the camera by optical flow, over as much of the frame time as shutters are open in the suites, and
one radius of the circle of confusion by `coc-s`.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache, partial

import torch
from torch import Tensor

from unblur.errors import ResourceError
from unblur.evaluation.clip import Blur, Clip
from unblur.evaluation.methods import Method, unknown_blur
from unblur.evaluation.wiener import restore_known_blur, richardson_lucy
from unblur.guidance.coc import coc_radius, load_coc_s
from unblur.guidance.flow import dis_flow
from unblur.models.coc import CocNet
from unblur.ops.color import from_linear, to_linear
from unblur.ops.consistency import consistency
from unblur.ops.gaussian import gaussian_blur
from unblur.ops.warp import warp

FILTERS = {"ffmpeg-cas": ("gbrp", "cas", ""), "ffmpeg-unsharp": ("yuv444p", "unsharp", "")}
"""Pixel format, name and options: the filters as they are where nothing is said."""
EXPOSURE = 0.8
"""Part of the frame time that a shutter is taken to be open: the middle of the suites' range."""
MOMENTS = 31
ON_EITHER_SIDE = 2
"""Frames of a burst before and after each."""
POWER = 11
"""Of the weights in a burst: Delbracio and Sapiro find 7 to 30 equally good."""
SMOOTH = 50
"""Part of the smaller side that the weights are smoothed by."""


def filtered(frames: Tensor, chain: tuple[str, str, str]) -> Tensor:
    """Frames (T, 3, H, W) by a filter of FFmpeg, in 8 bits as it works.

    Raises:
        ResourceError: this build of FFmpeg lacks the filter.
    """
    import av
    from av.filter import Graph

    layout, name, options = chain
    height, width = frames.shape[-2:]
    graph = Graph()
    rgb = av.VideoFormat("rgb24", width, height)
    source = graph.add_buffer(width=width, height=height, format=rgb, time_base=Fraction(1, 25))
    try:
        inner = [graph.add("format", layout), graph.add(name, options)]
    except ValueError as error:
        raise ResourceError(f"this build of FFmpeg lacks the filter {name}") from error
    back = graph.add("format", "rgb24")
    graph.link_nodes(source, *inner, back, graph.add("buffersink")).configure()
    made = []
    for i, frame in enumerate((frames.clamp(0, 1) * 255).round().byte()):
        image = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), "rgb24")
        image.pts = i
        graph.vpush(image)
        made.append(torch.from_numpy(graph.vpull().to_ndarray()).permute(2, 0, 1))
    return torch.stack(made).float() / 255


def estimated_blur(clip: Clip) -> Blur:
    """One layer with the motion of the camera and one radius for each wanted frame."""
    frames = clip.blurred
    height, width = frames.shape[-2:]
    moving = torch.zeros(len(frames), 2, height, width)
    if len(frames) > 1:
        forward, backward = (flow[..., :height, :width] for flow in dis_flow(frames, stride=1))
        count = torch.zeros(len(frames), 1, 1, 1)
        moving[:-1] += forward
        moving[1:] -= backward
        count[:-1] += 1
        count[1:] += 1
        moving = moving / count
    paths = torch.stack([path_of(moving[i]) for i in clip.wanted])  # (S, N, 3, 3)
    radius = coc_radius(coc_s(), clip.input).flatten(1).median(1).values  # (S,)
    share = torch.ones(len(clip.wanted), 1, height, width)
    return Blur(paths[:, None], radius[:, None], share)


@lru_cache(maxsize=1)
def coc_s() -> CocNet:
    """Loaded once."""
    return load_coc_s()


def path_of(
    flow: Tensor,  # (2, H, W)
) -> Tensor:  # (N, 3, 3)
    """Where places of a frame are during an exposure, as far as an affine motion describes it.

    The least squares are taken twice, the second time without what the first fits badly: things
    that move by themselves.
    """
    height, width = flow.shape[-2:]
    across = torch.arange(width) + 0.5 - width / 2
    down = torch.arange(height) + 0.5 - height / 2
    y, x = torch.meshgrid(down, across, indexing="ij")
    places = torch.stack((x, y, torch.ones_like(x)), -1).reshape(-1, 3)  # (H W, 3)
    target = flow.reshape(2, -1).T  # (H W, 2)
    kept = torch.ones(len(places), dtype=torch.bool)
    for _ in range(2):
        affine = torch.linalg.lstsq(places[kept], target[kept]).solution  # (3, 2)
        error = (target - places @ affine).norm(dim=1)
        kept = error <= error.median().clamp_min(1e-3)
    motion = torch.zeros(3, 3)
    motion[:2] = affine.T
    times = ((torch.arange(MOMENTS) + 0.5) / MOMENTS - 0.5) * EXPOSURE
    return torch.eye(3) + times[:, None, None] * motion


def burst(clip: Clip) -> Tensor:
    """Each wanted frame with its neighbours laid over it: the sharpest of each frequency counts.

    Fourier burst accumulation (Delbracio and Sapiro, CVPR 2015) of frames laid over one another by
    optical flow; where that cannot be trusted the frame itself stands in.
    """
    last = len(clip.blurred) - 1
    made = []
    for i in clip.wanted:
        here = clip.blurred[i]
        near = range(max(0, i - ON_EITHER_SIDE), min(last, i + ON_EITHER_SIDE) + 1)
        made.append(accumulated([aligned(here, clip.blurred[j]) for j in near if j != i] + [here]))
    return torch.stack(made).clamp(0, 1)


def aligned(
    here: Tensor,  # (3, H, W)
    there: Tensor,  # (3, H, W)
) -> Tensor:  # (3, H, W)
    """Another frame laid over this one, which fills what cannot be found in it."""
    height, width = here.shape[-2:]
    to, back = (f[..., :height, :width] for f in dis_flow(torch.stack((here, there)), stride=1))
    inside = warp(torch.ones(1, 1, height, width), to) > 0.999
    trusted = (consistency(to, back) * inside)[0]
    soft = gaussian_blur(trusted, 2.0)
    return soft * warp(there[None], to)[0] + (1 - soft) * here


def accumulated(frames: list[Tensor]) -> Tensor:
    """Mean of frames (3, H, W) in linear light, each frequency weighted by its strength."""
    light = to_linear(torch.stack(frames))
    height, width = light.shape[-2:]
    spectra = torch.fft.fft2(light)  # (N, 3, H, W)
    strength = spectra.abs().mean(1)
    smooth = gaussian_blur(torch.fft.fftshift(strength, (-2, -1)), min(height, width) / SMOOTH)
    strength = torch.fft.ifftshift(smooth, (-2, -1))
    weight = (strength / strength.amax(0)) ** POWER
    weight = weight / weight.sum(0)
    mean = (weight[:, None] * spectra).sum(0)
    return from_linear(torch.fft.ifft2(mean).real.clamp(0, 1))


def larger(clip: Clip) -> str | None:
    """Why these methods cannot be had where the truth is larger."""
    return None if clip.scale == 1 else "it gives frames of the input's size only"


def peers() -> tuple[Method, ...]:
    """Rows of the table that no network is behind, beside those that every table has."""

    def by_filter(name: str, clip: Clip) -> Tensor:
        return filtered(clip.input, FILTERS[name])

    def estimated(undo: str, clip: Clip) -> Tensor:
        blur = estimated_blur(clip)
        if undo == "wiener":
            return restore_known_blur(clip.input, blur)
        return richardson_lucy(clip.input, blur)

    def lucy(clip: Clip) -> Tensor:
        if clip.blur is None:
            raise ValueError(f"{clip.name}: Richardson-Lucy needs the true blur")
        return richardson_lucy(clip.input, clip.blur)

    rows = [Method(name, partial(by_filter, name), misses=larger) for name in FILTERS]
    rows.append(Method("burst", burst, misses=larger))
    rows.append(Method("richardson-lucy", lucy, misses=unknown_blur))
    for undo in ("wiener", "richardson-lucy"):
        name = f"{undo}, estimated blur"
        rows.append(Method(name, partial(estimated, undo), misses=larger))
    return tuple(rows)
