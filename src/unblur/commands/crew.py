"""Workers that share a restoration: what each is given, and those of one machine.

Those of a cluster are in `cluster.py`. `engine.pieces` says what is shared, and how.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from unblur.commands.request import request
from unblur.commands.resume import Chosen, digest_of
from unblur.contexts import Closing
from unblur.engine.pieces import Piece, restore_piece
from unblur.engine.plan import MemoryPlan
from unblur.engine.run import Runner
from unblur.errors import ResourceError, UsageError
from unblur.ops.device import choose_device
from unblur.progress import Job
from unblur.video import Frame

AHEAD = 2
"""Pieces under way for each worker: one in work, one that waits."""


@dataclass(frozen=True)
class Shared:
    """What all workers of a job are given; can be sent to other machines."""

    options: Mapping[str, Any]
    """Of the restoration, as `commands.request` checks them; model and precision are named."""
    size: tuple[int, int]
    """Height and width of the frames."""
    transfer: str | None
    model: str
    fit: MemoryPlan
    """How frames are cut up for it."""
    digest: str
    """Of its weights."""

    def runner(self, device: str, weights: str | None) -> Runner:
        """What restores, on one device.

        Raises:
            ResourceError: the weights are others here.
        """
        if weights is None and digest_of(self.model) != self.digest:
            raise ResourceError(f"the weights of {self.model} are others on a node of the cluster")
        options = {**self.options, "device": device, "weights": weights}
        wanted = request(options)  # type: ignore[arg-type]
        focus = wanted.focus(None)
        chosen = Chosen({self.model: self.fit}, None)
        torch.manual_seed(self.options["seed"])
        return wanted.runner(Job(None), self.size, None, self.transfer, focus, chosen)


class Done(NamedTuple):
    """What a worker made of a piece."""

    frames: list[Any]
    """As the crew sends them."""
    repeated: int
    """Windows that were computed again in full precision."""
    fit: MemoryPlan
    """How the piece was cut up in the end."""


def work(runner: Runner, fit: MemoryPlan, piece: Piece, frames: Iterable[Frame]) -> Done:
    """Restores a piece; the frames come out with their new images."""
    runner.fit, before = fit, runner.repeated
    made = [frame.with_rgb(image) for frame, image in restore_piece(runner, piece, frames)]
    return Done(made, runner.repeated - before, runner.fit)


def sendable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a restoration as they can be sent; who listens to its progress is left out."""
    plain = (bool, int, float, str)
    sent = {k: v if isinstance(v, plain) or v is None else str(v) for k, v in options.items()}
    return {**sent, "progress": None}


def shared_by(
    options: Mapping[str, Any],
    model: str,
    fit: MemoryPlan,
    precision: str | None,
    size: tuple[int, int],
    transfer: str | None,
) -> Shared:
    """What the workers of a job are given, once all is chosen."""
    named = {"model": model, "quality": "auto", "precision": precision or "auto"}
    return Shared({**sendable(options), **named}, size, transfer, model, fit, digest_of(model))


def finer(first: MemoryPlan, second: MemoryPlan) -> MemoryPlan:
    """The one of smaller tiles: where one worker ran out of memory, others would."""
    sides = [float("inf") if fit.tiling is None else fit.tiling.size for fit in (first, second)]
    return second if sides[1] < sides[0] else first


class Devices(Closing):
    """Workers on devices of this machine, each in a thread; a context manager.

    Args:
        shared: what they are given.
        devices: their names; one may come more than once.

    Attributes:
        repeated: windows that were computed again in full precision.
        fit: how pieces are cut up from now on.
    """

    def __init__(self, shared: Shared, devices: Sequence[str]) -> None:
        self.most = AHEAD * len(devices)
        self.repeated, self.fit = 0, shared.fit
        self._own = threading.local()
        self._stop = threading.Event()
        left = list(devices)
        one_by_one = threading.Lock()  # loading, too: the seed is the whole process's

        def begin() -> None:
            with one_by_one:
                try:
                    self._own.runner = shared.runner(left.pop(0), shared.options["weights"])
                except Exception as error:  # raised with the first piece, where it is heard
                    self._own.runner = error

        self._threads = ThreadPoolExecutor(len(devices), "unblur-device", begin)

    def close(self) -> None:
        """Ends the workers after the window in work."""
        self._stop.set()
        self._threads.shutdown(cancel_futures=True)

    def hand(self, frame: Frame) -> Frame:
        """See `Crew`."""
        return frame

    def begin(self, piece: Piece, handed: list[Frame]) -> Future[Done]:
        """See `Crew`."""
        return self._threads.submit(self._work, piece, handed)

    def is_done(self, work: Future[Done], seconds: float) -> bool:
        """See `Crew`."""
        if not wait((work,), seconds).done:
            return False
        work.result()
        return True

    def take(self, work: Future[Done], frames: list[Frame]) -> list[Frame]:
        """See `Crew`."""
        done = work.result()
        self.repeated += done.repeated
        self.fit = finer(self.fit, done.fit)
        return done.frames

    def _work(self, piece: Piece, frames: list[Frame]) -> Done:
        if isinstance(self._own.runner, Exception):
            raise self._own.runner
        return work(self._own.runner, self.fit, piece, self._until_stopped(frames))

    def _until_stopped(self, frames: list[Frame]) -> Iterator[Frame]:
        """Passes frames on, so that a job that is given up ends with the window in work."""
        for frame in frames:
            if self._stop.is_set():
                raise CancelledError
            yield frame


def devices_of(device: str | torch.device) -> list[str]:
    """Names of the devices that an option means: `cuda:0,1` is `cuda:0` and `cuda:1`.

    Raises:
        UsageError: one is not known.
        ResourceError: one is not there.
    """
    names = [name.strip() for name in str(device).split(",")]
    kind = names[0].partition(":")[0]
    names = [f"{kind}:{name}" if name.isdecimal() else name for name in names]
    if len(names) == 1:
        return names
    for name in names:
        if name == "auto":
            raise UsageError(f"device '{device}': name each, such as cuda:0,1")
        choose_device(name)
    return names
