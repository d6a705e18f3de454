"""Who does a restoration: one device, several of this machine, or the workers of a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from unblur.commands.cluster import Cluster, kind_of_workers
from unblur.commands.crew import Devices, devices_of, sendable, shared_by
from unblur.commands.request import DEPTHS
from unblur.commands.resume import Chosen
from unblur.contexts import Closing
from unblur.engine.pieces import Piece, frames_per_piece, pieces
from unblur.engine.plan import bytes_needed
from unblur.engine.run import Runner
from unblur.errors import UsageError
from unblur.ops.shots import Shot
from unblur.progress import Job
from unblur.video import Frame, VideoInfo
from unblur.video.kept import frame_bytes


class Team(Closing):
    """Who does a job; a context manager that ends them.

    Args:
        devices: of this machine, or what workers of a cluster compute on.
        cluster: what is known of the cluster; None without one.

    Attributes:
        lead: device of this process.
        crew: who does the pieces, once that is begun; None where this process does all.
    """

    def __init__(self, devices: Sequence[str], cluster: Cluster | None) -> None:
        self._devices, self._cluster = list(devices), cluster
        self.lead = "cpu" if cluster is not None else self._devices[0]
        self.crew: Cluster | Devices | None = None
        self._precision: str | None = None
        self._closing = ExitStack()
        if cluster is not None:
            self._closing.enter_context(cluster)

    @property
    def shares(self) -> bool:
        """Whether others than this process restore frames."""
        return self._cluster is not None or len(self._devices) > 1

    def name(self, own: torch.device) -> str:
        """What the frames are computed on, as reports say it."""
        if self._cluster is not None:
            return self._devices[0]
        return str(own) if len(self._devices) == 1 else ",".join(self._devices)

    def kind(self, own: torch.device) -> str:
        """What must stay the same where a job is gone on with: kinds, not which of a kind."""
        return ",".join(sorted({name.partition(":")[0] for name in self.name(own).split(",")}))

    def close(self) -> None:
        """Ends the workers."""
        self._closing.close()

    def choose(
        self,
        size: tuple[int, int],
        frames: int | None,
        transfer: str | None,
        before: Chosen | None,
    ) -> Chosen | None:
        """What an interrupted job chose, or a worker on a GPU; None: this process may choose."""
        if self._cluster is None or self._devices != ["cuda"]:
            return before
        chosen, self._precision = self._cluster.choose(size, frames, transfer)
        return before or chosen

    def open(self, options: Mapping[str, Any], runner: Runner, job: Job, info: VideoInfo) -> None:
        """Begins the workers, which do as `runner` would."""
        assert job.plan is not None  # noqa: S101
        size, transfer = (info.height, info.width), info.color.transfer
        name = runner.restorer.info.name
        precision = self._precision or job.plan.precision
        shared = shared_by(options, name, runner.fit, precision, size, transfer)
        seconds = job.plan.seconds
        if self._cluster is not None:
            bytes_ = bytes_needed(runner.restorer, runner.fit, *size)
            count = self._cluster.open(shared, bytes_)
            self.crew = self._cluster
            seconds = None if self._devices == ["cuda"] else seconds
        else:
            self.crew = self._closing.enter_context(Devices(shared, self._devices))
            count = len(self._devices)
        self._count = count
        job.plan = dataclasses.replace(
            job.plan,
            device=f"{count} x {self._devices[0]}" if self._cluster else ",".join(self._devices),
            seconds=None if seconds is None else seconds / count,
        )

    def pieces(
        self,
        runner: Runner,
        shots: Sequence[Shot] | None,
        first: int,
        total: int | None,
        info: VideoInfo,
    ) -> tuple[int, Iterator[Piece]]:
        """The first frame that is needed, and the pieces of the job."""
        size = frame_bytes(info.pixel_format, info.width, info.height)
        length = frames_per_piece(size, total, self._count)
        if shots is None:
            return first, pieces(runner, None, first, length)
        plan = list(pieces(runner, shots, first, length))
        return plan[0].oldest if plan else first, iter(plan)

    def noting(self, frames: Iterator[Frame], runner: Runner) -> Iterator[Frame]:
        """Passes frames on; what workers learn of memory and numbers becomes known to `runner`."""
        for frame in frames:
            yield frame
            if self.crew is not None and self.crew.fit != runner.fit:
                runner.fit = self.crew.fit
                if runner.refitted is not None:
                    runner.refitted(runner.fit)
        runner.repeated += 0 if self.crew is None else self.crew.repeated


def team_of(options: Mapping[str, Any]) -> Team:
    """Who is to do a restoration, by its options; a cluster that is named is connected.

    Raises:
        UsageError: a device is not known, or is not for a cluster.
        ResourceError: one is not there.
    """
    if options["cluster"] is not None:
        kind = kind_of_workers(str(options["device"]))
        return Team([kind], Cluster(sendable(options), kind))
    if not isinstance(options["model"], str):
        return Team([options["device"]], None)
    return Team(devices_of(options["device"]), None)


def check_shared(options: Mapping[str, Any], live: bool) -> None:
    """Raises `UsageError` for jobs whose frames one process alone can restore."""
    who = "several devices" if options["cluster"] is None else "a cluster"
    depth = options["depth"]
    if live:
        raise UsageError(f"frames of a pipe come one by one: {who} cannot share them")
    if options["preview"]:
        raise UsageError(f"a preview is short: leave {who} out")
    if not isinstance(options["model"], str):
        raise UsageError(f"{who} load the model themselves: give its name")
    if depth not in (None, *DEPTHS):
        raise UsageError(f"--depth {depth}: {who} find depth in the frames, take builtin or "
                         "depth-anything")  # fmt: skip
