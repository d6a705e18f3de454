"""Another lens on the layers: focus that follows a layer or a point, bokeh, highlights.

Layers stand at depths of their own, the foreground at 0 and the background at 1, and the circle of
confusion grows with the distance from the depth in focus, as depth counts 1 / metres. A layer has
one depth: the clip shows how blurred each part is, but not which is nearer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from unblur.atlas.project.clip import LayeredClip
from unblur.atlas.project.flow import follow
from unblur.atlas.project.render import colours, lens, opacities, which
from unblur.errors import UsageError
from unblur.ops.color import from_linear, to_linear
from unblur.optics.disk_blur import LARGEST
from unblur.optics.disk_kernels import OUTER, SOFTEST, soft_disk, softness
from unblur.optics.focal import FocusPull
from unblur.video.timecode import parse_keyframe

Bokeh = Literal["disk", "hexagon"]
TRACK = "track"
BRIGHT = 0.5
"""Linear light from which on highlights are taken to be brighter than the clip could hold."""
SHARP = 0.02
"""Radius in pixels that blurs nothing."""
HEXAGON = math.sqrt(math.pi / (2 * math.sqrt(3)))
"""Half the distance of opposite sides, over the radius of the disk of the same area."""


def refocus(
    project: LayeredClip,
    focus: Sequence[str] = (),
    frames: Iterable[int] | None = None,
    **lens: object,
) -> Tensor:
    """Renders refocused frames at once: (n, 3, H, W). Arguments are those of `refocus_frames`."""
    return torch.stack(list(refocus_frames(project, focus, frames, **lens)))  # type: ignore[arg-type]


def refocus_frames(
    project: LayeredClip,
    focus: Sequence[str] = (),
    frames: Iterable[int] | None = None,
    *,
    aperture: float = 8.0,
    bokeh: Bokeh = "disk",
    beta: float | None = None,
    highlights: float = 1.0,
    track: str | None = None,
    blur: Sequence[str] = (),
) -> Iterator[Tensor]:
    """Frames (3, H, W) as another lens would have taken them, one after another.

    Args:
        project: the layers.
        focus: what is in focus when, as `WHAT@TIME`: WHAT is the name of a layer, a depth from 0
            (foreground) to 1 (background), or `track`; TIME `2s`, `f10` or `mm:ss`, and 0 where it
            is left out. Focus moves evenly from key to key. Nothing is `track` if there is one.
        frames: which; by default all.
        aperture: radius of the blur in pixels, of what is the whole depth away from the focus.
        bokeh: shape of the aperture.
        beta: rim of the blur: see `unblur.optics.disk_blur`; low is a soft bright ring.
        highlights: how many times brighter than white the brightest light is taken to be, at
            least 1: out of focus it spreads as bright disks.
        track: a point, `X,Y@TIME` in pixels of that frame: focus on the layer that it lies on.
        blur: radius of a layer in pixels, whatever is in focus: `LAYER=PIXELS@TIME`.

    Raises:
        UsageError: an unknown layer, a time past the end, a number that makes no sense.
    """
    if not 0 <= aperture <= LARGEST:
        raise UsageError(f"aperture {aperture:g}: take 0 to {LARGEST:g} pixels")
    if bokeh not in ("disk", "hexagon"):
        raise UsageError(f"there is no bokeh {bokeh!r}: take disk or hexagon")
    if beta is not None and not 0.5 <= beta <= 100:
        raise UsageError(f"beta {beta:g}: take 0.5 to 100")
    if not 1 <= highlights <= 1000:
        raise UsageError(f"highlights {highlights:g}: take 1 to 1000 times white")
    radii = radii_over_time(project, focus, aperture, track, blur)
    textures = [layer.texture for layer in project.layers]
    for t in which(project, frames):
        seconds = float(project.times[t])
        wide = [radius(seconds) for radius in radii]
        light = [
            glow(to_linear(colour, project.transfer), highlights)
            for colour in colours(project, textures, t)
        ]
        alphas = opacities(project, t)
        if bokeh == "disk":
            flat = [torch.full_like(alphas[-1], r) for r in wide]
            seen = lens(light, alphas, flat, beta)
        else:
            seen = through_hexagon(light, alphas, wide, beta)
        yield from_linear(dim(seen, highlights), project.transfer).clamp(0, 1)


class Radius:
    """Radius of a layer over time: given, or by its distance from the focus."""

    def __init__(self, pull: FocusPull, aperture: float = 1.0, depth: float = 0.0) -> None:
        self._pull, self._aperture, self._depth = pull, aperture, depth

    def __call__(self, seconds: float) -> float:
        """Pixels."""
        return self._aperture * abs(self._pull(seconds) - self._depth)


def radii_over_time(
    project: LayeredClip,
    focus: Sequence[str],
    aperture: float,
    track: str | None,
    blur: Sequence[str],
) -> list[Radius]:
    """Radius of each layer, front to back."""
    tracked = None if track is None else tracked_layer(project, track)
    keys = list(focus) or ([TRACK] if track is not None else [])
    given = dict(read_blur(project, blur))
    if not keys and len(given) < len(project.layers):
        raise UsageError(
            f"nothing is in focus: say --focus {project.layers[0].name}@0s or --track X,Y@TIME"
        )
    pull = FocusPull((0.0,), (0.0,))
    if keys:
        pull = FocusPull.through([read_focus(project, key, tracked) for key in keys])
    return [
        Radius(given[number])
        if number in given
        else Radius(pull, aperture, depth_of(project, number))
        for number in range(len(project.layers))
    ]


def depth_of(project: LayeredClip, number: int) -> float:
    """Depth of a layer, from 0 of the first to 1 of the last."""
    return number / max(1, len(project.layers) - 1)


def read_focus(project: LayeredClip, key: str, tracked: int | None) -> tuple[float, float]:
    """Seconds and depth of a key such as `foreground@0s`, `0.4@f10` or `track@2s`."""
    word, time = parse_keyframe(key)
    seconds = project.seconds_of(time)
    if word == TRACK:
        if tracked is None:
            raise UsageError(f"focus {key}: say which point to track, --track X,Y@TIME")
        return seconds, depth_of(project, tracked)
    depth = number_in(word)
    if depth is None:
        return seconds, depth_of(project, project.place(word))
    if not 0 <= depth <= 1:
        raise UsageError(f"focus {key}: depth goes from 0 (foreground) to 1 (background)")
    return seconds, depth


def read_blur(project: LayeredClip, keys: Sequence[str]) -> Iterator[tuple[int, FocusPull]]:
    """Radius over time of the layers that are named in keys such as `background=6@2s`."""
    found: dict[int, list[tuple[float, float]]] = {}
    for key in keys:
        name, _, rest = key.partition("=")
        word, time = parse_keyframe(rest)
        pixels = number_in(word)
        if pixels is None or not 0 <= pixels <= LARGEST:
            raise UsageError(f"blur {key}: write LAYER=PIXELS@TIME, 0 to {LARGEST:g} pixels")
        found.setdefault(project.place(name), []).append((project.seconds_of(time), pixels))
    for number, pairs in found.items():
        yield number, FocusPull.through(pairs)


def tracked_layer(project: LayeredClip, track: str) -> int:
    """Number of the layer that a point such as `120,80@f10` lies on."""
    word, time = parse_keyframe(track)
    x, _, y = word.partition(",")
    point = number_in(x), number_in(y)
    if point[0] is None or point[1] is None:
        raise UsageError(f"track {track}: write X,Y@TIME, in pixels of that frame")
    return follow(project, (point[0], point[1]), project.frame_at(time))[0]


def number_in(word: str) -> float | None:
    """The number that a word is, if it is one."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def glow(light: Tensor, most: float) -> Tensor:
    """Light with the brightest made `most` times brighter, smoothly from `BRIGHT` on.

    Args:
        light: (3, H, W) in [0, 1].
        most: what white becomes, at least 1.
    """
    if most == 1:
        return light
    peak = light.amax(0, keepdim=True)
    over = ((peak - BRIGHT) / (1 - BRIGHT)).clamp_min(0)
    grown = peak + (most - 1) * over**2
    return light * (grown / peak.clamp_min(1e-6))


def dim(light: Tensor, most: float) -> Tensor:
    """The inverse of `glow`: what is sharp comes out as it was."""
    if most == 1:
        return light
    grown = light.amax(0, keepdim=True)
    gain = (most - 1) / (1 - BRIGHT)
    over = (grown - BRIGHT).clamp_min(0) / (1 - BRIGHT)  # = x + gain x^2 of the x that is sought
    peak = grown.clamp_max(BRIGHT) + (1 - BRIGHT) * 2 * over / (1 + (1 + 4 * gain * over).sqrt())
    return light * (peak / grown.clamp_min(1e-6))


def through_hexagon(
    light: Sequence[Tensor], alphas: Sequence[Tensor], radii: Sequence[float], beta: float | None
) -> Tensor:
    """As `render.lens`, by an aperture of six blades and one radius for each layer."""
    out: Tensor | None = None
    for colour, alpha, radius in zip(reversed(light), reversed(alphas), radii[::-1], strict=True):
        layer = torch.cat((colour * alpha, alpha, torch.ones_like(alpha)))  # (5, H, W)
        spread = spread_by(layer, hexagon(radius, beta)) if radius > SHARP else layer
        spread = spread[:4] / spread[4:].clamp_min(1e-6)  # constants stay, at the border too
        out = spread[:3] if out is None else spread[:3] + (1 - spread[3:]) * out
    assert out is not None  # noqa: S101
    return out


def hexagon(radius: float, beta: float | None = None) -> Tensor:
    """Kernel (2 n + 1, 2 n + 1) that sums to 1: a hexagon of the area of a disk of `radius`."""
    soft = softness(torch.tensor(radius)) if beta is None else torch.tensor(float(beta))
    side = radius * HEXAGON
    reach = math.ceil(side / math.cos(math.pi / 6) + OUTER / float(soft.clamp_min(SOFTEST)))
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    turns = torch.arange(3) * (math.pi / 3)
    away = (turns.cos()[:, None, None] * at + turns.sin()[:, None, None] * at[:, None]).abs()
    kernel = soft_disk(side - away.amax(0), soft)
    return kernel / kernel.sum()


def spread_by(x: Tensor, kernel: Tensor) -> Tensor:
    """Each pixel of (C, H, W) spread over a kernel; what leaves the frame is lost."""
    H, W = x.shape[-2:]
    reach = kernel.shape[-1] // 2
    size = (H + 2 * reach, W + 2 * reach)
    wave = torch.fft.rfft2(x, s=size) * torch.fft.rfft2(kernel.to(x), s=size)
    return torch.fft.irfft2(wave, s=size)[:, reach : reach + H, reach : reach + W]
