"""Jobs: what was requested, where it stands, what it made; and the queue that runs them.

A job is a folder `jobs/ID` with `job.json`, which is written whenever its state changes, and `out`
with what it made. It runs in a process of its own (`unblur.web.work`). What was unfinished when the
server stopped is queued again when it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from unblur.errors import ResourceError, UsageError
from unblur.web.disk import made_of, new_id, records, remove, write_json
from unblur.web.places import inside
from unblur.web.processes import end, kill, spawn
from unblur.web.settings import Settings

State = Literal["queued", "running", "done", "failed", "cancelled"]
LIVING: tuple[State, ...] = ("queued", "running")
RECORD = "job.json"
OUT = "out"
QUICK = frozenset({"analyze", "estimate", "preview", "flow"})
"""Kinds that have a lane of their own, so that they need not wait for hours of restoring."""
GO_ON = frozenset({"fit", "restore", "trial"})
"""Kinds that go on where they were, after a restart of the server or a failure."""
PASSING = "estimate"
"""The kind that counts only for whoever waits for it: ended ones make room for others."""
TRIES = 3
"""Times that a job is begun, where the server stops meanwhile."""
GRACE = 10.0
"""Seconds that a process has to tidy up."""
NOTE_EVERY = 2.0
"""Seconds between notes of progress on disk."""
MOST_WARNINGS = 50
LONGEST_LINE = 2**20


@dataclass
class Job:
    """A job, as its record has it."""

    id: str
    kind: str
    request: dict[str, Any]
    name: str
    """Of its clip or project, for people."""
    source: str
    """Number of its clip or project."""
    state: State = "queued"
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    tries: int = 0
    progress: dict[str, Any] = field(default_factory=dict)
    """`stage`, `share` (0 to 1), `left` (seconds), `done`, `total`."""
    plan: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    """`code`, the exit code of `unblur`, and `message`."""
    files: list[dict[str, Any]] = field(default_factory=list)
    """`name`, `role`, `type` and `bytes` of what it made."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What there is to say in the end."""


Order = Callable[[Job], dict[str, Any]]
"""What the process of a job is given: places and limits that are not the client's business."""


class Queue:
    """All jobs, and the tasks that run them.

    Args:
        settings: limits.
        order: see `Order`; may raise where the source is gone.
    """

    def __init__(self, settings: Settings, order: Order) -> None:
        self.settings, self.order = settings, order
        self.home = settings.home / "jobs"
        self.jobs: dict[str, Job] = {}
        self._news = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopped: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    def load(self) -> None:
        """Reads the records; what was running waits again."""
        self.home.mkdir(parents=True, exist_ok=True)
        for folder, content in records(self.home, RECORD):
            job = made_of(Job, content)
            if job is None or job.id != folder.name or (folder / OUT).is_symlink():
                continue
            self.jobs[job.id] = job
            if job.state == "running":
                job.state, job.progress = "queued", {}
                if job.tries >= TRIES:
                    times = f"it was begun {TRIES} times and the server stopped"
                    message = f"{times}: try it again, or a part"
                    self._end(job, "failed", {"code": 5, "message": message})
                self._note(job)

    def start(self) -> None:
        """Begins to run what waits."""
        lanes = [True] + [False] * self.settings.workers
        self._tasks = [asyncio.create_task(self._work(quick)) for quick in lanes]

    async def close(self) -> None:
        """Stops; what was running is queued for the next start."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def submit(self, kind: str, request: dict[str, Any], source: str, name: str) -> Job:
        """Queues a job.

        Raises:
            ResourceError: too many wait, or are kept.
        """
        waiting = sum(job.state == "queued" for job in self.jobs.values())
        if waiting >= self.settings.max_queued:
            raise ResourceError(f"{waiting} jobs wait already: try again when some are done")
        self._make_room()
        if len(self.jobs) >= self.settings.max_kept:
            raise ResourceError(f"{len(self.jobs)} jobs are kept: delete some first")
        job = Job(new_id(), kind, request, name, source)
        self.folder(job.id).mkdir(parents=True)
        self.jobs[job.id] = job
        self._note(job)
        self._news.set()
        return job

    def _make_room(self) -> None:
        """Deletes ended estimates where as many jobs are kept as may be."""
        over = len(self.jobs) - self.settings.max_kept + 1
        ended = [j for j in self._by_age() if j.kind == PASSING and j.state not in LIVING]
        for job in ended[: max(0, over)]:
            self.delete(job.id)

    def get(self, number: str) -> Job:
        """The job of that number.

        Raises:
            KeyError: there is none.
        """
        return self.jobs[number]

    def folder(self, number: str) -> Path:
        """Where a job is."""
        return self.home / number

    def file(self, number: str, name: str) -> tuple[Path, dict[str, Any]]:
        """A file that a job made, and what is known of it.

        Raises:
            KeyError: there is no such job or file.
        """
        known = {each["name"]: each for each in self.get(number).files}
        about = known[name]
        try:
            return inside(self.folder(number) / OUT, name), about
        except UsageError as error:
            raise KeyError(name) from error

    def cancel(self, number: str) -> Job:
        """Stops a job that waits or runs; others stay as they are."""
        job = self.get(number)
        if job.state == "queued":
            self._end(job, "cancelled")
        elif job.state == "running":
            self._stopped.add(number)
            self._let_go(number)
        return job

    def again(self, number: str) -> Job:
        """Queues a job anew that was cancelled or failed; one that failed goes on if it can."""
        job = self.get(number)
        if job.state in LIVING or job.state == "done":
            raise UsageError(
                f"this job is {job.state}: only ended ones without a result begin anew"
            )
        job.state, job.error, job.progress, job.tries = "queued", None, {}, 0
        job.warnings, job.files, job.facts, job.plan = [], [], {}, {}
        job.started = job.ended = None
        self._note(job)
        self._news.set()
        return job

    def delete(self, number: str) -> None:
        """Forgets a job and what it made.

        Raises:
            UsageError: it waits or runs.
        """
        job = self.get(number)
        if job.state in LIVING:
            raise UsageError(f"this job is {job.state}: cancel it first")
        del self.jobs[number]
        remove(self.folder(number))

    def sweep(self, oldest: float, needed: set[str]) -> None:
        """Deletes jobs that ended before a time, unless what they made is needed."""
        for job in list(self.jobs.values()):
            is_old = (job.ended or job.created) < oldest
            if is_old and job.state not in LIVING and job.id not in needed:
                self.delete(job.id)

    async def _work(self, quick: bool) -> None:
        """Runs what waits in a lane, the oldest first."""
        # `wait_for` may swallow that this task is cancelled (Python 3.10, 3.11).
        while not self._closing:
            waiting = [job for job in self._by_age() if job.state == "queued"]
            job = next((job for job in waiting if (job.kind in QUICK) == quick), None)
            if job is None:
                self._news = asyncio.Event() if self._news.is_set() else self._news
                await self._news.wait()
            else:
                await self._run(job)

    def _by_age(self) -> list[Job]:
        return sorted(self.jobs.values(), key=lambda job: job.created)

    async def _run(self, job: Job) -> None:
        job.state, job.started, job.tries, job.progress = "running", time.time(), job.tries + 1, {}
        job.warnings, job.files = [], []
        self._note(job)
        out = self.folder(job.id) / OUT
        if job.kind not in GO_ON:
            remove(out)
        out.mkdir(exist_ok=True)
        try:
            order = self.order(job)
        except (UsageError, KeyError) as error:
            gone = str(error) if isinstance(error, UsageError) else "its clip is gone: add it again"
            self._end(job, "failed", {"code": 2, "message": gone})
            return
        with (self.folder(job.id) / "log.txt").open("ab") as log:
            process = await spawn(self.settings.program, "unblur.web.work", LONGEST_LINE, log)
        self._running[job.id] = process
        if job.id in self._stopped:  # while it was being started
            self._let_go(job.id)
        late = False
        try:
            assert process.stdin is not None  # noqa: S101
            process.stdin.write(json.dumps({**order, "out": str(out)}).encode() + b"\n")
            await process.stdin.drain()
            await asyncio.wait_for(self._listen(job, process), self.settings.max_seconds)
        except asyncio.TimeoutError:
            late = True
        except ConnectionError:
            pass  # it died; its exit code is judged below
        except (ValueError, KeyError, TypeError):
            job.error = {"code": 5, "message": "its process gave nonsense: see log.txt of the job"}
        finally:
            await end(process, GRACE)
            del self._running[job.id]
            if self._closing:  # not ended: it waits for the next start
                job.state, job.progress = "queued", {}
                job.tries -= 1  # the operator stopped it, it did nothing wrong
                self._note(job)
        if self._closing:
            return
        if job.id in self._stopped:
            self._stopped.discard(job.id)
            self._end(job, "cancelled")
        elif late:
            hours = self.settings.max_seconds / 3600
            message = f"it took longer than the {hours:g} h allowed: take a part of the clip"
            self._end(job, "failed", {"code": 4, "message": message})
        elif job.facts.pop("ended", False) and process.returncode == 0:
            self._end(job, "done")
        else:
            self._end(job, "failed", job.error or _died(process.returncode))

    async def _listen(self, job: Job, process: asyncio.subprocess.Process) -> None:
        """Reads what the process reports, until it closes its output."""
        assert process.stdout is not None  # noqa: S101
        noted = 0.0
        while line := await process.stdout.readline():
            heard = json.loads(line)
            event = heard.pop("event")
            if event == "progress":
                job.progress = heard
                if time.monotonic() - noted > NOTE_EVERY:
                    noted = time.monotonic()
                    self._note(job)
            elif event == "plan":
                job.plan = heard
            elif event == "warning":
                known = heard["message"] in job.warnings or len(job.warnings) >= MOST_WARNINGS
                job.warnings += [] if known else [heard["message"]]
            elif event == "file":
                job.files.append(heard)
            elif event == "error":
                job.error = heard
            elif event == "done":
                job.facts = {**heard, "ended": True}

    def _let_go(self, number: str) -> None:
        process = self._running.get(number)
        if process is not None and process.stdin is not None:
            process.stdin.close()  # a worker ends when no one holds the other end
            asyncio.get_running_loop().call_later(GRACE, kill, process)

    def _end(self, job: Job, state: State, error: dict[str, Any] | None = None) -> None:
        job.state, job.error, job.ended = state, error, time.time()
        if state == "done":
            job.progress = {**job.progress, "share": 1.0, "left": 0.0}
        else:
            job.files = []
            if job.kind not in GO_ON or state != "failed":
                remove(self.folder(job.id) / OUT)
        self._note(job)

    def _note(self, job: Job) -> None:
        with contextlib.suppress(ResourceError):  # a full disk ends the job by itself
            write_json(self.folder(job.id) / RECORD, asdict(job))


def _died(code: int | None) -> dict[str, Any]:
    if code is not None and code < 0:
        text = f"its process was ended by signal {-code}, most likely for want of memory"
        return {"code": 4, "message": f"{text}: take a smaller model or a part of the clip"}
    return {"code": 5, "message": "its process ended without a word: see log.txt of the job"}
