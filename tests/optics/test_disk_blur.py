"""Lens blur with a radius per pixel."""

from __future__ import annotations

import importlib.util
import math
import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unblur.errors import UnblurWarning
from unblur.optics.disk_blur import (
    builds_kernels,
    bump,
    copies,
    disk_blur,
    layered_blur,
    node_kernels,
    nodes,
    position,
    scatter,
    spectrum,
)
from unblur.optics.disk_kernels import (
    KERNELS,
    equivalent_radius,
    equivalents,
    from_equivalent,
    soft_disk,
    soft_kernel,
    softness,
    to_equivalent,
)


def draw(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def spread_slowly(x: Tensor, radius: Tensor, beta: float | None = None) -> Tensor:
    """The definition, one tap of the kernel after another: every pixel spreads over its disk."""
    height, width = x.shape[-2:]
    soft = softness(radius) if beta is None else torch.full_like(radius, beta)
    reach = math.ceil(float(radius.detach().max()) + 8 / (beta or 2))
    axis = range(-reach, reach + 1)
    taps = [(i, j) for i in axis for j in axis if math.hypot(i, j) <= reach]
    weight = {i * i + j * j: torch.empty(0) for i, j in taps}
    for square in weight:
        weight[square] = soft_disk(radius - square**0.5, soft)
    area = torch.stack([weight[i * i + j * j] for i, j in taps]).sum(0)
    out = torch.zeros_like(x)
    for i, j in taps:
        if abs(i) < height and abs(j) < width:
            rows, cols = slice(max(i, 0), height + min(i, 0)), slice(max(j, 0), width + min(j, 0))
            back = slice(max(-i, 0), height + min(-i, 0)), slice(max(-j, 0), width + min(-j, 0))
            sent = (weight[i * i + j * j] / area * x)[..., back[0], back[1]]
            out[..., rows, cols] += sent
    return out


@pytest.mark.parametrize(("beta", "error"), [(None, 1e-2), (1.0, 1e-3), (2.0, 4e-3), (4.0, 2e-3)])
def test_is_its_definition(beta, error):
    x, radius = (
        draw(0, 2, 3, 12, 15),
        draw(1, 2, 1, 12, 15) * torch.tensor([1, 7])[:, None, None, None],
    )
    light, weight = scatter(x, radius, beta)
    truth = spread_slowly(torch.cat((x, torch.ones_like(radius)), 1), radius, beta)
    assert (torch.cat((light, weight), 1) - truth).abs().max() < error


def test_slope_in_the_radius_is_that_of_the_definition():
    x, towards = draw(0, 1, 1, 9, 10), draw(1, 1, 1, 9, 10)
    radius = (0.2 + 5 * draw(2, 1, 1, 9, 10)).requires_grad_()
    (ours,) = torch.autograd.grad((scatter(x, radius)[0] * towards).sum(), radius)
    (true,) = torch.autograd.grad((spread_slowly(x, radius) * towards).sum(), radius)
    assert (ours - true).norm() < 0.08 * true.norm()


@pytest.mark.parametrize("beta", [None, 2.0])
def test_gradients(beta):
    x = draw(0, 1, 1, 4, 5).requires_grad_()
    radius = (draw(1, 1, 1, 4, 5) * 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: disk_blur(a, b, beta), (x, radius))


def test_gradients_of_one_alone():
    x, radius = draw(0, 1, 2, 8, 9), draw(1, 1, 1, 8, 9) * 3
    both = [x.clone().requires_grad_(), radius.clone().requires_grad_()]
    disk_blur(*both).square().sum().backward()
    alone = x.clone().requires_grad_()
    disk_blur(alone, radius).square().sum().backward()
    torch.testing.assert_close(alone.grad, both[0].grad)
    alone = radius.clone().requires_grad_()
    disk_blur(x, alone).square().sum().backward()
    torch.testing.assert_close(alone.grad, both[1].grad)


def test_gradients_of_layers():
    def blur(colour: Tensor, alpha: Tensor, radius: Tensor) -> Tensor:
        return layered_blur([(colour[:1], whole, radius[:1]), (colour[1:], alpha, radius[1:])])

    whole = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    inputs = draw(0, 2, 3, 3, 3), draw(1, 1, 1, 3, 3), draw(2, 2, 1, 3, 3)
    assert torch.autograd.gradcheck(blur, [x.requires_grad_() for x in inputs])


@settings(max_examples=10, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    largest=st.sampled_from([0.0, 0.7, 5.0, 64.0]),
    beta=st.sampled_from([None, 1.0, 2.0]),
    seed=st.integers(0, 99),
)
def test_constants_stay(height, width, largest, beta, seed):
    radius = largest * draw(seed, 1, 1, height, width).float()
    image = torch.full((1, 3, height, width), 0.7)
    assert (disk_blur(image, radius, beta) - 0.7).abs().max() < 1e-5


def test_a_lone_wide_disk_among_narrow_ones_stays_finite():
    x, radius = draw(0, 1, 3, 40, 40).float(), torch.full((1, 1, 40, 40), 0.3)
    radius[..., 20, 20] = 64
    out = disk_blur(x, radius)
    assert out.min() > -0.1
    assert out.max() < 1.1


def test_radius_zero_changes_nothing():
    x = draw(0, 1, 3, 9, 11)
    assert (disk_blur(x, torch.zeros_like(x[:, :1])) - x).abs().max() < 1e-6


def test_no_light_is_lost_within_the_frame():
    x = torch.zeros(1, 1, 61, 61, dtype=torch.float64)
    x[..., 28:33, 28:33] = draw(0, 5, 5)
    light, weight = scatter(x, torch.full_like(x, 9.3))
    assert light.sum().item() == pytest.approx(x.sum().item(), abs=1e-9)
    assert weight[..., 30, 30].item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("beta", "slack"), [(None, 0.03), (2.0, 0.02)])
def test_a_point_becomes_as_wide_as_its_disk(beta, slack):
    point = torch.zeros(1, 1, 61, 61, dtype=torch.float64)
    point[..., 30, 30] = 1
    widths = []
    for radius in (0.0, 0.3, 0.6, 1.0, 1.7, 3.1, 6.4, 12.0, 20.0):
        light, _ = scatter(point, torch.full_like(point, radius), beta)
        widths.append(equivalent_radius(light[0, 0]).item())
        true = equivalent_radius(soft_kernel(torch.tensor([radius]).double(), 30, beta)).item()
        assert widths[-1] == pytest.approx(true, abs=slack)
    assert widths == sorted(widths)


@pytest.mark.parametrize("beta", [None, 1.0, 6.0])
def test_kernels_of_the_nodes_are_near_to_every_disk(beta):
    """The error that the documentation states: 2 % of the light, and 1 % on average."""
    radius = 64 * draw(0, 150) ** 2
    kernels, places = (x.to(radius.device) for x in node_kernels(beta))  # kept in main memory
    at = position(radius, beta)[:, None] - torch.tensor(list(nodes(0, 64, beta)))
    ours = bump(at) @ kernels  # (400, M)
    rho = places.double().norm(dim=1)
    soft = softness(radius) if beta is None else torch.full_like(radius, beta)
    true = soft_disk(radius[:, None] - rho, soft[:, None])
    true /= (true * copies(places)).sum(1, keepdim=True)
    error = ((ours - true).abs() * copies(places)).sum(1)
    assert error.max() < 0.02
    assert error.mean() < 0.01


def layer(seed: int, alpha: float, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    return (
        draw(seed, 1, 3, 20, 30),
        torch.full((1, 1, 20, 30), alpha).double(),
        radius * draw(seed + 1, 1, 1, 20, 30),
    )


def test_an_opaque_layer_hides_what_is_behind():
    back, front = layer(0, 1, 5), layer(2, 1, 3)
    torch.testing.assert_close(layered_blur([back, front]), disk_blur(front[0], front[2]))


def test_a_layer_without_alpha_is_nothing():
    back, front = layer(0, 1, 5), layer(2, 0, 3)
    torch.testing.assert_close(layered_blur([back, front]), disk_blur(back[0], back[2]))


def test_layers_keep_a_common_colour():
    back, front = layer(0, 1, 5), layer(2, 0, 3)
    grey = torch.full_like(back[0], 0.4)
    alpha = (draw(9, 1, 1, 20, 30) > 0.5).double()
    out = layered_blur([(grey, back[1], back[2]), (grey, alpha, front[2])])
    torch.testing.assert_close(out, grey)


def test_a_sharp_background_shows_through_a_blurred_edge():
    """Before a sharp background, the rim of a blurred black half plane is see-through."""
    back = torch.rand(1, 3, 32, 32)
    alpha = torch.zeros(1, 1, 32, 32)
    alpha[..., 16:] = 1
    sharp, wide = torch.zeros(1, 1, 32, 32), torch.full((1, 1, 32, 32), 6.0)
    out = layered_blur([(back, torch.ones_like(alpha), sharp), (0 * back, alpha, wide)])
    cover = disk_blur(alpha, wide)
    torch.testing.assert_close(out, back * (1 - cover), atol=1e-5, rtol=0)
    assert 0.1 < cover[0, 0, 16, 13] < 0.5


def test_precision():
    x, radius = draw(0, 1, 3, 30, 40), 16 * draw(1, 1, 1, 30, 40)
    exact = disk_blur(x, radius)
    assert (disk_blur(x.float(), radius.float()) - exact).abs().max() < 1e-5
    half = disk_blur(x.half(), radius.half())
    assert half.dtype == torch.float16
    assert (half - exact).abs().max() < 0.02


@pytest.mark.parametrize(
    ("radius", "beta", "message"),
    [
        (torch.zeros(1, 1, 5, 4), None, "shapes"),
        (torch.full((1, 1, 4, 5), -0.1), None, "0 to 64"),
        (torch.full((1, 1, 4, 5), 65.0), None, "0 to 64"),
        (torch.full((1, 1, 4, 5), math.nan), None, "0 to 64"),
        (torch.zeros(1, 1, 4, 5), 0.3, "beta"),
    ],
)
def test_what_cannot_be_blurred_is_named(radius, beta, message):
    with pytest.raises(ValueError, match=message):
        disk_blur(torch.zeros(1, 3, 4, 5), radius, beta)


# Kernels.


def test_profile_is_the_paper_s():
    depth = torch.tensor([-2.0, -1.0, -0.25, 0.0, 0.5, 3.0], dtype=torch.float64)
    paper = torch.exp(2 * depth) / (torch.exp(2 * depth) - depth)
    torch.testing.assert_close(soft_disk(depth, 2.0), paper)
    assert soft_disk(torch.tensor([-100.0, 100.0]), 2.0).tolist() == [0, 1]


@pytest.mark.parametrize("kind", KERNELS)
def test_kernels_are_even_and_sum_to_one(kind):
    kernel = KERNELS[kind](torch.tensor([0.0, 0.4, 1.0, 3.3, 8.0], dtype=torch.float64), 20)
    torch.testing.assert_close(kernel.sum((1, 2)), torch.ones(5, dtype=torch.float64))
    assert kernel.min() >= 0
    for same in (kernel.flip(1), kernel.flip(2), kernel.mT):
        torch.testing.assert_close(kernel, same)


@pytest.mark.parametrize(
    ("kind", "radius", "slack"),
    [
        ("box", 0.4, 1e-6),
        ("box", 8, 1e-6),
        ("gaussian", 8, 1e-4),
        ("disk", 8, 0.1),
        ("tanh", 8, 0.02),
    ],
)
def test_kernels_are_as_wide_as_disks(kind, radius, slack):
    kernel = KERNELS[kind](torch.tensor([float(radius)], dtype=torch.float64), 40)
    assert equivalent_radius(kernel).item() == pytest.approx(radius, abs=slack)


def test_the_soft_disk_is_wider_than_its_radius():
    wide = to_equivalent(torch.tensor([0.0, 2, 8, 32], dtype=torch.float64), beta=2.0)
    torch.testing.assert_close(
        wide, torch.tensor([1.21, 2.68, 8.67, 32.76], dtype=torch.float64), atol=0.02, rtol=0
    )
    assert to_equivalent(torch.zeros(1)).item() < 1e-6


@pytest.mark.parametrize("kind", ["soft", "tanh", "box", "gaussian"])
def test_conversions_are_inverse(kind):
    radius = torch.tensor([1.0, 2.2, 7.9, 40.3], dtype=torch.float64)
    torch.testing.assert_close(from_equivalent(to_equivalent(radius, kind), kind), radius)


def test_tables_made_without_gradients_can_meet_them_later():
    for cached in (equivalents, node_kernels, spectrum):
        cached.cache_clear()
    x, radius = draw(0, 1, 1, 4, 5), torch.full((1, 1, 4, 5), 0.5).double()
    with torch.inference_mode():
        disk_blur(x, from_equivalent(radius))
    radius.requires_grad_()
    disk_blur(x, from_equivalent(radius)).square().sum().backward()
    assert radius.grad is not None
    assert radius.grad.norm() > 0


@pytest.mark.parametrize("beta", [None, 2.0])
def test_the_same_radius_everywhere_is_no_special_case(beta: float | None) -> None:
    """It is computed in another way: as a map that differs in a far corner, away from there."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 40, 56, generator=generator)
    for value in (0.0, 0.7, 5.3):
        radius = torch.full((1, 1, 40, 56), value)
        uneven = radius.clone()
        uneven[..., -1, -1] += 0.5
        one, other = disk_blur(image, radius, beta), disk_blur(image, uneven, beta)
        torch.testing.assert_close(one[..., :24, :40], other[..., :24, :40], rtol=0, atol=2e-6)
        assert not torch.equal(one[..., -1, -1], other[..., -1, -1])


def test_without_a_compiler_for_kernels_a_warning_says_that_it_takes_longer(monkeypatch):
    def spread(*_):
        raise RuntimeError("Failed to find C compiler.\nand more")

    there = ModuleType("unblur.optics.disk_triton")
    there.spread = spread
    monkeypatch.setitem(sys.modules, there.__name__, there)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: there)
    with pytest.warns(UnblurWarning, match=r"\(Failed to find C compiler\.\): the disk blur"):
        assert not builds_kernels.__wrapped__(torch.device("cpu"))
