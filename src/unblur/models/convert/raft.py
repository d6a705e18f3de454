"""RAFT's published state dict (raft-things.pth) to ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from unblur.errors import WeightsError
from unblur.models import list_differences
from unblur.models.convert.names import bare
from unblur.models.raft import Raft

NAMES = (
    ("features.", "fnet."),
    ("context.", "cnet."),
    (".stem.0.", ".conv1."),
    (".stem.1.", ".norm1."),
    (".stages.0.", ".layer1."),
    (".stages.1.", ".layer2."),
    (".stages.2.", ".layer3."),
    (".head.", ".conv2."),
    (".shortcut.", ".downsample."),
    ("update.found", "update_block.encoder.convc"),
    ("update.flow", "update_block.encoder.convf"),
    ("update.merge.", "update_block.encoder.conv."),
    ("update.gru_across.update.", "update_block.gru.convz1."),
    ("update.gru_across.reset.", "update_block.gru.convr1."),
    ("update.gru_across.candidate.", "update_block.gru.convq1."),
    ("update.gru_down.update.", "update_block.gru.convz2."),
    ("update.gru_down.reset.", "update_block.gru.convr2."),
    ("update.gru_down.candidate.", "update_block.gru.convq2."),
    ("update.step.0.", "update_block.flow_head.conv1."),
    ("update.step.2.", "update_block.flow_head.conv2."),
    ("upsampling.", "update_block.mask."),
)
"""Part of our name, part of the published name."""


def matches(keys: Collection[str]) -> bool:
    """Whether a state dict with these keys is a large RAFT."""
    return {"fnet.conv1.weight", "update_block.gru.convz1.weight"} <= set(bare(dict.fromkeys(keys)))


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the 179 published entries, with or without `module.`, to our 169.

    The published network registers the normalisation of a shortcut twice (`norm3` and
    `downsample.1`); loading takes the second, and so do we.

    Raises:
        WeightsError: an entry is missing, unexpected or of another shape; the message lists them.
    """
    found = bare(state)
    with torch.device("meta"):
        ours = {name: tuple(value.shape) for name, value in Raft().state_dict().items()}
    expected = {published_name(name): shape for name, shape in ours.items()}
    twice = {
        name.replace(".downsample.1.", ".norm3."): shape
        for name, shape in expected.items()
        if ".downsample.1." in name
    }
    differences = list_differences(
        expected | twice, {name: tuple(value.shape) for name, value in found.items()}
    )
    if differences:
        raise WeightsError(f"not the published large RAFT: {differences}")
    return {name: found[published_name(name)] for name in ours}


def published_name(name: str) -> str:
    """What the published checkpoint calls our tensor `name`."""
    for our_part, published_part in NAMES:
        name = name.replace(our_part, published_part)
    return name
