"""Images of a validation, as any program reads them."""

from __future__ import annotations

from pathlib import Path

import torch

from unblur.synth.textures import read_image
from unblur.training.image_grid import write_grid


def test_images_lie_where_they_belong(tmp_path: Path) -> None:
    rows = [[torch.rand(3, 5, 7) for _ in range(3)] for _ in range(2)]
    write_grid(tmp_path / "new" / "grid.png", rows)
    found = torch.from_numpy(read_image(tmp_path / "new" / "grid.png")).permute(2, 0, 1)
    assert found.shape == (3, 10, 21)
    torch.testing.assert_close(
        found[:, 5:, 7:14] / 255, rows[1][1].to(found.device), rtol=0, atol=2e-3
    )
