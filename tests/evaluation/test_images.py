"""The sheet of a clip: methods beside each other, and what is wrong enlarged below."""

from __future__ import annotations

import cv2
import torch

from unblur.evaluation.images import ENLARGED, GAP, HEAD, furthest, write_sheet


def test_the_part_with_the_largest_error_is_enlarged(tmp_path):
    truth = torch.full((3, 90, 120), 0.5)
    given = truth.clone()
    given[:, 60:70, 80:90] = 1.0
    _, rows, columns = furthest(given, truth)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (30, 40)
    assert rows.start <= 60 < 70 <= rows.stop
    assert columns.start <= 80 < 90 <= columns.stop
    path = tmp_path / "sheet.png"
    write_sheet(path, truth, [("input", given), ("better", truth)])
    sheet = cv2.imread(str(path))
    assert sheet.shape == (HEAD + 2 * 90 + GAP, 3 * 120 + 2 * GAP, 3)
    below = sheet[HEAD + 90 + GAP :, :120]
    assert (below > 250).all(-1).sum() > 0.8 * 10 * 10 * ENLARGED**2
