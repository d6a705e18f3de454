"""Aligned frames put together: exact where they agree, sharp where one of them is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.metrics import psnr
from unblur.ops.fusion import (
    agreement,
    change_map,
    enlarged,
    halved,
    low_pass,
    returns,
    smoothed,
    spectral_mean,
    spectral_weights,
    tile_window,
)
from unblur.ops.gaussian import gaussian_blur


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def spectral_mean_slowly(frames: np.ndarray, power: float, tile: int, ramp: int) -> np.ndarray:
    """The definition: a tile at a time, whole spectra, one bin and its eight neighbours."""
    channels, height, width = frames.shape[1:]
    hop = tile - ramp
    result = np.zeros((channels, height + 4 * tile, width + 4 * tile))
    padded = np.pad(frames, ((0, 0), (0, 0), (ramp, 2 * tile), (ramp, 2 * tile)), mode="edge")
    rise = np.sin((np.arange(ramp) + 0.5) / ramp * np.pi / 2)
    line = np.concatenate((rise, np.ones(tile - 2 * ramp), rise[::-1]))
    for top in range(0, height + ramp, hop):
        for left in range(0, width + ramp, hop):
            part = padded[:, :, top : top + tile, left : left + tile] * np.outer(line, line)
            spectrum = np.fft.fft2(part)
            energy = (np.abs(spectrum) ** 2).mean(1)
            near = sum(
                weight * np.roll(energy, (i, j), (1, 2))
                for i, a in ((-1, 1), (0, 2), (1, 1))
                for j, b in ((-1, 1), (0, 2), (1, 1))
                for weight in (a * b / 16,)
            )
            weights = near ** (power / 2)
            weights = weights / weights.sum(0)
            mixed = np.fft.ifft2((spectrum * weights[:, None]).sum(0)).real
            result[:, top : top + tile, left : left + tile] += mixed * np.outer(line, line)
    return result[:, ramp : ramp + height, ramp : ramp + width]


@pytest.mark.parametrize(("power", "tile", "ramp"), [(4.0, 16, 4), (2.0, 16, 8), (3.0, 12, 3)])
def test_it_is_its_definition(power, tile, ramp):
    frames = noise(3, 3, 37, 50)
    expected = spectral_mean_slowly(frames.double().numpy(), power, tile, ramp)
    found = spectral_mean(frames, power, tile, ramp, own=0)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6, rtol=0)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 4), st.integers(1, 150), st.integers(1, 150), st.sampled_from([16, 32]))
def test_frames_that_are_all_the_same_come_back(count, height, width, ramp):
    frame = noise(1, 3, height, width)
    found = spectral_mean(frame.expand(count, -1, -1, -1), ramp=ramp)
    torch.testing.assert_close(found, frame[0], atol=2e-6, rtol=0)


def test_black_frames_stay_black_and_finite():
    assert torch.equal(spectral_mean(torch.zeros(3, 3, 70, 40)), torch.zeros(3, 70, 40))


def test_weights_sum_to_one(device):
    spectrum = torch.fft.rfft2(noise(5, 3, 2, 64, 64) * tile_window(64, 16, device))
    spectrum[:, :, 1] = 0
    for power in (0.0, 1.0, 4.0):
        total = spectral_weights(spectrum, power, low_pass(64, 2.0, device)).sum(0)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_the_order_of_frames_does_not_matter_and_without_power_it_is_the_mean():
    frames = noise(4, 3, 50, 60)
    found, turned = (spectral_mean(x, own=0) for x in (frames, frames.flip(0)))
    torch.testing.assert_close(found, turned, atol=2e-6, rtol=0)
    mean = spectral_mean(frames, 0.0, own=0)
    torch.testing.assert_close(mean, frames.mean(0), atol=2e-6, rtol=0)


def test_brightness_is_that_of_the_first_frame():
    frames = 0.2 * noise(3, 3, 128, 128) + torch.tensor([0.3, 0.35, 0.4])[:, None, None, None]
    own = frames[0].mean()
    assert abs(float(spectral_mean(frames).mean() - own)) < 0.01
    assert abs(float(spectral_mean(frames, own=0).mean() - own)) > 0.04


def test_what_any_frame_has_sharp_remains():
    """Frames blurred in different directions: each has what another lacks."""
    truth = gaussian_blur(noise(1, 3, 128, 128), 0.7)
    padded = torch.nn.functional.pad(truth, (3, 3, 3, 3), mode="circular")
    across = padded[..., 3:-3, :].unfold(-1, 7, 1).mean(-1)
    down = padded[..., 3:-3].unfold(-2, 7, 1).mean(-1)
    mixed = spectral_mean(torch.cat((across, down)))
    best = max(float(psnr(x, truth[0])) for x in (across[0], down[0], (across + down)[0] / 2))
    assert float(psnr(mixed, truth[0])) > best + 1


def test_agreement_falls_with_the_difference():
    step = torch.full((3, 2, 2), 0.1)
    untouched, changed = torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.05**2)
    assert torch.equal(agreement(0 * step, untouched), torch.ones(1, 2, 2))
    found = agreement(step, changed, least=0, share=2)
    torch.testing.assert_close(found, torch.full((1, 2, 2), np.exp(-1.0)))
    assert float(agreement(5 * step, changed).max()) < 1e-9
    assert float(agreement(step, untouched).max()) < 1e-9


def test_what_differs_in_fine_detail_is_believed_only_where_much_was_restored():
    fine = 0.02 * (-1.0) ** torch.arange(16).expand(3, 16, 16)  # halved, it is gone
    assert float(agreement(fine, torch.zeros(1, 8, 8)).max()) < 0.01
    assert float(agreement(fine, torch.full((1, 8, 8), 0.1**2)).min()) > 0.9


@pytest.mark.parametrize("size", [(1, 1), (16, 24), (33, 50)])
def test_change_is_found_where_it_is(size):
    before = noise(3, *size)
    assert not change_map(before, before).any()
    even = change_map(before, before + 0.1)
    assert even.shape == (1, -(-size[0] // 8), -(-size[1] // 8))
    torch.testing.assert_close(even, torch.full_like(even, 0.01))


def test_what_does_not_return_is_told():
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0] = 2
    back = -flow
    back[..., 5] = 0  # where columns 3 of the first frame go
    assert returns(flow, back)[0, 0, 0].int().tolist() == [1, 1, 1, 0, 1, 1, 0, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9))
def test_half_size_and_back_at_any_size(height, width):
    ramp = torch.arange(float(width)).expand(1, height, width)
    small = halved(ramp)
    assert small.shape[-2:] == (-(-height // 2), -(-width // 2))
    assert enlarged(small, (height, width)).shape == ramp.shape
    even = torch.ones(2, height, width)
    assert torch.equal(enlarged(halved(even), (height, width)), even)
    torch.testing.assert_close(smoothed(even), even)
