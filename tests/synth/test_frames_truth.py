"""The truth about rendered scenes is exact."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.synth.conftest_synth import bank_of, draw, plain, steady
from unblur.ops.color import from_linear, to_linear
from unblur.ops.warp import warp
from unblur.optics.focal import LayeredBlur, layered_blur
from unblur.optics.thin_lens import disk
from unblur.synth import SceneConfig, TextureBank, held_out, render, sample_scenes
from unblur.synth.lens import focus_distance, layer_distance


def whole(layers: torch.Tensor) -> torch.Tensor:
    """(B, T, H, W) where one layer alone makes up a pixel."""
    return layers.amax(2) > 0.999


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_warping_by_the_flow_gives_the_frame(smooth_bank: TextureBank, direction: str) -> None:
    scenes = draw(smooth_bank, batch=4, seed=3, motion=(6.0, 12.0), layers=(2, 4))
    r = render(scenes, 80, 96, 3)
    flow, visible = getattr(r, f"flow_{direction}"), getattr(r, f"visible_{direction}")
    here, there = (slice(0, -1), slice(1, None))
    if direction == "backward":
        here, there = there, here
    flat = flow.flatten(0, 1)
    fetched = warp(r.sharp[:, there].flatten(0, 1), flat)
    unmixed = warp(whole(r.layers)[:, there].flatten(0, 1)[:, None].float(), flat) > 0.999
    ok = (visible.flatten(0, 1) > 0) & unmixed & whole(r.layers)[:, here].flatten(0, 1)[:, None]
    error = (fetched - r.sharp[:, here].flatten(0, 1)).abs().amax(1, keepdim=True)
    assert ok.float().mean() > 0.5
    assert error[ok].quantile(0.999) < 0.02
    still = (r.sharp[:, there] - r.sharp[:, here]).flatten(0, 1).abs().amax(1, keepdim=True)
    assert still[ok].quantile(0.9) > 0.1  # so the flow is what explains the frames


def test_what_is_not_visible_is_behind_something_nearer(smooth_bank: TextureBank) -> None:
    scenes = draw(smooth_bank, batch=6, seed=1, motion=(8.0, 20.0), layers=(3, 5))
    r = render(scenes, 64, 64, 2)
    flow, seen = r.flow_forward[:, 0], r.visible_forward[:, 0, 0] > 0
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    to_x, to_y = x + flow[:, 0], y + flow[:, 1]
    inside = (to_x >= 0) & (to_x <= 63) & (to_y >= 0) & (to_y <= 63)
    assert not (seen & ~inside).any()
    at = (to_y.round().clamp(0, 63) * 64 + to_x.round().clamp(0, 63)).long().flatten(1)
    target = r.depth[:, 1].flatten(1).gather(1, at).view(6, 64, 64)
    own = r.depth[:, 0, 0]
    hidden = inside & ~seen
    assert hidden.sum() > 100
    # Rounding to a pixel may miss a thin layer or an edge, no more.
    assert (target < own - 0.01)[hidden].float().mean() > 0.85
    assert (target < own - 0.05)[seen].float().mean() < 0.03


def test_blur_of_a_steady_layer_is_the_box_integral() -> None:
    period = 32.0
    wave = 0.5 + 0.4 * torch.cos(2 * math.pi * (torch.arange(256) + 0.5 - 128) / period)
    encoded = torch.where(
        wave <= 0.0031308, wave * 12.92, 1.055 * wave.clamp_min(1e-6) ** (1 / 2.4) - 0.055
    )
    bank = bank_of(encoded.expand(1, 3, 256, 256))
    scenes = plain(draw(bank, batch=5, layers=(1, 1), motion=(5.0, 30.0)))
    scenes = steady(scenes, 20.0, 0.0)
    r = render(scenes, 32, 64, 1)
    sharp, blurred = (to_linear(x)[:, 0, 0].double() - 0.5 for x in (r.sharp, r.blurred))
    gain = (sharp * blurred).sum((1, 2)) / sharp.square().sum((1, 2))
    length = 20.0 * scenes.motion.exposure.double()
    expected = torch.sinc(length / period)  # mean of a cosine over `length`
    torch.testing.assert_close(gain, expected, atol=0.005, rtol=0)
    # And nothing else happens to it.
    assert (blurred - gain[:, None, None] * sharp).abs().amax() < 0.015
    extent = r.extent[:, 0, 0]
    torch.testing.assert_close(
        extent, length.float()[:, None, None].expand_as(extent), atol=1e-3, rtol=1e-4
    )


def test_a_still_scene_is_as_sharp_with_the_shutter_open(bank: TextureBank) -> None:
    scenes = draw(bank, static=1.0, exposure=(1.0, 1.0))
    r = render(scenes, 48, 48, 3)
    assert torch.equal(r.blurred, r.sharp)
    assert r.flow_forward.abs().amax() < 1e-3
    assert r.extent.amax() < 0.02
    assert (r.sharp[:, 1:] - r.sharp[:, :-1]).abs().amax() < 1e-3


def test_flow_of_a_steady_scene(bank: TextureBank) -> None:
    scenes = steady(draw(bank, frame_step=(1.0, 1.0)), 3.25, -1.5)
    r = render(scenes, 32, 48, 3)
    sign = (scenes.motion.times[:, 1:3] - scenes.motion.times[:, :2])[..., None, None]
    assert (sign.abs() == 1).all()
    assert ((r.flow_forward[:, :, 0] - 3.25 * sign).abs() < 1e-3).all()
    assert ((r.flow_backward[:, :, 1] - 1.5 * sign).abs() < 1e-3).all()


def test_circle_of_confusion_is_that_of_a_thin_lens(bank: TextureBank) -> None:
    scenes = draw(bank, mode="focus", layers=(2, 4), seed=2, in_focus=0.0)
    r = render(scenes, 48, 48, 4)
    lens = scenes.lens
    since = (scenes.motion.times - scenes.motion.times[:, :1])[:, :4].double()
    # Distance in focus, from its definition: smooth step in dioptres.
    t = ((since - lens.pull[:, :1]) / lens.pull[:, 1:]).clamp(0, 1)
    focus = 1 / (lens.focus[:, :1] + (lens.focus[:, 1:] - lens.focus[:, :1]) * t * t * (3 - 2 * t))
    z = layer_distance(lens, since)  # (B, L, T) metres
    f = lens.focal_length.double()[:, None, None] / 1000
    # Gauss: an object at z is imaged at v(z); the cone of light is cut by the sensor at v(focus).
    image, sensor = 1 / (1 / f - 1 / z), 1 / (1 / f - 1 / focus[:, None])
    diameter = f / lens.f_number[:, None, None] * (image - sensor).abs() / image
    radius = diameter / 2 * 1000 * lens.pixels_per_mm[:, None, None]
    layer = r.layers.argmax(2)  # (B, T, H, W)
    expected = radius.transpose(1, 2).gather(2, layer.flatten(2)).view(layer.shape)
    sure = whole(r.layers)
    torch.testing.assert_close(r.coc[:, :, 0][sure], expected.float()[sure], atol=1e-3, rtol=1e-3)
    assert 1.5 < r.coc.amax() <= scenes.config.coc[1] * 1.001


def test_a_lens_leaves_flat_things_alone() -> None:
    flat = bank_of(torch.full((1, 3, 160, 160), 0.5))
    scenes = draw(flat, mode="focus", layers=(2, 2), in_focus=0.0, seed=4)
    r = render(plain(scenes), 64, 64, 2)
    assert (r.blurred - r.sharp).abs().amax() < 2e-3  # one colour: nothing to blur


def test_the_background_shines_through_the_blurred_edge_of_what_is_near() -> None:
    colours = torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    bank = bank_of(colours[:, :, None, None].expand(-1, -1, 160, 160))
    scenes = plain(draw(bank, batch=1, mode="focus", layers=(2, 2), in_focus=0.0, pull=0.0))
    one, lens = torch.ones(1, 2), scenes.lens
    scenes = replace(
        scenes,
        paint=replace(scenes.paint, texture=torch.tensor([[0, 1]])),
        shapes=replace(
            scenes.shapes,
            kind=torch.full((1, 2), 2),
            size=one * 0.25,
            edge=one,
            aspect=one,
            waves=torch.zeros_like(scenes.shapes.waves),
        ),
        motion=replace(scenes.motion, centre=torch.zeros(1, 2, 2), angle=torch.zeros(1, 2)),
        lens=replace(
            lens,
            focus=lens.slot[:, 0].clone(),
            swing=torch.zeros(1, 2, 3),
            pixels_per_mm=lens.pixels_per_mm * 0.4,
        ),
    )
    scenes = steady(scenes, 0, 0)
    r = render(scenes, 64, 64, 1)
    light = to_linear(r.blurred)[0, 0, 0]
    radius = float(r.coc[0, 0, 0, 32, 32])
    assert radius > 1.5
    # The disk of a point on a straight edge lies half on either side of it.
    dark, bright = to_linear(torch.tensor([0.1, 0.9])).tolist()
    edge = 32 - 16  # the box is half as wide as the frame
    middle = 0.5 * float(light[32, edge - 1] + light[32, edge])
    assert middle == pytest.approx((dark + bright) / 2, abs=0.02)
    far = int(radius) + 2
    assert float(light[32, edge - far]) == pytest.approx(dark, abs=0.01)
    assert float(light[32, edge + far]) == pytest.approx(bright, abs=0.01)


def test_nearer_layers_cover_farther_ones(bank: TextureBank) -> None:
    scenes = draw(bank, batch=6, layers=(2, 6), seed=8)
    r = render(scenes, 48, 48, 3)
    since = (scenes.motion.times - scenes.motion.times[:, :1])[:, :3]
    distance = layer_distance(scenes.lens, since)  # (B, L, T)
    for b, count in enumerate(scenes.count.tolist()):
        assert (distance[b, : count - 1] > distance[b, 1:count]).all()
    assert torch.allclose(r.layers.sum(2), torch.ones(6, 3, 48, 48), atol=1e-5)
    back = replace(scenes, count=torch.ones_like(scenes.count))
    alone = render(back, 48, 48, 3)
    uncovered = r.layers[:, :, 0] == 1
    assert torch.equal(
        r.sharp.permute(0, 1, 3, 4, 2)[uncovered], alone.sharp.permute(0, 1, 3, 4, 2)[uncovered]
    )
    low, high = scenes.lens.slot[:, 0, 0], scenes.lens.slot[range(6), scenes.count - 1, 1]
    near = (1 / distance - low[:, None, None]) / (high - low)[:, None, None]  # (B, L, T)
    front = r.layers.argmax(2)  # (B, T, H, W)
    expected = 1 - near.transpose(1, 2).gather(2, front.flatten(2)).view(front.shape)
    sure = whole(r.layers)
    assert torch.allclose(r.depth[:, :, 0][sure], expected[sure], atol=1e-5)
    assert r.depth.amin() >= -1e-5
    assert r.depth.amax() <= 1 + 1e-5


def test_same_seed_same_frames(bank: TextureBank) -> None:
    config = SceneConfig(mode="joint", compressed=1.0, noise=1.0)
    one, two, other = (
        render(sample_scenes(config, bank, 2, torch.Generator().manual_seed(s)), 32, 32, 2)
        for s in (7, 7, 8)
    )
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(two, name)), name
    assert not torch.equal(one.blurred, other.blurred)


def test_scenes_do_not_depend_on_how_many_frames_are_taken(bank: TextureBank) -> None:
    scenes = draw(bank, batch=2)
    short, long = render(scenes, 32, 40, 2), render(scenes, 32, 40, 5)
    assert torch.allclose(short.sharp, long.sharp[:, :2], atol=1e-4)
    assert torch.allclose(short.flow_forward, long.flow_forward[:, :1], atol=1e-3)


def test_repeated_frames_are_the_same_with_their_noise(bank: TextureBank) -> None:
    config = SceneConfig(repeated=1.0, noise=1.0, compressed=0.0, static=0.0)
    scenes = sample_scenes(config, bank, 4, torch.Generator().manual_seed(1))
    r = render(scenes, 32, 32, 8)
    again = scenes.motion.repeats[:, :8] < torch.arange(8)
    assert again.any()
    for b, t in again.nonzero().tolist():
        assert torch.equal(r.blurred[b, t], r.blurred[b, t - 1])
        assert r.flow_forward[b, t - 1].abs().amax() < 1e-3
    fresh = ~again[:, 1:]
    assert not torch.equal(r.blurred[:, 1:][fresh], r.blurred[:, :-1][fresh])


def test_motion_stays_in_its_range(bank: TextureBank) -> None:
    scenes = draw(bank, batch=16, motion=(2.0, 40.0), frame_step=(1.0, 1.0))
    flow = render(scenes, 64, 64, 4, truth=["flow"]).flow_forward.norm(dim=2)
    largest = flow.flatten(1).amax(1)
    assert largest.quantile(0.9) < 50
    assert largest.amax() < 80  # at a corner of a turning frame
    assert largest.quantile(0.5) > 5


def test_lights_stay_bright_through_blur() -> None:
    stripes = (torch.arange(160) // 4 % 2).float()  # black and white, half and half
    bank = bank_of(stripes.expand(1, 3, 160, 160))
    scenes = plain(draw(bank, batch=1, layers=(1, 1), exposure=(1, 1), frame_step=(1, 1)))
    scenes = steady(scenes, 24.0, 0.0)
    lit = replace(scenes, paint=replace(scenes.paint, glow=scenes.paint.glow * 8))
    even, bright = (render(s, 32, 32, 1) for s in (scenes, lit))
    assert (to_linear(even.blurred) - 0.5).abs().amax() < 0.05
    assert bright.blurred.amin() > 0.999  # four times white on average


def test_averages_of_encoded_values_differ_from_those_of_light() -> None:
    scenes = draw(held_out(), batch=2, motion=(15.0, 20.0))
    flags = torch.ones_like(scenes.response.encoded_average)
    wrong = replace(scenes, response=replace(scenes.response, encoded_average=flags))
    right, other = (render(s, 48, 48, 2, truth=()) for s in (scenes, wrong))
    assert torch.equal(right.sharp, other.sharp)
    # The mean of encoded values is darker: the curve bends down (Jensen).
    assert (other.blurred.mean() - right.blurred.mean()) < -0.001


@pytest.mark.parametrize("mode", ["motion", "joint"])
def test_an_average_of_frames_is_that_of_sharp_frames_at_those_times(
    smooth_bank: TextureBank, mode: str
) -> None:
    changes = {"frame_step": (1, 1), "exposure": (0.3, 0.3), "mode": mode, "in_focus": 1.0}
    scenes = plain(draw(smooth_bank, 2, averaged=1.0, averaged_frames=(5, 5), **changes))
    assert scenes.motion.copies.tolist() == [5, 5]
    assert torch.equal(scenes.motion.exposure, torch.ones(2))  # the shutter never closes
    blurred = render(scenes, 32, 32, 2, truth=()).blurred[:, 1]
    still = replace(scenes.motion, copies=torch.ones_like(scenes.motion.copies))
    shots = []
    for k in range(5):  # five frames, evenly over the time of one, through the same curve
        times = scenes.motion.times.clone()
        times[:, 1] += (k + 0.5) / 5 - 0.5
        shot = replace(scenes, motion=replace(still, times=times))
        shots.append(to_linear(render(shot, 32, 32, 2, truth=()).sharp[:, 1]))
    mean = from_linear(torch.stack(shots).mean(0))
    assert (blurred - mean).abs().amax() < 2 / 255


def test_simulated_blur_is_dabits_of_the_encoded_frames(smooth_bank: TextureBank) -> None:
    scenes = plain(draw(smooth_bank, 4, mode="focus", simulated=1.0, layers=(3, 5)))
    still = replace(scenes, motion=replace(scenes.motion, exposure=torch.full((4,), 1e-6)))
    r = render(still, 64, 80, 3)
    focus = focus_distance(still.lens, still.motion.times[:, :3] - still.motion.times[:, :1])
    slot = still.lens.slot
    for b in range(4):
        far, near = slot[b, 0, 0], slot[b, still.count[b] - 1, 1]
        side, sigma, sharp_range = still.lens.simulated[b].tolist()
        setting = LayeredBlur(side, sharp_range, sigma, min_kernel=1, mode="paper")
        for t in range(3):
            at = float(255 * (1 - (1 / focus[b, t] - far) / (near - far)))
            image, kernel = layered_blur(r.sharp[b, t] * 255, r.depth[b, t] * 255, at, setting)
            assert (r.blurred[b, t] - image / 255).abs().amax() < 2e-3
            assert torch.equal(r.coc[b, t] > 0, kernel > 1)
    assert (r.coc > 0).float().mean() > 0.1
    without = render(still, 64, 80, 3, truth=())
    assert torch.equal(without.blurred, r.blurred)


def test_a_kernel_counts_as_the_disk_that_spreads_as_far() -> None:
    depth = torch.zeros(1, 4, 4)  # as far from the focus as can be: the largest kernel
    radius = LayeredBlur(11, 0, 1e6, min_kernel=1, mode="paper").radii(depth, 255)
    wide = disk(torch.tensor([float(radius[0, 0, 0])]), 9)[0].sum(0)
    variance = (wide * (torch.arange(19) - 9) ** 2).sum()
    assert float(variance) == pytest.approx((11**2 - 1) / 12, rel=0.02)  # of a box


def test_truth_that_is_not_asked_for_is_not_made(bank: TextureBank) -> None:
    r = render(draw(bank, batch=1), 32, 32, 2, truth={"coc"})
    assert r.coc is not None
    assert r.flow_forward is None
    assert r.depth is None
    assert render(draw(bank, batch=1), 32, 32, 1).flow_forward.shape == (1, 0, 2, 32, 32)
