"""What a restoration needs in order to go on where an interrupted one stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor

from unblur import weights
from unblur.commands.unfinished import (
    TIME,
    Unfinished,
    content_hash,
    fingerprint,
    is_finished,
    plain,
    shown,
    time_of,
)
from unblur.disk import entries, recover
from unblur.engine.plan import MemoryPlan
from unblur.errors import MediaError, UsageError
from unblur.ops.shots import Shot
from unblur.restorers.base import Tiling
from unblur.video import Frame, VideoInfo, VideoWriter, probe
from unblur.video.kept import Kept

NO_MATTER = (
    *("source", "destination", "overwrite", "resume", "progress", "preview", "at"),
    *("cluster", "device"),
)
"""Options of a restoration that its frames do not depend on, or that no job with parts has."""


def facts_of(options: Mapping[str, Any], info: VideoInfo, device: str) -> dict[str, Any]:
    """All that the frames of a job depend on, by the names that a user knows.

    Args:
        options: of `unblur.restore`, as they were given.
        info: of the source.
        device: that the job runs on.
    """
    depth = options["depth"]
    return {
        "the content of the input": fingerprint(Path(options["source"]), timed=False),
        TIME: time_of(Path(options["source"])),
        "the input as it decodes": str(
            (info.width, info.height, info.pixel_format, str(info.time_base), info.stream_index)
        ),
        "unblur": str(vars(sys.modules["unblur"]).get("__version__")),
        "PyTorch": str(torch.__version__),
        "PyAV": av.__version__,
        "device": device,
        **{
            "--" + name.replace("_", "-"): plain(value)
            for name, value in options.items()
            if name not in NO_MATTER
        },
        "the weights file": content_hash(Path(options["weights"])) if options["weights"] else "",
        "the depth maps": fingerprint(Path(depth)) if depth and os.path.exists(depth) else "",
        "weights of your own": _own_weights(),
    }


def _own_weights() -> str:
    """What lies in the user's folder of weights, which may guide a network or replace it."""
    try:
        own = sorted(weights.user_folder().glob("*.safetensors"))
        return str([(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in own])
    except OSError:  # not for this user
        return ""


@dataclass(frozen=True)
class Chosen:
    """What a job chose by itself when it began, which may come out otherwise another time."""

    fits: Mapping[str, MemoryPlan]
    """How the job is cut up for each model."""
    shots: list[Shot] | None
    models: tuple[str, ...] | None = None
    """What restores each shot; None: one model does all."""

    def note(self, job: Unfinished) -> None:
        """Keeps it for whoever goes on."""
        job.note(
            fits={name: asdict(fit) for name, fit in self.fits.items()},
            digests={name: digest_of(name) for name in self.fits},
            shots=None if self.shots is None else [list(shot) for shot in self.shots],
            models=None if self.models is None else list(self.models),
        )


def digest_of(model: str) -> str:
    """SHA-256 of the weights of a model, empty where it has none."""
    path = weights.find(model)
    return "" if path is None else content_hash(path)


def chosen_before(job: Unfinished | None) -> Chosen | None:
    """What the job that is gone on with chose; None where none is.

    Raises:
        UsageError: the weights are others than they were.
    """
    if job is None or not job.begun:
        return None
    chosen = job.chosen
    fits = {}
    for name, fit in chosen["fits"].items():
        if chosen["digests"][name] != digest_of(name):
            raise UsageError(
                f"{shown(job.target)} cannot be gone on with: the weights of {name} changed since "
                "it was begun; bring them back, or remove what was done by "
                f"`unblur clean '{shown(job.target)}'`"
            )
        fits[name] = MemoryPlan(
            None if fit["tiling"] is None else Tiling(**fit["tiling"]), fit["window"]
        )
    shots = None if chosen["shots"] is None else [Shot(*shot) for shot in chosen["shots"]]
    return Chosen(fits, shots, None if chosen["models"] is None else tuple(chosen["models"]))


def is_complete(
    destination: str, place: Path, source: str | os.PathLike[str], info: VideoInfo, scale: int
) -> bool:
    """Whether an output is there already, and nothing is left to be done.

    Args:
        destination: the output, as it was given.
        place: the file or folder that it is.
        source: the input.
        info: of the input.
        scale: size of the output in multiples of the input's.

    Raises:
        UsageError: something is there that is not such an output, or a job works on it.
    """
    if place.is_dir():
        recover(place)
    there = bool(entries(place)) if place.is_dir() else place.exists()
    if not there or _reads(source, place) or not is_finished(place):
        return False
    remedy = "choose another name or add --overwrite"
    try:
        found = probe(destination)
    except MediaError as error:
        raise UsageError(
            f"{destination} exists and is no complete result ({error}): {remedy}"
        ) from error
    wanted, size = (sorted((each.width, each.height)) for each in (info, found))
    if info.crop is None and size != [scale * side for side in wanted]:
        raise UsageError(
            f"{destination} exists with frames of {found.width}x{found.height}, not those of a "
            f"result of {source}: {remedy}"
        )
    return True


def _reads(source: str | os.PathLike[str], place: Path) -> bool:
    """Whether an output is the input, or the folder that its images lie in."""
    read = Path(os.path.realpath(source))
    read = read if read.exists() else read.parent  # of a pattern
    return read.exists() and (read.samefile(place) or read.parent == place)


class Again:
    """Frames that an interrupted job had done, and those that are still to come.

    Args:
        writer: of the output; it has written what was encoded.
        kept: what was done; None where nothing is kept.
    """

    def __init__(self, writer: VideoWriter, kept: Kept | None) -> None:
        self._kept = kept
        self._encoded = writer.frames
        number = 0 if kept is None else self._encoded // kept.length
        self._waiting = [] if kept is None else kept.waiting(number)
        self.first = self._encoded + len(self._waiting)
        """The first frame that is to be restored."""

    def pass_on(
        self,
        frames: Iterable[Frame],
        begin: int,
        write: Callable[[tuple[Frame, Tensor | None]], None],
        skip: Callable[[Frame], None],
    ) -> Iterator[Frame]:
        """The frames of the source from number `begin` on.

        Those that were restored and are not encoded yet are written on the way, the ones before
        `begin` are passed to `skip`.

        Raises:
            MediaError: the source has fewer frames than were done.
        """
        position = -1
        for position, frame in enumerate(frames):
            waiting = position - self._encoded
            if 0 <= waiting < len(self._waiting) and self._kept is not None:
                write((self._kept.frame(*self._waiting[waiting], frame), None))
            if position >= begin:
                yield frame
            else:
                skip(frame)
        if position + 1 < self.first:
            raise MediaError(
                f"the input ended at frame {position + 1}, and {self.first} were done before: is"
                " it still what it was?"
            )
