"""Names and shapes of a published state dict to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from unblur.errors import WeightsError
from unblur.models import list_differences

V = TypeVar("V")

Places = tuple[tuple[str, str], ...]
"""Pattern of our name, and what the published network has there: the first that matches counts."""


def bare(state: Mapping[str, V]) -> dict[str, V]:
    """Entries without what a parallel wrapper puts before their names."""
    return {key.removeprefix("module."): value for key, value in state.items()}


def live(state: Mapping[str, V], dead: tuple[str, ...], geometry: tuple[str, ...]) -> dict[str, V]:
    """The bare entries of layers that are called, without tables that follow from a size.

    Args:
        state: the published state dict.
        dead: how names begin of layers that the published network never calls.
        geometry: how names end of tables of its fixed size.
    """
    found = bare(state).items()
    return {k: v for k, v in found if not (k.startswith(dead) or k.endswith(geometry))}


def published_name(name: str, places: Places) -> str:
    """What the published checkpoint calls our layer or tensor `name`."""
    for ours, theirs in places:
        match = re.match(ours + r"(?![\w])", name)
        if match:
            return match.expand(theirs) + name[match.end() :]
    raise AssertionError(f"no place for {name}")


def published_names(net: nn.Module, places: Places) -> dict[str, str]:
    """Published name of each tensor of `net`."""
    return {name: published_name(name, places) for name in net.state_dict()}


def translate(
    found: Mapping[str, Tensor], net: nn.Module, names: Mapping[str, str], what: str
) -> dict[str, Tensor]:
    """Gives published tensors the names and shapes that they have in `net`.

    Args:
        found: the published state dict, without layers that are never called.
        net: the network, possibly on the meta device.
        names: published name of each of our tensors.
        what: it was taken for, for the message.

    Raises:
        WeightsError: something is missing, unexpected or of another shape; the message lists it.
    """
    ours = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    expected = {names[name]: shape for name, shape in ours.items()}
    shapes = {key: drop_unit_axis(value, expected.get(key)) for key, value in found.items()}
    differences = list_differences(expected, shapes)
    if differences:
        raise WeightsError(f"not the {what} that unblur knows: {differences}")
    return {name: found[names[name]].reshape(shape).float() for name, shape in ours.items()}


def drop_unit_axis(tensor: Tensor, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Shape of a tensor, without the axes of length 1 that make our 2-D kernels 3-D there."""
    own = tuple(tensor.shape)
    if shape is None or len(own) != 5 or own not in ((*shape[:2], 1, *shape[2:]), (*shape, 1)):
        return own
    return shape
