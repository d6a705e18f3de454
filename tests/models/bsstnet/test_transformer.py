"""Sparse attention against an implementation that looks at one window and frame at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unblur.models.bsstnet import transformer
from unblur.models.bsstnet.selection import Selection, select, select_all, window_blur
from unblur.models.bsstnet.transformer import SparseAttention


def reference(layer: SparseAttention, x: Tensor, selection: Selection) -> Tensor:
    """The same by loops, softmax written out; (B, T, M, N, D)."""
    B, T, M, N, D = x.shape
    q, k, v = layer.query(x), layer.key(x), layer.value(x)
    coarse = layer.pool(x.flatten(0, 1).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
    coarse = coarse.unflatten(0, (B, T))
    far_k, far_v = layer.key(coarse), layer.value(coarse)
    out = torch.full_like(x, torch.nan)

    def window(t: Tensor, b: int, frame: int, y: int, x: int) -> Tensor:
        return t[b, frame, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].reshape(64, D)

    def around(t: Tensor, b: int, frame: int, y: int, x: int) -> Tensor:
        rows = [
            t[b, frame, r, c] if 0 <= r < M and 0 <= c < N else torch.zeros(D)
            for r in range(8 * y - 4, 8 * y + 12)
            for c in range(8 * x - 4, 8 * x + 12)
        ]
        return torch.stack(rows)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.unflatten(1, (layer.heads, -1)).transpose(0, 1) for t in (q, k, v))
        weights = torch.softmax(q @ k.transpose(1, 2) / q.shape[2] ** 0.5, -1)
        return (weights @ v).transpose(0, 1).flatten(1)

    def write(answers: Tensor, b: int, frames: list[int], y: int, x: int) -> None:
        for frame, answer in zip(frames, answers.split(64), strict=True):
            out[b, frame, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] = answer.reshape(8, 8, D)

    for b in range(B):
        for wy in range(M // 8):
            for wx in range(N // 8):
                rest = list(range(T))
                if selection.windows[b, wy, wx]:
                    asking = selection.queries[b, :, wy, wx].tolist()
                    key_frames = selection.keys[b, :, wy, wx].tolist()
                    rest = [t for t in rest if t not in asking]
                    at = b, wy, wx
                    queries = torch.cat([window(q, b, t, wy, wx) for t in asking])
                    keys, values = (
                        torch.cat(
                            [torch.cat((around(near, b, t, wy, wx), far[b, t])) for t in key_frames]
                        )
                        for near, far in ((k, far_k), (v, far_v))
                    )
                    write(attend(queries, keys, values), at[0], asking, wy, wx)
                group = max(1, T // 4)
                for i in range(0, len(rest), group):
                    frames = rest[i : i + group]
                    parts = [
                        torch.cat([window(t, b, f, wy, wx) for f in frames]) for t in (q, k, v)
                    ]
                    write(attend(*parts), b, frames, wy, wx)
    assert not out.isnan().any()
    return layer.project(out)


@pytest.mark.parametrize("mode", ["official", "paper", "dense"])
@pytest.mark.parametrize("length", [1, 3, 5, 8])
def test_equals_the_reference(mode: str, length: int) -> None:
    torch.manual_seed(length)
    layer = SparseAttention(16, 2)
    x = torch.randn(2, length, 16, 24, 16)
    blur = torch.rand(2, length, 1, 32, 48)
    blur[:, :, :, :16] *= 0.4
    blur[0, :, :, :, :16] = 0
    u = window_blur(blur, "mean")
    selection = (
        select_all(u) if mode == "dense" else select(blur, mode, 2, keep=0.5)[1]  # type: ignore[arg-type]
    )
    with torch.no_grad():
        torch.testing.assert_close(
            layer(x, selection), reference(layer, x, selection), rtol=0, atol=2e-6
        )


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = SparseAttention(16, 2)
    x = torch.randn(1, 4, 16, 24, 16)
    selection = select(torch.rand(1, 4, 1, 32, 48), "paper", 1, keep=0.5)[0]
    with torch.no_grad():
        whole = layer(x, selection)
        monkeypatch.setattr(transformer, "VALUES_AT_ONCE", 1)
        torch.testing.assert_close(layer(x, selection), whole, rtol=0, atol=1e-6)


def test_gradients_equal_the_reference() -> None:
    torch.manual_seed(0)
    layer = SparseAttention(8, 2).double()
    torch.set_default_dtype(torch.float64)
    try:
        x = torch.randn(1, 3, 8, 16, 8, requires_grad=True)
        selection = select(torch.rand(1, 3, 1, 16, 32), "paper", 1, keep=0.5)[0]
        weight = torch.randn(1, 3, 8, 16, 8)
        found, expected = (
            torch.autograd.grad((f * weight).sum(), [x, *layer.parameters()])
            for f in (layer(x, selection), reference(layer, x, selection))
        )
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_unselected_windows_do_not_look_elsewhere() -> None:
    torch.manual_seed(0)
    layer = SparseAttention(8, 2)
    x = torch.randn(1, 4, 8, 16, 8)
    blur = torch.zeros(1, 4, 1, 16, 32)
    blur[..., :16] = 1
    selection = select(blur, "official", 1)[0]
    changed = x.clone()
    changed[:, :, :, :8] += 1  # the selected window
    with torch.no_grad():
        before, after = layer(x, selection), layer(changed, selection)
    assert torch.equal(before[:, :, :, 8:], after[:, :, :, 8:])
    assert not torch.equal(before[:, :, :, :8], after[:, :, :, :8])
