"""The table of suites: every name `unblur evaluate` takes, with what it holds."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from unblur.errors import UsageError
from unblur.evaluation import averaged, davis, encoded, lowlight, pairs, rendered
from unblur.evaluation.clip import Clip
from unblur.synth import TextureBank, held_out

Maker = Callable[[], Clip]


@dataclass(frozen=True)
class Sources:
    """What a user may give a suite to be made of."""

    data: tuple[Path, ...] = ()
    frames: int | None = None
    textures: Path | None = None
    blur: str | None = None
    depth: Path | None = None
    scale: int = 1
    encoded: int | None = None
    blurred: Path | None = None
    sharp: Path | None = None


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
    about: Callable[[Sources], dict[str, object]]
    """What a table's head says of the sources."""


def synth_motion(sources: Sources) -> list[Maker]:
    """Moving layers and a shaking camera."""
    return filmed("synth-motion", rendered.motion_clips(making(sources), seed=410_000), sources)


def synth_focus(sources: Sources) -> list[Maker]:
    """Layers at different distances, and a focus that may wander."""
    return filmed("synth-focus", rendered.focus_clips(making(sources), seed=420_000), sources)


def synth_joint(sources: Sources) -> list[Maker]:
    """Motion and focus at once."""
    return filmed("synth-joint", rendered.joint_clips(making(sources), seed=430_000), sources)


def synth_lowlight(sources: Sources) -> list[Maker]:
    """Missed focus at night, its noise filtered out."""
    night = replace(making(sources), denoise=lowlight.denoise)
    clips = rendered.focus_clips(night, seed=440_000, light=lowlight.LOW_LIGHT)
    return filmed("synth-lowlight", clips, sources)


def filmed(suite: str, clips: list[Maker], sources: Sources) -> list[Maker]:
    """The clips as they are, or out of a video file where that is wanted."""
    if sources.encoded is None:
        return clips
    if sources.textures is not None or sources.scale != 1:
        raise UsageError("--encoded ships for the held-out textures at their own size only")
    return encoded.encoded_clips(clips, suite, sources.encoded)


def about_rendered(sources: Sources) -> dict[str, object]:
    """Textures and sizes."""
    side = rendered.SIDE
    file = {} if sources.encoded is None else {"encoded": f"H.264, crf {sources.encoded}"}
    return {
        "textures": str(sources.textures) if sources.textures else "held out",
        **file,
        **sizes(sources.scale, (side // sources.scale,) * 2, (side, side)),
    }


def real_average(sources: Sources) -> list[Maker]:
    """Sharp real frames, averaged side by side."""
    return averaged.averaged_clips(sources.data, averaged_frames(sources))


def about_real(sources: Sources) -> dict[str, object]:
    """Folders, and how many frames an average is of."""
    folders = [str(folder) for folder in sources.data]
    return {"data": folders, "frames": averaged_frames(sources)}


def averaged_frames(sources: Sources) -> int:
    """7 if nobody says otherwise."""
    return 7 if sources.frames is None else sources.frames


def own_pairs(sources: Sources) -> list[Maker]:
    """A user's blurred frames, and the same ones sharp."""
    return pairs.paired_clips(sources.blurred, sources.sharp)


def about_pairs(sources: Sources) -> dict[str, object]:
    """The two folders."""
    return {"blurred": str(sources.blurred), "sharp": str(sources.sharp)}


def davis_blur(sources: Sources) -> list[Maker]:
    """Sequences of DAVIS put out of focus."""
    return davis.davis_clips(
        davis_folder(sources), davis_set(sources), sources.depth, sources.frames, sources.scale
    )


def about_davis(sources: Sources) -> dict[str, object]:
    """Set, depth, frames and sizes."""
    folder, blur = davis_folder(sources), davis_set(sources)
    return {
        "data": str(folder),
        "blur": f"{blur} ({davis.SETS[blur]})",
        "depth": davis.describe(folder, sources.depth),
        "frames": sources.frames or "all",
        **sizes(sources.scale, davis.SIZE, davis.truth_size(sources.scale)),
    }


def davis_folder(sources: Sources) -> Path:
    """The one folder that is named."""
    if len(sources.data) != 1:
        raise UsageError(
            "davis-blur needs DAVIS: add --data DIR once, the data set as it is unpacked or a "
            "folder of its sequences"
        )
    return sources.data[0]


def davis_set(sources: Sources) -> str:
    """The paper's if nobody says otherwise."""
    return "paper" if sources.blur is None else sources.blur


def sizes(scale: int, given: tuple[int, int], truth: tuple[int, int]) -> dict[str, object]:
    """Width and height of what models get and of what they are compared with."""
    named = {"input": given, "truth": truth}
    return {"scale": scale, **{name: f"{size[0]}x{size[1]}" for name, size in named.items()}}


def making(sources: Sources) -> rendered.Making:
    """Of the held-out textures, or those of the user."""
    if sources.textures is None:
        return rendered.Making(held_out(), sources.scale)
    return rendered.Making(TextureBank.load(sources.textures, training=False), sources.scale)


RENDERED, REAL = frozenset({"textures", "scale", "encoded"}), frozenset({"data", "frames"})
PAIRS = frozenset({"blurred", "sharp"})
DAVIS = frozenset({"data", "frames", "blur", "depth", "scale"})

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "synth-motion",
            3,
            "rendered scenes blurred by motion",
            RENDERED,
            synth_motion,
            about_rendered,
        ),
        Suite(
            "synth-focus",
            3,
            "rendered scenes out of focus",
            RENDERED,
            synth_focus,
            about_rendered,
        ),
        Suite(
            "synth-joint",
            3,
            "rendered scenes blurred by both",
            RENDERED,
            synth_joint,
            about_rendered,
        ),
        Suite(
            "synth-lowlight",
            2,
            "rendered scenes out of focus at night, denoised",
            RENDERED,
            synth_lowlight,
            about_rendered,
        ),
        Suite("real-average", 1, "averages of real frames", REAL, real_average, about_real),
        Suite("pairs", 1, "blurred and sharp frames of your own", PAIRS, own_pairs, about_pairs),
        Suite("davis-blur", 1, "sequences of DAVIS out of focus", DAVIS, davis_blur, about_davis),
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
    for field in fields(Sources):
        if getattr(sources, field.name) != field.default and field.name not in suite.takes:
            *most, last = (f"--{option}" for option in sorted(suite.takes))
            options = f"{', '.join(most)} and {last}"
            raise UsageError(f"{name} takes no --{field.name}: only {options}")
    return suite
