"""Features cut into patches that overlap, and put back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.models.patches import Patches, SoftComposition, SoftSplit

SIDES = st.sampled_from([Patches(7, 3), Patches(5, 2), Patches(3, 1)])


@settings(max_examples=20, deadline=None)
@given(SIDES, st.integers(1, 20), st.integers(1, 20))
def test_patches_put_back_are_the_features(patches: Patches, h: int, w: int) -> None:
    x = torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(h * 100 + w))
    cut_up = patches.unfold(x)
    assert cut_up.shape == (2, 3 * patches.side**2, patches.count(h) * patches.count(w))
    overlap = patches.fold(torch.ones_like(cut_up), h, w)
    assert overlap.min() >= 1
    times = patches.fold(patches.unfold(torch.ones_like(x)), h, w)
    torch.testing.assert_close(patches.fold(cut_up, h, w) / times, x, rtol=0, atol=1e-6)


def test_split_and_composition_are_inverse_where_patches_do_not_overlap() -> None:
    patches = Patches(3, 3)
    split, compose = SoftSplit(2, 18, patches), SoftComposition(2, 18, patches)
    with torch.no_grad():
        for layer in (split.embed, compose.embed):
            layer.weight.copy_(torch.eye(18))
            layer.bias.zero_()
        compose.smooth.weight.copy_(F.pad(torch.eye(2)[:, :, None, None], (1, 1, 1, 1)))
        compose.smooth.bias.zero_()
        x = torch.rand(1, 2, 2, 8, 11)
        torch.testing.assert_close(compose(split(x), 8, 11), x, rtol=0, atol=1e-6)
