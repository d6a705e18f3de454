"""Plots as SVG, drawn for a width of 360 pixels so that a telephone shows their words."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 10, 40
"""Margins around the axes."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Of Okabe and Ito: distinguishable by the colour-blind."""
CLOSE = 100.0
"""Range of a logarithmic axis, last over first, in which 2 and 5 times tens have room."""
ROOM = 0.06
"""Part of a range that is left empty at either end."""


@dataclass(frozen=True)
class Line:
    """Points (x, y) of one method."""

    name: str
    points: tuple[tuple[float, float], ...]
    number: int = 0
    """Of its colour: a method has the same one in all plots."""

    @property
    def colour(self) -> str:
        """As CSS has it."""
        return COLOURS[self.number % len(COLOURS)]


@dataclass(frozen=True)
class Axis:
    """From values to pixels, from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value stands."""
        low, high, value = (self.scaled(x) for x in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def scaled(self, value: float) -> float:
        """The logarithm, where the axis has one."""
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """Round values, four to eleven of them; of a logarithmic axis tens, and where it spans two
        of them or less 2 and 5 times tens: with more, numbers would run into each other.
        """
        if self.log:
            tens = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if self.high / self.low <= CLOSE else (1,)
            every = [step * 10.0**ten for ten in tens for step in steps]
            return [value for value in every if self.low <= value <= self.high]
        step = round_step((self.high - self.low) / 4)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step) + 1)]


def round_step(width: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is no wider.

    >>> round_step(0.7), round_step(3), round_step(49)
    (0.5, 2.0, 20.0)
    """
    ten = 10.0 ** math.floor(math.log10(width))
    return max(step * ten for step in (1, 2, 5) if step * ten <= width * (1 + 1e-9))


def axis(values: Sequence[float], start: float, stop: float, log: bool = False) -> Axis:
    """An axis with room around what it has to show."""
    low, high = min(values), max(values)
    if log:
        spread = max(math.log10(high / low), 0.3)
        factor = 10 ** (ROOM * spread + (0.3 if high / low < 2 else 0))
        return Axis(low / factor, high * factor, start, stop, log)
    spread = high - low or max(abs(high), 1.0)
    return Axis(low - ROOM * spread, high + ROOM * spread, start, stop)


def plot(
    heading: str,
    across: str,
    up: str,
    lines: Sequence[Line],
    *,
    log: bool = False,
    joined: bool = True,
) -> str:
    """A heading, an SVG with both axes, and what each colour means.

    Args:
        heading: what the plot shows.
        across: what the axis to the right is.
        up: what the axis upwards is.
        lines: at least one point in all.
        log: a logarithmic axis to the right.
        joined: draw lines between points.
    """
    points = [point for line in lines for point in line.points]
    x = axis([p[0] for p in points], LEFT, WIDTH - RIGHT, log)
    y = axis([p[1] for p in points], HEIGHT - BOTTOM, TOP)
    drawn = [*grid(x, y, across, up)]
    for line in lines:
        colour = line.colour
        places = [(x(a), y(b)) for a, b in line.points]
        if joined and len(places) > 1:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        for (a, b), (value, height) in zip(places, line.points, strict=True):
            tip = html.escape(f"{line.name}: {value:.3g}, {height:.2f}")
            drawn.append(
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"><title>{tip}</title>'
                "</circle>"
            )
    key = "".join(
        f'<li><b style="background: {line.colour}"></b>{html.escape(line.name)}' for line in lines
    )
    return (
        f'<div class="plot"><h2>{html.escape(heading)}</h2>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(heading)}">'
        f'{"".join(drawn)}</svg><ul class="key">{key}</ul></div>'
    )


def grid(x: Axis, y: Axis, across: str, up: str) -> list[str]:
    """Pale lines at round values, these values, and what the axes are."""
    drawn = []
    for value in x.ticks():
        at = x(value)
        drawn.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        drawn.append(text(at, HEIGHT - BOTTOM + 14, f"{value:g}"))
    for value in y.ticks():
        at = y(value)
        drawn.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        drawn.append(text(LEFT - 4, at + 4, f"{round(value, 9):g}", "end"))
    drawn.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, across))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f' transform="rotate(-90 10 {middle})"'
    drawn.append(text(10, middle, up, more=turned))
    return drawn


def text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{html.escape(words)}</text>'
