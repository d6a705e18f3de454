"""Haar's wavelets, and the blur map that DaBiT's release makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unblur.ops.wavelet import blur_of_depths, detail, haar


@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9))
def test_what_is_split_comes_together_again(seed: int, h: int, w: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 3, 2 * h, 2 * w, generator=generator, dtype=torch.float64)
    low, details = haar(x)
    assert details.shape == (2, 3, 3, h, w)
    across, down, diagonal = details.unbind(-3)
    together = torch.empty_like(x)
    together[..., 0::2, 0::2] = low + across + down + diagonal
    together[..., 0::2, 1::2] = low - across + down - diagonal
    together[..., 1::2, 0::2] = low + across - down - diagonal
    together[..., 1::2, 1::2] = low - across - down + diagonal
    assert torch.allclose(together / 2, x, rtol=0, atol=1e-14)
    energy = low.square().sum() + details.square().sum()
    assert torch.allclose(energy, x.square().sum())


def test_flat_images_have_no_details_and_stripes_one_kind() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(4).expand(6, 8)
    assert not haar(torch.full((6, 8), 0.3))[1].any()
    kinds = haar(stripes)[1].abs().sum((-1, -2))
    assert (kinds > 0).tolist() == [True, False, False]


@pytest.mark.parametrize("case", range(5))
def test_blur_maps_are_those_of_the_release(goldens: Path, case: int) -> None:
    g = {k: torch.from_numpy(v) for k, v in np.load(goldens / "dabit_focal_blur.npz").items()}
    got = blur_of_depths(g[f"blur{case}"][None] / 255, g["depth"][None] / 255)
    assert torch.allclose(got[0], g[f"map{case}"].float(), rtol=0, atol=2e-6)
    if case == 0:
        energy = detail(g["blur0"][None] / 255)[0]
        assert torch.allclose(energy, g["wavelet0"].float(), rtol=0, atol=2e-6)


def test_each_frame_of_a_clip_has_a_map_of_its_own(goldens: Path) -> None:
    g = {k: torch.from_numpy(v) for k, v in np.load(goldens / "dabit_focal_blur.npz").items()}
    frames = torch.stack([g["blur0"], g["blur3"]]) / 255
    depth = torch.stack([g["depth"], g["depth"].flip(-1)]) / 255
    together = blur_of_depths(frames, depth)
    for t in range(2):
        assert torch.equal(together[t], blur_of_depths(frames[t : t + 1], depth[t : t + 1])[0])
