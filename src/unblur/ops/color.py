"""Transfer functions: from the encoded signal of a video to light, and back.

Blur adds up in linear light, so blur is made and undone there. Each curve maps the encoded signal
0..1 onto light 0..1, is odd below 0 (`f(-x) = -f(x)`), goes on above 1, and is inverted exactly by
its partner. Where a formula has an infinite slope or a pole (a pure power at 0, PQ at 0 and
above 1) a straight line takes over, in both directions, so that every gradient is finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.errors import MediaError

SRGB = "iec61966-2-1"
"""FFmpeg's name of the curve that most images, and videos that say nothing, are taken to have."""
PQ_PEAK = 10_000.0
"""Candela per square metre of linear 1.0 under PQ. (HLG is relative: its 1.0 is the scene's peak,
and every other curve's 1.0 is reference white.)"""


def to_linear(x: Tensor, transfer: str | None = None) -> Tensor:
    """Encoded signal to linear light.

    Args:
        x: encoded values of any shape, nominally in [0, 1]; values outside are defined.
        transfer: FFmpeg's name of the curve (`iec61966-2-1` is sRGB, `bt709`, `gamma22`,
            `smpte2084` is PQ, `arib-std-b67` is HLG, `linear`, ...); None, for video that does
            not say, is sRGB.

    Returns:
        Light of the same shape and dtype, nominally in [0, 1]. PQ: 1.0 is `PQ_PEAK`.
        Half precision is computed in float32.

    Raises:
        MediaError: the curve is not known.
    """
    curve = _curve(transfer)
    return x if curve is None else _exactly(x, curve.to_linear)


def from_linear(x: Tensor, transfer: str | None = None) -> Tensor:
    """Linear light to the encoded signal: the inverse of `to_linear`, with the same arguments."""
    curve = _curve(transfer)
    return x if curve is None else _exactly(x, curve.from_linear)


def known_transfers() -> frozenset[str]:
    """Names that `to_linear` and `from_linear` take."""
    return frozenset(_CURVES)


@dataclass(frozen=True)
class _Curve:
    """A formula on [low, high] of the encoded signal, and straight lines on both sides of it.

    The pieces are added instead of chosen from: `torch.where` is slow, and this way the curve is
    odd and its gradient at 0 is that of the line.
    """

    decode: Callable[[Tensor], Tensor]
    """Encoded to light, used on [low, high] only."""
    encode: Callable[[Tensor], Tensor]
    """Light to encoded, used on [decode(low), decode(high)] only."""
    low: float
    low_light: float
    """decode(low)."""
    high: float = math.inf
    high_light: float = math.inf
    slope: float = 1.0
    """Slope of `decode` at `high`."""

    def to_linear(self, x: Tensor) -> Tensor:
        line = x.clamp(-self.low, self.low) * (self.low_light / self.low)
        formula = self.decode(x.abs().clamp(self.low, self.high)) - self.low_light
        light = line + x.sign() * formula
        if self.high < math.inf:
            light = light + self.slope * (x - x.clamp(-self.high, self.high))
        return light

    def from_linear(self, x: Tensor) -> Tensor:
        line = x.clamp(-self.low_light, self.low_light) * (self.low / self.low_light)
        formula = self.encode(x.abs().clamp(self.low_light, self.high_light)) - self.low
        encoded = line + x.sign() * formula
        if self.high < math.inf:
            encoded = encoded + (x - x.clamp(-self.high_light, self.high_light)) / self.slope
        return encoded


def _curve(transfer: str | None) -> _Curve | None:
    name = transfer or SRGB
    if name not in _CURVES:
        known = ", ".join(sorted(_CURVES))
        raise MediaError(f"transfer function {name!r} is not known; known are: {known}")
    return _CURVES[name]


def _exactly(x: Tensor, curve: Callable[[Tensor], Tensor]) -> Tensor:
    """Applies a curve; half precision does not hold the light of dark codes on the way."""
    if x.dtype in (torch.float16, torch.bfloat16):
        return curve(x.float()).to(x.dtype)
    return curve(x)


def _raised(x: Tensor, exponent: float) -> Tensor:
    """Power of positive numbers, ten times as fast as `**` on the CPU."""
    return (x.log() * exponent).exp()


def _power(gamma: float, scale: float = 1.0) -> _Curve:
    """Light = scale * encoded ** gamma. Below 1/1000 a line; it is off by less than 3e-7."""
    low = 1e-3
    return _Curve(
        decode=lambda x: scale * _raised(x, gamma),
        encode=lambda x: _raised(x / scale, 1 / gamma),
        low=low,
        low_light=scale * low**gamma,
    )


def _toe(alpha: float, light: float, slope: float, gamma: float) -> _Curve:
    """Encoded = alpha * light ** (1 / gamma) - (alpha - 1), and slope * light near black."""
    return _Curve(
        decode=lambda x: _raised((x + (alpha - 1)) / alpha, gamma),
        encode=lambda x: alpha * _raised(x, 1 / gamma) - (alpha - 1),
        low=slope * light,
        low_light=light,
    )


def _pq() -> _Curve:
    """SMPTE ST 2084: https://doi.org/10.5594/SMPTE.ST2084.2014, equations 4.1 and 5.1.

    Written with `expm1` and `log1p`: the formula takes a 79th power of numbers next to 1, and as
    printed it loses 16-bit codes in float32.
    """
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c3 = 3424 / 4096, 2392 / 4096 * 32  # and c2 = c3 - c1 + 1

    def decode(x: Tensor) -> Tensor:
        below = -(x.log() / m2).expm1()  # 1 - x ** (1 / m2)
        return _raised((1 - c1 - below) / (1 - c1 + c3 * below), 1 / m1)

    def encode(x: Tensor) -> Tensor:
        below = -(x.log() * m1).expm1()  # 1 - x ** m1
        ratio = (c1 - 1) * below / (1 + c3 * (1 - below))
        return (ratio.log1p() * m2).exp()

    low = 1e-3  # 4e-5 candela per square metre; true black is encoded as 7e-7
    # d light / d encoded at 1, where numerator and denominator are both 1 - c1.
    slope = (1 + c3) / (1 - c1) / (m1 * m2)
    return _Curve(decode, encode, low, _at(decode, low), high=1.0, high_light=1.0, slope=slope)


def _hlg() -> _Curve:
    """ITU-R BT.2100 table 5: light is that of the scene, 1/12 at half of the signal."""
    a = 0.17883277
    b = 1 - 4 * a
    c = 0.5 - a * math.log(4 * a)
    low, high = 1e-3, 2.0  # far below one code value; far above the signal's largest value

    # Two pieces that meet at half of the signal, added as in `_Curve`.
    def decode(x: Tensor) -> Tensor:
        square = x.clamp(max=0.5) ** 2 / 3
        return square + ((x.clamp(min=0.5) - 0.5) / a).expm1() * ((1 - b) / 12)

    def encode(x: Tensor) -> Tensor:
        root = (3 * x.clamp(max=1 / 12)).sqrt()
        return root + a * ((x.clamp(min=1 / 12) - 1 / 12) * (12 / (1 - b))).log1p()

    slope = math.exp((high - c) / a) / (12 * a)
    return _Curve(decode, encode, low, _at(decode, low), high, _at(decode, high), slope)


def _at(curve: Callable[[Tensor], Tensor], x: float) -> float:
    return float(curve(torch.tensor(x, dtype=torch.float64)))


# The standards' constants, with the digits that make line and formula meet (IEC 61966-2-1 prints
# 0.0031308; ITU-R BT.709 prints 1.099 and 0.018; SMPTE 240M prints 1.1115 and 0.0228).
_SRGB = _toe(alpha=1.055, light=0.00313066844250063, slope=12.92, gamma=2.4)
_BT709 = _toe(alpha=1.09929682680944, light=0.018053968510807, slope=4.5, gamma=1 / 0.45)

_CURVES: dict[str, _Curve | None] = {
    SRGB: _SRGB,
    "bt709": _BT709,
    "smpte170m": _BT709,
    "bt2020-10": _BT709,
    "bt2020-12": _BT709,
    "iec61966-2-4": _BT709,
    "bt1361e": _BT709,
    "smpte240m": _toe(alpha=1.111572195921731, light=0.022821585529445, slope=4.0, gamma=1 / 0.45),
    "gamma22": _power(2.2),
    "gamma28": _power(2.8),
    "smpte428": _power(2.6, 52.37 / 48),
    "smpte2084": _pq(),
    "arib-std-b67": _hlg(),
    "linear": None,
}
