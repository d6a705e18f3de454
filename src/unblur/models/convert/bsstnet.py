"""BSSTNet's published checkpoints (`BSST_gopro.pth`, `BSST_dvd.pth`) to our names.

They swap the two directions of flow: what they call forward lives on a frame and points to the
previous one. Names of weights are not affected: there, too, `forward` is a pass forward in time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from unblur.errors import WeightsError
from unblur.models.bsstnet import OFFICIAL, BSSTNet
from unblur.models.bsstnet.blocks import AttentionBlock, GatedBlock
from unblur.models.bsstnet.reconstruction import relative_positions
from unblur.models.convert.names import live, published_name, translate

DEAD = (
    "feat_extract.",
    "decoder_level1_2.",
    "decoder_level2.",
    "decoder_level2_1.",
    "decoder_level2_2.",
    "conv_before_upsampler.",
    "conv_before_input.",
    "upsampler.",
    "conv_last.",
)
"""Layers that the published network holds and never calls."""
GEOMETRY = (".attention.valid_ind_rolled", ".attention.mask_padding")
"""Tables of the published network's fixed size; ours follow from the size of the frame."""
BIAS_INDEX = ".attn.relative_position_index"

PLACES = (
    (r"refiner\.down", r"blur_motion_refine.downsample.0"),
    (r"refiner\.encode1\.space", r"blur_motion_refine.encoder1.0.conv1.0"),
    (r"refiner\.encode1\.time", r"blur_motion_refine.encoder1.0.conv2.0"),
    (r"refiner\.encode2\.space", r"blur_motion_refine.encoder1.2.conv1.0"),
    (r"refiner\.encode2\.time", r"blur_motion_refine.encoder1.2.conv2.0"),
    (r"refiner\.context\.0", r"blur_motion_refine.mid_dilation.0"),
    (r"refiner\.context\.1", r"blur_motion_refine.mid_dilation.2"),
    (r"refiner\.context\.2", r"blur_motion_refine.mid_dilation.4"),
    (
        r"refiner\.propagate\.align\.(\w+)s\.offset",
        r"blur_motion_refine.feat_prop_module.deform_align.\1_.conv_offset",
    ),
    (
        r"refiner\.propagate\.align\.(\w+)s",
        r"blur_motion_refine.feat_prop_module.deform_align.\1_",
    ),
    (r"refiner\.propagate\.merge\.(\w+)s", r"blur_motion_refine.feat_prop_module.backbone.\1_"),
    (r"refiner\.propagate\.fuse", r"blur_motion_refine.feat_prop_module.fusion"),
    (r"refiner\.decode1", r"blur_motion_refine.decoder1.0"),
    (r"refiner\.decode2", r"blur_motion_refine.decoder1.2.conv"),
    (r"refiner\.up1", r"blur_motion_refine.upsample.0"),
    (r"refiner\.up2", r"blur_motion_refine.upsample.2.conv"),
    (r"encoder\.stem", r"concat"),
    (r"encoder\.to_half", r"down01"),
    (r"encoder\.at_half\.0", r"encoder_level1"),
    (r"encoder\.at_half\.1", r"encoder_level1_1"),
    (r"encoder\.to_quarter", r"down12"),
    (r"encoder\.at_quarter\.0", r"encoder_level2"),
    (r"encoder\.at_quarter\.1", r"encoder_level2_1"),
    (r"propagation\.passes\.(\w+)\.align\.offset", r"deform_align.\1.conv_offset"),
    (r"propagation\.passes\.(\w+)\.align", r"deform_align.\1"),
    (r"propagation\.passes\.(\w+)\.merge", r"backbone.\1"),
    (r"reconstruction\.merge", r"reconstruction.main.1"),
    (r"reconstruction\.norm_in", r"reconstruction.main.3"),
    (r"reconstruction\.norm_out", r"reconstruction.main.7"),
    (r"reconstruction\.groups\.(\d)\.project", r"reconstruction.main.5.\1.linear"),
    (
        r"reconstruction\.groups\.(\d)\.layers\.(\d)\.qkv",
        r"reconstruction.main.5.\1.residual_group.blocks.\2.attn.qkv_self",
    ),
    (
        r"reconstruction\.groups\.(\d)\.layers\.(\d)\.bias_table",
        r"reconstruction.main.5.\1.residual_group.blocks.\2.attn.relative_position_bias_table",
    ),
    (
        r"reconstruction\.groups\.(\d)\.layers\.(\d)\.project",
        r"reconstruction.main.5.\1.residual_group.blocks.\2.attn.proj",
    ),
    (
        r"reconstruction\.groups\.(\d)\.layers\.(\d)\.mlp\.0",
        r"reconstruction.main.5.\1.residual_group.blocks.\2.mlp.fc1",
    ),
    (
        r"reconstruction\.groups\.(\d)\.layers\.(\d)\.mlp\.2",
        r"reconstruction.main.5.\1.residual_group.blocks.\2.mlp.fc2",
    ),
    (
        r"reconstruction\.groups\.(\d)\.layers\.(\d)",
        r"reconstruction.main.5.\1.residual_group.blocks.\2",
    ),
    (r"transformer\.split\.embed", r"softsplit.embedding"),
    (r"transformer\.compose\.embed", r"softcomp.embedding"),
    (r"transformer\.compose\.smooth", r"softcomp.bias_conv"),
    (
        r"transformer\.blocks\.(\d)\.attention\.project",
        r"transsqattn.transformer.\1.attention.proj",
    ),
    (
        r"transformer\.blocks\.(\d)\.attention\.pool",
        r"transsqattn.transformer.\1.attention.pool_layer",
    ),
    (r"transformer\.blocks\.(\d)\.mlp\.widen", r"transsqattn.transformer.\1.mlp.fc1.0"),
    (r"transformer\.blocks\.(\d)\.mlp\.narrow", r"transsqattn.transformer.\1.mlp.fc2.1"),
    (r"transformer\.blocks\.(\d)", r"transsqattn.transformer.\1"),
    (r"fusion", r"cabattn"),
    (r"decoder\.narrow", r"up21.up.1"),
    (r"decoder\.skip_half", r"skip_attn1"),
    (r"decoder\.shift1\.rounds\.0", r"decoder_level1.encoder_level1"),
    (r"decoder\.shift1\.rounds\.(\d)", r"decoder_level1.encoder_level1_\1"),
    (r"decoder\.shift2\.rounds\.0", r"decoder_level1_1.encoder_level1"),
    (r"decoder\.shift2\.rounds\.(\d)", r"decoder_level1_1.encoder_level1_\1"),
    (r"decoder\.to_full\.0", r"upsample0.upsample_conv"),
    (r"decoder\.full", r"conv_hr0"),
    (r"decoder\.skip_full", r"skip_conv"),
    (r"decoder\.last", r"out_conv"),
    (r"decoder\.to_rgb", r"last_conv"),
)
"""Where our layers lie in the published network: the first pattern that begins a name counts."""

LAYERS: dict[type[nn.Module], dict[str, str]] = {
    AttentionBlock: {
        "conv1": "body.0",
        "conv2": "body.2",
        "attention.mix": "CA.conv_du.0",
        "attention.scale": "CA.conv_du.2",
    },
    GatedBlock: {
        "guide": "conv1",
        "widen": "body.0",
        "spread.kernels.0": "body.1.conv_2.weight",
        "gather.kernels.0": "body.3.conv_1.weight",
        "gather.kernels.1": "body.3.conv_2.weight",
        "gate": "body.4",
        "attention.mix": "body.6.conv_du.0",
        "attention.scale": "body.6.conv_du.2",
        "project": "body.7",
    },
}
"""Names within the blocks that occur in many places."""


def matches(keys: Collection[str]) -> bool:
    """True for the keys of a BSSTNet checkpoint."""
    return any("blur_motion_refine." in key for key in keys)


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translates a published checkpoint.

    Args:
        state: the state dict, possibly within `params`, possibly with `module.` before each name.

    Returns:
        The state dict of a `BSSTNet` of official size.

    Raises:
        WeightsError: something is missing, unexpected or of another shape; the message lists it.
    """
    found = live(unwrap(state), DEAD, GEOMETRY)
    with torch.device("meta"):
        net = BSSTNet(OFFICIAL)
    for key in [k for k in found if k.endswith(BIAS_INDEX)]:
        if not torch.equal(found.pop(key).long(), relative_positions()):
            raise WeightsError(f"BSSTNet checkpoint: {key} orders its window in another way")
    return translate(found, net, official_names(net), "BSSTNet checkpoint")


def unwrap(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The plain state dict within the published wrapping."""
    inner = state.get("params", state)
    assert isinstance(inner, Mapping)  # noqa: S101 as published
    return inner


def official_names(net: BSSTNet) -> dict[str, str]:
    """Published name of each of our tensors."""
    names = {key: published_name(key, PLACES) for key in net.state_dict()}
    for path, block in net.named_modules():
        for within, there in LAYERS.get(type(block), {}).items():
            for key in block.state_dict():
                if key == within or key.startswith(f"{within}."):
                    place = published_name(path, PLACES)
                    names[f"{path}.{key}"] = f"{place}.{there}{key[len(within) :]}"
    return names
