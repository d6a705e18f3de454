"""Tokens, windows, and who attends to whom."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.models.dabit import transformer
from unblur.models.dabit.transformer import SparseAttention, Windows, find_windows, token_tables


@pytest.mark.parametrize(("rows", "cols"), [(5, 9), (10, 18), (20, 36)])
def test_every_token_is_in_one_window(rows: int, cols: int) -> None:
    own, around = token_tables(rows, cols)
    assert own.shape == (rows * cols // 45, 45)
    assert sorted(own.flatten().tolist()) == list(range(rows * cols))
    assert around.shape == (len(own), 193)
    for inner, wide in zip(own.tolist(), around.tolist(), strict=True):
        assert set(inner) <= set(wide)


def neighbours_by_rolling(x: Tensor) -> Tensor:
    """Keys of each window as the published code collects them, (M, N) -> (W, 193).

    Four copies of the grid, moved diagonally, cut into windows, without what lies in the window.
    """

    def windows_of(t: Tensor) -> Tensor:
        return t.unfold(0, 5, 5).unfold(1, 9, 9).flatten(0, 1)  # (W, 5, 9)

    parts = [windows_of(x).flatten(1)]
    for down, right in ((-3, -5), (-3, 5), (3, -5), (3, 5)):
        keep = torch.ones(5, 9, dtype=torch.bool)
        keep[slice(None, 2) if down < 0 else slice(3, None)] = torch.cat(
            (torch.ones(9 - 4), torch.zeros(4))
            if right > 0
            else (torch.zeros(4), torch.ones(9 - 4))
        ).bool()
        parts.append(windows_of(x.roll((down, right), (0, 1)))[:, keep])
    return torch.cat(parts, 1)


@pytest.mark.parametrize(("rows", "cols"), [(15, 27), (20, 36)])
def test_neighbours_are_the_published_ones(rows: int, cols: int) -> None:
    grid = torch.arange(rows * cols).view(rows, cols)
    _, around = token_tables(rows, cols)
    around = around.to(grid.device)  # an index
    assert torch.equal(around.sort(1).values, neighbours_by_rolling(grid).sort(1).values)


def attend(layer: SparseAttention, x: Tensor, refs: range, blurred: Tensor) -> Tensor:
    """The definition, window by window and frame by frame; the grid is whole windows."""
    B, T, M, N, D = x.shape
    own, around = token_tables(M, N)
    q, k, v = (f(x).flatten(2, 3) for f in (layer.query, layer.key, layer.value))
    coarse = layer.pool(x.flatten(0, 1).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
    coarse = coarse.unflatten(0, (B, T))
    ck, cv = layer.key(coarse), layer.value(coarse)
    out = torch.zeros_like(q)
    for b in range(B):
        for w in range(len(own)):
            for t in range(T):
                if blurred[b, w]:
                    keys = torch.cat([torch.cat((k[b, s, around[w]], ck[b, s])) for s in refs])
                    values = torch.cat([torch.cat((v[b, s, around[w]], cv[b, s])) for s in refs])
                else:
                    keys, values = k[b, t, own[w]], v[b, t, own[w]]
                for head in range(layer.heads):
                    part = slice(head * D // layer.heads, (head + 1) * D // layer.heads)
                    score = q[b, t, own[w]][:, part] @ keys[:, part].T / (D / layer.heads) ** 0.5
                    out[b, t, own[w], part] = score.softmax(-1) @ values[:, part]
    return layer.project(out.unflatten(2, (M, N)))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("wanted", [1, 3])
def test_attention_is_its_definition(
    stride: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(stride)
    layer = SparseAttention(16, 2)
    x = torch.randn(2, 3, 10, 18, 16)
    blurred = torch.tensor([[True, False, True, True], [False, False, True, False]])
    windows, refs = Windows(*token_tables(10, 18), blurred), range(1, 3, stride)
    with torch.no_grad():
        truth = attend(layer, x, refs, blurred)[:, :wanted]
        out = layer(x, windows, refs, wanted)
        torch.testing.assert_close(out, truth, rtol=0, atol=2e-6)
        monkeypatch.setattr(transformer, "VALUES_AT_ONCE", 1)
        out = layer(x, windows, refs, wanted)
        torch.testing.assert_close(out, truth, rtol=0, atol=2e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.floats(0.2, 1), st.integers(0, 99))
def test_blur_of_one_pixel_in_one_frame_marks_a_window(
    h: int, w: int, amount: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    t, i, j = (int(torch.randint(n, (1,), generator=generator)) for n in (3, h, w))
    blur = torch.zeros(1, 3, 1, h, w)
    assert not find_windows(blur, 0.0).blurred.any()
    blur[0, t, 0, i, j] = amount
    assert not find_windows(blur, amount).blurred.any()
    windows = find_windows(blur, 0.1)
    columns = -(-((w - 1) // 3 + 1) // 9)
    home = (i // 3) // 5 * columns + (j // 3) // 9  # the window of the patch around the pixel
    assert windows.blurred[0, home]
    assert windows.blurred.sum() <= 4, "a patch reaches into the next window, no further"
