"""DaBiT's published checkpoint (`dabit.pth`) and its flow refocusing network to our names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from unblur.models.convert.names import Places, bare, live, published_names, translate
from unblur.models.dabit import OFFICIAL, Dabit
from unblur.models.flow_refocus import FlowRefocus

DEAD = ("deform_align.", "backbone.", "feat_extract.")
"""Layers that the published network holds and never calls."""
GEOMETRY = (".attention.valid_ind_rolled",)
"""Table of the window's neighbours; ours follows from the sizes of the window."""

PLACES: Places = (
    (r"encoder\.down\.0", r"encoder.layers.0"),
    (r"encoder\.down\.1", r"encoder.layers.2"),
    (r"encoder\.down\.2", r"encoder.layers.4"),
    (r"encoder\.down\.3", r"encoder.layers.6"),
    (r"encoder\.widen", r"encoder.layers.8"),
    (r"encoder\.merges\.0", r"encoder.layers.10"),
    (r"encoder\.merges\.1", r"encoder.layers.12"),
    (r"encoder\.merges\.2", r"encoder.layers.14"),
    (r"encoder\.merges\.3", r"encoder.layers.16"),
    (r"propagation\.(\w+)s\.offset", r"feat_prop_module.deform_align.\1_1.conv_offset"),
    (r"propagation\.(\w+)s\.merge", r"feat_prop_module.backbone.\1_1"),
    (r"propagation\.(\w+)s", r"feat_prop_module.deform_align.\1_1"),
    (r"propagation\.fuse", r"feat_prop_module.fuse"),
    (r"transformer\.split\.embed", r"ss.embedding"),
    (r"transformer\.compose\.embed", r"sc.embedding"),
    (r"transformer\.compose\.smooth", r"sc.bias_conv"),
    (
        r"transformer\.blocks\.(\d)\.attention\.project",
        r"transformers.transformer.\1.attention.proj",
    ),
    (
        r"transformer\.blocks\.(\d)\.attention\.pool",
        r"transformers.transformer.\1.attention.pool_layer",
    ),
    (r"transformer\.blocks\.(\d)\.mlp\.widen", r"transformers.transformer.\1.mlp.fc1.0"),
    (r"transformer\.blocks\.(\d)\.mlp\.narrow", r"transformers.transformer.\1.mlp.fc2.1"),
    (r"transformer\.blocks\.(\d)", r"transformers.transformer.\1"),
    (r"decoder\.at_half\.0", r"decoder.0.conv"),
    (r"decoder\.at_half\.1", r"decoder.2"),
    (r"decoder\.at_full", r"decoder.4.conv"),
    (r"decoder\.to_rgb", r"decoder.6"),
    (r"head\.narrow", r"reconstruction.main.0"),
    (r"head\.blocks\.(\d)", r"reconstruction.main.2.\1"),
    (r"head\.enlarge\.0", r"upsample1.upsample_conv"),
    (r"head\.enlarge\.1", r"upsample2.upsample_conv"),
    (r"head\.enlarge\.2", r"upsample3.upsample_conv"),
    (r"head\.smooth", r"conv_hr"),
    (r"head\.to_rgb", r"conv_last"),
)
"""Where our layers lie in the published network: the first pattern that begins a name counts."""

FLOW_PLACES: Places = (
    (r"down", r"downsample.0"),
    (r"encode(\d)\.0\.space", r"encoder\1.0.conv1.0"),
    (r"encode(\d)\.0\.time", r"encoder\1.0.conv2.0"),
    (r"encode(\d)\.1\.space", r"encoder\1.2.conv1.0"),
    (r"encode(\d)\.1\.time", r"encoder\1.2.conv2.0"),
    (r"context\.0", r"mid_dilation.0"),
    (r"context\.1", r"mid_dilation.2"),
    (r"context\.2", r"mid_dilation.4"),
    (r"propagate\.align\.(\w+)s\.offset", r"feat_prop_module.deform_align.\1_.conv_offset"),
    (r"propagate\.align\.(\w+)s", r"feat_prop_module.deform_align.\1_"),
    (r"propagate\.merge\.(\w+)s", r"feat_prop_module.backbone.\1_"),
    (r"propagate\.fuse", r"feat_prop_module.fusion"),
    (r"decode(\d)\.conv", r"decoder\1.0"),
    (r"decode(\d)\.up", r"decoder\1.2.conv"),
    (r"to_flow\.conv", r"upsample.0"),
    (r"to_flow\.up", r"upsample.2.conv"),
    (r"edges\.project", r"edgeDetector.projection.0"),
    (r"edges\.middle(\d)", r"edgeDetector.mid_layer_\1.0"),
    (r"edges\.last", r"edgeDetector.out_layer"),
)
"""The same for the flow network."""


def matches(keys: Collection[str]) -> bool:
    """True for the keys of a DaBiT checkpoint."""
    return {"ss.embedding.weight", "upsample3.upsample_conv.weight"} <= bare(
        dict.fromkeys(keys)
    ).keys()


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translates the published checkpoint of DaBiT, 430 entries with the dead ones.

    Args:
        state: the state dict, possibly with `module.` before each name.

    Returns:
        The state dict of a `Dabit` of official size.

    Raises:
        WeightsError: something is missing, unexpected or of another shape; the message lists it.
    """
    with torch.device("meta"):
        net = Dabit(OFFICIAL)
    found = live(state, DEAD, GEOMETRY)
    return translate(found, net, published_names(net, PLACES), "DaBiT checkpoint")


def matches_flow(keys: Collection[str]) -> bool:
    """True for the keys of a flow refocusing checkpoint."""
    return {"mid_dilation.0.weight", "encoder1.0.conv1.0.weight"} <= bare(
        dict.fromkeys(keys)
    ).keys()


def convert_flow(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translates a flow refocusing network of the published size, 74 entries.

    Args:
        state: the state dict, possibly with `module.` before each name.

    Returns:
        The state dict of a `FlowRefocus` of official size.

    Raises:
        WeightsError: something is missing, unexpected or of another shape; the message lists it.
    """
    with torch.device("meta"):
        net = FlowRefocus()
    names = published_names(net, FLOW_PLACES)
    return translate(bare(state), net, names, "flow refocusing checkpoint of DaBiT")
