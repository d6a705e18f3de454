"""Frames restored as they come, or as they are wanted: `stream` and `lazy`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, overload

import torch

from unblur.commands.arrays import Given, OneFrame, check_same_kind, checked, warn_of_few_bits
from unblur.commands.request import (
    DEFAULTS,
    ArrayOptions,
    Request,
    check_for_arrays,
    check_kinds,
    request,
)
from unblur.engine.fusion import choose_radius
from unblur.engine.live import check_live
from unblur.engine.part import read_for, restore_part
from unblur.engine.run import Runner
from unblur.errors import UsageError
from unblur.progress import RESTORE, Job

if TYPE_CHECKING:
    from typing_extensions import Unpack

Frame_co = TypeVar("Frame_co", covariant=True)
BLOCK = 16
"""Frames that `Lazy` restores at once."""
KEPT = 3
"""Blocks that it remembers."""


class Numbered(Protocol[Frame_co]):
    """Frames that can be had by number."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int, /) -> Frame_co:
        """The frame of that number."""
        ...


def stream(
    frames: Iterable[OneFrame], **options: Unpack[ArrayOptions]
) -> Generator[OneFrame, None, None]:
    """Restores frames as they come: a camera, a pipe, a decoder.

    Memory does not grow with the length. Frames come out a window, and a few frames in which cuts
    are found, after they came in (`window=5` waits least); they are those that `unblur.restore`
    makes of all of them at once. `auto` takes `motion-s`, for no length is known.

    Args:
        frames: NumPy arrays `(H, W, 3)`, tensors `(3, H, W)` or Pillow images, all of the kind,
            size and numbers of the first: see `unblur.restore`.
        **options: those of `unblur.restore` that are not for files.

    Returns:
        A generator of the restored frames, of the same kind. Closing it ends the work; `frames` is
        not closed.

    Raises:
        UsageError: an option is wrong, or, while it runs, a frame does not fit the first.
        WeightsError, ResourceError, NumericsError: see `unblur.restore`.
    """
    wanted = _request("stream", options)
    check_live(wanted.info)
    if isinstance(frames, str) or not isinstance(frames, Iterable):
        raise UsageError(f"stream takes frames one after the other, not a {type(frames).__name__}")
    return _streamed(iter(frames), wanted)


def _streamed(frames: Iterator[Any], wanted: Request) -> Generator[Any, None, None]:
    transfer = wanted.options["transfer"]
    torch.manual_seed(wanted.options["seed"])
    job = Job(wanted.options["progress"])
    first = next(frames, None)
    if first is None:
        return
    opening = checked(first, 0, transfer == "linear")
    warn_of_few_bits([[opening]])

    def coming() -> Iterator[Given]:
        for number, frame in enumerate(chain([first], frames)):
            given = checked(frame, number, transfer == "linear")
            check_same_kind(opening, given, number)
            yield given

    height, width = opening.rgb().shape[-2:]
    runner = wanted.runner(job, (height, width), None, transfer, wanted.focus(None))
    job.begin(RESTORE)
    with closing(runner.restore_live(coming())) as restored:
        for done, (given, rgb) in enumerate(restored, 1):
            yield given.like(rgb)
            job.at(done)


class Lazy(Sequence[OneFrame], Generic[OneFrame]):
    """Frames that are restored when they are wanted, in any order; made by `lazy`.

    What a frame becomes does not depend on which were taken before. Frames are restored in
    blocks of 16 with those around them, and the last blocks are remembered, so going forwards costs
    little more than `restore`. It may be used by several threads; they take turns.
    """

    def __init__(self, frames: Numbered[OneFrame], wanted: Request, kept: int = KEPT) -> None:
        self._frames = frames
        self._wanted = wanted
        self._kept = kept
        self._count = len(frames)
        self._runner: Runner | None = None
        self._first: Given | None = None
        self._blocks: OrderedDict[int, list[OneFrame]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Frames in all."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> OneFrame: ...
    @overload
    def __getitem__(self, index: slice) -> list[OneFrame]: ...
    def __getitem__(self, index: int | slice) -> OneFrame | list[OneFrame]:
        """A restored frame, or a list of them.

        Raises:
            IndexError: there is no such frame.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(f"frame {index} of {self._count}")
        number, inside = divmod(place, BLOCK)
        with self._lock:
            if number not in self._blocks:
                self._blocks[number] = self._restored(number)
            self._blocks.move_to_end(number)
            while len(self._blocks) > self._kept:
                self._blocks.popitem(last=False)
            return self._blocks[number][inside]

    @property
    def scale(self) -> int:
        """Size of the restored frames in multiples of that of the frames."""
        return self._wanted.info.scale

    def block(self, index: int) -> range:
        """The frames that are restored with a frame."""
        start = index // BLOCK * BLOCK
        return range(start, min(self._count, start + BLOCK))

    def reads(self, index: int) -> range:
        """The frames that are read for a frame's block, for those who must fetch them before."""
        spread = choose_radius(self._wanted.options["fuse"], self._wanted.info)
        return read_for(self.block(index), self._count, spread)

    def _restored(self, number: int) -> list[OneFrame]:
        part = self.block(number * BLOCK)
        transfer = self._wanted.options["transfer"]
        torch.manual_seed(self._wanted.options["seed"])

        def frame(index: int) -> Given:
            given = checked(self._frames[index], index, transfer == "linear")
            check_same_kind(self._first or given, given, index)
            return given

        if self._runner is None:
            self._first = frame(part.start)
            height, width = self._first.rgb().shape[-2:]
            focus = self._wanted.focus(None)
            self._runner = self._wanted.runner(
                Job(None), (height, width), self._count, transfer, focus
            )
        done = restore_part(self._runner, frame, self._count, part)
        return [given.like(rgb) for given, rgb in done]


def lazy(frames: Numbered[OneFrame], **options: Unpack[ArrayOptions]) -> Lazy[OneFrame]:
    """A restored view of frames that can be had by number: of a player, an editor, a filter.

    Args:
        frames: anything with a length and frames by number: a list, an array `(T, H, W, 3)`, a
            tensor `(T, 3, H, W)`, an object of one's own. Frames are as in `stream`.
        **options: those of `unblur.restore` that are not for files.

    Returns:
        A sequence of as many frames, of the same kind; nothing is restored yet.

    Raises:
        UsageError: an option is wrong, or, when frames are taken, they are no such frames.
        WeightsError, ResourceError, NumericsError: see `unblur.restore`.
    """
    wanted = _request("lazy", options)
    check_live(wanted.info)
    numbered = hasattr(frames, "__len__") and hasattr(frames, "__getitem__")
    if isinstance(frames, str) or not numbered:
        raise UsageError(f"lazy takes frames that have numbers, not a {type(frames).__name__}")
    return Lazy(frames, wanted)


def _request(function: str, options: ArrayOptions) -> Request:
    """All options of a function, checked."""
    names = ArrayOptions.__annotations__
    for name in options:
        if name not in names:
            raise TypeError(f"{function}() got an unexpected keyword argument '{name}'")
    whole = {name: DEFAULTS.get(name) for name in names} | dict(options)
    check_kinds(whole)
    check_for_arrays(whole)
    return request(cast(ArrayOptions, whole))
