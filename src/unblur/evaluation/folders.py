"""Suites of data sets on disk: GoPro, DVD, BSD and REDS in the layouts they are published in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from unblur.data.clips import PAIRS, ClipFolder
from unblur.errors import UsageError
from unblur.evaluation.clip import Clip
from unblur.evaluation.protocols import PROTOCOLS, Protocol, Window

LAYOUTS = tuple(PAIRS)
PAPER = {"gopro": "BSSTNet", "dvd": "BSSTNet"}
"""Data sets whose protocol a paper's code gives, and the paper."""
TEST = "test"
"""Sequences below a folder of this name are taken alone, where there are any."""


def folder_clips(
    layout: str, folder: Path, protocol: Protocol, frames: int | None
) -> list[Callable[[], Clip]]:
    """One clip for each window of each sequence, read when called.

    Args:
        layout: one of `LAYOUTS`.
        folder: the data set as it is unpacked. Where it holds a folder `test`, that alone counts.
        protocol: how frames count.
        frames: only that many of each sequence, from its first; None: all.

    Raises:
        UsageError: `frames` is below 1, or too few for the protocol.
        MediaError: the folder is missing, does not look so, or frames lack a partner.
    """
    if frames is not None and frames < 1:
        raise UsageError(f"frames {frames}: take at least 1 of each sequence")
    makers: list[Callable[[], Clip]] = []
    for sequence in of_test_set(ClipFolder.find(f"{layout}:{folder}")):
        length = min(len(sequence), frames or len(sequence))
        for window in protocol.windows(length):
            makers.append(partial(read_window, sequence, window, protocol.flicker))
    return makers


def of_test_set(sequences: list[ClipFolder]) -> list[ClipFolder]:
    """Those of the test set, or all where the folder has no such part."""
    tested = [sequence for sequence in sequences if TEST in Path(sequence.name).parts]
    return tested or sequences


def read_window(sequence: ClipFolder, window: Window, flicker: bool) -> Clip:
    """Frames of one window; its name is the sequence's, with its first frame behind."""
    blurred, sharp = sequence.read(window.start, window.stop)
    return Clip(
        name=f"{short(sequence.name)}@{window.start}",
        blurred=blurred,
        sharp=sharp,
        scored=window.scored,
        watched=window.scored if flicker else (),
    )


def short(name: str) -> str:
    """The name of a sequence without the folders that all have.

    >>> short("test/GOPR0384_11_00/blur"), short("BSD_3ms24ms/test/000/Blur/RGB")
    ('GOPR0384_11_00', 'BSD_3ms24ms/000')
    """
    common = {TEST, "RGB", *(word for pair in sum(PAIRS.values(), ()) for word in pair)}
    return "/".join(part for part in Path(name).parts if part not in common) or name


def choose_protocol(layout: str, name: str | None) -> Protocol:
    """The protocol of that name, fair by default.

    Raises:
        UsageError: there is none, or no paper measured on this data set.
    """
    name = "fair" if name is None else name
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol called '{name}': there are {', '.join(PROTOCOLS)}")
    if name == "paper" and layout not in PAPER:
        known = " and ".join(PAPER)
        raise UsageError(f"--protocol paper is known of {known} alone: take fair for {layout}")
    return PROTOCOLS[name]
