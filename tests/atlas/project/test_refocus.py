"""Another lens: focus on layers and points, bokeh, highlights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.atlas import analytic
from unblur.atlas import Project
from unblur.atlas.project.refocus import dim, glow, hexagon
from unblur.errors import UsageError
from unblur.ops.color import from_linear, to_linear
from unblur.optics.disk_blur import disk_blur


@pytest.fixture(scope="module")
def project() -> Project:
    return analytic.project()


def seconds(t: int) -> str:
    return f"{t / 24:.6f}s"


@pytest.mark.parametrize("bokeh", ["disk", "hexagon"])
@pytest.mark.parametrize("highlights", [1.0, 6.0])
def test_no_aperture_is_the_sharp_clip(project: Project, bokeh, highlights) -> None:
    found = project.refocus(
        ["foreground"], [0, 4], aperture=0.0, bokeh=bokeh, highlights=highlights
    )
    error = (found - project.render("sharp", [0, 4])).abs()
    for t, frame in zip((0, 4), error, strict=True):
        cover = analytic.cover(analytic.grid(), t)
        # Where layers mix, the brighter one outshines the other.
        counts = (cover == 0) | (cover == 1) if highlights > 1 else cover >= 0
        assert frame[:, counts].max() < 2e-3


@pytest.mark.parametrize("bokeh", ["disk", "hexagon"])
def test_focus_on_the_foreground_blurs_the_background(project: Project, bokeh) -> None:
    found = project.refocus(["foreground"], [4], aperture=3.0, bokeh=bokeh)[0]
    sharp = project.render("sharp", [4])[0]
    rear = project.render("layer", [4], layer="background")
    cover = analytic.cover(analytic.grid(), 4)
    assert (found - sharp)[:, cover == 1].abs().max() < 2e-3
    blurred = from_linear(disk_blur(to_linear(rear), torch.full_like(rear[:, :1], 3.0)))[0]
    assert (found - blurred)[:, cover == 0].abs().max() < (2e-3 if bokeh == "disk" else 0.05)
    assert (found - sharp)[:, cover == 0].abs().mean() > 0.01


def test_focus_on_the_background_lets_it_shine_through(project: Project) -> None:
    found = project.refocus(["background"], [4], aperture=4.0)[0]
    sharp = project.render("sharp", [4])[0]
    cover = analytic.cover(analytic.grid(), 4)[None, None].float()
    spread = disk_blur(cover, torch.full_like(cover, 4.0))[0, 0]
    untouched = spread < 1e-4
    assert untouched.float().mean() > 0.3
    assert (found - sharp)[:, untouched].abs().max() < 2e-3


def test_focus_is_pulled_evenly(project: Project) -> None:
    keys = ["foreground@0s", f"background@{seconds(8)}"]
    found = project.refocus(keys, [0, 4, 8], aperture=4.0)
    for got, key in zip(found, ["0", "0.5", "background"], strict=True):
        t = [0, 4, 8][["0", "0.5", "background"].index(key)]
        assert torch.allclose(got, project.refocus([key], [t], aperture=4.0)[0], atol=1e-3)
    counted = project.refocus(["0@f0", "1@f8"], [0, 4, 8], aperture=4.0)
    assert torch.allclose(found, counted, atol=1e-3)


def test_a_tracked_point_keeps_its_layer_in_focus(project: Project) -> None:
    on_front = project.refocus(track="30,22@f4", frames=[2], aperture=4.0)
    assert torch.equal(on_front, project.refocus(["foreground"], [2], aperture=4.0))
    on_rear = project.refocus(["track@0s"], [2], track="1,1", aperture=4.0)
    assert torch.equal(on_rear, project.refocus(["background"], [2], aperture=4.0))


def test_layers_take_a_blur_of_their_own(project: Project) -> None:
    found = project.refocus(blur=["foreground=2", "background=4@0s"], frames=[3])
    keyed = project.refocus(["0.5"], [3], aperture=8.0, blur=["foreground=2"])
    assert torch.equal(found, keyed)


def test_bright_points_bloom_into_disks_of_light(project: Project) -> None:
    dark = torch.full((3, analytic.HA, analytic.WA), 0.02)
    dark[:, 40, 52] = 1.0
    layer = replace(
        project.layers[1],
        texture=dark,
        uv=analytic.grid().float()[None] + torch.tensor([20.0, 16.0]).view(1, 2, 1, 1),
    )
    layer = replace(
        layer,
        uv=layer.uv.expand(2, -1, -1, -1),
        alpha=torch.ones(2, 1, analytic.H, analytic.W),
        radius=None,
    )
    night = Project((layer,), project.frames[:2], project.times[:2])
    plain, bright = (
        to_linear(night.refocus(blur=[f"{layer.name}=5"], frames=[0], highlights=h)[0, 0])
        for h in (1.0, 20.0)
    )
    floor = to_linear(torch.tensor(0.02))
    # Light is kept: what the point had more than the dark around it, spread over the disk.
    assert float((plain - floor).sum()) == pytest.approx(1 - float(floor), rel=0.02)
    assert float((bright - floor).sum()) == pytest.approx(20, rel=0.03)
    inside = (analytic.grid() - torch.tensor([32.0, 24.0]).view(2, 1, 1)).norm(dim=0) < 4
    assert bright[inside].std() < 0.12 * bright[inside].mean()


@given(st.floats(1, 50), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_highlights_that_stay_sharp_stay_the_same(most: float, seed: int) -> None:
    light = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(seed))
    grown = glow(light, most)
    assert (dim(grown, most) - light).abs().max() < 1e-4
    assert float(glow(torch.ones(3, 1, 1), most).max()) == pytest.approx(most, rel=1e-5)


@pytest.mark.parametrize("radius", [2.0, 5.0, 30.0])
def test_a_hexagon_has_six_sides(radius: float) -> None:
    kernel = hexagon(radius)
    n = kernel.shape[-1] // 2
    assert float(kernel.sum()) == pytest.approx(1)
    assert torch.allclose(kernel, kernel.flip(0), atol=1e-7)
    assert torch.allclose(kernel, kernel.flip(1), atol=1e-7)
    at = torch.arange(-n, n + 1)
    spread = lambda a: float((kernel * a**2).sum())  # noqa: E731
    # Second moments of a hexagon are the same along every axis, 1.0075 times those of its disk.
    assert spread(at) == pytest.approx(spread(at[:, None]), rel=0.03)
    if radius > 10:
        across, along = (
            float((line > kernel.max() / 2).sum()) for line in (kernel[n], kernel[:, n])
        )
        assert along / across == pytest.approx(2 / 3**0.5, rel=0.05)


def test_hexagons_are_seen(project: Project) -> None:
    disk, hexagonal = (
        project.refocus(["foreground"], [0], aperture=6.0, bokeh=shape)
        for shape in ("disk", "hexagon")
    )
    assert 0.001 < (disk - hexagonal).abs().max() < 0.2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"focus": ["sky"]}, "no layer called 'sky'"),
        ({"focus": ["foreground@1s"]}, "past the end"),
        ({"focus": ["foreground@f10"]}, "past the end"),
        ({"focus": ["foreground@soon"]}, "not a time"),
        ({"focus": ["1.5"]}, "depth goes from 0"),
        ({"focus": ["foreground", "background"]}, "no two at the same time"),
        ({"focus": ["track"]}, "which point"),
        ({}, "nothing is in focus"),
        ({"track": "99,3@f2"}, "outside the frames"),
        ({"track": "middle"}, "X,Y@TIME"),
        ({"track": "3,4@f99"}, "past the end"),
        ({"focus": ["0"], "blur": ["background=lots"]}, "LAYER=PIXELS@TIME"),
        ({"focus": ["0"], "blur": ["sky=3"]}, "no layer"),
        ({"focus": ["0"], "aperture": -1.0}, "aperture"),
        ({"focus": ["0"], "aperture": float("nan")}, "aperture"),
        ({"focus": ["0"], "bokeh": "star"}, "disk or hexagon"),
        ({"focus": ["0"], "beta": 0.1}, "beta"),
        ({"focus": ["0"], "highlights": 0.5}, "highlights"),
        ({"focus": ["0"], "frames": [12]}, "past the end"),
    ],
)
def test_what_makes_no_sense_is_told(project: Project, words, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        project.refocus(**words)


def test_the_end_of_the_clip_is_a_time_of_it(project: Project) -> None:
    project.refocus(["foreground@0s", f"background@{analytic.T / 24:.6f}s"], [9])
