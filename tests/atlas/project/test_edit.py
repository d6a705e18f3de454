"""Paint on an atlas lands where the clip shows that place, and nowhere else."""

from __future__ import annotations

import io
import re
import sys
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.atlas import analytic
from unblur.atlas import Project
from unblur.atlas.project.edit import edit, edited
from unblur.atlas.project.paint import as_rgba, overlay_of, read_edit
from unblur.errors import MediaError, UsageError
from unblur.ops.color import from_linear, to_linear
from unblur.optics.disk_blur import layered_blur

RED = torch.tensor([1.0, 0.0, 0.0])
FRAMES = [0, 2, 5, 7, 9]


@pytest.fixture(scope="module")
def project() -> Project:
    """Its clip is not what the layers render, so that the two are distinguished."""
    made = analytic.project()
    return replace(made, frames=(0.8 * made.frames[:] + 0.1))


def dot(at: tuple[float, float], radius: float = 3.0) -> Tensor:
    """A red disk on a transparent sheet: (4, HA, WA)."""
    place = analytic.grid(analytic.HA, analytic.WA)
    away = (place - torch.tensor(at).view(2, 1, 1)).norm(dim=0)
    opacity = (radius + 0.5 - away).clamp(0, 1).float()
    return torch.cat((RED[:, None, None].expand(3, *opacity.shape), opacity[None]))


def centre(change: Tensor) -> Tensor:
    """Centre of gravity (x, y) of what changed, (3, H, W)."""
    weight = change.abs().sum(0).double()
    return (analytic.grid() * weight).sum((1, 2)) / weight.sum()


@pytest.mark.parametrize("mode", ["sharp", "over-original", "reblurred"])
@pytest.mark.parametrize(
    ("layer", "at", "inverse"),
    [
        ("foreground", (54.0, 36.0), analytic.front_inverse),
        ("background", (45.0, 26.0), analytic.back_inverse),
    ],
)
def test_an_edit_lands_at_the_warped_place(project, mode, layer, at, inverse) -> None:
    before = project.render("sharp", FRAMES) if mode == "sharp" else project.frames[FRAMES]
    after = edit(project, {layer: dot(at)}, mode, FRAMES)
    uv = torch.tensor(at, dtype=torch.float64)
    for t, old, new in zip(FRAMES, before, after, strict=True):
        if layer == "background" and t in (5, 7):
            continue  # the foreground passes before it
        expected = inverse(uv, t)
        # Weighed by how red it became: what is beneath it is not even.
        redder = (new[:1] - new[1:].mean(0)) - (old[:1] - old[1:].mean(0))
        assert (centre(redder.clamp(min=0.02) - 0.02) - expected).abs().max() < 1
        x, y = expected.round().long().tolist()
        assert redder[0, y, x] > 0.3


@pytest.mark.parametrize("mode", ["over-original", "reblurred"])
def test_the_clip_stays_where_nothing_is_painted(project: Project, mode) -> None:
    after = edit(project, {"foreground": dot((54.0, 36.0))}, mode, [3])[0]
    x, y = analytic.front_inverse(torch.tensor([54.0, 36.0]), 3).tolist()
    away = (analytic.grid() - torch.tensor([x, y]).view(2, 1, 1)).norm(dim=0)
    assert torch.equal(after[:, away > 12], project.frames[3][:, away > 12])


def test_the_front_layer_hides_paint_behind_it(project: Project) -> None:
    paint = torch.cat(
        (torch.zeros(3, analytic.HA, analytic.WA), torch.ones(1, analytic.HA, analytic.WA))
    )
    after = edit(project, {"background": paint}, "over-original", [4])[0]
    cover = analytic.cover(analytic.grid(), 4)
    assert torch.equal(after[:, cover == 1], project.frames[4][:, cover == 1])
    assert after[:, cover == 0].abs().max() < 1e-6


def test_paint_is_as_blurred_as_its_layer(project: Project) -> None:
    """Against the lens itself: a black image, painted."""
    black = replace(project, frames=torch.zeros_like(project.frames[:]))
    paint = dot((45.0, 26.0), 2.0)
    found = edit(black, {"background": paint}, "reblurred", [1])[0]
    overlay = overlay_of(paint, project.layers[1])
    ink = to_linear(overlay[:3]) * overlay[3:]
    at = analytic.back(analytic.grid(), 1).float()
    grid = torch.stack((at[0] / (analytic.WA - 1), at[1] / (analytic.HA - 1)), -1) * 2 - 1
    shown = torch.nn.functional.grid_sample(ink[None], grid[None], align_corners=True)
    cover = analytic.cover(analytic.grid(), 1)[None, None].float()
    layers = [
        (shown, torch.ones_like(cover), torch.full_like(cover, 3)),
        (torch.zeros_like(shown), cover, torch.zeros_like(cover)),
    ]
    expected = from_linear(layered_blur(layers)).clamp(0, 1)[0]
    assert (found - expected).abs().max() < 0.01
    assert 0.05 < found[0].max() < 0.9


def test_an_edited_atlas_is_an_overlay_of_what_changed(project: Project) -> None:
    layer = project.layers[1]
    whole = layer.texture.clone()
    whole[:, 20:30, 40:50] = RED[:, None, None]
    overlay = overlay_of(whole, layer)
    assert torch.equal(overlay_of(torch.cat((whole, layer.seen)), layer), overlay)
    assert torch.equal(overlay[3, 20:30, 40:50], torch.ones(10, 10))
    assert overlay[3, 18:32, 38:52].sum() < 14 * 14
    overlay[3, 18:32, 38:52] = 0
    assert not overlay[3].any()


def test_nothing_painted_changes_nothing(project: Project) -> None:
    layer = project.layers[0]
    same = torch.cat((layer.texture + 1e-3, layer.seen))
    for mode in ("over-original", "reblurred"):
        assert torch.equal(edit(project, {layer.name: same}, mode, [2])[0], project.frames[2])


def test_paint_at_soft_rims_of_an_atlas_is_whole(project: Project) -> None:
    soft = replace(project.layers[0], seen=torch.full_like(project.layers[0].seen, 0.5))
    painted = torch.cat((1 - soft.texture.round(), soft.seen))
    assert overlay_of(painted, soft)[3].min() == 1


def test_edits_do_not_touch_the_project(project: Project) -> None:
    before = project.layers[0].texture.clone()
    changed = edited(project, {"foreground": dot((54.0, 36.0))})
    assert torch.equal(project.layers[0].texture, before)
    assert not torch.equal(changed.layers[0].texture, before)
    assert changed.layers[1] is project.layers[1]


@pytest.mark.parametrize(
    ("paint", "message"),
    [
        ({"sky": dot((1.0, 1.0))}, "no layer called 'sky'"),
        ({"foreground": torch.ones(4, 10, 10)}, "is 10x10 and the atlas of foreground is 104x80"),
        ({}, "nothing to paint"),
    ],
)
def test_what_makes_no_sense_is_told(project: Project, paint, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        edit(project, paint, "sharp", [0])
    with pytest.raises(UsageError, match="past the end"):
        edit(project, {"foreground": dot((1.0, 1.0))}, "sharp", [99])


def png(rgba: Tensor, deep: bool = False) -> bytes:
    top, kind = (65535, np.uint16) if deep else (255, np.uint8)
    codes = (rgba * top).round().permute(1, 2, 0).numpy().astype(kind)
    return cv2.imencode(".png", codes[:, :, [2, 1, 0, 3]])[1].tobytes()


def openraster(path: Path, stack: str, **images: Tensor) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "image/openraster")
        size = f'w="{analytic.WA}" h="{analytic.HA}"'
        archive.writestr("stack.xml", f'<?xml version="1.0"?><image {size}>{stack}</image>')
        for name, rgba in images.items():
            archive.writestr(f"{name}.png", png(rgba))
    return path


def test_images_of_all_depths_are_read(project: Project, tmp_path: Path) -> None:
    paint = dot((54.0, 36.0))
    for deep in (False, True):
        (tmp_path / "paint.png").write_bytes(png(paint, deep))
        found = read_edit(tmp_path / "paint.png", project.layers[0])
        assert (found[3] - overlay_of(paint, project.layers[0])[3]).abs().max() < 0.003
    gray = cv2.imencode(".png", np.full((4, 5), 51, np.uint8))[1].tobytes()
    assert torch.allclose(as_rgba(gray, "x", (4, 5))[:, 0, 0], torch.tensor([0.2, 0.2, 0.2, 1.0]))


def test_layers_of_openraster_are_laid_over_each_other(project: Project, tmp_path: Path) -> None:
    blue = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(4, 1, 1).expand(4, 10, 20)
    hidden = torch.ones(4, analytic.HA, analytic.WA)
    stack = """<stack>
      <layer src="white.png" visibility="hidden"/>
      <stack opacity="0.5"><layer src="blue.png" x="-5" y="70"/></stack>
      <layer src="red.png" name="a dot"/>
    </stack>"""
    path = openraster(
        tmp_path / "a.ora", stack, white=hidden, blue=blue, red=dot((54.0, 36.0), 5.0)
    )
    found = read_edit(path, project.layers[0])
    assert found[3, 36, 54] == 1
    assert torch.allclose(found[:3, 36, 54], RED)
    assert torch.allclose(found[:, 75, 3], torch.tensor([0.0, 0.0, 1.0, 0.5]), atol=0.01)
    assert found[3, 75, 20] == 0
    assert found[3, 60, 3] == 0


def test_other_mixes_take_the_flat_image(project: Project, tmp_path: Path) -> None:
    stack = '<stack><layer src="red.png" composite-op="svg:multiply"/></stack>'
    red = dot((54.0, 36.0))
    path = openraster(tmp_path / "a.ora", stack, red=red)
    with pytest.raises(MediaError, match=r"mergedimage\.png"):
        read_edit(path, project.layers[0])
    path = openraster(tmp_path / "b.ora", stack, red=red, mergedimage=red)
    assert read_edit(path, project.layers[0])[3, 36, 54] == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.png", None, "cannot be read"),
        ("empty.png", b"", "no image"),
        ("text.png", b"hello", "no image"),
        ("a.ora", b"hello", "no whole OpenRaster"),
    ],
)
def test_unreadable_files_are_told(project, tmp_path, name, content, message) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=message):
        read_edit(tmp_path / name, project.layers[0])


@pytest.mark.parametrize(
    "stack",
    [
        "<stack><layer src='none.png'/></stack>",
        "<stack><layer src='red.png' x='1.5'/></stack>",
        "<stack><layer",
        "",
    ],
)
def test_damaged_openraster_is_told(project: Project, tmp_path: Path, stack: str) -> None:
    path = openraster(tmp_path / "a.ora", stack, red=dot((54.0, 36.0)))
    with pytest.raises(MediaError, match=r"a\.ora"):
        read_edit(path, project.layers[0])


def test_entities_in_openraster_are_refused(project: Project, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("stack.xml", '<!DOCTYPE a [<!ENTITY b "c">]><image w="1" h="1"/>')
    (tmp_path / "a.ora").write_bytes(buffer.getvalue())
    with pytest.raises(MediaError, match="entities"):
        read_edit(tmp_path / "a.ora", project.layers[0])


def test_photoshop_needs_its_library(project, tmp_path, monkeypatch) -> None:
    (tmp_path / "a.psd").write_bytes(b"8BPS")
    monkeypatch.setitem(sys.modules, "psd_tools", None)
    with pytest.raises(UsageError, match="pip install psd-tools"):
        read_edit(tmp_path / "a.psd", project.layers[0])


def test_photoshop_documents_are_flattened(project, tmp_path, monkeypatch) -> None:
    codes = (dot((54.0, 36.0)) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)

    class Flat:
        def convert(self, mode: str) -> np.ndarray:
            assert mode == "RGBA"
            return codes

    class PSDImage:
        @staticmethod
        def open(file: io.BytesIO) -> types.SimpleNamespace:
            if file.read() != b"8BPS":
                raise AssertionError("damaged")
            return types.SimpleNamespace(composite=Flat)

    monkeypatch.setitem(sys.modules, "psd_tools", types.SimpleNamespace(PSDImage=PSDImage))
    (tmp_path / "a.psd").write_bytes(b"8BPS")
    assert read_edit(tmp_path / "a.psd", project.layers[0])[3, 36, 54] == 1
    (tmp_path / "a.psd").write_bytes(b"else")
    with pytest.raises(MediaError, match="cannot be read by psd-tools"):
        read_edit(tmp_path / "a.psd", project.layers[0])


def test_paint_is_rendered_where_it_reaches_as_in_the_whole_frame(project: Project) -> None:
    """Only a part of the frame goes through the lens."""
    small, spread = dot((54.0, 36.0)), dot((54.0, 36.0))
    spread[3] = spread[3].clamp_min(1e-4)  # all of the frame, and hardly to be seen
    found = edit(project, {"foreground": small}, "reblurred", [3])
    whole = edit(project, {"foreground": spread}, "reblurred", [3])
    assert (found - whole).abs().max() < 1e-3
    assert (found - project.frames[[3]]).abs().max() > 0.1


def test_the_python_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "atlas.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    analytic.project(frames=12).save(tmp_path / "PROJECT")
    (tmp_path / "painted.png").write_bytes(png(dot((54.0, 36.0))))
    openraster(tmp_path / "painted.ora", '<stack><layer src="red.png"/></stack>', red=dot((50, 40)))
    small = {"120,80@f10": "32,24@f10", "background@2s": "background@.4s"}  # as the project is
    for shown, here in small.items():
        block = block.replace(shown, here)
    names: dict[str, object] = {}
    exec(compile(block, "docs/atlas.md", "exec"), names)
    found = names["found"]
    assert found.flow.shape == (2, analytic.H, analytic.W)  # type: ignore[attr-defined]
