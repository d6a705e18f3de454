"""Networks only: no files, no guidance, no video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from unblur.errors import WeightsError

M = TypeVar("M", bound=nn.Module)


def load_state(module: M, state: Mapping[str, Tensor], source: str) -> M:
    """Loads `state` into `module`, all of it and nothing else, and returns the module in eval mode.

    Args:
        module: the network.
        state: tensors by name; half precision is widened to the module's own.
        source: what the state came from, for the message.

    Raises:
        WeightsError: a tensor is missing, unexpected, or of another shape; the message lists them.
    """
    own = module.state_dict()
    differences = list_differences(
        {name: tuple(tensor.shape) for name, tensor in own.items()},
        {name: tuple(tensor.shape) for name, tensor in state.items()},
    )
    if differences:
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {differences}")
    module.load_state_dict(dict(state))
    return module.eval()


def list_differences(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> str:
    """One line that names what is missing, unexpected and of another shape; empty if nothing."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    shapes = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    groups = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
        for kind, names in groups.items()
        if names
    )
