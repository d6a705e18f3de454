"""Workers of a Ray cluster: who starts, watches and replaces them is Ray; nothing of that is here.

A worker is an actor with a GPU of its own, or a CPU core where the cluster has no GPU. Frames and
weights go through Ray's object store, so that each node holds them once. A worker that dies takes
no more than its piece with it, which another one does again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unblur import weights
from unblur.commands.crew import AHEAD, Done, Shared, finer, work
from unblur.commands.request import request
from unblur.commands.resume import Chosen
from unblur.contexts import Closing
from unblur.engine.pieces import Piece
from unblur.engine.plan import MemoryPlan
from unblur.engine.run import Runner
from unblur.errors import ResourceError, UnblurError, UnblurWarning, UsageError, WeightsError
from unblur.progress import Job
from unblur.restorers.registry import BEST, FAST
from unblur.video import Frame
from unblur.video.packed import packed

PROGRAM_BYTES = 1_500_000_000
"""Main memory of a worker beside what its network takes: PyTorch, and frames on their way."""
READY = 300.0
"""Seconds until the first worker must have begun."""
MOST_TRIES = 6
"""Workers that may die over one piece."""
GIVEN = "given.safetensors"
"""What the file of the option is called on its way."""
OFFER = "install it by `pip install 'unblur[cluster]'`"


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connects to a Ray cluster while the block runs; a connection that there is stays.

    Args:
        address: of the cluster; `auto` is the one that runs on this machine or that RAY_ADDRESS
            names, `local` one of its own that ends with the block.

    Raises:
        ResourceError: Ray is not installed, or no cluster answers.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # it also raises plain ones
        raise ResourceError(
            f"no Ray cluster answers at '{address}' ({_first_line(error)}): start one by `ray start"
            " --head`, or take --cluster local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def is_connected() -> bool:
    """Whether this process is connected to a cluster."""
    return bool(_ray().is_initialized())


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ResourceError(f"--cluster needs Ray: {OFFER}") from error
    return ray


def kind_of_workers(device: str) -> str:
    """`cuda` or `cpu`: what workers compute on. Needs a connection.

    Raises:
        UsageError: the option is not for a cluster.
        ResourceError: the cluster has none of that kind.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device '{device}': in a cluster Ray chooses, say auto, cpu or cuda")
    gpus = _ray().cluster_resources().get("GPU", 0) >= 1
    if device == "cuda" and not gpus:
        raise ResourceError("the cluster has no GPU: start Ray where there are some, or leave out "
                            "--device cuda")  # fmt: skip
    return "cuda" if gpus and device != "cpu" else "cpu"


class Worker:
    """What runs in a process of its own somewhere in the cluster.

    Args:
        options: of the restoration.
        device: as this machine calls it.
        files: weights, by file name.
    """

    def __init__(self, options: Mapping[str, Any], device: str, files: Mapping[str, Any]) -> None:
        warnings.simplefilter("ignore", UnblurWarning)
        given = _use_weights(files)
        self._options = {**options, "device": device, "weights": given}
        self._device = device
        self._runner: Runner | None = None

    def version(self) -> str:
        """Of the unblur that is installed here."""
        return version_here()

    def choose(
        self, size: tuple[int, int], frames: int | None, transfer: str | None
    ) -> tuple[Chosen, str | None]:
        """The model and how frames are cut up on this device, and the precision."""
        wanted = request(self._options)  # type: ignore[arg-type]
        job = Job(None)
        runner = wanted.runner(job, size, frames, transfer, wanted.focus(None))
        name = runner.restorer.info.name
        precision = None if job.plan is None else job.plan.precision
        return Chosen({name: runner.fit}, None), precision

    def restore(self, shared: Shared, fit: MemoryPlan, piece: Piece, frames: list[Any]) -> Done:
        """Restores a piece. `frames` are references to packed frames."""
        import ray

        if self._runner is None:
            self._runner = shared.runner(self._device, self._options["weights"])
        coming = (ray.get(each).frame() for each in frames)
        done = work(self._runner, fit, piece, coming)
        return done._replace(frames=[packed(frame) for frame in done.frames])


def _use_weights(files: Mapping[str, Any]) -> str | None:
    """Takes weights from what came, before those of this machine; where the one by option is."""
    code = hashlib.sha256()
    for name, content in sorted(files.items()):
        code.update(name.encode())
        code.update(content)
    home = Path(tempfile.gettempdir()) / f"unblur-{code.hexdigest()[:16]}"
    folder = home / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if not (folder / name).exists():
            part = folder / f".{name}.{os.getpid()}.part"
            part.write_bytes(memoryview(content))
            os.replace(part, folder / name)
    os.environ["UNBLUR_HOME"] = str(home)
    return str(folder / GIVEN) if GIVEN in files else None


def _weights_files(options: Mapping[str, Any]) -> dict[str, Any]:
    """Weights that workers may need, by file name: the model's, and the user's own."""
    model, given = options["model"], options["weights"]
    names = (FAST, BEST) if model == "auto" else (model,)
    found = {name: path for name in names if (path := weights.find(name)) is not None}
    found |= {each.name: each.path for each in weights.stored() if not each.ships}
    files = {f"{name}.safetensors": np.fromfile(path, np.uint8) for name, path in found.items()}
    if given is None:
        return files
    if not Path(given).is_file():
        raise WeightsError(f"weights file not found: {given}: check the path")
    return {**files, GIVEN: np.fromfile(given, np.uint8)}


@dataclass
class Member:
    """A worker as the driver sees it."""

    actor: Any
    version: Any
    """Reference to what it says of itself first."""
    pieces: int = 0
    """That it was given and has not finished."""
    answered: bool = False


@dataclass
class Given:
    """A piece that a worker has."""

    piece: Piece
    handed: list[Any]
    member: Member
    reference: Any
    tries: int = 1
    done: Done | None = None


class Cluster(Closing):
    """Workers of the cluster that this process is connected to.

    Args:
        options: of the restoration, as they can be sent.
        kind: `cuda` or `cpu`.

    Attributes:
        repeated: windows that were computed again in full precision.
        fit: how pieces are cut up from now on.
        died: workers that were lost, and whose pieces others did.
    """

    def __init__(self, options: Mapping[str, Any], kind: str) -> None:
        self._ray, self._kind = _ray(), kind
        self._options = options
        self._files = self._ray.put(_weights_files(options))
        self._bytes = PROGRAM_BYTES
        self._pool: list[Member] = []
        self._shared: Any = None
        self.repeated = self.died = self.most = 0
        self.fit = MemoryPlan(None, None)

    def close(self) -> None:
        """Ends the workers."""
        for member in self._pool:
            self._ray.kill(member.actor)
        self._pool.clear()

    def choose(
        self, size: tuple[int, int], frames: int | None, transfer: str | None
    ) -> tuple[Chosen, str | None]:
        """Has a worker choose what fits its device: see `Worker.choose`."""
        self._pool.append(self._member())
        return self._get(self._ready().actor.choose.remote(size, frames, transfer))

    def open(self, shared: Shared, network_bytes: int) -> int:
        """Starts as many workers as there is room for, and gives their number.

        Args:
            shared: what they are given.
            network_bytes: of memory that a network takes, on the device that it runs on.
        """
        if self._kind == "cpu":
            self._bytes += network_bytes
        self._shared, self.fit = self._ray.put(shared), shared.fit
        while len(self._pool) < self._room():
            self._pool.append(self._member())
        self.most = AHEAD * len(self._pool)
        return len(self._pool)

    def _room(self) -> int:
        """How many workers the cluster has room for, at least one."""
        found = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                there: Mapping[str, float] = node["Resources"]
                own = "GPU" if self._kind == "cuda" else "CPU"
                found += int(min(there.get(own, 0), there.get("memory", 0) // self._bytes))
        return max(1, found)

    def hand(self, frame: Frame) -> Any:
        """See `Crew`."""
        return self._ray.put(packed(frame))

    def begin(self, piece: Piece, handed: list[Any]) -> Given:
        """See `Crew`."""
        member = self._ready()
        return Given(piece, handed, member, self._send(member, piece, handed))

    def is_done(self, work: Given, seconds: float) -> bool:
        """See `Crew`; the piece of a worker that died is given to another."""
        if work.done is not None:
            return True
        if not self._ray.wait([work.reference], timeout=seconds)[0]:
            return False
        try:
            work.done = self._get(work.reference)
        except self._ray.exceptions.RayError as error:
            self._lose(work.member)
            if work.tries == MOST_TRIES:
                raise ResourceError(
                    f"frames {work.piece.first} to {work.piece.stop - 1}: {work.tries} workers died"
                    f" over them ({_first_line(error)}): give workers more memory, or take a"
                    " smaller --window"
                ) from error
            work.tries += 1
            work.member = self._ready()
            work.reference = self._send(work.member, work.piece, work.handed)
            return False
        work.member.pieces -= 1
        work.handed = []
        return True

    def take(self, work: Given, frames: list[Frame]) -> list[Frame]:
        """See `Crew`."""
        assert work.done is not None  # noqa: S101
        self.repeated += work.done.repeated
        self.fit = finer(self.fit, work.done.fit)
        return [
            made.in_place_of(frame) for made, frame in zip(work.done.frames, frames, strict=True)
        ]

    def _send(self, member: Member, piece: Piece, handed: list[Any]) -> Any:
        member.pieces += 1
        return member.actor.restore.remote(self._shared, self.fit, piece, handed)

    def _get(self, reference: Any) -> Any:
        """What a worker gave; what it met is raised as it raised it."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, UnblurError | MemoryError):
                raise cause from None
            raise RuntimeError(str(error)) from error

    def _member(self) -> Member:
        gpus = 1 if self._kind == "cuda" else 0
        kind = self._ray.remote(Worker).options(num_cpus=1, num_gpus=gpus, memory=self._bytes)
        actor = kind.remote(self._options, self._kind, self._files)
        return Member(actor, actor.version.remote())

    def _lose(self, member: Member) -> None:
        """A worker died: another begins in its place as soon as there is room."""
        if member in self._pool:
            self.died += 1
            self._pool.remove(member)
            with suppress(Exception):  # it may only be out of reach
                self._ray.kill(member.actor)
            self._pool.append(self._member())

    def _ready(self) -> Member:
        """The worker that has least to do, of those that began."""
        began = time.monotonic()
        while time.monotonic() - began < READY:
            waiting = {member.version: member for member in self._pool if not member.answered}
            there = [member for member in self._pool if member.answered]
            if waiting:
                # Once there are workers, those that begin late are taken as they come.
                seconds = 0 if there else 1.0
                for each in self._ray.wait(list(waiting), num_returns=1, timeout=seconds)[0]:
                    self._welcome(waiting[each])
                there = [member for member in self._pool if member.answered]
            if there:
                return min(there, key=lambda member: member.pieces)
        each = "GPU" if self._kind == "cuda" else "CPU core"
        raise ResourceError(
            f"no worker began within {READY:.0f} s: each takes a {each} and {self._bytes / 1e9:.1f}"
            " GB of memory; `ray status` shows what the cluster has free"
        )

    def _welcome(self, member: Member) -> None:
        try:
            version = self._get(member.version)
        except self._ray.exceptions.RayError:
            self._lose(member)
            return
        if version != version_here():
            raise ResourceError(
                f"a node of the cluster has unblur {version}, here is {version_here()}: install"
                " the same"
            )
        member.answered = True


def version_here() -> str:
    """Of this process's unblur."""
    return str(vars(sys.modules["unblur"]).get("__version__"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
