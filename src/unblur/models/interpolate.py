"""Means of two sets of weights of one network, or of a network and what it began as.

Weights of a training and those that it began with lie in one valley of the loss: what is between
them is often better than either, and remembers what a training forgets (Wortsman et al., *Robust
fine-tuning of zero-shot models*, CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from unblur import weights
from unblur.errors import UsageError, WeightsError
from unblur.models.aligned import (
    FOCUS_M,
    FOCUS_S,
    MOTION_M,
    MOTION_S,
    AlignedConfig,
    begin_from,
)
from unblur.weights.difference import load_whole

Adapt = Callable[[dict[str, Tensor]], dict[str, Tensor]]
ALIGNED: Mapping[str, AlignedConfig] = {
    "motion-s": MOTION_S,
    "motion-m": MOTION_M,
    "focus-s": FOCUS_S,
    "focus-m": FOCUS_M,
}
"""Networks that can begin as another."""


def mean_of_files(
    first: Path, second: Path, share: float, shares: Mapping[str, float] | None = None
) -> tuple[dict[str, Tensor], str]:
    """The mean of the weights in two files.

    Args:
        first: of the network of the second, or of one that it can begin as.
        second: that network's.
        share: of the second in the mean, 0 to 1.
        shares: other shares for tensors whose names hold the key; the first match counts.

    Returns:
        The weights in half precision, and the name of their network.

    Raises:
        WeightsError: a file is damaged, or they are of different networks.
        UsageError: a share is outside 0 to 1, or is for no tensor.
    """
    names = [*weights.model_names(second), second.stem]
    if len(names) == 1:  # it does not say what it is: then it is what the other is
        names += [*weights.model_names(first), first.stem]
    known = next((name for name in names if name in ALIGNED), None)
    if known is None:
        states = [weights.load(path) for path in (first, second)]
    else:
        adapt = partial(begin_from, config=ALIGNED[known])
        states = [_of_network(path, adapt) for path in (first, second)]
    try:
        return mean(states[0], states[1], share, shares or {}), known or names[0]
    except ValueError as error:
        raise WeightsError(
            f"{first} and {second} are not of one network: {error}: take weights of the same "
            "model, or those that it began as"
        ) from error


def _of_network(path: Path, adapt: Adapt) -> dict[str, Tensor]:
    try:
        return adapt(load_whole(path, adapt, any_size=True))
    except (KeyError, ValueError) as error:
        raise WeightsError(
            f"{path} does not hold the weights that it names ({error}): check the file"
        ) from error


def mean(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    share: float,
    shares: Mapping[str, float],
) -> dict[str, Tensor]:
    """Interpolates two state dicts, in half precision. See `mean_of_files`.

    Raises:
        ValueError: their names or shapes differ.
        UsageError: a share is outside 0 to 1, or is for no tensor.
    """
    for key, value in (("", share), *shares.items()):
        if not 0 <= value <= 1:
            raise UsageError(f"share {value}: must be in [0, 1]")
        if not any(key in name for name in second):
            raise UsageError(f"share of {key}: no tensor's name holds that")
    if unlike := sorted(set(first) ^ set(second)):
        raise ValueError(f"only one has {unlike[0]}")
    mixed = {}
    for name, x in second.items():
        if first[name].shape != x.shape:
            raise ValueError(f"{name} is {tuple(first[name].shape)} and {tuple(x.shape)}")
        own = next((value for key, value in shares.items() if key in name), share)
        mixed[name] = first[name].float().lerp(x.float(), own).half()
    return mixed
