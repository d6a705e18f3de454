"""Blocks as codecs leave them."""

from __future__ import annotations

import itertools

import torch

from unblur.synth import TextureBank
from unblur.synth.compression import compress, cosines


def test_compression_costs_more_the_lower_its_quality(bank: TextureBank) -> None:
    frames = bank.images[:1, :, :60, :50].float()[:, None] / 255
    errors = [
        float((compress(frames, torch.tensor([q])) - frames).square().mean())
        for q in (95.0, 70.0, 40.0, 10.0)
    ]
    assert all(a < b for a, b in itertools.pairwise(errors))
    assert torch.equal(compress(frames, torch.zeros(1)), frames)
    grey = torch.full((1, 1, 3, 20, 20), 0.5)
    assert torch.allclose(compress(grey, torch.tensor([20.0])), grey, atol=1e-5)


def test_the_cosine_transform_is_orthonormal(device: torch.device) -> None:
    m = cosines(device)
    assert torch.allclose(m @ m.T, torch.eye(8), atol=1e-6)
