"""Blur maps of defocus: monotone, blind to noise, the same from one depth to the next."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unblur.guidance.coc import DefocusMap
from unblur.guidance.defocus import (
    BlurFromDepth,
    at_depth,
    blur_at_depths,
    blur_mask,
    defocus_of_depths,
)
from unblur.guidance.steady import steady
from unblur.ops.color import from_linear, to_linear
from unblur.optics.focal import defocus, disk_blur
from unblur.synth import held_out

RADII = (0.0, 3.0, 5.0, 8.0)


@pytest.fixture(scope="module")
def images(device: torch.device) -> Tensor:
    """Linear light of three textures, (3, 3, 200, 240)."""
    return to_linear(held_out().to(device).images[::7][:3, :, :200, :240].float() / 255)


def blurred(light: Tensor, radius: float, noise: float = 0.0) -> Tensor:
    encoded = from_linear(disk_blur(light, radius))
    generator = torch.Generator().manual_seed(1)
    return (encoded + noise * torch.randn(encoded.shape, generator=generator)).clamp(0, 1)


def test_blur_at_depths_follows_the_lens(images: Tensor) -> None:
    depth = torch.linspace(0, 1, 200)[:, None].expand(1, 200, 240)
    focus = 0.3
    image = from_linear(defocus(images[1], depth, focus, 12.0)[0])[None].clamp(0, 1)
    curve = defocus_of_depths(image, depth[None])[0]  # (11,)
    assert int(curve.argmin()) in (2, 3, 4)
    assert curve[3] < 0.1
    assert curve[3] < curve[6] < curve[9]
    assert curve[0] > curve[3]
    learned = blur_at_depths(DefocusMap()(image), depth[None])[0]
    assert int(learned.argmin()) in (2, 3, 4)
    assert learned[3] < learned[6] < learned[9]
    everywhere = at_depth(curve[None], depth[None])[0, 0]
    assert torch.allclose(everywhere[0, 0], curve[0])
    assert torch.allclose(everywhere[-1, -1], curve[-1])
    assert (everywhere.std(1) < 1e-6).all()  # what lies equally far is equally blurred


def test_a_depth_without_detail_takes_that_of_its_neighbours(images: Tensor) -> None:
    depth = torch.linspace(0, 1, 200)[:, None].expand(1, 200, 240)
    hole = (depth - 0.5).abs() < 0.15
    image = blurred(torch.where(hole, 0.3, images[0]), 5.0)
    curve = defocus_of_depths(image[None], depth[None])[0]
    assert (curve > 0.1).all()
    assert 0 < curve[5] < 1
    blur = torch.full((1, 1, 200, 240), 0.5)
    upper = torch.where(depth < 0.35, 0.0, 1.0)[None]  # nothing lies between
    assert torch.allclose(blur_at_depths(blur, upper), torch.full((1, 11), 0.5))


def test_a_mask_is_what_lies_above_a_tenth() -> None:
    assert blur_mask(torch.tensor([0.0, 0.1, 0.11, 1.0])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (33, 17), (64, 8)])
def test_any_size_and_nothing_to_see(size: tuple[int, int]) -> None:
    depth = torch.linspace(0, 1, size[1]).expand(1, 1, *size)
    flat = torch.full((1, 3, *size), 0.4)
    assert torch.equal(defocus_of_depths(flat, depth), torch.zeros(1, 11))
    noisy = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    curve = defocus_of_depths(noisy, depth)
    assert 0 <= float(curve.min()) <= float(curve.max()) <= 1


def test_a_static_clip_with_noise_does_not_flicker(images: Tensor) -> None:
    depth = torch.linspace(0, 1, 200)[:, None].expand(1, 200, 240)
    still = from_linear(defocus(images[0], depth, 0.2, 10.0)[0]).clamp(0, 1)
    noise = 0.01 * torch.randn(8, *still.shape, generator=torch.Generator().manual_seed(2))
    clip = (still + noise).clamp(0, 1)
    by_depth = BlurFromDepth()
    maps = by_depth(clip, depth.expand(8, 1, -1, -1))
    assert float(maps.diff(dim=0).abs().max()) < 0.03
    # In two parts it is the same as in one.
    by_depth.restart()
    parts = [by_depth(part, depth.expand(4, 1, -1, -1)) for part in clip.split(4)]
    assert torch.allclose(torch.cat(parts), maps, atol=1e-6)


def test_what_moves_leaves_no_trail() -> None:
    x = torch.arange(64.0)
    box = torch.stack([((x - 8 * t - 4).abs() < 6).float() for t in range(7)])
    assert torch.equal(steady(box), box)
    level = steady(torch.cat((torch.zeros(1, 4), torch.full((40, 4), 0.1))))
    assert float(level[1, 0]) < 0.06
    assert float(level[-1, 0]) == pytest.approx(0.1, abs=1e-3)
    assert steady(torch.zeros(0, 4)).shape == (0, 4)
