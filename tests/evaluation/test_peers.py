"""What others do without a network, on blur whose answer is known."""

from __future__ import annotations

import pytest
import torch

import unblur
from unblur.evaluation.clip import Blur, Clip
from unblur.evaluation.peers import (
    FILTERS,
    aligned,
    burst,
    estimated_blur,
    filtered,
    path_of,
    peers,
)
from unblur.evaluation.rendered import MOTION_SEED, Making, motion_clips
from unblur.evaluation.wiener import restore_known_blur, richardson_lucy
from unblur.metrics import psnr, sharpness
from unblur.ops.color import from_linear, to_linear
from unblur.optics.thin_lens import lens_blur
from unblur.synth import held_out


@pytest.fixture(scope="module")
def sharp():
    return held_out().images[:1, :, :120, :136].float() / 255  # (1, 3, 120, 136)


@pytest.fixture(scope="module")
def moved(sharp):
    """Moves by 9 pixels to the right within an exposure."""
    light = to_linear(sharp)
    mean = torch.stack([light.roll(i, -1) for i in range(-4, 5)]).mean(0)
    paths = torch.eye(3).repeat(1, 1, 9, 1, 1)
    paths[0, 0, :, 0, 2] = torch.arange(-4.0, 5.0)
    blur = Blur(paths, torch.zeros(1, 1), torch.ones(1, 1, *sharp.shape[-2:]))
    return from_linear(mean), blur


def test_richardson_lucy_gains_more_the_longer_it_goes_on(sharp, moved):
    blurred, blur = moved
    inner = (..., slice(12, -12), slice(12, -12))
    found = [
        float(psnr(richardson_lucy(blurred, blur, n)[inner], sharp[inner])) for n in (0, 3, 10)
    ]
    assert found[0] == pytest.approx(float(psnr(blurred[inner], sharp[inner])), abs=0.1)
    assert found[0] + 0.5 < found[1] < found[2] - 0.5


def test_richardson_lucy_bears_true_motion_by_parts_of_a_pixel():
    clip = motion_clips(Making(held_out()), MOTION_SEED)[0]()
    first = clip.wanted[0]
    blur = Blur(clip.blur.paths[:1], clip.blur.radius[:1], clip.blur.share[:1])
    blurred, sharp = clip.blurred[first][None], clip.sharp[first][None]
    assert psnr(richardson_lucy(blurred, blur, 5), sharp) > psnr(blurred, sharp) + 1


def test_richardson_lucy_keeps_light_and_what_is_flat(moved):
    _, blur = moved
    flat = torch.full((1, 3, 120, 136), 0.4)
    assert torch.allclose(richardson_lucy(flat, blur, 3), flat, atol=1e-3)


@pytest.mark.parametrize("name", FILTERS)
def test_filters_of_ffmpeg_sharpen_and_leave_flat_frames_alone(sharp, name):
    soft = lens_blur(sharp, torch.full((1,), 1.5), 3)
    made = filtered(soft, FILTERS[name])
    assert made.shape == soft.shape
    assert float(sharpness(made, sharp)) > float(sharpness(soft, sharp)) * 1.05
    flat = torch.full((2, 3, 32, 48), 100 / 255)
    assert (filtered(flat, FILTERS[name]) - flat).abs().max() <= 1.01 / 255


def test_the_motion_of_a_camera_is_found_beside_things_that_move():
    flow = torch.zeros(2, 40, 60)
    flow[0], flow[1] = 5.0, -2.0
    flow[:, 10:20, 10:20] = 30.0
    path = path_of(flow)
    way = path[-1, :2, 2] - path[0, :2, 2]
    assert torch.allclose(way, torch.tensor([5.0, -2.0]) * 0.8 * 30 / 31)
    assert torch.allclose(path.mean(0), torch.eye(3), atol=1e-5)


def test_estimated_blur_is_that_of_a_camera_that_moves(sharp):
    frames = torch.cat([sharp.roll(6 * i, -1) for i in range(3)])
    blur = estimated_blur(Clip("c", frames, frames, (1,)))
    shifts = blur.paths[0, 0, :, :2, 2]
    assert float(shifts[-1, 0] - shifts[0, 0]) == pytest.approx(6 * 0.8, abs=1)
    assert float((shifts[-1, 1] - shifts[0, 1]).abs()) < 0.5
    assert blur.radius.shape == (1, 1)
    assert restore_known_blur(frames[1:2], blur).shape == (1, 3, 120, 136)


def test_a_burst_takes_the_sharp_frame_where_one_is(sharp):
    soft = lens_blur(sharp, torch.full((1,), 4.0), 6)
    frames = torch.cat((soft, sharp, soft))
    made = burst(Clip("c", frames, frames, (0, 2)))
    for one in made:
        assert float(psnr(one, sharp[0])) > float(psnr(soft[0], sharp[0])) + 1


def test_a_burst_of_one_frame_is_that_frame(sharp):
    made = burst(Clip("c", sharp, sharp, (0,)))
    assert torch.allclose(made, sharp, atol=1e-4)


def test_frames_are_laid_over_one_another(sharp):
    there = sharp[0].roll(3, -1)
    made = aligned(sharp[0], there)
    inner = (..., slice(16, -16), slice(16, -16))
    assert float(psnr(made[inner], sharp[0][inner])) > 30


def test_peers_are_rows_of_the_table(tmp_path, sharp):
    import cv2

    for word in ("blur", "sharp"):
        frame = (sharp[0] * 255).byte().permute(1, 2, 0).numpy()
        cv2.imwrite(str(tmp_path / f"a_{word}.png"), frame)
    result = unblur.evaluate("pairs", models=[], blurred=tmp_path, sharp=tmp_path, peers=True)
    assert set(result.methods) == {"input", "unsharp", *(m.name for m in peers())} - {
        "richardson-lucy"
    }
    assert "richardson-lucy" in result.left_out
