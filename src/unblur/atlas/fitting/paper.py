"""The layers as the paper has them: networks for maps and opacity, and for the atlases.

Maps and opacity are those of Layered Neural Atlases (Kasten et al. 2021); the composite is blurred
at once, by radii that are given.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unblur.atlas.fitting.canvas import Canvas
from unblur.atlas.fitting.losses import jacobians, rigidity
from unblur.atlas.fitting.mapping import (
    ALPHA_MLP,
    BACKGROUND_MLP,
    FOREGROUND_MLP,
    SPREAD,
    Lattice,
    Mlp,
    MlpMapping,
    raster_points,
)
from unblur.atlas.fitting.model import Appearance, LayeredModel, composite
from unblur.atlas.fitting.presets import FitConfig
from unblur.atlas.fitting.texture import CnnTexture, PyramidTexture, look_up
from unblur.optics.disk_blur import disk_blur

INSIDE, LEAST = 0.998, 0.001
"""Opacity is `LEAST + INSIDE * (tanh + 1) / 2`, so that no logarithm of it is infinite."""
SPARSE = 4
"""Pixels of a frame per point that regularisers are evaluated at, at least."""


class PaperModel(LayeredModel):
    """Layers as the paper has them: the preset `paper`."""

    def __init__(
        self,
        frames: int,
        size: tuple[int, int],
        names: Sequence[str],
        radii: Tensor,
        mean: Tensor,
        config: FitConfig,
    ) -> None:
        """Starts with frames that fill 0.8 of flat atlases.

        Args:
            frames: T.
            size: (H, W).
            names: of the layers, back to front.
            radii: (T, 1, H, W) of the lens's disks, in pixels.
            mean: (3,) colour of the clip, working values.
            config: what is fitted.
        """
        nn.Module.__init__(self)
        self.maps: Tensor
        H, W = size
        self.config, self.size, self.frames, self.names = config, size, frames, list(names)
        atlas = (round(H / SPREAD), round(W / SPREAD))
        self.sizes = [atlas] * len(names)
        self.network: CnnTexture | None = None
        self.textures = nn.ModuleList()
        if config.atlas == "cnn":
            generator = torch.Generator().manual_seed(config.seed)
            self.network = CnnTexture(self.sizes, config.widths, mean, generator)
        else:
            flat = mean[:, None, None].expand(3, *atlas)
            self.textures.extend(PyramidTexture(flat, config.pyramid) for _ in names)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.mappings = nn.ModuleList(
                MlpMapping(FOREGROUND_MLP if i else BACKGROUND_MLP, frames, H, W, atlas)
                for i in range(len(names))
            )
            self.opacities = nn.ModuleList(Mlp(ALPHA_MLP) for _ in names[1:])
        self.register_buffer("maps", radii.half())
        self.radii = nn.ModuleList(Lattice(1, 1, H, W, (1, 1)) for _ in names)
        for field in self.radii:
            field.requires_grad_(False)
            field.knots.fill_(float(radii.max()))  # type: ignore[operator]

    def atlases(self, scale: int = 1) -> list[Tensor]:
        """Working values (3, Ha, Wa) of each layer."""
        return self.network() if self.network is not None else [t() for t in self.textures]

    def look(
        self, canvas: Canvas, frames: Sequence[int], atlases: Sequence[Tensor] | None = None
    ) -> Appearance:
        """All layers in the pixels of a canvas."""
        atlases = self.atlases() if atlases is None else atlases
        H, W = self.size
        device = atlases[0].device
        points = raster_points(self.frames, H, W, canvas, frames, device)
        colours, alphas = [], []
        for i, atlas in enumerate(atlases):
            place = self.mappings[i].places(points).permute(0, 3, 1, 2)  # type: ignore[operator]
            colours.append(look_up(atlas, place))
            alphas.append(self.alpha(i, points) if i else None)
        radius = self.radius(0, canvas, frames)
        return Appearance(colours, alphas, [radius] * len(atlases))

    def alpha(self, layer: int, points: Tensor) -> Tensor:
        """Opacity (B, 1, rows, columns) of points (B, rows, columns, 3)."""
        share = (self.opacities[layer - 1](points) + 1) / 2
        return (LEAST + INSIDE * share).permute(0, 3, 1, 2)

    def radius(self, layer: int, canvas: Canvas, frames: Sequence[int]) -> Tensor:
        """(B, 1, rows, columns), that of the nearest pixel of the frame in the margin."""
        x, y = canvas.axes(self.maps.device)
        H, W = self.size
        cols, rows = x.round().long().clamp(0, W - 1), y.round().long().clamp(0, H - 1)
        return self.maps[list(frames)][:, :, rows][..., cols].float()

    def blurred(self, look: Appearance, scale: int) -> Tensor:
        """(B, 3, H, W) working values: the composite through the lens."""
        sharp = composite(look.colours, look.alphas)
        if self.config.coc == "none":
            return sharp
        light = sharp.square() if self.config.linear else sharp
        seen = disk_blur(light, look.radii[0] / scale, self.config.beta)
        return seen.clamp_min(1e-4).sqrt() if self.config.linear else seen

    def groups(self) -> list[tuple[str, list[nn.Parameter], float]]:
        """Parameters with the rate they are learned at: one for all networks."""
        rate = self.config.network_rate
        parts = {"mappings": self.mappings, "opacities": self.opacities, "network": self.network}
        groups = [(k, list(m.parameters()), rate) for k, m in parts.items() if m is not None]
        groups.append(("textures", list(self.textures.parameters()), self.config.texture_rate))
        return [group for group in groups if group[1]]

    def points(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, 3) normalised points of the clip, by chance; of small frames fewer."""
        H, W = self.size
        count = min(count, -(-H * W // SPARSE))
        half = max(H, W) / 2
        reach = torch.tensor([W / 2 / half, H / 2 / half, 1.0])
        return (2 * torch.rand(count, 3, generator=generator) - 1) * reach

    def rigidity(self, generator: torch.Generator) -> Tensor:
        """Of all maps, at points by chance."""
        points = self.points(self.config.samples, generator).to(self.maps.device)
        step = torch.tensor(2 / max(self.size), device=points.device)
        total = points.new_zeros(())
        for mapping in self.mappings:
            total = total + rigidity(jacobians(mapping.places, points, step))  # type: ignore[arg-type]
        return total

    def off_upright(self, generator: torch.Generator) -> Tensor:
        """Mean distance, in pixels, of all maps from those that put the frame in the middle of the
        atlas, at points by chance.
        """
        points = self.points(self.config.samples, generator).to(self.maps.device)
        distances = [
            (m.places(points) - m.identity(points)).norm(dim=-1).mean()  # type: ignore[operator]
            for m in self.mappings
        ]
        return torch.stack(distances).mean()
