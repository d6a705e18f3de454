"""The same numbers on every device: operations, networks, restorers, scenes, steps of training.

On a GPU (`--device cuda`) each case is compared with the CPU in fp32. On a CPU precisions are
compared with each other, and a pretended device stands in for a GPU: it computes on the CPU and
refuses what a GPU would.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests import pretend
from tests.device_cases import (
    NETWORKS,
    OPERATIONS,
    RESTORERS,
    SCENES,
    TRAINED,
    Case,
)

CPU = torch.device("cpu")
ALL: dict[str, Case] = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("operation", OPERATIONS),
        ("network", NETWORKS),
        ("restorer", RESTORERS),
        ("scenes", SCENES),
        ("training", TRAINED),
    )
    for name, case in cases.items()
}


@pytest.fixture
def elsewhere() -> Iterator[torch.device]:
    """A device that is not the CPU."""
    if not pretend.AVAILABLE:
        pytest.skip("this PyTorch has no back ends in Python")
    with pretend.pretending() as device:
        yield device


@pytest.mark.parametrize("name", ALL)
def test_what_runs_on_a_device_stays_there(name: str, elsewhere: torch.device) -> None:
    found, truth = ALL[name](elsewhere, "fp32"), ALL[name](CPU, "fp32")
    wanted = "cpu" if name.startswith("restorer") else elsewhere.type
    assert found.device.type == wanted
    torch.testing.assert_close(found.cpu(), truth, rtol=1e-4, atol=1e-5)
