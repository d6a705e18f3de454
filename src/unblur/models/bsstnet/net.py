"""BSSTNet: blur-aware spatio-temporal sparse transformer network (CVPR 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unblur.models.bsstnet.blocks import GatedBlock
from unblur.models.bsstnet.config import OFFICIAL, BSSTNetConfig
from unblur.models.bsstnet.decoder import Decoder, Encoder
from unblur.models.bsstnet.propagation import Propagation
from unblur.models.bsstnet.reconstruction import Reconstruction
from unblur.models.bsstnet.refine import FlowRefiner
from unblur.models.bsstnet.selection import Selection, select
from unblur.models.bsstnet.transformer import SparseTransformer
from unblur.models.layers import framewise
from unblur.ops.blur_map import spread, squared_motion
from unblur.ops.pad import crop_from, pad_flow, pad_to, padded_length

FLOW_STRIDE = 4
"""Pixels of the frame per element of flow and features."""
MULTIPLE = 64
"""Side in pixels of a window of the transformer: frames are padded to whole windows."""


class BSSTNet(nn.Module):
    """Restores motion-blurred frames from themselves and from sharper ones, near and far in time.

    Args:
        config: sizes and choices.
    """

    def __init__(self, config: BSSTNetConfig = OFFICIAL) -> None:
        super().__init__()
        self.config = config
        stem, channels = config.stem_channels, config.channels
        self.refiner = FlowRefiner(config.refiner_channels, config.deform_groups)
        self.encoder = Encoder(stem, channels)
        self.propagation = Propagation(config)
        self.reconstruction = Reconstruction(config)
        self.transformer = SparseTransformer(config) if config.token_blocks else None
        self.fusion = nn.Sequential(
            GatedBlock(channels, 5, extra=channels if config.token_blocks else 0),
            GatedBlock(channels, 5),
        )
        self.decoder = Decoder(stem, channels, config.shift_rounds)

    def forward(
        self,
        frames: Tensor,
        flow_forward: Tensor,
        flow_backward: Tensor,
        blur_limits: Tensor | None = None,
    ) -> Tensor:
        """Restores a clip.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1]; any size, T >= 1.
            flow_forward: (B, T-1, 2, ceil(H/4), ceil(W/4)) in elements of its own grid; flow t
                lives on frame t and points to t + 1.
            flow_backward: likewise, flow t lives on frame t + 1 and points to t.
            blur_limits: (B, 2) squared motion that counts as sharp and as fully blurred (see
                `ops.blur_map`); by default the smallest and the largest of the clip given here.

        Returns:
            (B, T, 3, H, W), which may leave [0, 1].

        Raises:
            ValueError: the flows do not fit the frames.
        """
        B, T, _, height, width = frames.shape
        grid = [-(-n // FLOW_STRIDE) for n in (height, width)]
        if flow_forward.shape != (B, T - 1, 2, *grid) or flow_backward.shape != flow_forward.shape:
            raise ValueError(
                f"frames {tuple(frames.shape)} need flows {(B, T - 1, 2, *grid)} both ways, "
                f"got {tuple(flow_forward.shape)} and {tuple(flow_backward.shape)}"
            )
        H, W = (padded_length(n, MULTIPLE) for n in (height, width))
        h, w = H // FLOW_STRIDE, W // FLOW_STRIDE
        x = pad_to(frames, H, W).flatten(0, 1)  # (B*T, 3, H, W)
        flow_forward, flow_backward = (pad_flow(f, h, w) for f in (flow_forward, flow_backward))

        flow_forward, flow_backward = self.refine(flow_forward, flow_backward, blur_limits)
        blur = self.blur_of(flow_forward, flow_backward, blur_limits).detach()
        half, quarter = self.encoder(x)  # (B*T, S, H/2, W/2), (B*T, C, h, w)

        features = self.propagation(
            quarter.unflatten(0, (B, T)), flow_forward, flow_backward, 1 - blur
        )
        merged = self.reconstruction(features)  # (B, T, C, h, w)
        del features, quarter

        if self.transformer is not None:
            distant = self.transformer(merged, self.select(blur))  # (B, T, C, h, w)
            merged = torch.cat((merged, distant), 2)
            del distant
        fused = self.fusion(merged.flatten(0, 1))  # (B*T, C, h, w)
        del merged

        decoder = self.decoder
        half = framewise(decoder.to_half, fused, half)  # (B*T, S, H/2, W/2)
        half = decoder.shift(half.unflatten(0, (B, T))).flatten(0, 1)
        out = framewise(self._finish, half, x).unflatten(0, (B, T))
        return crop_from(out, height, width)

    def refine(
        self, flow_forward: Tensor, flow_backward: Tensor, blur_limits: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Corrects flows that blur has misled.

        Args:
            flow_forward: (B, T-1, 2, h, w).
            flow_backward: (B, T-1, 2, h, w).
            blur_limits: as in `forward`.

        Returns:
            Both, refined.
        """
        if flow_forward.shape[1] == 0:
            return flow_forward, flow_backward
        blur = self.blur_of(flow_forward, flow_backward, blur_limits)  # (B, T, 1, h, w)
        # each flow with the blur of the frame it points to, in the order of its direction
        forward = self.refiner(flow_forward, blur[:, 1:])
        backward = self.refiner(flow_backward.flip(1), blur[:, :-1].flip(1)).flip(1)
        return forward, backward

    def blur_of(self, flow_forward: Tensor, flow_backward: Tensor, limits: Tensor | None) -> Tensor:
        """The blur map (B, T, 1, h, w) of flows (B, T-1, 2, h, w)."""
        return spread(squared_motion(flow_forward, flow_backward, self.config.blur), limits)

    def select(self, blur: Tensor) -> list[Selection]:
        """Which tokens attend to which in each block, for a blur map (B, T, 1, h, w)."""
        c = self.config
        # In use the same clip gives the same frames; in training each step draws others.
        lots = None if self.training else torch.Generator().manual_seed(0)
        return select(blur, c.selection, c.token_blocks, c.keep, c.threshold, lots)

    def _finish(self, half: Tensor, frames: Tensor) -> Tensor:
        # The stem runs a second time: cheaper than keeping its full-resolution features.
        return frames + self.decoder.to_image(half, self.encoder.stem(frames))
