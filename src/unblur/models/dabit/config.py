"""Sizes and choices of a DaBiT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pixels = Literal["kept", "released", "similar"]
BlurMap = Literal["given", "wavelet", "none"]

MERGE_GROUPS = (2, 4, 8, 1)
"""Groups of the convolutions that look at the encoder's middle features again."""


@dataclass(frozen=True)
class DabitConfig:
    """Sizes of the network; the defaults are those of the published checkpoint."""

    encoder: tuple[int, int, int, int, int, int, int] = (64, 128, 256, 384, 512, 384, 256)
    """Features of the encoder: at half resolution, then at quarter resolution."""
    channels: int = 128
    """Features at quarter resolution, between the parts of the network."""
    propagation: bool = True
    """Features travel along the flow before the transformer: the release does so, the paper not."""
    deform_groups: int = 16
    """Groups of channels that share the offsets of a deformable convolution."""
    token_channels: int = 512
    token_heads: int = 4
    token_hidden: int = 40
    """Channels per element of a patch in the transformer's feed-forward layer."""
    token_blocks: int = 8
    temporal_stride: int = 1
    """Block n attends to the frames n, n + stride, ... (modulo the stride)."""
    decoder_channels: int = 64
    """Features at full resolution."""
    head_channels: int = 64
    """Features of the part that enlarges, at every resolution."""
    head_blocks: int = 5
    residual: bool = False
    """The decoder gives a correction of the input frame, not the image itself."""
    scales: tuple[int, ...] = (2,)
    """Output sizes the weights are made for, in multiples of the input: 1, 2."""
    threshold: float = 0.0
    """A window that is blurred by more than this at any time attends across frames."""
    reach: int | None = None
    """References come from this many frames before and after; None: from the whole clip."""
    pixels: Pixels = "kept"
    """What becomes of blurred pixels before the network sees them: nothing, or sharp ones of other
    frames in their place, by the rule of the released code, or by ours, which also asks that both
    are similar but for the blur, see `ops.propagation`."""
    blur: BlurMap = "given"
    """The blur map: as it is given, by the wavelets at each depth, as in the paper, or that all is
    blurred (V1 of the paper's Table 1, trained so)."""
    depth: Literal["given", "none"] = "given"
    """Depth as it is given, or the same everywhere."""

    def __post_init__(self) -> None:
        c, d, e, f, g = self.encoder[2:]
        divisions = {
            "channels by deform_groups": (self.channels, self.deform_groups),
            "token_channels by token_heads": (self.token_channels, self.token_heads),
        }
        outputs = (e, f, g, self.channels)
        for groups, width, out in zip(MERGE_GROUPS, (d, e, f, g), outputs, strict=True):
            for number in (c, width, out):
                divisions[f"encoder widths by {groups} ({number})"] = (number, groups)
        for what, (whole, parts) in divisions.items():
            if parts < 1 or whole % parts:
                raise ValueError(f"cannot divide {what}: {whole} / {parts}")
        if not self.scales or not set(self.scales) <= {1, 2}:
            raise ValueError(f"scales are 1 and 2, not {self.scales}")
        if self.temporal_stride < 1:
            raise ValueError(f"temporal_stride is at least 1, not {self.temporal_stride}")


OFFICIAL = DabitConfig()
"""The published network: 40.4 M parameters in use."""

PAPER = DabitConfig(
    propagation=False, temporal_stride=2, threshold=1e-4, pixels="released", blur="wavelet"
)
"""What the paper describes: 36.5 M parameters in use. No published weights fit it. The sharpest
depth of a frame has a blur of 0, but for rounding: all others count as blurred."""

SMALL = DabitConfig(
    encoder=(24, 48, 96, 128, 160, 128, 96),
    channels=48,
    deform_groups=4,
    token_channels=128,
    token_hidden=12,
    token_blocks=4,
    temporal_stride=2,
    decoder_channels=24,
    head_channels=24,
    head_blocks=2,
    residual=True,
    scales=(1, 2),
    threshold=0.1,
    reach=80,
)
"""For CPUs: per 256 x 256 frame 9.7 GMAC, 13.2 for twice the size, in a window of ten frames
and six references; 6.6 and 10.0 without references."""

TINY = DabitConfig(
    encoder=(4, 8, 8, 8, 8, 8, 8),
    channels=8,
    deform_groups=2,
    token_channels=16,
    token_heads=2,
    token_hidden=2,
    token_blocks=2,
    temporal_stride=2,
    decoder_channels=8,
    head_channels=8,
    head_blocks=1,
    residual=True,
    scales=(1, 2),
    threshold=0.1,
    reach=80,
)
"""For tests: every part is there, as narrow as it goes."""
