"""Layers that are learned: atlas, mapping, opacity and radius of each, and what a frame shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.atlas.fitting.canvas import Canvas
from unblur.atlas.fitting.mapping import Lattice, LatticeMapping, knots_for
from unblur.atlas.fitting.presets import FitConfig
from unblur.atlas.fitting.texture import CnnTexture, PyramidTexture, look_up
from unblur.ops.color import from_linear, to_linear
from unblur.optics.lens import through_lens

LEAST_ALPHA = 1e-3
SURE = 4.0
"""Logit of a mask's inside and outside, where opacity starts."""
ROUND = 0.1
"""Pixels: a radius is the length of a number that may pass through 0 as the focus does."""
FLOOR = 1e-4


class Appearance(NamedTuple):
    """What frames show, layer by layer from back to front. B frames."""

    colours: list[Tensor]
    """(B, 3, H, W) of each layer, working values."""
    alphas: list[Tensor | None]
    """(B, 1, H, W) opacity; None: covers all."""
    radii: list[Tensor]
    """(B, 1, H, W) of the lens's disk, pixels of the full frame."""


@dataclass(frozen=True)
class LayerStart:
    """Where the fit of a layer starts."""

    name: str
    homographies: Tensor
    """(T, 3, 3) from pixels of a frame to pixels of the atlas."""
    texture: Tensor
    """(3, Ha, Wa) working values."""
    opacity: Tensor | None
    """(1, Ha, Wa) share of the frames whose mask covers the point; None: covers all."""
    radius: Tensor
    """(T, 1, h, w) knots of the radius of the lens's disk; (T, 1, 1, 1): the same all over."""


def to_working(encoded: Tensor, linear: bool) -> Tensor:
    """Encoded RGB as the fit computes: roots of light, even to the eye and cheap to square."""
    return to_linear(encoded).clamp_min(0).sqrt() if linear else encoded


def from_working(working: Tensor, linear: bool) -> Tensor:
    """Inverse of `to_working`, in [0, 1]."""
    clean = working.clamp(0, 1)
    return from_linear(clean.square()) if linear else clean


class LayeredModel(nn.Module):
    """Layers with maps of splines: the presets `cpu` and `fast`."""

    def __init__(
        self, starts: Sequence[LayerStart], size: tuple[int, int], config: FitConfig
    ) -> None:
        """Starts where `starts` say, back to front, for frames of `size` (H, W)."""
        super().__init__()
        H, W = size
        T = len(starts[0].homographies)
        self.config, self.size, self.frames = config, size, T
        self.names = [start.name for start in starts]
        self.sizes = [(start.texture.shape[-2], start.texture.shape[-1]) for start in starts]
        self.mappings = nn.ModuleList(
            LatticeMapping(start.homographies, H, W, config.knots) for start in starts
        )
        self.network: CnnTexture | None = None
        self.textures = nn.ModuleList()
        if config.atlas == "cnn":
            mean = torch.stack([start.texture.mean((1, 2)) for start in starts]).mean(0)
            generator = torch.Generator().manual_seed(config.seed)
            self.network = CnnTexture(self.sizes, config.widths, mean, generator)
        else:
            self.textures.extend(PyramidTexture(s.texture, config.pyramid) for s in starts)
        shape = (knots_for(H, config.alpha_knots), knots_for(W, config.alpha_knots))
        covers = [start.opacity for start in starts if start.opacity is not None]
        self.opacities = nn.ModuleList(
            PyramidTexture(SURE * (2 * cover - 1), config.pyramid) for cover in covers
        )
        self.edges = nn.ModuleList(Lattice(T, 1, H, W, shape) for _ in covers)
        self.radii = nn.ModuleList()
        for start in starts:
            field = Lattice(T, 1, H, W, (start.radius.shape[-2], start.radius.shape[-1]))
            with torch.no_grad():
                field.knots.copy_(start.radius)
            self.radii.append(field)

    def atlases(self, scale: int = 1) -> list[Tensor]:
        """Working values (3, Ha, Wa) and, but for the last layer, logits: (4, Ha, Wa)."""
        colours = self.network() if self.network is not None else [t() for t in self.textures]
        first = len(colours) - len(self.opacities)
        out = []
        for i, colour in enumerate(colours):
            full = colour if i < first else torch.cat((colour, self.opacities[i - first]()))
            out.append(F.avg_pool2d(full[None], scale)[0] if scale > 1 else full)
        return out

    def look(
        self, canvas: Canvas, frames: Sequence[int], atlases: Sequence[Tensor] | None = None
    ) -> Appearance:
        """All layers in the pixels of a canvas."""
        atlases = self.atlases(canvas.scale) if atlases is None else atlases
        colours: list[Tensor] = []
        alphas: list[Tensor | None] = []
        radii: list[Tensor] = []
        first = len(atlases) - len(self.opacities)
        for i, atlas in enumerate(atlases):
            place = self.mappings[i](canvas, frames)
            seen = look_up(atlas, (place + 0.5) / canvas.scale - 0.5)
            colours.append(seen[:, :3])
            if i < first:
                alphas.append(None)
            else:
                logit = seen[:, 3:] + self.edges[i - first](canvas, frames)
                alphas.append(LEAST_ALPHA + (1 - 2 * LEAST_ALPHA) * torch.sigmoid(logit))
            radii.append(self.radius(i, canvas, frames))
        return Appearance(colours, alphas, radii)

    def radius(self, layer: int, canvas: Canvas, frames: Sequence[int]) -> Tensor:
        """(B, 1, rows, columns) of the lens's disk, in pixels of the full frame."""
        signed = self.radii[layer](canvas, frames)
        return (signed.square() + ROUND**2).sqrt() - ROUND

    def sharp(self, look: Appearance) -> Tensor:
        """(B, 3, H, W) working values, all in focus."""
        return composite(look.colours, look.alphas)

    def blurred(self, look: Appearance, scale: int) -> Tensor:
        """(B, 3, H, W) working values, through the lens."""
        config = self.config
        if config.coc == "none":
            return self.sharp(look)
        out: Tensor | None = None
        for i, (colour, alpha, radius) in enumerate(zip(*look, strict=True)):
            field = self.radii[i]
            assert isinstance(field, Lattice)  # noqa: S101
            even = tuple(field.knots.shape[-2:]) == (1, 1)
            light = colour.clamp_min(0).square() if config.linear else colour
            part, cover = through_lens(light, alpha, radius / scale, even, config.beta)
            out = part if out is None or cover is None else part + (1 - cover) * out
        assert out is not None  # noqa: S101
        return (out.clamp_min(0) + FLOOR).sqrt() if config.linear else out

    def groups(self) -> list[tuple[str, list[nn.Parameter], float]]:
        """Parameters with the rate they are learned at."""
        c = self.config
        groups = [
            ("textures", list(self.textures.parameters()), c.texture_rate),
            ("opacities", list(self.opacities.parameters()), c.alpha_rate),
            ("edges", list(self.edges.parameters()), c.alpha_rate),
            ("mappings", list(self.mappings.parameters()), c.mapping_rate),
        ]
        if self.network is not None:
            groups.append(("network", list(self.network.parameters()), c.network_rate))
        if c.refine_coc and c.coc != "none":
            groups.append(("radii", list(self.radii.parameters()), c.radius_rate))
        return [group for group in groups if group[1]]


def composite(colours: Sequence[Tensor], alphas: Sequence[Tensor | None]) -> Tensor:
    """Layers laid over each other, from back to front."""
    out = colours[0]
    for colour, alpha in zip(colours[1:], alphas[1:], strict=True):
        out = colour if alpha is None else torch.lerp(out, colour, alpha)
    return out
