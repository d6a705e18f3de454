"""Frames between their arrival and the last window that needs them: in memory, or in a file.

Windows that look at the whole clip need all of its frames before the first of them is restored. In
a file they cost no memory, and the file has no name from the start, so that nothing of it stays
whatever ends the work.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unblur.contexts import Closing
from unblur.errors import ResourceError
from unblur.ops.shots import Shot
from unblur.restorers.base import RestorerInfo

Array = NDArray[Any]
Maps = tuple[Tensor, Tensor]
"""Depth and blur map of a frame, (1, 1, H, W) each."""
P = TypeVar("P")


class Packable(Protocol):
    """A frame that can be taken apart."""

    def packed(self) -> tuple[list[Array], Callable[[Sequence[Array]], Any]]:
        """Its samples, and what makes the frame of them again and holds none of them itself."""
        ...


Q = TypeVar("Q", bound=Packable)


class Held(Protocol[P]):
    """Frames by their number."""

    def put(self, index: int, frame: P, maps: Maps | None) -> None:
        """Takes the next frame, with its maps where it has any."""
        ...

    def get(self, index: int) -> tuple[P, Maps | None]:
        """A frame that was put and not dropped."""
        ...

    def drop(self, stop: int) -> None:
        """Frames before `stop` will not be requested any more."""
        ...

    def clear(self) -> None:
        """Nor will any frame that is here."""
        ...


def held_for(
    info: RestorerInfo, shots: Sequence[Shot] | None, target: str
) -> AbstractContextManager[Held[Any]]:
    """Where the frames of a job wait that writes to `target`: beside it if whole shots wait."""
    if info.reach is not None or not shots:
        return nullcontext(InMemory())
    # The system's folder for temporary files may be small, or be memory.
    folder = next(p for p in Path(os.path.realpath(target)).parents if p.is_dir())
    return OnDisk(folder, max(shot.stop - shot.start for shot in shots))


class InMemory(Generic[P]):
    """Keeps frames as they are."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[P, Maps | None]] = {}

    def put(self, index: int, frame: P, maps: Maps | None) -> None:
        """See `Held`."""
        self._kept[index] = frame, maps

    def get(self, index: int) -> tuple[P, Maps | None]:
        """See `Held`."""
        return self._kept[index]

    def drop(self, stop: int) -> None:
        """See `Held`."""
        for index in [i for i in self._kept if i < stop]:
            del self._kept[index]

    def clear(self) -> None:
        """See `Held`."""
        self._kept.clear()


class Record(NamedTuple):
    """Where a frame lies in the file, and how it is made of what lies there."""

    start: int
    size: int
    parts: list[tuple[tuple[int, ...], np.dtype[Any]]]
    rebuild: Callable[[Sequence[Array]], Any]
    maps: int
    """How many of the parts, the last ones, are maps: one where both are the same."""


class OnDisk(Closing, Generic[Q]):
    """Keeps frames in a file; a context manager.

    Args:
        folder: where the file lies.
        most: frames that it will hold at once.

    Raises:
        ResourceError: no file can be made there; from `put`, there is too little space.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        except OSError as error:
            raise ResourceError(
                f"frames cannot wait in {folder}: {error.strerror}; write to another folder"
            ) from error
        self._kept: dict[int, Record] = {}
        self._end = 0

    def put(self, index: int, frame: Q, maps: Maps | None) -> None:
        """See `Held`."""
        parts, rebuild = frame.packed()
        different = [] if maps is None else list(maps if maps[0] is not maps[1] else maps[:1])
        parts = [*parts, *(x.numpy() for x in different)]
        size = sum(x.nbytes for x in parts)
        if self._end == 0:
            self._check_space(size * self.most)
        try:
            self._file.seek(self._end)
            for x in parts:
                self._file.write(np.ascontiguousarray(x).data)
        except OSError as error:
            raise ResourceError(
                f"keeping frames in {self.folder} failed: {error.strerror}; free some space or "
                "write to another disk"
            ) from error
        shapes = [(x.shape, x.dtype) for x in parts]
        self._kept[index] = Record(self._end, size, shapes, rebuild, len(different))
        self._end += size

    def get(self, index: int) -> tuple[Q, Maps | None]:
        """See `Held`."""
        record = self._kept[index]
        data = bytearray(record.size)
        self._file.seek(record.start)
        self._file.readinto(data)
        found, at = [], 0
        for shape, kind in record.parts:
            found.append(np.ndarray(shape, kind, data, at))
            at += found[-1].nbytes
        count = len(found) - record.maps
        frame = record.rebuild(found[:count])
        maps = [torch.from_numpy(x) for x in found[count:]]
        return frame, (maps[0], maps[-1]) if maps else None

    def drop(self, stop: int) -> None:
        """See `Held`; the file stays as long as it is."""
        for index in [i for i in self._kept if i < stop]:
            del self._kept[index]

    def clear(self) -> None:
        """See `Held`."""
        self._kept.clear()
        self._file.truncate(0)
        self._end = 0

    def _check_space(self, need: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if need > free:
            raise ResourceError(
                f"this model looks at the whole clip: {self.most} frames wait in {self.folder}, "
                f"which takes {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: free some "
                "space, write to another disk, restore a part by --start and --end, or take "
                "--model focus-s"
            )

    def close(self) -> None:
        """Ends the file and all that it holds."""
        self._kept.clear()
        self._file.close()
