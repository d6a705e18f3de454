"""Frames put together from layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch

from tests.atlas import analytic
from unblur.atlas import Layer, Project
from unblur.atlas.project.render import look_up, shares
from unblur.errors import UsageError
from unblur.ops.color import from_linear, to_linear


def three(light: Literal["linear", "encoded"], transfer: str | None = None) -> Project:
    """A second, half transparent cut-out before the others."""
    made = analytic.project(None, frames=2)
    veil = (torch.rand(2, 1, analytic.H, analytic.W) * 1.4 - 0.2).clamp(0, 1)
    front = replace(made.layers[1], name="layer-1", texture=analytic.texture(7), alpha=veil)
    return replace(made, layers=(front, *made.layers), light=light, transfer=transfer)


@pytest.mark.parametrize(
    ("light", "transfer"), [("linear", None), ("linear", "bt709"), ("encoded", None)]
)
def test_light_of_layers_adds_up(light, transfer) -> None:
    project = three(light, transfer)
    colours = [project.render("layer", [1], layer=layer.name)[0] for layer in project.layers]
    parts = [project.render("alpha", [1], layer=layer.name)[0] for layer in project.layers]
    assert torch.allclose(sum(parts), torch.ones_like(parts[0]), atol=1e-6)
    if light == "linear":
        mixed = sum(to_linear(c, transfer) * p for c, p in zip(colours, parts, strict=True))
        expected = from_linear(mixed, transfer)
    else:
        expected = sum(c * p for c, p in zip(colours, parts, strict=True))
    assert (project.render("sharp", [1])[0] - expected).abs().max() < 2e-5
    assert (project.render("reblurred", [1])[0] - expected).abs().max() < 2e-3  # radius 0


def test_blur_differs_from_layer_to_layer() -> None:
    project = analytic.project((0.0, 3.0))
    sharp, blurred = (project.render(mode, [4])[0] for mode in ("sharp", "reblurred"))
    cover = analytic.cover(analytic.grid(), 4)
    assert (sharp - blurred)[:, cover == 1].abs().max() < 2e-3
    assert (sharp - blurred)[:, cover == 0].abs().mean() > 0.02


def test_opacity_that_no_one_sees_is_none() -> None:
    made = analytic.project(frames=1)
    floor = replace(made.layers[0], alpha=made.layers[0].alpha[:].clamp(1e-3, 1 - 1e-3))
    fitted = replace(made, layers=(floor, made.layers[1]))
    assert (made.render() - fitted.render()).abs().max() < 5e-3
    alpha = fitted.render("alpha", layer="foreground")[0, 0]
    cover = analytic.cover(analytic.grid(), 0)
    assert torch.equal(alpha[cover == 0], torch.zeros_like(alpha[cover == 0]))
    assert torch.equal(alpha[cover == 1], torch.ones_like(alpha[cover == 1]))


def test_an_atlas_of_places_shows_its_places() -> None:
    places = analytic.grid(analytic.HA, analytic.WA).float()
    uv = analytic.back(analytic.grid(), 3).float()
    limit = torch.tensor([analytic.WA - 1.0, analytic.HA - 1.0]).view(2, 1, 1)
    assert (look_up(places, uv) - uv.clamp(min=0).minimum(limit)).abs().max() < 1e-4


def test_shares_of_one_layer_are_all() -> None:
    made = analytic.project(frames=1)
    only = Project((made.layers[1],), made.frames, made.times)
    assert torch.equal(only.render("sharp"), only.render("layer", layer="background"))
    assert torch.equal(shares([torch.ones(1, 2, 2)])[0], torch.ones(1, 2, 2))


def test_layers_need_a_name() -> None:
    made = analytic.project(frames=1)
    with pytest.raises(UsageError, match="name it"):
        made.render("alpha")
    with pytest.raises(UsageError, match="no layer"):
        made.render("layer", layer=Layer.__name__)
    with pytest.raises(UsageError, match="no frames"):
        made.render("sharp", [])
