"""The model that does nothing: proves that the way through the tool loses nothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from unblur.restorers.base import Guidance, LoadOptions, Preset, Priors, RestorerInfo, Window


class Untouched:
    """Gives back what it gets."""

    info = RestorerInfo(
        name="none",
        summary="passes frames through untouched",
        blur="any",
        light="encoded",
        licence="Apache-2.0",
        parameters=0,
        ships=True,
        passes_through=True,
    )

    def windows(self, length: int, limit: int | None = None) -> list[Window]:
        """One frame at a time."""
        return [Window((i,), (i,)) for i in range(length)]

    def guide(self, frames: Tensor, priors: Priors | None = None) -> Guidance:
        """Needs none."""
        return {}

    def run(self, frames: Tensor, guidance: Guidance, outputs: Sequence[int]) -> Tensor:
        """The frames themselves."""
        return frames[list(outputs)]

    def peak_bytes(self, frames: int, height: int, width: int) -> int:
        """A copy of the frames."""
        return frames * 3 * height * width * 4


def _load(options: LoadOptions) -> Untouched:
    return Untouched()


PRESETS = (Preset(Untouched.info, _load),)
