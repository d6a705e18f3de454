"""The parts of the fit: maps, lens, atlases, losses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.atlas import focus_pull
from unblur.atlas.fitting.canvas import Canvas
from unblur.atlas.fitting.fit import Fitter, Targets
from unblur.atlas.fitting.initial import filled, least_blur, lowest, masks_of
from unblur.atlas.fitting.losses import flow_disagreement, jacobians, rigidity
from unblur.atlas.fitting.mapping import (
    ALPHA_MLP,
    BACKGROUND_MLP,
    FOREGROUND_MLP,
    Lattice,
    LatticeMapping,
    Mlp,
    encoded,
    spline_basis,
)
from unblur.atlas.fitting.model import from_working, to_working
from unblur.atlas.fitting.motion import find_motion, layer_homographies
from unblur.atlas.fitting.presets import PAPER
from unblur.atlas.fitting.take import layers_of, paper_model
from unblur.atlas.fitting.texture import CnnTexture, PyramidTexture, look_up, variation
from unblur.optics.disk_blur import disk_blur
from unblur.optics.lens import evenly, ideal_radius, lens_radius

PULL = focus_pull.clip()


def test_networks_are_those_of_the_paper() -> None:
    sizes = [
        sum(p.numel() for p in Mlp(config).parameters())
        for config in (FOREGROUND_MLP, BACKGROUND_MLP, ALPHA_MLP)
    ]
    assert sizes == [264_706, 133_122, 402_945]


def test_positional_encoding() -> None:
    points = torch.tensor([[0.5, 0.0, -1.0]])
    out = encoded(points, 5)
    assert out.shape == (1, 30)
    assert out.abs().max() <= 1
    torch.testing.assert_close(out[0, 0], torch.tensor(math.sin(math.pi / 2)))


def test_splines_sum_to_one_and_make_straight_lines() -> None:
    at = torch.linspace(0, 40, 81)
    basis = spline_basis(at, 40, 8)
    torch.testing.assert_close(basis.sum(1), torch.ones(81))
    line = basis @ torch.arange(8.0)
    torch.testing.assert_close(line.diff(), line.diff()[:1].expand(80), atol=1e-5, rtol=0)


def test_bending_of_a_straight_lattice_is_zero() -> None:
    lattice = Lattice(2, 2, 48, 64, (6, 7))
    with torch.no_grad():
        lattice.knots.copy_(
            torch.arange(6.0)[:, None] * 0.3 + torch.arange(7.0) * 0.1 + torch.zeros(2, 2, 6, 7)
        )
    assert float(lattice.bending([0, 1]).detach()) < 1e-10
    with torch.no_grad():
        lattice.knots[0, 0, 2, 2] += 1
    assert float(lattice.bending([0]).detach()) > 0.01


@pytest.mark.parametrize("scale", [1, 2])
def test_a_canvas_keeps_places(scale: int) -> None:
    """At any scale and margin the frame's pixels map to the same places."""
    mapping = LatticeMapping(torch.eye(3)[None].double(), 48, 64, (16.0,))
    canvas = Canvas(48, 64, 9, scale)
    place = canvas.crop(mapping(canvas, [0]))[0]
    assert place.shape == (2, 48 // scale, 64 // scale)
    expected = (torch.arange(64 // scale) + 0.5) * scale - 0.5
    torch.testing.assert_close(place[0, 3], expected)
    assert min(a - b for a, b in zip(canvas.outer, canvas.inner, strict=True)) >= 18 // scale


def test_even_blur_is_that_of_the_disk_blur() -> None:
    x = focus_pull.texture(5, 60, 72)[None]
    radius = torch.tensor([3.3]).view(1, 1, 1, 1)
    one = evenly(x, radius, None)[..., 10:-10, 10:-10]
    other = disk_blur(x, radius.expand(1, 1, 60, 72))[..., 10:-10, 10:-10]
    torch.testing.assert_close(one, other, atol=2e-3, rtol=0)
    torch.testing.assert_close(evenly(x, 0 * radius, None), x, atol=1e-3, rtol=0)


def test_gradient_of_the_even_blur() -> None:
    x = torch.rand(2, 1, 14, 16, dtype=torch.float64, requires_grad=True)
    radius = torch.tensor([0.7, 1.4], dtype=torch.float64).view(2, 1, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, r: evenly(a, r, None), (x, radius))


@pytest.mark.parametrize("beta", [None, 2.0])
def test_radius_of_the_lens(beta: float | None) -> None:
    ideal = torch.tensor([1.5, 2.0, 4.0, 8.0, 16.0])
    lens = lens_radius(ideal, beta)
    assert (lens < ideal).all()
    torch.testing.assert_close(ideal_radius(lens, beta), ideal, atol=1e-4, rtol=0)
    # The same second moment as an ideal disk of radius R: R^2 / 4 along each axis.
    point = torch.zeros(1, 1, 81, 81)
    point[..., 40, 40] = 1
    spread = evenly(point, lens[3].view(1, 1, 1, 1), beta)[0, 0]
    moment = (spread.sum(0) * (torch.arange(81) - 40) ** 2).sum()
    assert float(moment) == pytest.approx(16.0, rel=0.02)


def test_look_up_of_coordinates() -> None:
    grid = torch.stack(torch.broadcast_tensors(torch.arange(20.0), torch.arange(12.0)[:, None]))
    place = torch.tensor([[[[3.25, 18.5]], [[7.75, 0.5]]]])  # (1, 2, 1, 2)
    torch.testing.assert_close(look_up(grid, place), place)
    outside = look_up(grid, torch.full((1, 2, 1, 1), -5.0))
    assert float(outside.abs().max()) == 0


def test_pyramid_starts_as_given_and_counts_slopes() -> None:
    start = focus_pull.texture(3, 33, 47)
    assert torch.equal(PyramidTexture(start, 4)(), start)
    assert variation(torch.zeros(3, 9, 9)) < variation(start)


def test_cnn_atlas() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor([0.2, 0.5, 0.7])
    network = CnnTexture([(360, 640), (45, 50)], (16, 8, 8, 8), mean, generator)
    assert network.noise0.shape[-2:] == (45, 80)
    first, second = network()
    assert first.shape == (3, 360, 640)
    assert second.shape == (3, 45, 50)
    torch.testing.assert_close(first.mean((1, 2)), mean, atol=1e-4, rtol=0)


def test_rigidity_of_rotations_is_least() -> None:
    angle = torch.tensor([0.0, 0.7, 2.5])
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1).view(-1, 2, 2)
    assert abs(float(rigidity(turn))) < 0.01
    assert float(rigidity(2 * turn)) > 2
    assert float(rigidity(0.5 * turn)) > 2


def test_jacobian_of_a_map() -> None:
    matrix = torch.tensor([[2.0, 0.5], [-1.0, 1.5]])
    places = lambda points: points[..., :2] @ matrix.T * 10  # noqa: E731
    found = jacobians(places, torch.rand(5, 3), torch.tensor(0.1))
    torch.testing.assert_close(found, matrix.expand(5, 2, 2), atol=1e-4, rtol=0)


def test_maps_that_follow_the_flow_agree_with_it() -> None:
    grid = torch.stack(torch.broadcast_tensors(torch.arange(30.0), torch.arange(20.0)[:, None]))
    flow = torch.tensor([2.0, -1.0])[:, None, None].expand(2, 20, 30)
    ones = torch.ones(1, 1, 20, 30)
    same = flow_disagreement(grid[None], (grid - flow)[None], flow[None], ones)
    other = flow_disagreement(grid[None], grid[None], flow[None], ones)
    assert float(same) < 1e-3
    assert float(other) == pytest.approx(5**0.5, abs=0.06)


def test_motion_of_both_layers_is_found() -> None:
    motion = find_motion(PULL.blurred, (1, 3))
    masks = masks_of(PULL.labels, 2)
    back, front = (
        layer_homographies(motion, mask, focus_pull.T, (focus_pull.H, focus_pull.W), 5)
        for mask in masks
    )
    t = torch.arange(focus_pull.T) - 5
    for found, step in ((back, (0.7, 0.3)), (front, (-1.5, -0.2))):
        middle = torch.tensor([30.0, 24, 1], dtype=torch.float64)
        at = found @ middle
        moved = at[:, :2] / at[:, 2:] - middle[:2]
        expected = t[:, None] * torch.tensor(step)
        assert (moved - expected).abs().mean() < 0.5


def test_gaps_of_a_series() -> None:
    nan = math.nan
    torch.testing.assert_close(
        filled(torch.tensor([nan, 1.0, nan, nan, 4.0, nan])),
        torch.tensor([1.0, 1.0, 2.0, 3.0, 4.0, 4.0]),
    )
    assert float(lowest(torch.tensor([0.0, 1, 3]), torch.tensor([4.0, 1, 1]))) == pytest.approx(2)


def test_sharpest_frames_are_taken_for_sharp_unless_all_say_otherwise() -> None:
    blurred, sharp = torch.tensor([6.0, 5.0, 5.0, 5.0]), torch.tensor([3.0, 2.0, 0.9, 0.5])
    assert least_blur(blurred, sharp) == 0
    assert least_blur(blurred, blurred - 1) == pytest.approx(15**0.5)


def test_working_values_come_back() -> None:
    x = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(from_working(to_working(x, True), True), x)
    torch.testing.assert_close(from_working(to_working(x, False), False), x)


def test_a_few_steps_of_the_paper_preset() -> None:
    config = replace(
        PAPER, widths=(8, 8, 8, 8), samples=64, network_rate=1e-2, upright=30, bootstrap=0
    )
    frames = PULL.blurred[:4, :, 8:40, 16:56]
    radii = torch.full((4, 1, 32, 40), 1.0)
    model = paper_model(frames, ["background", "foreground"], radii, config)
    motion = find_motion(frames, (1,))
    targets = Targets(frames, motion, masks_of(PULL.labels[:4, 8:40, 16:56], 2), config)
    fitter = Fitter(model, targets, config)
    while fitter.upright < 30:
        fitter.upright_step()
        fitter.upright += 1
    seen = []
    for _ in range(8):
        fitter.one_step(0.0)
        fitter.step += 1
        seen.append(fitter.psnr)
    assert seen[-1] > seen[0]
    layers = layers_of(model)
    assert layers[0].uv.shape == (4, 2, 32, 40)
    assert 0 < float(layers[0].alpha.min()) < float(layers[0].alpha.max()) < 1
