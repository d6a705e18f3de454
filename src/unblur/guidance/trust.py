"""The guard: keeps of a restoration what makes a frame better."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur import weights
from unblur.models import fit
from unblur.models.trust import Trust

TRUST_WEIGHTS = "trust-s"


def load_trust_s(device: torch.device | str = "cpu") -> Trust:
    """trust-s with the weights that ship."""
    path = weights.require(TRUST_WEIGHTS, "they come with unblur: install it again")
    return fit(Trust(), weights.load(path), str(path)).to(device)


def guarded(network: Trust, frames: Tensor, restored: Tensor) -> Tensor:
    """Restored frames without the changes that are not trusted.

    Args:
        network: on the device of the frames.
        frames: (N, 3, H, W) as they came, encoded RGB in [0, 1].
        restored: (N, 3, H, W).

    Returns:
        (N, 3, H, W), between both.
    """
    change = restored - frames
    with torch.no_grad(), torch.autocast(frames.device.type, enabled=False):
        trust = network(frames.float(), change.float())
    return frames + trust.to(change) * change
