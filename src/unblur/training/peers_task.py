"""How networks of other papers are trained, and the aligned network as narrow as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unblur.models import aligned
from unblur.models.peers import BasicVSRPP, BasicVSRPPConfig, NAFNet, NAFNetConfig
from unblur.training.batches import Batch
from unblur.training.deblur_task import Deblur, TrainAligned
from unblur.training.recipe import Recipe

ALIGNED = aligned.AlignedConfig(width=16, tiles=(4, 8, 4))
"""Narrow enough to cost what the arms of BSSTNet's tables do."""


class TrainPeer(Deblur):
    """A network that its config alone makes; `options` are its fields."""

    net: type[nn.Module]
    preset: Any

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        super().__init__(recipe, device, self.preset)

    def network(self) -> nn.Module:
        """With random weights."""
        return self.net(self.config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class TrainNAFNet(TrainPeer):
    """NAFNet, one frame at a time; all frames of a clip are learned from."""

    net, preset = NAFNet, NAFNetConfig()

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> Tensor:
        """Each frame by itself."""
        frames = batch.blurred[:, outputs]
        return network(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])


class TrainBasicVSRPP(TrainPeer):
    """BasicVSR++, all frames of a clip at once."""

    net, preset = BasicVSRPP, BasicVSRPPConfig()
    needs_flow = True

    def apply(self, network: nn.Module, batch: Batch, outputs: list[int]) -> Tensor:
        """All frames at once; those requested are kept."""
        return network(batch.blurred, batch.flow_forward, batch.flow_backward)[:, outputs]


class TrainAlignedAnew(TrainAligned):
    """The aligned network from random weights: at first it gives back its input.

    It learns from all frames of a clip, as the networks beside it do: so the clip counts as much.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        super().__init__(recipe, device, ALIGNED)

    def network(self) -> nn.Module:
        """With `options` on top of `ALIGNED`."""
        return giving_back(super().network())

    def trained_on(self, frames: int, seed: int) -> list[int]:
        """All of them."""
        return list(range(frames))


def giving_back(net: nn.Module) -> nn.Module:
    """An aligned network with its last layer at zero, so that it gives back its input."""
    for kind in ("weight", "bias"):
        nn.init.zeros_(net.get_parameter(f"body.sam.0.picture.{kind}"))
    return net
