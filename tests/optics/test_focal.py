"""Focal blur on sharp images: as the release, as the paper, and as a lens."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unblur.errors import UsageError
from unblur.optics.focal import (
    FocusPull,
    LayeredBlur,
    defocus,
    disk_blur,
    focus_path,
    layered_blur,
)


def golden(goldens: Path) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in np.load(goldens / "dabit_focal_blur.npz").items()}


@pytest.mark.parametrize("case", range(5))
def test_official_is_the_released_simulator(goldens: Path, case: int) -> None:
    g = golden(goldens)
    least, most, focus, extent, sigma, layers = g["cases"][case].tolist()
    setting = LayeredBlur(most, extent, sigma, int(layers), least)
    assert setting.kernels(focus) == g[f"ksize{case}"].tolist()
    blurred, sides = layered_blur(g["img"], g["depth"], focus, setting)
    # On another machine a value may fall to the other side of a whole number.
    off = (blurred - g[f"blur{case}"]).abs()
    assert off.max() < 1.2
    assert (off > 1e-3).float().mean() < 1e-3
    assert set(sides.unique().tolist()) <= set(g[f"ksize{case}"].tolist())


def test_paper_is_symmetric_and_blurs_the_farthest_most() -> None:
    setting = LayeredBlur(11, 100, 5, 254, min_kernel=1, mode="paper")
    middle = setting.kernels(127.0)
    assert middle[127 - 100] == middle[127 + 100] > 1  # official has a slope on each side
    assert all(k == 1 for k in middle[80:170])
    near = setting.kernels(20.0)
    assert near[0] == 1
    assert near[-1] == max(near) == 11
    assert all(a <= b for a, b in pairwise(near))
    official = LayeredBlur(11, 100, 5, 254).kernels(80.0)
    assert official[0] == max(official)
    assert setting.kernels(80.0)[0] < max(setting.kernels(80.0))


def test_paper_keeps_the_contrast(goldens: Path) -> None:
    g = golden(goldens)
    setting = LayeredBlur(11, 60, 5, mode="paper")
    image = 60 + g["img"] / 4
    blurred, sides = layered_blur(image, g["depth"], 0.0, setting)
    assert torch.equal(
        blurred[(sides == 1).expand(3, -1, -1)], image[(sides == 1).expand(3, -1, -1)]
    )
    assert image.min() - 1e-3 <= blurred.min()
    assert blurred.max() <= image.max() + 1e-3
    stretched, _ = layered_blur(image, g["depth"], 0.0, LayeredBlur(11, 60, 5))
    assert (stretched.min(), stretched.max()) == (0, 255)


def test_a_flat_image_stays_flat_and_finite() -> None:
    flat = torch.full((3, 16, 20), 90.0)
    depth = torch.linspace(0, 255, 20).expand(1, 16, 20)
    blurred, _ = layered_blur(flat, depth, 30.0, LayeredBlur(7, 60, 4, mode="paper"))
    assert torch.allclose(blurred, flat, atol=1e-3)
    sharp, _ = layered_blur(flat, depth, 30.0, LayeredBlur(0, 60, 4))  # nothing to stretch
    assert torch.equal(sharp, flat)


def test_focus_moves_both_ways() -> None:
    assert focus_path(10, 2, 3) == [10, 12, 14]
    assert focus_path(10, -2, 3) == [10, 8, 6]
    assert focus_path(10, 2, 3, reverse=True) == [14, 12, 10]
    pull = FocusPull.through([(2.0, 1.0), (0.0, 0.0)])
    assert [pull(t) for t in (-1, 0, 0.5, 2, 9)] == [0, 0, 0.25, 1, 1]
    for keys in ([], [(1.0, 0.2), (1.0, 0.3)]):
        with pytest.raises(UsageError, match="key"):
            FocusPull.through(keys)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="254 layers"):
        LayeredBlur(7, 60, 4, layers=300)
    with pytest.raises(UsageError, match="too small"):
        layered_blur(torch.rand(3, 4, 4), torch.zeros(1, 4, 4), 255.0, LayeredBlur(15, 60, 4))


def scene() -> tuple[Tensor, Tensor, Tensor]:
    """Light of a background and of a foreground, and where the foreground is."""
    generator = torch.Generator().manual_seed(0)
    back, front = (
        torch.nn.functional.interpolate(
            torch.rand(1, 3, 24, 32, generator=generator), size=(96, 128), mode="bicubic"
        )[0].clamp(0, 1)
        for _ in range(2)
    )
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    disk = (x - 45) ** 2 + (y - 48) ** 2 < 26**2
    wire = (x - 100).abs() < 1.5
    return back, front, (disk | wire).float()[None]


@pytest.mark.parametrize("focus", [0.1, 0.5, 0.9])
def test_refocus_is_what_a_lens_makes_of_two_layers(focus: float) -> None:
    back, front, cover = scene()
    light = back * (1 - cover) + front * cover
    depth = torch.where(cover > 0, 0.1, 0.9)
    got, coc = defocus(light, depth, focus, 8.0)
    near, far = 8 * abs(0.1 - focus), 8 * abs(0.9 - focus)
    assert torch.allclose(coc, torch.where(cover > 0, near, far), atol=1e-4)
    spread = disk_blur(torch.cat((front * cover, cover)), near)
    truth = disk_blur(back, far) * (1 - spread[3:]) + spread[:3]

    def loss(x: Tensor) -> float:
        return float((x - truth).square().mean())

    assert loss(got) < 0.1 * loss(light)
    without_occlusion, _ = layered_blur(
        light * 255, depth * 255, focus * 255, LayeredBlur(17, 20, 8, mode="paper")
    )
    assert loss(got) < 0.5 * loss(without_occlusion / 255)


def test_light_is_kept_on_a_slope_and_within_one_depth() -> None:
    back, _, _ = scene()
    slope = torch.linspace(0, 1, 128).expand(1, 96, 128)
    blurred, _ = defocus(torch.full_like(back, 0.4), slope, 0.5, 9.0)
    assert torch.allclose(blurred, torch.full_like(back, 0.4), atol=1e-3)
    level, _ = defocus(back, torch.full((1, 96, 128), 1.0), 0.5, 9.0)
    assert torch.allclose(level, disk_blur(back, 4.5), atol=1e-4)
    same, coc = defocus(back, slope, 0.5, 0.9)
    assert torch.equal(same, back)  # nothing leaves its pixel
    assert coc.max() < 0.5


def test_what_is_in_focus_gets_nothing_from_behind() -> None:
    _, front, cover = scene()
    depth = torch.where(cover > 0, 0.1, 0.9)
    sharp, _ = defocus(front * cover + 5 * (1 - cover), depth, 0.1, 8.0)
    inside = (cover > 0).expand(3, -1, -1)
    assert torch.allclose(sharp[inside], front[inside], atol=1e-5)
