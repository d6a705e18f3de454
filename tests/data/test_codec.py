"""Clips through real encoders and back."""

from __future__ import annotations

import pytest
import torch

from unblur.data.codec import Encoding, decode, encode, from_codes, through, to_codes
from unblur.errors import MediaError, ResourceError
from unblur.metrics import psnr
from unblur.training.footage import CODECS


def clip(frames=5, height=64, width=80):
    """A ramp with a square that moves."""
    x = torch.linspace(0, 1, width).expand(frames, 3, height, width).clone()
    for t in range(frames):
        x[t, 0, 20:40, 10 + 4 * t : 30 + 4 * t] = 0.9
    return x


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_every_encoder_gives_the_frames_back(codec):
    frames = clip()
    back = through(frames, Encoding(codec))
    assert back.shape == frames.shape
    assert psnr(back, frames).min() > 24
    # In their order: each is most like itself.
    errors = (back[:, None] - frames[None]).square().mean(dim=(-3, -2, -1))
    assert errors.argmin(1).tolist() == list(range(len(frames)))


def test_quality_follows_the_rate_factor():
    noisy = (clip() + 0.1 * torch.randn(5, 3, 64, 80, generator=torch.manual_seed(0))).clamp(0, 1)
    losses = [
        (through(noisy, Encoding("libx264", {"crf": crf})) - noisy).square().mean()
        for crf in ("10", "25", "40")
    ]
    assert losses == sorted(losses)


@pytest.mark.parametrize(("height", "width"), [(63, 80), (64, 81), (33, 35)])
def test_odd_sizes_come_back_in_their_size(height, width):
    frames = clip(2, height, width)
    back = through(frames, Encoding("libx264", {"crf": "12"}))
    assert back.shape == frames.shape
    assert psnr(back, frames).min() > 30


def test_the_same_frames_give_the_same_bytes():
    encoding = Encoding("libx264", {"crf": "23"})
    assert encode(clip(), encoding) == encode(clip(), encoding)


@pytest.mark.parametrize("full", [False, True])
def test_codes_are_inverted_but_for_rounding_and_chroma(full):
    gray = torch.rand(2, 1, 32, 32, generator=torch.manual_seed(1)).expand(2, 3, 32, 32)
    assert (from_codes(to_codes(gray, full), full) - gray).abs().max() < 1.1 / 219


def test_an_encoder_that_is_not_there_is_named():
    with pytest.raises(ResourceError, match="nosuchcodec"):
        encode(clip(1), Encoding("nosuchcodec"))


def test_bytes_that_are_no_video_are_refused():
    with pytest.raises(MediaError, match="cannot be read"):
        decode(b"no video at all" * 40)
