"""Paint on an atlas, carried to every frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from unblur.atlas.project.clip import LayeredClip
from unblur.atlas.project.paint import overlay_of, read_edit
from unblur.atlas.project.render import (
    from_light,
    lens,
    look_up,
    opacities,
    radius_of,
    render_frames,
    shares,
    to_light,
    which,
)
from unblur.errors import UsageError
from unblur.optics.disk_blur import LARGEST, farthest

C = TypeVar("C", bound=LayeredClip)
EditMode = Literal["sharp", "over-original", "reblurred"]
STEP = 64
"""Pixels."""
Paint = str | os.PathLike[str] | Tensor


def edit(
    project: LayeredClip,
    paint: Mapping[str, Paint],
    mode: EditMode = "reblurred",
    frames: Iterable[int] | None = None,
) -> Tensor:
    """Renders edited frames at once; `edit_frames` gives one after another.

    Args:
        project: what to edit; it stays as it is.
        paint: by the name of the layer, an image or its file: see `.paint.read_edit`.
        mode: `sharp` renders the edited layers, all in focus; `over-original` lays the edit, sharp,
            over the clip's own frames, which stay as they are everywhere else; `reblurred` does so
            with the edit as blurred as the clip is there.
        frames: which; by default all.

    Returns:
        (n, 3, H, W) encoded RGB in [0, 1].

    Raises:
        UsageError: an unknown layer, an image of another size, a frame that is not there.
        MediaError: an image cannot be read.
    """
    return torch.stack(list(edit_frames(project, paint, mode, frames)))


def edit_frames(
    project: LayeredClip,
    paint: Mapping[str, Paint],
    mode: EditMode = "reblurred",
    frames: Iterable[int] | None = None,
) -> Iterator[Tensor]:
    """Edited frames (3, H, W) one after another: see `edit`."""
    chosen = which(project, frames)
    if mode == "sharp":
        yield from render_frames(edited(project, paint), "sharp", chosen)
        return
    if mode not in ("over-original", "reblurred"):
        raise UsageError(f"there is no mode {mode!r}: take sharp, over-original or reblurred")
    overlays = read_all(project, paint)
    in_light = mode == "reblurred"
    inks: list[Tensor | None] = [None] * len(project.layers)
    for number, overlay in overlays.items():
        colour = to_light(project, overlay[:3]) if in_light else overlay[:3]
        inks[number] = torch.cat((colour * overlay[3:], overlay[3:]))
    for t in chosen:
        if in_light:
            yield painted_blurred(project, inks, t)
        else:
            yield painted(project, inks, t)


def edited(project: C, paint: Mapping[str, Paint]) -> C:
    """The project with edited atlases: to be rendered or refocused.

    Arguments and errors are those of `edit`.
    """
    layers = list(project.layers)
    for number, overlay in read_all(project, paint).items():
        texture = torch.lerp(layers[number].texture, overlay[:3], overlay[3:])
        layers[number] = replace(layers[number], texture=texture)
    return replace(project, layers=tuple(layers))


def read_all(project: LayeredClip, paint: Mapping[str, Paint]) -> dict[int, Tensor]:
    """Overlays (4, Ha, Wa) by the number of their layer."""
    if not paint:
        raise UsageError("there is nothing to paint: name an image for at least one layer")
    found = {}
    for name, given in paint.items():
        number = project.place(name)
        layer = project.layers[number]
        if isinstance(given, Tensor):
            found[number] = overlay_of(given, layer)
        else:
            found[number] = read_edit(given, layer)
    return found


def painted(project: LayeredClip, inks: Sequence[Tensor | None], t: int) -> Tensor:
    """A frame of the clip with paint over it, sharp.

    Args:
        project: the clip.
        inks: premultiplied RGBA (4, Ha, Wa) of each layer.
        t: number of the frame.
    """
    out = project.frames[t]
    parts = shares(opacities(project, t))
    laid = [
        part * look_up(ink, layer.uv[t])
        for ink, part, layer in zip(inks, parts, project.layers, strict=True)
        if ink is not None
    ]
    total = laid[0] if len(laid) == 1 else torch.stack(laid).sum(0)  # (4, H, W)
    return torch.addcmul(total[:3], out, 1 - total[3:])


def painted_blurred(project: LayeredClip, inks: Sequence[Tensor | None], t: int) -> Tensor:
    """The same in linear light, where needed, and through the lens of the clip.

    The lens is linear in colours, so that it also gives what part of each pixel is painted: that
    goes through it as one more colour. What lies behind all paint changes nothing.
    """
    frame = project.frames[t]
    depth = 1 + max(number for number, ink in enumerate(inks) if ink is not None)
    nothing = torch.zeros(4, *frame.shape[-2:])
    shown = [
        nothing if ink is None else look_up(ink, layer.uv[t])
        for ink, layer in zip(inks[:depth], project.layers, strict=False)
    ]
    radii = [radius_of(layer, t) for layer in project.layers[:depth]]
    here = around(torch.stack([ink[3] for ink in shown]).amax(0), radii, project.beta)
    if here is None:
        return frame
    alphas = opacities(project, t)[:depth]
    shown, alphas, radii = (
        [x[:, here[0], here[1]] for x in each] for each in (shown, alphas, radii)
    )
    laid, cover = lens(shown, alphas, radii, project.beta).split((3, 1))
    own = frame[:, here[0], here[1]]
    out = to_light(project, own) * (1 - cover) + laid
    # What no paint reaches keeps its own bits.
    out = torch.where(cover > 1e-5, from_light(project, out), own)
    whole = frame.clone()
    whole[:, here[0], here[1]] = out
    return whole


def around(
    cover: Tensor, radii: Sequence[Tensor], beta: float | None
) -> tuple[slice, slice] | None:
    """Rows and columns in which paint is, (H, W), with all that its light reaches or passes.

    Their ends are multiples of `STEP`, so that few sizes occur: transforms of kernels are kept.
    """
    reach = 2 * farthest(min(LARGEST, max(float(radius.amax()) for radius in radii)), beta)
    ends = []
    for axis in (1, 0):
        places = cover.any(axis).nonzero()
        if not len(places):
            return None
        first, last = int(places[0]) - reach, int(places[-1]) + 1 + reach
        ends.append(slice(max(0, first // STEP * STEP), -(-last // STEP) * STEP))
    return ends[0], ends[1]
