"""Sizes and choices of a BSSTNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unblur.ops.blur_map import BlurOfFlows

SelectionMode = Literal["official", "paper", "random", "dense"]
AlignmentMode = Literal["official", "paper", "flow", "none"]


@dataclass(frozen=True)
class BSSTNetConfig:
    """Sizes of the network; the defaults are those of the published checkpoints."""

    stem_channels: int = 64
    """Features at full and half resolution."""
    channels: int = 192
    """Features at quarter resolution, where propagation and reconstruction work."""
    branches: tuple[str, ...] = ("backward_1", "forward_1", "backward_2", "forward_2")
    """Passes through time, in order. A later pass sees what the earlier ones found. Without any
    there is no propagation (BBFP off in the paper's Table 5)."""
    alignment: AlignmentMode = "official"
    """What blur does to the alignment of earlier frames, see `propagation`: as the released code
    has it, as the paper does (BFA), or nothing (the SFFA of the paper's Table 6); `none` aligns
    nothing."""
    blur: BlurOfFlows = "mean"
    """The blur map: mean of the flows of a frame (released code), or their sum (Eq. 1)."""
    deform_groups: int = 16
    """Groups of channels that share the offsets of a deformable convolution."""
    refiner_channels: int = 64
    """Widest layer of the flow refiner."""
    reconstruction_groups: int = 3
    """Groups of the convolution that merges the passes."""
    swin_heads: int = 6
    token_channels: int = 512
    token_heads: int = 4
    token_hidden: int = 40
    """Channels per kernel tap in the transformer's feed-forward layer."""
    token_blocks: int = 4
    """Blocks of the transformer; 0 leaves it out (BSST off in the paper's Table 5)."""
    shift_rounds: int = 4
    """Exchanges with neighbouring frames in each of the two temporal-shift stages; even, for every
    second one hands back what the one before had handed on."""
    selection: SelectionMode = "official"
    """Which tokens attend to which, see `selection`."""
    keep: float = 0.25
    """Share of the frames that are taken as queries, and as keys, in blurred windows."""
    threshold: float = 0.3
    """Blur from which a window counts as blurred."""

    def __post_init__(self) -> None:
        divisions = {
            "channels by reconstruction_groups": (self.channels, self.reconstruction_groups),
            "channels by swin_heads": (self.channels, self.swin_heads),
            "2 * channels by deform_groups": (2 * self.channels, self.deform_groups),
            "2 * refiner_channels by deform_groups": (
                2 * self.refiner_channels,
                self.deform_groups,
            ),
            "deform_groups by 2": (self.deform_groups, 2),
            "stem_channels by 2": (self.stem_channels, 2),
            "token_channels by token_heads": (self.token_channels, self.token_heads),
        }
        for what, (whole, parts) in divisions.items():
            if parts < 1 or whole % parts:
                raise ValueError(f"cannot divide {what}: {whole} / {parts}")
        if self.shift_rounds % 2:
            raise ValueError(
                f"shift_rounds is {self.shift_rounds}, must be even: else a frame ends up with the "
                "features of another"
            )
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep is a share in (0, 1], not {self.keep}")
        if not all(name.startswith(("backward", "forward")) for name in self.branches):
            raise ValueError(f"a branch is called backward... or forward..., not {self.branches}")


OFFICIAL = BSSTNetConfig()
"""The published networks (GoPro, DVD): 38.5 M parameters in use."""

PAPER = BSSTNetConfig(selection="paper", keep=0.5, alignment="paper", blur="sum")
"""The published size with blur map, alignment and token selection as the paper describes them."""

SMALL = BSSTNetConfig(
    stem_channels=16,
    channels=48,
    deform_groups=8,
    refiner_channels=24,
    swin_heads=3,
    token_channels=128,
    token_heads=4,
    token_hidden=12,
    token_blocks=2,
    shift_rounds=2,
    selection="paper",
    keep=0.5,
)
"""For CPUs: 9 to 12 GMAC per 256 x 256 frame, most for long clips blurred everywhere."""

TINY = BSSTNetConfig(
    stem_channels=8,
    channels=12,
    deform_groups=2,
    refiner_channels=4,
    swin_heads=2,
    token_channels=16,
    token_heads=2,
    token_hidden=2,
    token_blocks=2,
    shift_rounds=2,
    selection="paper",
    keep=0.5,
)
"""For tests: every part is there, as narrow as it goes."""
