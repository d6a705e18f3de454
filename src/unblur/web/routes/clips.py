"""Clips: taken in, and shown."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from unblur.errors import UsageError
from unblur.web import requests as bodies
from unblur.web.house import Home, House
from unblur.web.places import extension, shown
from unblur.web.routes.parts import Number
from unblur.web.routes.sources import public
from unblur.web.sources import Source

CHUNK = 1_000_000
CLIP_TYPES = {"mp4": "video/mp4", "m4v": "video/mp4", "webm": "video/webm", "mov": "video/mp4"}
router = APIRouter(prefix="/api")


@router.post(
    "/clips",
    status_code=201,
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}, "required": True}},
)
async def upload(
    house: Home, request: Request, name: Annotated[str, Query(max_length=1000)]
) -> dict[str, Any]:
    """Takes in a clip: the body is the file itself, `name` is for people."""
    if house.uploads.locked():
        return_later()
    async with house.uploads:
        house.check_disk(int(request.headers.get("content-length", "0")))
        source = house.sources.begin_upload(name)
        folder = house.sources.folder(source.id)
        try:
            await take_in(request, folder / source.place, house)
            return await look_at_clip(house, source)
        except BaseException:
            house.sources.known.pop(source.id, None)
            await asyncio.to_thread(shutil.rmtree, folder, True)
            raise


def return_later() -> None:
    """Refuses for now."""
    raise HTTPException(429, "many uploads are coming in: try again in a while")


async def take_in(request: Request, path: Path, house: House) -> None:
    """Writes a body to a file as it comes; it is never all in memory."""
    held, written, checked = bytearray(), 0, 0
    with path.open("wb") as file:
        async for part in request.stream():
            held += part
            if len(held) >= CHUNK:
                await asyncio.to_thread(file.write, bytes(held))
                written += len(held)
                held.clear()
                if written - checked >= 100 * CHUNK:
                    checked = written
                    await asyncio.to_thread(house.check_disk, 0)
        await asyncio.to_thread(file.write, bytes(held))


async def look_at_clip(house: House, source: Source) -> dict[str, Any]:
    """Keeps a clip if it can be read."""
    source.about, _ = await house.look(house.clips, source, None, what="clip")
    house.sources.add(source)
    return public(source)


@router.post("/clips/folder", status_code=201)
async def clip_from_folder(house: Home, body: bodies.FromFolder) -> dict[str, Any]:
    """Takes a video in a folder; it stays where it is."""
    source = house.sources.from_folder(body.folder, body.path)
    if source.kind != "clip":
        raise UsageError(f"{source.name} is a project, not a clip")
    return await look_at_clip(house, source)


@router.post("/clips/job", status_code=201)
async def clip_from_job(house: Home, body: bodies.FromJob) -> dict[str, Any]:
    """Takes a video that a job made, to do something else with it."""
    path, about = house.queue.file(body.job, body.file)
    if not about["type"].startswith("video/"):
        raise UsageError(f"{body.file} is no video")
    job = house.queue.get(body.job)
    name = shown(f"{Path(job.name).stem}-{body.file}")
    source = house.sources.from_job(path.parent, body.file, name, is_project=False)
    return await look_at_clip(house, source)


@router.head("/clips/{number}/file", include_in_schema=False)
@router.get("/clips/{number}/file")
async def clip_file(house: Home, number: Number) -> FileResponse:
    """The file itself; parts of it by `Range`."""
    found = house.sources.get(number, "clip")
    kind = CLIP_TYPES.get(extension(found.place), "application/octet-stream")
    return FileResponse(house.sources.path(found), media_type=kind)


@router.get("/clips/{number}/frames/{index}")
async def clip_frame(
    house: Home,
    request: Request,
    number: Number,
    index: Annotated[int, InPath(ge=0, le=10**9)],
    width: Annotated[int | None, Query(ge=16, le=8192)] = None,
) -> Response:
    """A frame as JPEG."""
    found = house.sources.get(number, "clip")
    facts, data = await house.look(
        house.clips, found, request, what="frame", frame=index, width=width
    )
    headers = {"cache-control": "private, max-age=3600"}
    return Response(data, media_type=facts["type"], headers=headers)
