"""The parts of the renderer: configs, lens, paths, outlines, response, compression."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from tests.synth.conftest_synth import draw
from unblur.errors import UsageError
from unblur.ops.color import from_linear
from unblur.optics.thin_lens import disk, lens_blur
from unblur.synth import SceneConfig, TextureBank, render, sample_scenes
from unblur.synth.compression import compress, cosines
from unblur.synth.draw import Draw
from unblur.synth.paths import KNOTS, apply, inverse, spline
from unblur.synth.response import add_noise, encode, sample_response
from unblur.synth.shapes import LIGHTS, SHARES, Shapes, coverage, sample_shapes


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "zoom"},
        {"layers": (0, 3)},
        {"layers": (5, 2)},
        {"exposure": (0.5, 1.5)},
        {"exposure": (0.0, 0.5)},
        {"static": 0.8, "light": 0.5},
        {"noise": 1.5},
        {"motion": (-1.0, 4.0)},
        {"max_samples": 0},
        {"sample_step": 0.0},
        {"quality": (0.0, 50.0)},
        {"interpolation": "nearest"},
        {"gamma": (float("nan"), 2.0)},
    ],
    ids=str,
)
def test_a_wrong_config_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SceneConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "message"), [((8, 64, 2), "8"), ((64, 64, 0), "0 frames"), ((64, 64, 999), "999")]
)
def test_wrong_sizes_are_refused(bank: TextureBank, size: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        render(draw(bank, batch=1), *size)


def test_wrong_requests_are_refused(bank: TextureBank) -> None:
    with pytest.raises(UsageError, match="colour"):
        render(draw(bank, batch=1), 32, 32, 1, truth=["colour"])
    with pytest.raises(UsageError, match="batch"):
        sample_scenes(SceneConfig(), bank, 0, torch.Generator())


@pytest.mark.parametrize("mode", ["motion", "focus", "joint"])
def test_frames_are_images(bank: TextureBank, mode: str) -> None:
    config = SceneConfig(mode=mode)  # type: ignore[arg-type]
    r = render(sample_scenes(config, bank, 3, torch.Generator().manual_seed(0)), 32, 48, 3)
    for x in (r.sharp, r.blurred):
        assert x.shape == (3, 3, 3, 32, 48)
        assert x.isfinite().all()
        assert x.amin() >= 0
        assert x.amax() <= 1
    assert (r.coc.amax() > 0) == (mode != "motion")
    assert (r.extent.amax() > 0) == (mode != "focus")


def test_bicubic_keeps_more_detail(bank: TextureBank) -> None:
    sharp = []
    for interpolation in ("bilinear", "bicubic"):
        scenes = draw(bank, batch=2, interpolation=interpolation)
        sharp.append(render(scenes, 48, 48, 1, truth=()).sharp.diff(dim=-1).abs().mean())
    assert sharp[1] > 1.1 * sharp[0]


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.8, 1.5, 4.0, 9.7])
def test_a_disk_is_a_disk(radius: float) -> None:
    kernel = disk(torch.tensor([radius]), 11)[0]
    assert kernel.amin() >= 0
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    at = torch.arange(-11.0, 12)
    moment = float((kernel * (at**2 + at[:, None] ** 2)).sum())
    if radius < 0.5:
        assert moment == 0
    else:  # that of the disk; a pixel's own extent adds a little to it
        assert radius**2 / 2 - 0.1 <= moment <= radius**2 / 2 + 1 / 6 + 0.05
    assert torch.allclose(kernel, kernel.T)
    assert torch.allclose(kernel, kernel.flip(0))


def test_lens_blur_of_a_point_is_the_disk() -> None:
    x = torch.zeros(2, 1, 32, 32)
    x[:, :, 16, 16] = 1
    radius = torch.tensor([0.2, 5.3])
    blurred = lens_blur(x, radius, 8)
    assert torch.equal(blurred[0], x[0])
    expected = disk(radius, 8)[1]
    assert torch.allclose(blurred[1, 0, 8:25, 8:25], expected, atol=1e-6)
    assert float(blurred[1].sum()) == pytest.approx(1, abs=1e-4)


def test_spline_is_smooth_and_goes_on_without_end() -> None:
    knots = torch.randn(1, KNOTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    at = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    values = spline(knots, at)[0]
    assert torch.allclose(values, spline(knots, at + KNOTS)[0])
    acceleration = values.diff().diff() / 0.001**2
    assert acceleration.diff().abs().amax() < 0.02  # of order 1: no jump of the second derivative
    constant = spline(torch.full((1, KNOTS), 2.5), at.float())
    assert torch.allclose(constant, torch.tensor(2.5))


def test_homographies_are_inverted() -> None:
    g = torch.Generator().manual_seed(3)
    matrix = torch.eye(3) + 0.1 * torch.randn(5, 3, 3, generator=g)
    matrix[:, 2, :2] *= 0.01
    points = torch.randn(5, 2, generator=g) * 20
    assert torch.allclose(apply(inverse(matrix), apply(matrix, points)), points, atol=1e-3)


def outlines(kind: int, size: float = 0.3) -> tuple[Shapes, torch.Tensor]:
    """Eight shapes of a kind, and what they cover of 80 x 80 pixels."""
    generator = torch.Generator().manual_seed(1)
    shapes = sample_shapes(
        SceneConfig(layers=(2, 8)), Draw(generator), 1, torch.ones(1, dtype=torch.bool)
    )
    one = {name: value[0] for name, value in vars(shapes).items()}
    one["kind"] = torch.full((8,), kind)
    one["size"] = torch.full((8,), size)
    some = Shapes(**one)
    at = (torch.arange(80) - 39.5).expand(8, 80, 80)
    return some, coverage(some, at, at.transpose(1, 2), 80)


@pytest.mark.parametrize("kind", range(len(SHARES)))
def test_outlines_are_soft_and_end(kind: int) -> None:
    _, alpha = outlines(kind)
    assert alpha.amin() == 0
    assert alpha.amax() == 1
    assert ((alpha > 0.02) & (alpha < 0.98)).any()
    assert 0.003 < alpha.mean() < 0.6
    rim = torch.cat((alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]))
    assert rim.amax() == 0


def test_lights_only_in_bright_scenes() -> None:
    draws = Draw(torch.Generator().manual_seed(0))
    bright = torch.tensor([True, False]).repeat(40)
    kind = sample_shapes(SceneConfig(), draws, 80, bright).kind
    assert (kind[bright] == LIGHTS).any()
    assert not (kind[~bright] == LIGHTS).any()


def test_responses_rise_from_black_to_white() -> None:
    response = sample_response(SceneConfig(), Draw(torch.Generator().manual_seed(0)), 32)
    light = torch.linspace(0, 3, 400).expand(32, 400)
    signal = encode(light, response)
    assert (signal.diff(dim=1) >= -1e-6).all()
    assert (signal[:, 0] == 0).all()
    assert (signal[:, -1] > 0.95).all()
    assert signal.amax() <= 1
    srgb = replace(response, **{k: torch.zeros(32) for k in ("gamma", "shoulder", "contrast")})
    assert torch.allclose(encode(light, srgb), from_linear(light.clamp(max=1)), atol=1e-6)


def test_noise_has_the_variance_it_says() -> None:
    response = sample_response(
        SceneConfig(noise=1.0, read_noise=(0.01, 0.01), shot_noise=(0.001, 0.001)),
        Draw(torch.Generator().manual_seed(0)),
        4,
    )
    light = torch.full((4, 2, 3, 64, 64), 0.4)
    response = replace(response, grain=torch.zeros(4))
    noisy = add_noise(light, response, torch.Generator().manual_seed(1))
    assert float(noisy.var()) == pytest.approx(0.01**2 + 0.001 * 0.4, rel=0.05)
    assert float(noisy.mean()) == pytest.approx(0.4, abs=1e-3)


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


def test_the_cosine_transform_is_orthonormal() -> None:
    m = cosines(torch.device("cpu"))
    assert torch.allclose(m @ m.T, torch.eye(8), atol=1e-6)
