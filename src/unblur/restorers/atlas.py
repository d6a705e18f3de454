"""The layered atlas as a restorer: a shot is taken apart into sharp layers and put together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unblur.errors import ResourceError, UsageError
from unblur.ops.color import from_linear, to_linear
from unblur.restorers.base import (
    Guidance,
    LoadOptions,
    Preset,
    Priors,
    RestorerInfo,
    SizeRequirements,
    Tiling,
    Window,
)

MOST = 400
"""Frames of a shot."""
FEWEST = 3
WHOLE = 1 << 16
"""Side of a tile that no frame reaches: frames are fitted whole."""
BYTES_PER_PIXEL = 200
"""Of all frames, as in `unblur.atlas.fitting.inputs`."""

INFO = RestorerInfo(
    name="atlas",
    summary="fits sharp layers to each shot, for focus that moves; minutes a shot, no training",
    blur="focal",
    light="linear",
    licence="Apache-2.0",
    parameters=0,
    sizes=SizeRequirements(minimum=WHOLE),
    tiling=Tiling(size=WHOLE),
    window=MOST,
    reach=None,
    ships=True,
)


class AtlasRestorer:
    """Fits a whole shot at once; `unblur atlas fit` leaves more to choose and keeps the layers."""

    info = INFO

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def windows(self, length: int, limit: int | None = None) -> list[Window]:
        """All frames of a shot.

        Raises:
            ResourceError: it is too long for the memory, or for a fit.
        """
        most = MOST if limit is None else min(limit, MOST)
        if length > most:
            raise ResourceError(
                f"atlas fits a whole shot at once, and one of {length} frames is longer than the"
                f" {most} that fit: cut it with --start and --end, scale it down, or raise"
                " --max-memory"
            )
        everything = tuple(range(length))
        return [Window(everything, everything)]

    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """Needs none: the fit finds what it wants to know."""
        return {}

    def run(self, frames: Tensor, guidance: Guidance, outputs: Sequence[int]) -> Tensor:
        """The frames at positions `outputs` of a shot, all in focus; 1 or 2 are left alone."""
        if len(frames) < FEWEST:
            return frames[list(outputs)]
        from unblur.atlas.fitting.fit import sharp_frames
        from unblur.atlas.fitting.presets import preset
        from unblur.atlas.fitting.take import fit_frames

        # The engine runs networks without gradients, and a fit is nothing but gradients.
        with torch.inference_mode(False), torch.enable_grad():
            encoded = from_linear(frames.clone().float().cpu()).clamp(0, 1)
            fitter = fit_frames(encoded, preset("cpu"))
            sharp = to_linear(sharp_frames(fitter.model, list(outputs)))
        return sharp.to(frames)

    def peak_bytes(self, frames: int, height: int, width: int) -> int:
        """Flow over several gaps above all."""
        return frames * height * width * BYTES_PER_PIXEL


def _load(options: LoadOptions) -> AtlasRestorer:
    if options.weights is not None:
        raise UsageError("atlas has no weights: leave --weights out")
    return AtlasRestorer(options.device)


PRESETS = (Preset(INFO, _load),)
