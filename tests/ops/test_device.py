"""Names of devices, those that are not there among them."""

from __future__ import annotations

import pytest
import torch

from unblur.errors import ResourceError, UsageError
from unblur.ops.device import choose_device


def test_what_is_there_is_taken():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto", mps=False).type in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("name", "mps", "error", "remedy"),
    [
        ("tpu", True, UsageError, "unknown device 'tpu': use auto, cpu, cuda, cuda:N or mps"),
        ("tpu", False, UsageError, "unknown device 'tpu': use auto, cpu, cuda, cuda:N$"),
        ("mps", False, UsageError, "does not run on 'mps': use auto, cpu"),
        ("cuda:99", True, ResourceError, "'cuda:99' is not available .* --device cpu"),
        ("meta", True, UsageError, "does not run on 'meta': use auto, cpu"),
    ],
)
def test_what_is_not_there_is_refused_with_a_remedy(name, mps, error, remedy):
    with pytest.raises(error, match=remedy):
        choose_device(name, mps)
