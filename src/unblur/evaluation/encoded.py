"""The rendered suites as they come out of a video file: H.264 at a rate factor of 23 or 29.

The encoded bytes ship (`encoded/SUITE-CRF.zip`, one Matroska file for each clip), so that figures
depend on no encoder; what H.264 decodes to is the same everywhere. `benchmarks/encode_suites.py`
made them, and makes them anew for a new version of a suite.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from unblur.data.codec import Encoding, encode, images, of_images
from unblur.errors import UsageError
from unblur.evaluation.clip import Clip
from unblur.video.quantizer import REQUEST, quantizers

FOLDER = Path(__file__).parent / "encoded"
FACTORS = (23, 29)
"""Constant rate factors of x264: its default, and what is smaller than most web video."""
PRESET = "medium"

Maker = Callable[[], Clip]


def encoding(factor: int) -> Encoding:
    """What the clips went through."""
    return Encoding("libx264", {"crf": str(factor), "preset": PRESET})


def encoded_clips(makers: Sequence[Maker], suite: str, factor: int) -> list[Maker]:
    """The clips of a rendered suite with their blurred frames out of a file.

    Raises:
        UsageError: a rate factor that does not ship.
    """
    if factor not in FACTORS:
        known = " or ".join(str(number) for number in FACTORS)
        raise UsageError(f"encoded {factor}: the suites ship at {known}")
    path = FOLDER / f"{suite}-{factor}.zip"
    return [partial(encoded_clip, make, path, f"{i:02}.mkv") for i, make in enumerate(makers)]


def encoded_clip(make: Maker, path: Path, member: str) -> Clip:
    """A clip with the blurred frames of one file of an archive."""
    with zipfile.ZipFile(path) as archive:
        data = archive.read(member)
    decoded = list(images(data, REQUEST))
    blurred = (of_images(decoded) * 255).round() / 255
    return replace(make(), blurred=blurred, quantizers=[quantizers(image) for image in decoded])


def write_archive(makers: Sequence[Maker], path: Path, factor: int) -> None:
    """Encodes the clips of a suite into an archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for i, make in enumerate(makers):
            clip = make()
            # A fixed date: the same clips give the same archive.
            member = zipfile.ZipInfo(f"{i:02}.mkv", (1980, 1, 1, 0, 0, 0))
            archive.writestr(member, encode(clip.blurred, encoding(factor)))
