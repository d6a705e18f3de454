"""Masks: from motion, from files, from SAM 2."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.atlas import focus_pull
from unblur.atlas.fitting import masks
from unblur.atlas.fitting.masks import fill_holes, labels_of, motion_masks, sam_masks
from unblur.atlas.fitting.motion import find_motion
from unblur.errors import ResourceError, UsageError

SIZE = (focus_pull.H, focus_pull.W)


def test_what_moves_is_found() -> None:
    pull = focus_pull.clip()
    found = motion_masks(find_motion(pull.blurred), focus_pull.T, SIZE, 2)
    both = ((found > 0) & (pull.labels > 0)).sum() / ((found > 0) | (pull.labels > 0)).sum()
    assert both > 0.6


def test_nothing_is_found_where_all_moves_the_same_way() -> None:
    still = focus_pull.clip(moves=False)
    assert not motion_masks(find_motion(still.blurred), focus_pull.T, SIZE, 2).any()


def test_holes_are_filled() -> None:
    ring = torch.zeros(9, 9, dtype=torch.uint8)
    ring[2:7, 2:7] = 1
    ring[4, 4] = 0
    filled = torch.from_numpy(fill_holes(ring.numpy()))
    assert int(filled.sum()) == 25


def test_labels_of_two_layers_are_rough_masks() -> None:
    soft = torch.linspace(0, 1, 5).view(1, 1, 5)
    assert labels_of([soft], 2).tolist() == [[[0, 0, 1, 1, 1]]]


def test_labels_of_three_layers_are_greys() -> None:
    image = torch.tensor([[[0.0, 0.5, 1.0, 0.5]]])
    assert labels_of([image, image], 3)[1].tolist() == [[0, 1, 2, 1]]
    with pytest.raises(UsageError, match="3 greys, and these have 2"):
        labels_of([image[..., :2]], 3)


class FakeSam:
    """Marks all that is bright, and remembers what it was given."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []

    def __call__(self, pixel_values, input_points, input_labels, multimask_output):
        assert pixel_values.shape == (1, 3, 1024, 1024)
        assert input_labels.shape == (1, 1, 1)
        self.points.append(tuple(input_points[0, 0, 0].tolist()))
        small = torch.nn.functional.interpolate(pixel_values, size=(256, 256)).mean(1)
        wrong = -torch.ones_like(small)
        return SimpleNamespace(
            iou_scores=torch.tensor([[[0.2, 0.9]]]),
            pred_masks=torch.stack((wrong, small), 1)[:, None],
        )


def test_sam_follows_the_object() -> None:
    frames = torch.zeros(3, 3, 40, 60)
    for t in range(3):
        frames[t, :, 10:20, 10 + 8 * t : 20 + 8 * t] = 1
    net = FakeSam()
    found = sam_masks(frames, (15, 15), net)
    assert (found == frames[:, 0].long()).float().mean() > 0.98
    columns = [x * 60 / 1024 for x, _ in net.points]
    assert columns[0] == pytest.approx(15)
    assert columns[2] == pytest.approx(22.5, abs=1.5), "prompted where the object was in the last"


def test_sam_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="outside"):
        sam_masks(torch.zeros(1, 3, 8, 8), (9, 1), FakeSam())
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ResourceError, match="--masks"):
        masks.load_sam()
