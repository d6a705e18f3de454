"""The flow's colour wheel and the image of flow beside blur map."""

from __future__ import annotations

import pytest
import torch

from unblur.guidance.flow_image import color_wheel, flow_to_rgb, motion_image


def color_of(u: float, v: float, longest: float = 1) -> list[float]:
    flow = torch.tensor([u, v]).reshape(1, 2, 1, 1)
    return flow_to_rgb(flow, longest)[0, :, 0, 0].tolist()


def test_wheel_has_its_55_colors():
    wheel = color_wheel()
    assert wheel.shape == (55, 3)
    assert wheel[0].tolist() == [1, 0, 0]
    assert wheel[15].tolist() == [1, 1, 0]
    assert wheel[21].tolist() == [0, 1, 0]
    assert wheel[25].tolist() == [0, 1, 1]
    assert wheel[36].tolist() == [0, 0, 1]
    assert wheel[49].tolist() == [1, 0, 1]


def test_colors_of_directions():
    right, down, left, up = color_of(1, 0), color_of(0, 1), color_of(-1, 0), color_of(0, -1)
    assert right == pytest.approx([1, 0, 0], abs=1e-5), "right is red"
    assert down[0] == pytest.approx(1)
    assert down[1] == pytest.approx(0.9, abs=0.05), "down is yellow"
    assert left[0] == pytest.approx(0)
    assert left[2] == pytest.approx(1, abs=0.05), "left is blue-green"
    assert up[2] == pytest.approx(1)
    assert up[1] == pytest.approx(0), "up is violet"


def test_no_motion_is_white_and_shorter_is_paler():
    assert color_of(0, 0) == [1, 1, 1]
    assert color_of(0.5, 0) == pytest.approx([1, 0.5, 0.5], abs=1e-5)


def test_longer_than_the_longest_is_darkened():
    assert color_of(3, 0) == pytest.approx([0.75, 0, 0], abs=1e-5)


def test_colors_are_relative_to_the_longest_by_default():
    flow = torch.randn(2, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(flow_to_rgb(flow), flow_to_rgb(7 * flow), atol=1e-5, rtol=0)
    assert flow_to_rgb(torch.zeros(1, 2, 3, 3)).eq(1).all()
    assert flow_to_rgb(flow).min() >= 0
    assert flow_to_rgb(flow).max() <= 1


def test_image_shows_frame_flow_and_blur_in_this_order():
    frame = torch.full((3, 8, 12), 0.25)
    flow = torch.tensor([1.0, 0.0]).reshape(2, 1, 1).expand(2, 2, 3)
    image = motion_image(frame, flow, torch.full((1, 2, 3), 0.5))
    assert image.shape == (3, 8, 3 * 12 + 16)
    torch.testing.assert_close(image[..., :12], frame)
    assert image[:, 4, 26].tolist() == pytest.approx([1, 0, 0], abs=1e-5)
    assert image[:, 4, 46].tolist() == pytest.approx([0.5] * 3)
