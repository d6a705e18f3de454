"""What a scene is drawn from."""

from __future__ import annotations

import pytest

from unblur.errors import UsageError
from unblur.synth import SceneConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "zoom"},
        {"layers": (0, 3)},
        {"layers": (5, 2)},
        {"exposure": (0.5, 1.5)},
        {"exposure": (0.0, 0.5)},
        {"static": 0.8, "light": 0.5},
        {"noise": 1.5},
        {"motion": (-1.0, 4.0)},
        {"max_samples": 0},
        {"sample_step": 0.0},
        {"quality": (0.0, 50.0)},
        {"interpolation": "nearest"},
        {"gamma": (float("nan"), 2.0)},
    ],
    ids=str,
)
def test_a_wrong_config_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SceneConfig(**wrong)  # type: ignore[arg-type]
