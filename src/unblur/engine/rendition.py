"""How images are shown to a network, and how its answer becomes an image as it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from unblur.ops.color import SRGB, from_linear, to_linear
from unblur.restorers.base import Light, Restorer


@dataclass(frozen=True)
class Rendition:
    """How images are shown to a network, and how much of its answer is taken."""

    light: Light
    transfer: str
    """Transfer characteristic of the stored signal, as `ops.color` names it."""
    strength: float = 1.0
    """0 keeps the input, 1 takes the network's image."""

    def show(self, x: Tensor) -> Tensor:
        """What the network sees of images as they are stored."""
        if self.light == "linear":
            return to_linear(x, self.transfer)
        return self.encoded(x)

    def encoded(self, x: Tensor) -> Tensor:
        """Images as they are stored, encoded where that is linear light."""
        return from_linear(x, SRGB) if self.transfer == "linear" else x

    def stored(self, x: Tensor) -> Tensor:
        """The inverse of `encoded`."""
        return to_linear(x, SRGB) if self.transfer == "linear" else x

    def take_back(self, x: Tensor) -> Tensor:
        """The inverse of `show`."""
        if self.light == "linear":
            return from_linear(x, self.transfer)
        return self.stored(x)


def choose_rendition(
    restorer: Restorer,
    light: Literal["auto", "linear", "encoded"],
    transfer: str | None,
    strength: float,
) -> Rendition:
    """The light of a job: what the user says, else what the restorer wants.

    Under PQ and HLG `auto` takes the encoded signal: in linear light nearly all of such an image
    lies within a few hundredths of the range, where no network was trained.
    """
    chosen = restorer.info.light if light == "auto" else light
    if light == "auto" and transfer in ("smpte2084", "arib-std-b67"):
        chosen = "encoded"
    return Rendition(chosen, transfer or SRGB, strength)
