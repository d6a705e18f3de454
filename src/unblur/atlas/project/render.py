"""Frames of a project: sharp, blurred as the clip was, or one layer alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from unblur.atlas.project.clip import Layer, LayeredClip
from unblur.errors import UsageError
from unblur.ops.color import from_linear, to_linear
from unblur.ops.warp import sample
from unblur.optics.disk_blur import LARGEST, layered_blur

TRACE = 2e-3
"""Opacity that no one sees and a fit leaves everywhere: so much, or so near 1, is none, or all."""
RenderMode = Literal["sharp", "reblurred", "layer", "alpha"]


def render(
    project: LayeredClip,
    mode: RenderMode = "sharp",
    frames: Iterable[int] | None = None,
    *,
    layer: str | None = None,
) -> Tensor:
    """Renders frames at once; `render_frames` gives one after another.

    Args:
        project: what to render.
        mode: `sharp` (all in focus), `reblurred` (blurred as the clip), `layer` (one layer's
            colours in every pixel, sharp) or `alpha` (what part of a pixel shows that layer).
        frames: which; by default all.
        layer: name of the layer of `layer` and `alpha`.

    Returns:
        (n, 3, H, W) encoded RGB in [0, 1].

    Raises:
        UsageError: a frame or layer that is not there.
    """
    return torch.stack(list(render_frames(project, mode, frames, layer=layer)))


def render_frames(
    project: LayeredClip,
    mode: RenderMode = "sharp",
    frames: Iterable[int] | None = None,
    *,
    layer: str | None = None,
) -> Iterator[Tensor]:
    """Frames (3, H, W) one after another: see `render`."""
    textures = [each.texture for each in project.layers]
    if mode in ("layer", "alpha") and layer is None:
        raise UsageError(f"mode {mode} shows one layer: name it")
    chosen = project.place(layer) if layer is not None else 0
    for t in which(project, frames):
        if mode == "sharp":
            yield composite(project, colours(project, textures, t), opacities(project, t))
        elif mode == "reblurred":
            yield blurred(project, colours(project, textures, t), t)
        elif mode == "layer":
            yield look_up(textures[chosen], project.layers[chosen].uv[t])
        elif mode == "alpha":
            yield shares(opacities(project, t))[chosen].expand(3, -1, -1)
        else:
            raise UsageError(f"there is no mode {mode!r}: take sharp, reblurred, layer or alpha")


def which(project: LayeredClip, frames: Iterable[int] | None) -> list[int]:
    """Numbers of frames, all of which exist."""
    chosen = list(range(len(project)) if frames is None else frames)
    for t in chosen:
        project.frame_at(t)
    if not chosen:
        raise UsageError("no frames to render: name at least one")
    return chosen


def look_up(texture: Tensor, uv: Tensor) -> Tensor:
    """What an atlas shows at places: bilinear, and beyond its rim as it ends.

    Args:
        texture: (C, Ha, Wa).
        uv: (2, H, W) pixels of the atlas.

    Returns:
        (C, H, W).
    """
    Ha, Wa = texture.shape[-2:]
    cols, rows = uv[0].clamp(0, Wa - 1), uv[1].clamp(0, Ha - 1)
    return sample(texture[None], cols[None], rows[None])[0]


def colours(project: LayeredClip, textures: Sequence[Tensor], t: int) -> list[Tensor]:
    """What each layer shows in each pixel of a frame, (C, H, W), front to back."""
    return [
        look_up(texture, layer.uv[t])
        for texture, layer in zip(textures, project.layers, strict=True)
    ]


def opacities(project: LayeredClip, t: int) -> list[Tensor]:
    """Opacity (1, H, W) of each layer, front to back."""
    front = [(layer.alpha[t] - TRACE) / (1 - 2 * TRACE) for layer in project.layers[:-1]]
    return [*(alpha.clamp(0, 1) for alpha in front), project.layers[-1].alpha[t]]


def composite(project: LayeredClip, colours: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
    """Layers' encoded colours (3, H, W) laid over each other, encoded; the last one is opaque.

    Where layers mix in a pixel, what adds up is what adds up in the project's blur.
    """
    out = colours[-1]
    for colour, alpha in zip(reversed(colours[:-1]), reversed(alphas[:-1]), strict=True):
        out = torch.lerp(out, colour, alpha)
    if project.light == "encoded" or len(colours) == 1:
        return out
    front = torch.cat(list(alphas[:-1])).flatten(1)  # (L - 1, H W)
    mixed = ((front > 0) & (front < 1)).any(0).nonzero()[:, 0]
    flat = [colour.flatten(1)[:, mixed] for colour in colours]
    light = to_light(project, flat[-1])
    for colour, alpha in zip(reversed(flat[:-1]), reversed(front[:, mixed]), strict=True):
        light = torch.lerp(light, to_light(project, colour), alpha)
    out = out.flatten(1).index_copy(1, mixed, from_light(project, light))
    return out.view_as(colours[-1])


def shares(alphas: Sequence[Tensor]) -> list[Tensor]:
    """What part of each pixel shows each layer, (1, H, W), front to back; they sum to 1."""
    found, left = [], torch.ones_like(alphas[-1])
    for alpha in alphas[:-1]:
        found.append(left * alpha)
        left = left - found[-1]
    return [*found, left]


def radius_of(layer: Layer, t: int) -> Tensor:
    """Radius (1, H, W) of a layer's circle of confusion in the clip."""
    return torch.zeros_like(layer.uv[t][:1]) if layer.radius is None else layer.radius[t]


def blurred(project: LayeredClip, colours: Sequence[Tensor], t: int) -> Tensor:
    """Layers' encoded colours (3, H, W) through the lens of the clip, encoded."""
    radii = [radius_of(layer, t) for layer in project.layers]
    light = [to_light(project, colour) for colour in colours]
    through = lens(light, opacities(project, t), radii, project.beta)
    return from_light(project, through)


def lens(
    light: Sequence[Tensor], alphas: Sequence[Tensor], radii: Sequence[Tensor], beta: float | None
) -> Tensor:
    """Layers, front to back, through the lens: (C, H, W) from light (C, H, W), opacity and radius
    (1, H, W) of each.
    """
    layers = [
        (colour[None], alpha[None], radius[None].clamp(0, LARGEST))
        for colour, alpha, radius in zip(light, alphas, radii, strict=True)
    ]
    return layered_blur(layers[::-1], beta)[0]


def to_light(project: LayeredClip, encoded: Tensor) -> Tensor:
    """The numbers in which the project's blur adds up."""
    return to_linear(encoded, project.transfer) if project.light == "linear" else encoded


def from_light(project: LayeredClip, light: Tensor) -> Tensor:
    """Encoded RGB in [0, 1]: the inverse of `to_light`."""
    encoded = from_linear(light, project.transfer) if project.light == "linear" else light
    return encoded.clamp(0, 1)
