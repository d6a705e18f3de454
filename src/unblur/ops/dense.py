"""Dense layers over the last axis, without the copies that their plain form makes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PIXELS_AT_ONCE = 1 << 15
"""That pass a dense layer together: enough for any device, and few enough for its memory."""


def dense_of_concat(dense: nn.Linear, parts: Iterable[Tensor]) -> Tensor:
    """`dense(torch.cat(parts, -1))`, with only one part needed at a time."""
    remaining = iter(parts)
    part = next(remaining)
    offset = part.shape[-1]
    y = F.linear(part, dense.weight[:, :offset], dense.bias)
    del part  # before the next is made
    for part in remaining:
        stop = offset + part.shape[-1]
        weight = dense.weight[:, offset:stop]
        if torch.is_grad_enabled():  # autocast does not reach `addmm_`
            y = y + F.linear(part, weight)
        else:
            y.view(-1, y.shape[-1]).addmm_(part.flatten(0, -2), weight.t())
        offset = stop
        del part
    return y


def piecewise(function: Callable[..., Tensor], *maps: Tensor, out: Tensor) -> Tensor:
    """Writes `function(*maps)` into `out`, pixels by pixels, so that no map beside these is needed.

    Args:
        function: takes tensors (n, C), each pixel for itself, and gives (n, C').
        maps: (B, H, W, C), contiguous.
        out: (B, H, W, C'), contiguous; may be one of `maps`.

    Returns:
        `out`; while gradients are recorded what `function` gave, and `out` is left alone.
    """
    if torch.is_grad_enabled():
        return function(*maps)
    flat = [x.view(-1, x.shape[-1]) for x in (*maps, out)]
    pieces = (x.split(PIXELS_AT_ONCE) for x in flat)
    for *given, target in zip(*pieces, strict=True):
        target.copy_(function(*given))
    return out


def dense_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Dense layer and GELU in its tanh form, `x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))`.

    On the CPU the two are one kernel where torch has it, which takes half the time.
    """
    fits = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    if fits and not torch.is_grad_enabled() and has_fused_gelu():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


@functools.cache
def has_fused_gelu() -> bool:
    """True where torch's fused kernel is there and right: it is not a public function of torch."""
    x, weight, bias = torch.linspace(-4, 4, 64).view(4, 16), torch.eye(16), torch.zeros(16)
    try:
        found = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found, F.gelu(x, approximate="tanh"), rtol=0, atol=1e-5)
