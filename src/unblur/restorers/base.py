"""What the engine knows of a model: this protocol and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

Light = Literal["linear", "encoded"]
Precision = Literal["fp32", "bf16", "fp16"]
Ablation = Literal["V1", "V1b", "V2", "V3"]
ABLATIONS: tuple[Ablation, ...] = ("V1", "V1b", "V2", "V3")
"""What a model for focal blur can do without, as DaBiT's paper numbers it: V1 sees a blur map of
ones, and masks made of it; V1b sees it with the masks of the real one; to V2 nothing is propagated
from other frames; V3 lacks both."""
NO_BLUR_MAP: frozenset[Ablation | None] = frozenset({"V1", "V1b", "V3"})
NOT_PROPAGATED: frozenset[Ablation | None] = frozenset({"V2", "V3"})
"""Ablations without the blur map, and to which nothing is propagated."""
NO_STAND_IN = (
    "{name} needs depth, not a measure of blur in its place: give --depth depth-anything "
    "or --depth DIR, or take --model focus-m"
)
"""What a preset with `real_depth` says to `builtin` depth."""
Guidance = Mapping[str, Tensor]
"""Maps made on whole frames, `(T or T-1, C, H / stride, W / stride)` each, cut with the tile."""


class Window(NamedTuple):
    """One run of a network over time; all indices count from the start of the shot."""

    inputs: tuple[int, ...]
    """Frames the network sees, in the order it sees them. An index may repeat (reflection)."""
    outputs: tuple[int, ...]
    """Frames taken from this run: positions are found in `inputs`. Of a frame that is in several
    windows the engine takes the mean of what it had and what the next one gives."""


class Priors(NamedTuple):
    """What is known of the frames of a window beside their images."""

    indices: tuple[int, ...]
    """Which frames they are, as in `Window.inputs`."""
    depth: Tensor
    """(T, 1, H, W), 0 = near, 1 = far."""
    blur: Tensor
    """(T, 1, H, W) blur map, 0 = sharp, 1 = most blurred."""


@dataclass(frozen=True)
class SizeRequirements:
    """Frame sizes a network takes. The restorer pads; the engine uses them to place tiles."""

    minimum: int = 1
    multiple_of: int = 1


@dataclass(frozen=True)
class Tiling:
    """How a restorer wants frames cut when it does not get them whole."""

    size: int = 512
    """Side of a square tile in pixels."""
    overlap: int = 64
    """Pixels that neighbouring tiles share."""
    merge: Literal["feather", "hard"] = "feather"
    """`feather`: linear ramps over the overlap. `hard`: half of the overlap is dropped."""
    larger: bool = False
    """True where what larger tiles give is nearer to what the whole frame gives."""
    always: bool = False
    """True where the network only accepts exactly `size` x `size`."""


@dataclass(frozen=True)
class RestorerInfo:
    """Everything the engine and `unblur models` need to know before any weight is loaded."""

    name: str
    summary: str
    blur: Literal["motion", "focal", "any"]
    light: Light
    licence: str
    parameters: int
    sizes: SizeRequirements = SizeRequirements()
    tiling: Tiling = Tiling()
    scale: int = 1
    """Size of the output in multiples of the input's; of a preset, what it gives by default."""
    scales: tuple[int, ...] = (1,)
    """Sizes that can be requested."""
    precisions: frozenset[Precision] = frozenset({"fp32"})
    """Precisions its output was measured to be safe in."""
    window: int = 1
    """Frames the network sees at once; 1 where it takes each frame by itself."""
    same_from: int | None = None
    """Frames of the shortest window that gives the same frames as `window` does; None: what a frame
    becomes depends on all of its window."""
    reach: int | None = 0
    """Frames before and after a window that references may come from; they are held meanwhile.
    None: all of the shot, whose frames wait on disk."""
    needs_depth: bool = False
    """True where `guide` wants depth and a blur map of each frame."""
    real_depth: bool = False
    """True where that depth may not be the stand-in that is made of blur."""
    guidance_stride: int = 1
    """Pixels of the frame per element of the guidance maps."""
    guidance_bytes: int = 0
    """Bytes of guidance per pixel of each frame of a window, where it is worth counting."""
    ships: bool = False
    """True where the weights come with the package."""
    fuse: int = 0
    """Frames on either side that a restored frame was measured to gain most from, at the size of
    the input; 0: restored frames are left as they are."""
    for_tests: bool = False
    """True where its weights have learned nothing."""
    passes_through: bool = False
    """True where frames are to reach the output untouched, as their own planes."""

    @property
    def needs_shots(self) -> bool:
        """True where other frames matter to a frame: to the network, or to the map of its blur."""
        return self.window > 1 or self.needs_depth


class Restorer(Protocol):
    """A network with its weights, its guidance, and its way through time."""

    info: RestorerInfo

    def windows(self, length: int, limit: int | None = None) -> list[Window]:
        """Temporal windows of a shot of `length` frames, at most `limit` frames each.

        Together the outputs hold each frame; those of a window ascend, and none of them comes
        before the first of the window before.
        """
        ...

    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """Guidance of whole frames `(T, 3, H, W)`, RGB in [0, 1], in the light of `info`.

        `priors` come only to a restorer that `needs_depth`, which does without where it must, and
        where that is not to be real depth.
        """
        ...

    def run(
        self,
        frames: Tensor,  # (T, 3, H, W)
        guidance: Guidance,
        outputs: Sequence[int],
    ) -> Tensor:  # (len(outputs), 3, scale * H, scale * W)
        """Restores the frames at positions `outputs` of the window. Any H, W and T >= 1.

        Input and output are RGB in [0, 1] in the light of `info`; the output may leave the range.
        """
        ...

    def peak_bytes(self, frames: int, height: int, width: int) -> int:
        """Estimate of the memory that `guide` and `run` add at their peak, on its device."""
        ...


@runtime_checkable
class Ablatable(Protocol):
    """What a restorer may offer beside `Restorer`: to show what each of its ideas is worth."""

    ablations: Sequence[Ablation]
    """Parts that it has, and can do without."""

    def ablated(self, name: Ablation) -> Restorer:
        """The same weights at work without a part; the restorer itself stays as it is."""
        ...


@runtime_checkable
class Telling(Protocol):
    """What a restorer may offer beside `Restorer`: to tell how far a run has come."""

    tell: Callable[[float], None] | None
    """Called by `run` with the share that is done, 0 to 1; None: no listener."""


class LoadOptions(NamedTuple):
    """What a preset's loader gets from the registry."""

    device: torch.device
    precision: Precision
    weights: str | None
    """Path of a safetensors file that replaces the preset's own weights."""
    scale: int | None = None
    """One of the preset's scales; None: what it gives by default."""


@dataclass(frozen=True)
class Preset:
    """A row of the table of models: what it is, and how to get it."""

    info: RestorerInfo
    load: Callable[[LoadOptions], Restorer]
