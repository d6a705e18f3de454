"""Fixtures of the tests that train."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def bank(tmp_path):
    """Two textures of noise at several scales."""
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    rng = np.random.default_rng(0)
    for name in "ab":
        layers = [
            cv2.resize(rng.integers(0, 255, (side, side, 3), np.uint8), (256, 256))
            for side in (8, 64, 256)
        ]
        path = tmp_path / "bank" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.mean(layers, 0).astype(np.uint8))
    return tmp_path / "bank"
