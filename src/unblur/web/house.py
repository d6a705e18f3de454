"""What lives as long as the server: clips and projects, the queue, and what looks at them."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import Annotated, Any

from fastapi import Depends, Request

from unblur.errors import ResourceError, UsageError
from unblur.web.disk import bytes_in
from unblur.web.helper import Helper
from unblur.web.jobs import LIVING, Job, Queue
from unblur.web.places import inside
from unblur.web.settings import Settings
from unblur.web.sources import PAINT, Source, Sources

DAY = 86_400.0
SWEEP_EVERY = 300.0
MARGIN = 500_000_000
"""Bytes that stay free on the disk."""
UPLOADS = 8
"""That come in at once."""
MAP_CACHE = 300_000_000
"""Bytes of decoded maps of a project."""


class House:
    """All that lives as long as the server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sources = Sources(settings)
        self.queue = Queue(settings, self.order)
        self.clips, self.projects = Helper(settings), Helper(settings)
        self.uploads = asyncio.Semaphore(UPLOADS)
        self.models: list[dict[str, Any]] | None = None

    def order(self, job: Job) -> dict[str, Any]:
        """What a job's process is given."""
        s = self.settings
        source = self.sources.get(job.source)
        limits = {
            "device": s.device,
            "max_memory": s.max_memory,
            "max_pixels": s.max_pixels,
            "max_frames": s.max_frames,
        }
        return {
            "request": job.request,
            "source": str(self.sources.path(source)),
            "name": source.name,
            "home": str(s.home),
            "limits": limits,
            "paint": self.paint(source, job.request.get("paint", {})),
        }

    def paint(self, source: Source, wanted: dict[str, str]) -> dict[str, str]:
        """Files of overlays by the name of their layer."""
        folder = self.sources.folder(source.id)
        found = {}
        for layer, number in wanted.items():
            try:
                found[layer] = str(inside(folder, f"{PAINT}/{number}.png"))
            except UsageError:
                raise UsageError(f"the paint of {layer} is gone: paint it again") from None
        return found

    async def look(
        self, helper: Helper, source: Source, request: Request | None, **what: Any
    ) -> Any:
        """Asks a helper about a source."""
        question = {
            "path": str(self.sources.path(source)),
            "name": source.name,
            "max_pixels": self.settings.max_pixels,
            "max_frames": self.settings.max_frames,
            "cache": MAP_CACHE,
            **what,
        }
        return await helper.ask(question, None if request is None else request.is_disconnected)

    def check_disk(self, more: int) -> None:
        """ResourceError where `more` bytes have no room."""
        s = self.settings
        if bytes_in(s.home) + more > s.max_disk:
            raise ResourceError("uploads and results fill what this server may use: delete some")
        if shutil.disk_usage(s.home).free < more + MARGIN:
            raise ResourceError("the disk of this server is full: delete clips and jobs")

    def sweep(self) -> None:
        """Deletes what is old."""
        oldest = time.time() - self.settings.keep_days * DAY
        self.queue.sweep(oldest, self.sources.jobs_used_since(oldest))
        needed = {job.source for job in self.queue.jobs.values() if job.state in LIVING}
        self.sources.sweep(oldest, needed)


def house_of(request: Request) -> House:
    """The house that the app serves."""
    found: House = request.app.state.house
    return found


Home = Annotated[House, Depends(house_of)]


async def warm_up(house: House) -> None:
    """Starts the helper, which takes seconds, before the first clip comes."""
    facts, _ = await house.clips.ask({"what": "models", "path": "", "name": ""})
    house.models = facts["models"]


async def sweeping(house: House) -> None:
    """Keeps order while the server runs."""
    while True:
        await asyncio.sleep(SWEEP_EVERY)
        house.sweep()
        await house.clips.sweep()
        await house.projects.sweep()
