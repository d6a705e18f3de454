"""The table of suites: every name `unblur evaluate` takes, with what it holds."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unblur.errors import UsageError
from unblur.evaluate import averaged, rendered
from unblur.evaluate.clip import Clip
from unblur.synth import TextureBank, held_out

Maker = Callable[[], Clip]


@dataclass(frozen=True)
class Sources:
    """What a user may give a suite to be made of."""

    data: tuple[Path, ...] = ()
    frames: int | None = None
    textures: Path | None = None


@dataclass(frozen=True)
class Suite:
    """A row of the table of suites."""

    name: str
    version: int
    """Grows whenever a pixel of the suite changes: figures of two versions do not compare."""
    summary: str
    takes: frozenset[str]
    """Fields of `Sources` that it is made of."""
    clips: Callable[[Sources], list[Maker]]
    """Functions that make a clip each. Everything a user may have got wrong is checked at once."""


def synth_motion(sources: Sources) -> list[Maker]:
    """Moving layers and a shaking camera."""
    return rendered.motion_clips(textures(sources), seed=410_000)


def synth_focus(sources: Sources) -> list[Maker]:
    """Layers at different distances, and a focus that may wander."""
    return rendered.focus_clips(textures(sources), seed=420_000)


def synth_joint(sources: Sources) -> list[Maker]:
    """Motion and focus at once."""
    return rendered.joint_clips(textures(sources), seed=430_000)


def real_average(sources: Sources) -> list[Maker]:
    """Sharp real frames, averaged side by side."""
    frames = 7 if sources.frames is None else sources.frames
    return averaged.averaged_clips(sources.data, frames)


def textures(sources: Sources) -> TextureBank:
    """The held-out textures, or those of the user."""
    if sources.textures is None:
        return held_out()
    return TextureBank.load(sources.textures, training=False)


RENDERED, REAL = frozenset({"textures"}), frozenset({"data", "frames"})

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("synth-motion", 2, "rendered scenes blurred by motion", RENDERED, synth_motion),
        Suite("synth-focus", 2, "rendered scenes out of focus", RENDERED, synth_focus),
        Suite("synth-joint", 2, "rendered scenes blurred by both", RENDERED, synth_joint),
        Suite("real-average", 1, "averages of real frames", REAL, real_average),
    )
}


def find_suite(name: str, sources: Sources) -> Suite:
    """The suite of that name, if it takes those sources.

    Raises:
        UsageError: there is none, or it is not made of what was given.
    """
    if name not in SUITES:
        close = difflib.get_close_matches(name, SUITES, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"unknown suite '{name}': {hint}there are {', '.join(SUITES)}")
    suite = SUITES[name]
    for field, value in vars(sources).items():
        if value not in (None, ()) and field not in suite.takes:
            options = " and ".join(f"--{field}" for field in sorted(suite.takes))
            raise UsageError(f"{name} takes no --{field}: only {options}")
    return suite
