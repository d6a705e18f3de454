"""What the methods do to clips of known blur."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unblur.evaluation.clip import Blur, Clip
from unblur.evaluation.methods import classical, unsharp_mask, untouched, wiener
from unblur.evaluation.wiener import hats, transfer_function
from unblur.metrics import psnr, sharpness
from unblur.ops.color import from_linear, to_linear
from unblur.optics.thin_lens import lens_blur
from unblur.synth import held_out

SIDE, LENGTH = 128, 11


@pytest.fixture(scope="module")
def sharp():
    """Two textures with room around them, (2, 3, SIDE + 2 LENGTH, SIDE + 2 LENGTH)."""
    side = SIDE + 2 * LENGTH
    return held_out().images[[0, 3], :, :side, :side].float() / 255


def inner(x):
    return x[..., LENGTH:-LENGTH, LENGTH:-LENGTH]


def clip_of(blurred, sharp, shifts, radius=0.0):
    """A clip whose one layer goes along shifts (N, 2) and is out of focus."""
    frames = len(sharp)
    paths = torch.eye(3).repeat(frames, 1, len(shifts), 1, 1)
    paths[..., :2, 2] = shifts
    share = torch.ones(frames, 1, *sharp.shape[-2:])
    blur = Blur(paths, torch.full((frames, 1), radius), share)
    return Clip("clip", blurred, sharp, tuple(range(frames)), blur)


@pytest.fixture(scope="module")
def moved(sharp):
    """Exactly the mean of LENGTH shifts by a pixel to the right, in linear light."""
    light = to_linear(sharp)
    steps = range(-(LENGTH // 2), LENGTH // 2 + 1)
    blurred = from_linear(torch.stack([light.roll(i, -1) for i in steps]).mean(0))
    shifts = torch.tensor([(float(i), 0.0) for i in steps])
    return clip_of(inner(blurred), inner(sharp), shifts)


@pytest.fixture(scope="module")
def unfocused(sharp):
    blurred = from_linear(lens_blur(to_linear(sharp), torch.full((2,), 4.0), 8))
    return clip_of(inner(blurred), inner(sharp), torch.zeros(1, 2), radius=4.0)


def gain(clip, method):
    restored = method(clip)
    assert restored.shape == clip.truth.shape
    assert restored.min() >= 0
    assert restored.max() <= 1
    return float((psnr(restored, clip.truth) - psnr(clip.input, clip.truth)).mean())


def test_wiener_gains_with_the_true_motion_and_not_with_a_wrong_one(moved):
    assert gain(moved, wiener) > 1.5
    wrong = replace(moved, blur=replace(moved.blur, paths=moved.blur.paths.clone()))
    wrong.blur.paths[..., :2, 2] = wrong.blur.paths[..., :2, 2].flip(-1)  # down, not across
    assert gain(wrong, wiener) < 0


def test_wiener_gains_with_the_true_disk_and_less_with_a_wrong_one(unfocused):
    right = gain(unfocused, wiener)
    assert right > 1
    blur = unfocused.blur
    for factor in (0.25, 2.5):
        wrong = replace(unfocused, blur=replace(blur, radius=blur.radius * factor))
        assert gain(wrong, wiener) < right - 0.5


def test_wiener_restores_each_layer_by_its_own_blur(moved):
    """The left half moved, the right half stood still; two layers that know it."""
    left = torch.zeros(SIDE)
    left[: SIDE // 2] = 1
    blurred = torch.where(left > 0, moved.blurred, moved.sharp)
    still = torch.eye(3).expand_as(moved.blur.paths)
    share = torch.stack((left, 1 - left))[None, :, None, :].expand(2, 2, SIDE, SIDE)
    blur = Blur(torch.cat((moved.blur.paths, still), 1), torch.zeros(2, 2), share)
    clip = replace(moved, blurred=blurred, blur=blur)
    restored = wiener(clip)
    assert gain(clip, wiener) > 0.5
    far = slice(SIDE // 2 + 24, None)
    assert psnr(restored[..., far], moved.sharp[..., far]).min() > 28
    as_one = replace(clip, blur=moved.blur)
    assert gain(as_one, wiener) < gain(clip, wiener) - 1


def test_wiener_leaves_what_has_no_blur_nearly_alone(sharp):
    clip = clip_of(inner(sharp), inner(sharp), torch.zeros(1, 2))
    # The filter trusts no high frequency fully: what is lost is small, and no structure.
    assert sharpness(wiener(clip), clip.truth).min() > 0.6


def test_wiener_needs_the_blur(moved):
    real = replace(moved, blur=None)
    method = {m.name: m for m in classical(1)}["wiener"]
    assert method.misses(moved) is None
    assert "not known" in method.misses(real)


@settings(deadline=None, max_examples=30)
@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0, 8))
def test_blur_keeps_the_mean_and_raises_no_frequency(x, y, radius):
    paths = torch.eye(3).repeat(2, 1, 1)
    paths[1, :2, 2] = torch.tensor([x, y])
    transfer = transfer_function(paths, radius, torch.zeros(2), (64, 64))
    assert transfer[0, 0].real == pytest.approx(1, abs=1e-4)
    assert transfer.abs().max() <= 1 + 1e-4


@settings(deadline=None, max_examples=30)
@given(st.integers(16, 900))
def test_cells_share_each_pixel(length):
    torch.testing.assert_close(hats(length).sum(0), torch.ones(length))


def test_unsharp_raises_contrast_of_detail(moved):
    masked = unsharp_mask(moved)
    assert (sharpness(masked, moved.truth) > sharpness(moved.input, moved.truth)).all()
    assert torch.equal(untouched(moved), moved.blurred)


def test_twice_the_size_begins_with_bicubic(moved):
    small = torch.nn.functional.avg_pool2d(moved.sharp, 2)
    clip = replace(moved, blurred=small, blur=None)
    methods = {m.name: m for m in classical(2)}
    assert list(methods) == ["bicubic", "unsharp + bicubic", "wiener"]
    assert "size" in methods["wiener"].misses(clip)
    large = methods["bicubic"].restore(clip)
    assert large.shape == clip.truth.shape
    blocks = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert (psnr(large, clip.truth) > psnr(blocks, clip.truth)).all()
    assert methods["unsharp + bicubic"].restore(clip).shape == clip.truth.shape
