"""DaBiT: depth and blur informed transformer (arXiv 2407.01230)."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur.models.dabit.config import OFFICIAL, DabitConfig
from unblur.models.dabit.images import Decoder, Encoder, Head
from unblur.models.dabit.propagation import Propagation
from unblur.models.dabit.transformer import SparseTransformer
from unblur.models.layers import FRAMES_AT_ONCE, framewise
from unblur.ops.pad import crop_from, pad_flow, pad_to, padded_length

STRIDE = 4
"""Pixels of a frame per element of the features."""


class Dabit(nn.Module):
    """Restores frames out of focus from themselves and from frames in focus, near and far in time.

    The frames requested come first; those after them are references, which are only looked at.
    `forward` does everything. A caller that sees a frame in several windows keeps its features:
    `encode` (each frame by itself), `mix` (frames with each other), `decode` (each by itself).

    Args:
        config: sizes and choices.
    """

    def __init__(self, config: DabitConfig = OFFICIAL) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.propagation = Propagation(config) if config.propagation else None
        self.transformer = SparseTransformer(config)
        self.decoder = Decoder(config)
        self.head = Head(config) if 2 in config.scales else None

    def forward(
        self,
        frames: Tensor,
        depth: Tensor,
        blur: Tensor,
        mask: Tensor,
        flow_forward: Tensor,
        flow_backward: Tensor,
        outputs: int | None = None,
        scale: int | None = None,
    ) -> Tensor:
        """Restores a clip.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], sharp pixels already propagated; any size,
                T >= 1.
            depth: (B, T, 1, H, W), 0 = near, 1 = far.
            blur: (B, T, 1, H, W) blur map, 0 = sharp, 1 = most blurred.
            mask: (B, T, 1, H, W), 1 where a pixel is blurred, else 0.
            flow_forward: (B, t, 2, H, W) pixels, t < T; flow i lives on frame i and points to
                i + 1. Frames past the flows are references that nothing is propagated to. Without
                propagation the flows are not looked at.
            flow_backward: (B, t, 2, H, W), flow i lives on frame i + 1 and points to i.
            outputs: how many frames, from the first, to restore; default: all.
            scale: 1 or 2, size of the output; default: the largest the weights are made for.

        Returns:
            (B, outputs, 3, scale * H, scale * W), which may leave [0, 1].

        Raises:
            ValueError: an input does not fit the frames, or the weights are not made for `scale`.
        """
        scale = max(self.config.scales) if scale is None else scale
        check(frames, depth=depth, blur=blur, mask=mask)
        features = self.encode(frames, depth, blur, mask)
        features = self.mix(features, blur, mask, flow_forward, flow_backward, outputs)
        return self.decode(features, frames[:, : features.shape[1]], (scale,))[scale]

    def encode(self, frames: Tensor, depth: Tensor, blur: Tensor, mask: Tensor) -> Tensor:
        """Inputs of `forward` to features of each frame, (B, T, C, ceil(H / 4), ceil(W / 4))."""
        H, W = (padded_length(n, STRIDE) for n in frames.shape[-2:])
        inputs = (t.flatten(0, 1) for t in (frames, blur, mask, depth))

        def encode(*parts: Tensor) -> Tensor:
            return self.encoder(pad_to(torch.cat(parts, 1), H, W))

        return framewise(encode, *inputs).unflatten(0, frames.shape[:2])

    def mix(
        self,
        features: Tensor,
        blur: Tensor,
        mask: Tensor,
        flow_forward: Tensor,
        flow_backward: Tensor,
        outputs: int | None = None,
        propagate: bool = True,
    ) -> Tensor:
        """Features that have seen the other frames.

        Args:
            features: (B, T, C, h, w) by `encode`.
            blur: as in `forward`; so are the mask, the flows and `outputs`.
            mask: see above.
            flow_forward: see above.
            flow_backward: see above.
            outputs: see above.
            propagate: False leaves features where they are; attention alone sees other frames.

        Returns:
            (B, outputs, C, h, w).
        """
        outputs = features.shape[1] if outputs is None else outputs
        # nearest neighbours, as in the release
        small_blur, small_mask = (t[..., ::STRIDE, ::STRIDE] for t in (blur, mask))
        if self.propagation is not None and propagate:
            check(mask, flow_forward=flow_forward, flow_backward=flow_backward)
            flows = [shrink(flow) for flow in (flow_forward, flow_backward)]
            features = self.propagation(features, *flows, torch.cat((small_blur, small_mask), 2))
        return features[:, :outputs] + self.transformer(features, small_blur, outputs)

    def decode(
        self, features: Tensor, frames: Tensor, scales: Collection[int]
    ) -> dict[int, Tensor]:
        """Images of each scale requested.

        Args:
            features: (B, T, C, h, w) by `mix`.
            frames: (B, T, 3, H, W) their input frames.
            scales: 1, 2.

        Returns:
            (B, T, 3, scale * H, scale * W) by scale.

        Raises:
            ValueError: the weights are not made for a scale.
        """
        if not set(scales) <= set(self.config.scales):
            raise ValueError(f"these weights give scale {self.config.scales}, not {scales}")
        height, width = frames.shape[-2:]
        H, W = (n * STRIDE for n in features.shape[-2:])

        def plain(x: Tensor, frame: Tensor) -> Tensor:
            y = self.decoder(x)  # (N, 3, H, W)
            return y + pad_to(frame, H, W) if self.config.residual else torch.tanh(y)

        def twice(x: Tensor, image: Tensor) -> Tensor:
            assert self.head is not None  # noqa: S101 as the config says
            large = F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
            return self.head(x) + large

        x = features.flatten(0, 1)
        images = framewise(plain, x, frames.flatten(0, 1))  # (B*T, 3, H, W)
        found = {}
        if 1 in scales:
            found[1] = crop_from(images, height, width)
        if 2 in scales:
            # the widest layers of all: a frame at a time, where memory counts
            at_once = FRAMES_AT_ONCE if torch.is_grad_enabled() else 1
            enlarged = framewise(twice, x, images, at_once=at_once)
            found[2] = crop_from(enlarged, 2 * height, 2 * width)
        return {scale: y.unflatten(0, features.shape[:2]) for scale, y in found.items()}


def shrink(flow: Tensor) -> Tensor:
    """Flow in pixels (B, t, 2, H, W) to flow in elements of the features (B, t, 2, h, w)."""
    H, W = (padded_length(n, STRIDE) for n in flow.shape[-2:])
    padded = pad_flow(flow, H, W).flatten(0, 1)
    small = F.interpolate(padded, scale_factor=1 / STRIDE, mode="bilinear", align_corners=False)
    return small.unflatten(0, flow.shape[:2]) / STRIDE


def check(frames: Tensor, **inputs: Tensor) -> None:
    """Raises `ValueError` where an input does not fit the frames (B, T, C, H, W)."""
    B, T, _, H, W = frames.shape
    for name, x in inputs.items():
        flow = name.startswith("flow")
        wanted = (B, T - 1, 2, H, W) if flow else (B, T, 1, H, W)
        short = flow and x.dim() == 5 and x.shape[1] < T
        if x.shape != wanted and not (short and x.shape[2:] == wanted[2:] and len(x) == B):
            raise ValueError(f"{name} of {tuple(x.shape)} does not fit the frames: {wanted}")
