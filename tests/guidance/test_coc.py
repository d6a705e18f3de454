"""coc-s and coc-m with the weights that ship: what they promise a user."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unblur import weights
from unblur.guidance.coc import (
    BLUREST,
    PIXELS,
    DefocusMap,
    bands,
    coc_radius,
    followed,
    load_coc_m,
    load_coc_s,
)
from unblur.models.coc import CocNet
from unblur.ops.color import from_linear, to_linear
from unblur.optics.focal import defocus, disk_blur
from unblur.synth import Rendered, SceneConfig, held_out, render, sample_scenes

RADII = (1.0, 2.0, 4.0, 8.0, 12.0)
LENS = SceneConfig(mode="focus", in_focus=0.0, layers=(2, 4), coc=(6.0, 12.0), noise=0.0,
                   compressed=0.0, static=0.0)  # fmt: skip


@pytest.fixture(scope="module")
def net(device) -> CocNet:
    return load_coc_s(device)


@pytest.fixture(scope="module")
def photos(device) -> Tensor:
    """Linear light of held-out photographs full of detail, (4, 3, 192, 192)."""
    bank = held_out()
    forest = [i for i, source in enumerate(bank.sources) if source.name.startswith("life")]
    return to_linear(bank.images[forest[:4], :, :192, :192].to(device).float() / 255)


@pytest.fixture(scope="module")
def scenes(device) -> list[Rendered]:
    """Frames of 192 x 192 with the true radius."""
    found = []
    for seed in range(8):
        scene = sample_scenes(
            LENS, held_out().to(device), 1, torch.Generator().manual_seed(600_000 + seed)
        )
        found.append(render(scene, 192, 192, 1, truth={"coc"}))
    return found


def seen(light: Tensor, radius: float, noise: float = 0.0) -> Tensor:
    """An image (3, H, W) of linear light blurred by a disk, as a frame (1, 3, H, W)."""
    frame = from_linear(disk_blur(light, radius))[None]
    generator = torch.Generator().manual_seed(1)
    return (frame + noise * torch.randn(frame.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("shape", [(0, 3, 16, 16), (1, 3, 1, 1), (2, 3, 9, 7), (3, 3, 70, 33)])
def test_any_size_and_length(net, shape):
    frames = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for radius in (coc_radius(net, frames), DefocusMap()(frames)):
        assert radius.shape == (shape[0], 1, *shape[2:])
        assert torch.isfinite(radius).all()
        assert (radius >= 0).all()


def test_large_frames_in_bands_equal_the_whole(net, photos, monkeypatch):
    frame = torch.cat([seen(photos[0], 0.0), seen(photos[1], 4.0)], 2)  # (1, 3, 384, 192)
    whole = coc_radius(net, frame)
    monkeypatch.setitem(PIXELS, "own", 240 * 192)
    parts = coc_radius(net, frame)
    assert len(bands(384, 192, net.config)) == 4
    assert (parts - whole).abs().mean() < 0.1 * whole.mean()


def test_half_precision_is_close(net, photos):
    frames = torch.cat([seen(photos[0], 3.0), seen(photos[1], 0.0)])
    exact = coc_radius(net, frames)
    with torch.no_grad(), torch.autocast(frames.device.type, torch.bfloat16):
        rough = net(frames)[:, :1].float().expm1()
    assert (rough - exact).abs().median() < 0.1


def test_a_sharp_photograph_is_sharp(net, photos):
    shares = [float((coc_radius(net, seen(light, 0.0)) < 0.7).float().mean()) for light in photos]
    assert sum(shares) / len(shares) > 0.95
    assert min(shares) > 0.8


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_radius_grows_with_the_true_one(net, photos, noise):
    medians = torch.tensor(
        [
            [float(coc_radius(net, seen(light, r, noise)).median()) for r in RADII]
            for light in photos
        ]
    )
    assert (medians.diff(dim=1) > 0).all()
    mean = medians.mean(0)
    torch.testing.assert_close(mean[:3], torch.tensor(RADII[:3]), atol=0.3, rtol=0.3)
    assert (mean[3:] > 6).all()  # large ones come out too small, but as large


def test_it_knows_the_lens_of_rendered_scenes(net, scenes):
    truth = torch.cat([scene.coc[0] for scene in scenes])
    found = torch.cat([coc_radius(net, scene.blurred[0]) for scene in scenes])
    assert (found - truth).square().mean().sqrt() < 0.9 * truth.std()
    shares = [(found < 1)[truth < 0.7].float().mean(), (found > 1)[truth > 1.3].float().mean()]
    assert sum(shares) / 2 > 0.8


def test_the_larger_one_knows_it_better(net, scenes, device):
    truth = torch.cat([scene.coc[0] for scene in scenes])
    frames = torch.cat([scene.blurred[0] for scene in scenes])
    errors = [
        float((coc_radius(network, frames) - truth).square().mean())
        for network in (net, load_coc_m(device))
    ]
    assert errors[1] < 0.9 * errors[0]


def test_the_larger_one_takes_any_size(device):
    frames = torch.rand(1, 3, 9, 70, generator=torch.Generator().manual_seed(0))
    radius = coc_radius(load_coc_m(device), frames)
    assert radius.shape == (1, 1, 9, 70)
    assert torch.isfinite(radius).all()


def test_two_sharp_sides_of_an_edge_and_one_blurred(net, photos):
    depth = torch.where(torch.arange(192) < 96, 0.1, 0.9).expand(1, 192, 192)
    frame = from_linear(defocus(photos[0], depth, 0.1, 8.0)[0])[None].clamp(0, 1)
    radius = coc_radius(net, frame)
    assert (radius[..., :80] < 1).float().mean() > 0.9
    assert (radius[..., 112:] > 2).float().mean() > 0.9


def test_a_static_clip_with_noise_does_not_flicker(net, photos):
    depth = torch.linspace(0, 1, 192)[:, None].expand(1, 192, 192)
    still = from_linear(defocus(photos[0], depth, 0.2, 10.0)[0]).clamp(0, 1)
    noise = 0.01 * torch.randn(8, *still.shape, generator=torch.Generator().manual_seed(2))
    clip = (still + noise).clamp(0, 1)
    each = coc_radius(net, clip).clamp(max=BLUREST) / BLUREST
    steadied = DefocusMap()
    calm = steadied(clip)
    flicker, before = (float(x.diff(dim=0).abs().mean()) for x in (calm, each))
    assert flicker < 0.005
    assert flicker < 0.4 * before
    assert float((calm.mean(0) - each.mean(0)).abs().mean()) < 0.02
    steadied.restart()
    parts = torch.cat([steadied(part) for part in clip.split(3)])
    assert torch.allclose(parts, calm, atol=1e-6)


def test_a_focus_pull_comes_through_without_delay(net, photos):
    pull = torch.linspace(1.0, 9.0, 25)
    clip = torch.cat([seen(photos[1], float(r), 0.01) for r in pull])
    each = coc_radius(net, clip).mean((1, 2, 3))
    calm = BLUREST * DefocusMap()(clip).mean((1, 2, 3))
    late = (each - calm)[5:].mean() / (each[-1] - each[5]) * (len(pull) - 6)
    assert abs(float(late)) < 2  # frames


def test_what_moves_leaves_no_trail_and_does_not_stain():
    at = torch.arange(192.0)
    before: Tensor | None = None
    for t in range(7):
        box = ((at - 16 * t - 40).abs() < 10).float().expand(1, 1, 64, 192)
        before = followed(box, before)
        assert (before - box).abs().max() < 0.02


def test_the_file_says_where_it_comes_from():
    path = weights.require("coc-s", "")
    assert path.stat().st_size < 1e6
    assert {"network", "recipe", "step", "licence"} <= set(weights.metadata(path))
    assert all(x.dtype == torch.float16 for x in weights.load(path).values())
