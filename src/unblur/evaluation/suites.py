"""The table of suites: every name `unblur evaluate` takes, with what it holds."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

from unblur.errors import UsageError
from unblur.evaluation import averaged, davis, encoded, folders, lowlight, pairs, rendered
from unblur.evaluation.clip import Clip
from unblur.evaluation.folders import LAYOUTS, choose_protocol
from unblur.evaluation.protocols import Mean, Protocol
from unblur.evaluation.published import FIGURES, Published
from unblur.evaluation.scores import METRICS, Metrics
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
    protocol: str | None = None


@dataclass(frozen=True)
class Counting:
    """How the frames of a suite become figures."""

    metrics: Metrics = field(default_factory=lambda: METRICS)
    mean: Mean = "frames"
    """What a mean is taken over: all frames equally, or clips, however many frames each has."""


def every_frame(sources: Sources) -> Counting:
    """All frames count equally."""
    return Counting()


def nothing_published(sources: Sources) -> tuple[Published, ...]:
    """No paper measured this."""
    return ()


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
    counting: Callable[[Sources], Counting] = every_frame
    published: Callable[[Sources], tuple[Published, ...]] = nothing_published
    """Figures of papers that stand beside, marked as such."""
    parts: tuple[str, ...] = ()
    """Suites that it is put together of, each with means of its own."""


def synth_motion(sources: Sources) -> list[Maker]:
    """Moving layers and a shaking camera."""
    return filmed(
        "synth-motion", rendered.motion_clips(making(sources), seed=rendered.MOTION_SEED), sources
    )


def synth_focus(sources: Sources) -> list[Maker]:
    """Layers at different distances, and a focus that may wander."""
    return filmed(
        "synth-focus", rendered.focus_clips(making(sources), seed=rendered.FOCUS_SEED), sources
    )


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
    """7 by default."""
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
    """The paper's by default."""
    return "paper" if sources.blur is None else sources.blur


def published_davis(sources: Sources) -> tuple[Published, ...]:
    """Those of the setting."""
    return FIGURES[f"davis-blur {davis_set(sources)}"]


def data_set(layout: str) -> Suite:
    """The suite of a data set on disk."""

    def protocol(sources: Sources) -> Protocol:
        return choose_protocol(layout, sources.protocol)

    def folder(sources: Sources) -> Path:
        if len(sources.data) != 1:
            raise UsageError(f"{layout} needs its folder: unblur evaluate {layout}:DIR")
        return sources.data[0]

    def clips(sources: Sources) -> list[Maker]:
        return folders.folder_clips(layout, folder(sources), protocol(sources), sources.frames)

    def about(sources: Sources) -> dict[str, object]:
        head = {"data": str(folder(sources)), "protocol": protocol(sources).name}
        return {**head, "frames": sources.frames or "all"}

    def counting(sources: Sources) -> Counting:
        chosen = protocol(sources)
        return Counting(chosen.metrics, chosen.mean)

    return Suite(
        layout,
        1,
        f"the data set {layout} on disk",
        DATA_SET,
        clips,
        about,
        counting,
        lambda sources: FIGURES.get(layout, ()),
    )


BENCH = ("synth-motion", "synth-focus", "synth-joint", "synth-lowlight")
"""Suites that need no data."""


def bench(sources: Sources) -> list[Maker]:
    """The clips of those suites, in turn, so that the first ones are of all of them."""
    parts = [named(part, SUITES[part].clips(sources)) for part in BENCH]
    return [make for group in zip(*parts, strict=True) for make in group]


def named(part: str, makers: list[Maker]) -> list[Maker]:
    """The same clips, with the name of their suite before their own."""

    def renamed(make: Maker) -> Clip:
        clip = make()
        return replace(clip, name=f"{part}/{clip.name}")

    return [partial(renamed, make) for make in makers]


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
DATA_SET = frozenset({"data", "frames", "protocol"})

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
        Suite(
            "davis-blur",
            1,
            "sequences of DAVIS out of focus",
            DAVIS,
            davis_blur,
            about_davis,
            published=published_davis,
        ),
        *map(data_set, LAYOUTS),
        Suite(
            "bench",
            1,
            "all rendered suites, one after the other",
            RENDERED - {"encoded"},
            bench,
            about_rendered,
            parts=BENCH,
        ),
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
    for source in fields(Sources):
        if getattr(sources, source.name) != source.default and source.name not in suite.takes:
            *most, last = (f"--{option}" for option in sorted(suite.takes))
            options = f"{', '.join(most)} and {last}"
            raise UsageError(f"{name} takes no --{source.name}: only {options}")
    return suite
