"""Flow from the layers' maps, against formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor

from tests.atlas import analytic
from unblur.atlas import Project
from unblur.atlas.project.flow import AtlasFlow, follow, invert, jacobian
from unblur.atlas.project.flow_files import write_flow
from unblur.errors import UsageError


@pytest.fixture(scope="module")
def project() -> Project:
    return analytic.project()


def truth(start: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
    """Flow (2, H, W), whether it ends inside and unhidden, and the number of the layer."""
    place = analytic.grid()
    front = analytic.cover(place, start) > 0.5
    fore = analytic.front_inverse(analytic.front(place, start), end)
    rear = analytic.back_inverse(analytic.back(place, start), end)
    target = torch.where(front, fore, rear)
    x, y = target
    inside = (x >= -0.5) & (x <= analytic.W - 0.5) & (y >= -0.5) & (y <= analytic.H - 0.5)
    hidden = ~front & (analytic.cover(rear, end) > 0.5)
    return target - place, (inside & ~hidden)[None], (~front)[None].long()


@pytest.mark.parametrize("gap", [1, 3, 5, 7, 9, -4])
def test_flow_is_that_of_the_formulas(project: Project, gap: int) -> None:
    start = 0 if gap > 0 else 8
    found = project.flow(start, start + gap)
    expected, visible, layer = truth(start, start + gap)
    assert torch.equal(found.layer, layer)
    error = (found.flow - expected).norm(dim=0)
    assert error.mean() < 0.01
    assert error[found.valid[0] > 0].max() < 0.1  # beyond the frame it goes on straight
    assert (visible.float() - found.valid).abs().mean() < 0.02  # but for soft edges
    assert visible.float().mean() < 0.99


def test_no_motion_between_a_frame_and_itself(project: Project) -> None:
    found = project.flow("f3", "f3")
    assert found.flow.abs().max() < 1e-3
    assert found.valid.all()


def test_what_comes_to_be_hidden_is_marked(project: Project) -> None:
    found = project.flow(0, 9)
    target = (analytic.grid() + found.flow).round().long()
    inside = (target[0] >= 0) & (target[0] < analytic.W) & (target[1] >= 0)
    inside &= target[1] < analytic.H
    rear = (found.layer[0] == 1) & inside
    cover = analytic.cover(analytic.grid(), 9)
    under = cover[target[1].clamp(0, analytic.H - 1), target[0].clamp(0, analytic.W - 1)]
    assert int((rear & (under > 0.99)).sum()) > 30
    assert not found.valid[0][rear & (under > 0.99)].any()
    assert not found.valid[0][~inside & (target[0] != -1)].all()


def test_large_motion_is_found() -> None:
    place = analytic.grid(90, 160)
    uv = torch.stack((place, place + torch.tensor([48.0, -21.0]).view(2, 1, 1))).float()
    made = analytic.project(None, frames=2)
    layer = replace(made.layers[1], uv=uv, alpha=torch.ones(2, 1, 90, 160))
    wide = Project((layer,), torch.zeros(2, 3, 90, 160), made.times)
    found = wide.flow(0, 1)
    assert (found.flow - torch.tensor([-48.0, 21.0]).view(2, 1, 1)).abs().max() < 0.01
    assert found.valid.mean() == pytest.approx(112 * 69 / (90 * 160), abs=0.02)


def test_folds_are_not_trusted() -> None:
    uv = analytic.grid().float()
    uv[0] = (uv[0] - 30).abs()  # left and right of column 30 show the same
    wanted = torch.tensor([[10.0, -9.0], [20.0, 20.0]])
    found, right = invert(uv, wanted, torch.tensor([[44.0, 44.0], [22.0, 20.0]]))
    assert right.tolist() == [True, False]
    assert found[:, 0].tolist() == pytest.approx([40, 20], abs=1e-3)
    _, mirrored = invert(uv, wanted[:, :1], torch.tensor([[18.0], [20.0]]))
    assert not mirrored.any()


def test_jacobian_of_a_plane_is_its_slope() -> None:
    place = analytic.grid(6, 9)
    uv = torch.stack((2 * place[0] - place[1], 0.5 * place[0] + 3 * place[1]))
    expected = torch.tensor([[2.0, -1.0], [0.5, 3.0]]).view(2, 2, 1, 1).expand(2, 2, 6, 9)
    assert torch.allclose(jacobian(uv), expected.double())


def test_a_point_is_followed(project: Project) -> None:
    number, places, seen = follow(project, (30.5, 22.25), 4)
    assert number == 0
    uv = analytic.front(torch.tensor([30.5, 22.25], dtype=torch.float64), 4)
    for t in range(analytic.T):
        assert (places[t] - analytic.front_inverse(uv, t)).abs().max() < 0.05
    assert seen.all()
    number, places, seen = follow(project, (1.0, 1.0), 0)
    assert number == 1
    assert seen[0]
    assert not seen[-1]
    with pytest.raises(UsageError, match="outside the frames of 64x48"):
        follow(project, (64.0, 3.0), 0)


def test_times_past_the_end_are_refused(project: Project) -> None:
    with pytest.raises(UsageError, match="past the end"):
        project.flow("0s", "2s")


def test_files_hold_the_flow(project: Project, tmp_path: Path) -> None:
    found = project.flow(0, 5)
    write_flow(found, tmp_path / "a.flo", image=tmp_path / "wheel.png", mask=tmp_path / "m.png")
    read = torch.from_numpy(cv2.readOpticalFlow(str(tmp_path / "a.flo"))).permute(2, 0, 1)
    assert torch.equal(read, found.flow)
    write_flow(found, tmp_path / "k.png")
    codes = cv2.imread(str(tmp_path / "k.png"), cv2.IMREAD_UNCHANGED)[:, :, ::-1].astype(float)
    kitti = torch.from_numpy((codes[:, :, :2] - 32768) / 64).permute(2, 0, 1)
    assert (kitti - found.flow).abs().max() <= 0.502 / 64
    assert torch.equal(torch.from_numpy(codes[:, :, 2].copy()), found.valid[0].double())
    mask = cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED)
    assert torch.equal(torch.from_numpy(mask > 0), found.valid[0] > 0)
    assert cv2.imread(str(tmp_path / "wheel.png")).shape == (analytic.H, analytic.W, 3)


def test_files_are_refused_before_any_is_written(project: Project, tmp_path: Path) -> None:
    found = project.flow(0, 1)
    for words in (
        {"path": "a.txt"},
        {"path": "a.flo", "image": "a.jpg"},
        {"path": "a.png", "mask": "a.png"},
        {"path": "none/a.png"},
    ):
        with pytest.raises(UsageError):
            write_flow(found, **{key: tmp_path / name for key, name in words.items()})
    far = AtlasFlow(found.flow + 600, found.valid, found.layer)
    with pytest.raises(UsageError, match=r"write a \.flo"):
        write_flow(far, tmp_path / "far.png")
    assert not list(tmp_path.iterdir())
