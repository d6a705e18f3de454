"""Modulated deformable convolution (Zhu et al., Deformable ConvNets v2, CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.ops.warp import sample


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    padding: int = 1,
) -> Tensor:
    """Convolution whose taps are moved by `offset` and scaled by `mask`, pixel by pixel.

    Layout and meaning are those of torchvision's operator of the same name, stride and dilation 1.
    Channels fall into G deformable groups, each with its own offsets; G follows from the shapes.
    Values between pixels are bilinear, zero outside. Positions are computed in float32 at least.

    One tap at a time: a lookup, a product with the mask, a matrix product added to the result.
    So the memory in use is that of one tap, not of all kh x kw of them.

    Args:
        x: (B, C, H, W) input.
        offset: (B, G * kh * kw * 2, H', W') in pixels: group, tap (row-major), then (dy, dx).
        mask: (B, G * kh * kw, H', W') factor of each tap.
        weight: (D, C, kh, kw).
        bias: (D,) or None.
        padding: zeros around the input; H' = H + 2 * padding - kh + 1, W' likewise.

    Returns:
        (B, D, H', W') in the dtype of `x`, or under autocast in that of a matrix product.

    Raises:
        ValueError: the shapes do not fit together.
    """
    B, C, H, W = x.shape
    D, _, kh, kw = weight.shape
    taps = kh * kw
    out_h, out_w = H + 2 * padding - kh + 1, W + 2 * padding - kw + 1
    G = mask.shape[1] // taps
    fits = (
        weight.shape[1] == C
        and mask.shape == (B, G * taps, out_h, out_w)
        and offset.shape == (B, 2 * G * taps, out_h, out_w)
        and G > 0
        and C % G == 0
    )
    if not fits:
        raise ValueError(
            f"shapes do not fit with padding {padding}: input {tuple(x.shape)}, offset "
            f"{tuple(offset.shape)}, mask {tuple(mask.shape)}, weight {tuple(weight.shape)}"
        )

    dtype = torch.promote_types(torch.promote_types(x.dtype, offset.dtype), torch.float32)
    groups = x.to(dtype).reshape(B * G, C // G, H, W)
    shift = offset.to(dtype).reshape(B * G, taps, 2, out_h, out_w)
    factor = mask.to(dtype).reshape(B * G, taps, 1, out_h, out_w)
    rows = torch.arange(out_h, dtype=dtype, device=x.device)[:, None] - padding
    cols = torch.arange(out_w, dtype=dtype, device=x.device) - padding

    out: Tensor | None = None
    for tap in range(taps):
        dy, dx = divmod(tap, kw)
        moved = sample(groups, cols + dx + shift[:, tap, 1], rows + dy + shift[:, tap, 0])
        moved = (moved * factor[:, tap]).to(x.dtype).reshape(B, C, out_h * out_w)
        part = torch.matmul(weight[:, :, dy, dx].to(x.dtype), moved)  # (B, D, H' * W')
        # Summed in float32: nine roundings to half precision would add up.
        out = part.to(dtype) if out is None else out + part
    assert out is not None  # noqa: S101 a kernel has at least one tap
    if bias is not None:
        out = out + bias.to(dtype)[:, None]
    return out.reshape(B, D, out_h, out_w).to(part.dtype)
