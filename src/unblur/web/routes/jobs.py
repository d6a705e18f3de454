"""Jobs: queued, followed, cancelled, and the files that they make."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from unblur.web import requests as bodies
from unblur.web.house import Home
from unblur.web.jobs import Job
from unblur.web.places import shown
from unblur.web.routes.parts import Number

router = APIRouter(prefix="/api")


def shown_job(job: Job) -> dict[str, Any]:
    """What a client learns of a job."""
    return asdict(job)


@router.post("/jobs", status_code=202)
async def submit(house: Home, body: bodies.JobRequest) -> dict[str, Any]:
    """Queues a job; its `id` leads to where it stands."""
    request = body.model_dump()
    kind = "project" if "project" in request else "clip"
    found = house.sources.get(request[kind], kind)
    house.paint(found, request.get("paint", {}))
    house.check_disk(0)
    house.sources.use(found)
    return shown_job(house.queue.submit(body.kind, request, found.id, found.name))


@router.get("/jobs")
async def jobs(house: Home) -> list[dict[str, Any]]:
    """All jobs, the newest first."""
    return [shown_job(j) for j in sorted(house.queue.jobs.values(), key=lambda j: -j.created)]


@router.get("/jobs/{number}")
async def job(house: Home, number: Number) -> dict[str, Any]:
    """Where a job stands, and what it made."""
    return shown_job(house.queue.get(number))


@router.post("/jobs/{number}/cancel")
async def cancel(house: Home, number: Number) -> dict[str, Any]:
    """Stops a job that waits or runs."""
    return shown_job(house.queue.cancel(number))


@router.post("/jobs/{number}/again")
async def again(house: Home, number: Number) -> dict[str, Any]:
    """Queues a job anew that was cancelled or failed."""
    return shown_job(house.queue.again(number))


@router.delete("/jobs/{number}", status_code=204)
async def delete_job(house: Home, number: Number) -> None:
    """Forgets an ended job and what it made."""
    house.queue.delete(number)


@router.head("/jobs/{number}/files/{name}", include_in_schema=False)
@router.get("/jobs/{number}/files/{name}")
async def job_file(house: Home, number: Number, name: str, download: bool = False) -> FileResponse:
    """A file that a job made; parts of it by `Range`."""
    path, about = house.queue.file(number, name)
    if not path.is_file():
        raise KeyError(name)
    job = house.queue.get(number)
    as_file = download or about["type"] == "text/html"  # whose script shall not run here
    nice = shown(f"{Path(job.name).stem}-{name}") if as_file else None
    return FileResponse(path, media_type=about["type"], filename=nice)
