"""How a clip is fitted: what is learned, how, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from unblur.errors import UsageError

CocSource = Literal["given", "estimated", "learned", "none"]


@dataclass(frozen=True)
class Phase:
    """A stretch of the fit."""

    iterations: int
    scale: int = 1
    """Frames are seen at 1 / scale of their size."""
    frames: int = 2
    """Frames of each step."""
    geometry: bool = True
    """False while the mapping follows optical flow and bootstrapping alone, without images."""


@dataclass(frozen=True)
class FitConfig:
    """What is fitted. Lengths are pixels of the clip."""

    name: str
    phases: tuple[Phase, ...]
    mapping: Literal["lattice", "mlp"] = "lattice"
    """`lattice`: a homography for each frame and splines on top; `mlp`: the paper's networks."""
    atlas: Literal["explicit", "cnn"] = "explicit"
    """`explicit`: pixels; `cnn`: made by a convolutional network from fixed noise."""
    coc: CocSource = "estimated"
    """Where radii of the circle of confusion come from; `learned`: from nothing; `none`: no blur,
    a plain layered atlas."""
    refine_coc: bool = True
    """The fit may correct the radii it was given."""
    beta: float | None = None
    """Of the lens: see `unblur.optics.disk_blur`."""
    linear: bool = True
    """Blur adds up in linear light; False: in the encoded signal."""
    layered: bool = True
    """Each layer is blurred by itself, from back to front; False: the composite, by the radius of
    what lies in front."""
    ms_ssim: float = 0.5
    """Share of 1 - MS-SSIM in the reconstruction loss; the rest is L1."""
    knots: tuple[float, ...] = (48.0, 16.0)
    """Distances between knots of the mapping's splines."""
    alpha_knots: float = 4.0
    pyramid: int = 4
    """Levels of an explicit atlas."""
    density: float = 1.0
    """Pixels of the atlas per pixel of the frame where the layer is largest."""
    widths: tuple[int, ...] = (64, 48, 32, 16)
    """Of the convolutional network: channels before, and after each doubling of its size."""
    texture_rate: float = 0.02
    mapping_rate: float = 0.05
    """Pixels a step."""
    alpha_rate: float = 0.1
    radius_rate: float = 0.04
    network_rate: float = 2e-3
    """At twice that the network that makes atlases went black on one clip of three."""
    reconstruction: float = 1.0
    flow: float = 0.01
    """Per pixel of disagreement."""
    rigidity: float = 0.05
    sparsity: float = 0.0
    bootstrap: float = 0.02
    """What masks say of opacity, at first; less and less of it."""
    bootstrap_until: float = 0.5
    """Share of the fit after which they say nothing more."""
    smooth_texture: float = 0.002
    smooth_radius: float = 0.05
    samples: int = 8192
    """Points at which the regularisers of the networks are evaluated, at most."""
    upright: int = 0
    """Steps in which networks learn to start with the frame in the middle of the atlas."""
    largest_radius: float = 16.0
    seed: int = 0

    @property
    def iterations(self) -> int:
        """Steps of all phases."""
        return sum(phase.iterations for phase in self.phases)


CPU = FitConfig(
    "cpu",
    (Phase(60, 2, 4, geometry=False), Phase(120, 2, 4), Phase(220, 1, 2)),
)
FAST = replace(
    CPU,
    name="fast",
    phases=(Phase(300, 2, 8, geometry=False), Phase(800, 2, 6), Phase(1600, 1, 4)),
)
PAPER = FitConfig(
    "paper",
    (Phase(50_000, 1, 1),),
    mapping="mlp",
    atlas="cnn",
    coc="estimated",
    refine_coc=False,
    beta=2.0,
    linear=False,
    layered=False,
    ms_ssim=0.84,
    widths=(128, 96, 64, 32),
    network_rate=1e-4,
    reconstruction=0.3,
    flow=1.5,
    rigidity=0.5,
    sparsity=100.0,
    bootstrap=600.0,  # as heavy beside the flow as in Layered Neural Atlases, and as long
    bootstrap_until=0.1,
    smooth_texture=0.0,
    smooth_radius=0.0,
    upright=5000,
)
PRESETS = {config.name: config for config in (CPU, FAST, PAPER)}


def preset(name: str) -> FitConfig:
    """The preset called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}: take {', '.join(PRESETS)}")
    return PRESETS[name]
