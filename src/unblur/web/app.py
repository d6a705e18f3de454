"""The routes: what can be requested over HTTP. Described by `/api/openapi.json`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from unblur import __version__
from unblur.errors import MediaError, ResourceError, UnblurError, UsageError, WeightsError
from unblur.web import requests as ask
from unblur.web.disk import ID, bytes_in, new_id
from unblur.web.guard import Guard, problem
from unblur.web.helper import GoneError, Helper
from unblur.web.jobs import LIVING, Job, Queue
from unblur.web.places import extension, inside, shown
from unblur.web.settings import Settings
from unblur.web.sources import PAINT, Source, Sources

STATIC = Path(__file__).parent / "static"
DAY = 86_400.0
SWEEP_EVERY = 300.0
MARGIN = 500_000_000
"""Bytes that stay free on the disk."""
CHUNK = 1_000_000
UPLOADS = 8
"""That come in at once."""
MAP_CACHE = 300_000_000
"""Bytes of decoded maps of a project."""
PNG = b"\x89PNG\r\n\x1a\n"
CLIP_TYPES = {"mp4": "video/mp4", "m4v": "video/mp4", "webm": "video/webm", "mov": "video/mp4"}
STATUS: list[tuple[type[UnblurError], int]] = [
    (UsageError, 400),
    (MediaError, 422),
    (WeightsError, 422),
    (ResourceError, 503),
    (UnblurError, 500),
]
PLAIN = {
    400: "the body cannot be read: send JSON in UTF-8, see /api/openapi.json",
    404: "there is nothing at this address: /api/openapi.json lists those there are",
    405: "this address does not take that method: see /api/openapi.json",
}
"""What to say where the framework says less."""
router = APIRouter(prefix="/api")
Number = Annotated[str, InPath(pattern=ID)]


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


def create_app(settings: Settings) -> FastAPI:
    """The app, guarded; jobs run while its lifespan lasts."""

    @contextlib.asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        house = House(settings)
        app.state.house = house
        house.sources.load()
        house.queue.load()
        house.sweep()
        house.queue.start()
        beside = [asyncio.create_task(sweeping(house)), asyncio.create_task(warm_up(house))]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await house.queue.close()
            await asyncio.gather(house.clips.close(), house.projects.close())

    app = FastAPI(
        title="unblur",
        version=__version__,
        description="Restore, refocus and compare videos: jobs over HTTP. See docs/web.md.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # their pages come from other servers
        redoc_url=None,
        lifespan=living,
    )
    app.include_router(router)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_exception_handler(UnblurError, on_error)
    app.add_exception_handler(HTTPException, on_refusal)
    app.add_exception_handler(RequestValidationError, on_wrong_body)
    app.add_exception_handler(KeyError, on_missing)
    app.add_exception_handler(GoneError, on_gone)
    app.add_middleware(Guard, settings=settings)
    return app


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


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """An error of unblur as an answer."""
    assert isinstance(error, UnblurError)  # noqa: S101
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    return problem(status, str(error), error.exit_code)


async def on_refusal(request: Request, error: Exception) -> JSONResponse:
    """A refusal of the framework or of `Bounded`."""
    assert isinstance(error, HTTPException)  # noqa: S101
    answer = problem(error.status_code, PLAIN.get(error.status_code, str(error.detail)))
    if error.status_code in (408, 413):
        answer.headers["connection"] = "close"  # what is still to come is not read
    return answer


async def on_wrong_body(request: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, in one line."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    body = first["loc"][0] == "body"
    if body and "json" not in request.headers.get("content-type", ""):
        return problem(422, "the body is not said to be JSON: send content-type: application/json")
    if first["type"] == "json_invalid":
        return problem(422, f"the body is no JSON ({first['ctx']['error']} at {first['loc'][-1]})")
    where = ".".join(str(x) for x in first["loc"] if x not in ("body", "query", "path"))
    return problem(422, f"{where or 'the request'}: {first['msg']}; see /api/openapi.json")


async def on_missing(request: Request, error: Exception) -> JSONResponse:
    """There is nothing of that number."""
    return problem(404, "there is nothing of that number: it may have been deleted")


async def on_gone(request: Request, error: Exception) -> Response:
    """An answer that no one reads."""
    return Response(status_code=499)


# --- what there is


@router.get("/about")
async def about(house: Home) -> dict[str, Any]:
    """Version, limits, and folders that may be chosen from."""
    s = house.settings
    return {
        "version": __version__,
        "folders": [shown(str(folder)) for folder in s.folders],
        "limits": {
            "upload": s.max_upload,
            "pixels": s.max_pixels,
            "frames": s.max_frames,
            "queued": s.max_queued,
            "seconds": s.max_seconds,
            "days": s.keep_days,
        },
    }


@router.get("/models")
async def models(house: Home) -> list[dict[str, Any]]:
    """Models whose weights are there."""
    if house.models is None:
        await warm_up(house)
    return house.models or []


@router.get("/folders/{number}")
async def folder(
    house: Home, number: int, path: Annotated[str, Query(max_length=2000)] = ""
) -> dict[str, Any]:
    """Folders, videos and projects in a folder that the operator allows."""
    entries = house.sources.listing(number, path)
    return {"path": path, "entries": [asdict(entry) for entry in entries]}


# --- clips and projects


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


def public(source: Source) -> dict[str, Any]:
    """What a client learns of a source; not where it is."""
    return {
        "id": source.id,
        "kind": source.kind,
        "name": source.name,
        "created": source.created,
        "uploaded": source.root is None,
        **source.about,
    }


@router.post("/clips/folder", status_code=201)
async def clip_from_folder(house: Home, body: ask.FromFolder) -> dict[str, Any]:
    """Takes a video in a folder; it stays where it is."""
    source = house.sources.from_folder(body.folder, body.path)
    if source.kind != "clip":
        raise UsageError(f"{source.name} is a project, not a clip")
    return await look_at_clip(house, source)


@router.post("/clips/job", status_code=201)
async def clip_from_job(house: Home, body: ask.FromJob) -> dict[str, Any]:
    """Takes a video that a job made, to do something else with it."""
    path, about = house.queue.file(body.job, body.file)
    if not about["type"].startswith("video/"):
        raise UsageError(f"{body.file} is no video")
    job = house.queue.get(body.job)
    name = shown(f"{Path(job.name).stem}-{body.file}")
    source = house.sources.from_job(path.parent, body.file, name, is_project=False)
    return await look_at_clip(house, source)


@router.get("/sources")
async def sources(house: Home) -> list[dict[str, Any]]:
    """All clips and projects, the newest first."""
    known = sorted(house.sources.known.values(), key=lambda s: -s.created)
    return [public(source) for source in known]


@router.get("/sources/{number}")
async def source(house: Home, number: Number) -> dict[str, Any]:
    """A clip or project."""
    found = house.sources.get(number)
    house.sources.use(found)
    return public(found)


@router.delete("/sources/{number}", status_code=204)
async def delete_source(house: Home, number: Number) -> None:
    """Forgets a clip or project; a file in a folder stays where it is."""
    house.sources.get(number)
    if any(j.source == number and j.state in LIVING for j in house.queue.jobs.values()):
        raise UsageError("a job needs it: cancel that first")
    house.sources.delete(number)


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


@router.post("/projects/folder", status_code=201)
async def project_from_folder(house: Home, body: ask.FromFolder) -> dict[str, Any]:
    """Opens an atlas project in a folder."""
    found = house.sources.from_folder(body.folder, body.path)
    if found.kind != "project":
        raise UsageError(f"{found.name} is a clip, not a project")
    return await look_at_project(house, found)


@router.post("/projects/job", status_code=201)
async def project_from_job(house: Home, body: ask.FromJob) -> dict[str, Any]:
    """Opens the project that a fit made."""
    path, about = house.queue.file(body.job, body.file)
    if about["type"] != "project":
        raise UsageError(f"{body.file} is no project")
    job = house.queue.get(body.job)
    found = house.sources.from_job(path.parent, body.file, job.name, is_project=True)
    return await look_at_project(house, found)


async def look_at_project(house: House, found: Source) -> dict[str, Any]:
    """Keeps a project if it can be read."""
    found.about, _ = await house.look(house.projects, found, None, what="project")
    house.sources.add(found)
    return public(found)


@router.get("/projects/{number}/atlases/{layer}")
async def atlas(house: Home, number: Number, layer: ask.Name) -> FileResponse:
    """The atlas of a layer as PNG; its alpha is where a point was ever visible."""
    found = house.sources.get(number, "project")
    if layer not in {each["name"] for each in found.about["layers"]}:
        raise KeyError(layer)
    path = inside(house.sources.path(found), f"atlas_{layer}.png")
    return FileResponse(path, media_type="image/png")


@router.post("/projects/{number}/image")
async def image(house: Home, request: Request, number: Number, body: ask.Image) -> Response:
    """A frame of a project as JPEG, rendered as the body says."""
    found = house.sources.get(number, "project")
    look = body.model_dump()
    paint = house.paint(found, look["paint"])
    facts, data = await house.look(
        house.projects,
        found,
        request,
        what="image",
        frame=body.frame,
        width=body.width,
        look=look,
        paint=paint,
    )
    return Response(data, media_type=facts["type"])


@router.get("/projects/{number}/point")
async def point(
    house: Home,
    number: Number,
    frame: Annotated[int, Query(ge=0, le=10**6)],
    x: Annotated[float, Query(ge=-1, le=10**6)],
    y: Annotated[float, Query(ge=-1, le=10**6)],
) -> dict[str, Any]:
    """The layer that a point of a frame, in pixels, shows most of."""
    found = house.sources.get(number, "project")
    facts, _ = await house.look(
        house.projects, found, None, what="point", frame=frame, point=(x, y)
    )
    return {"layer": facts["layer"]}


@router.get("/projects/{number}/flow")
async def flow_image(
    house: Home,
    request: Request,
    number: Number,
    first: Annotated[int, Query(ge=0, le=10**6)],
    last: Annotated[int, Query(ge=0, le=10**6)],
) -> Response:
    """Optical flow between two frames as colours; `x-longest` is the longest, in pixels."""
    found = house.sources.get(number, "project")
    facts, data = await house.look(
        house.projects, found, request, what="flow", first=first, last=last, exact=True
    )
    headers = {"x-longest": f"{facts['longest']:.3f}", "x-valid": f"{facts['valid']:.4f}"}
    return Response(data, media_type=facts["type"], headers=headers)


@router.post(
    "/projects/{number}/paint/{layer}",
    status_code=201,
    openapi_extra={"requestBody": {"content": {"image/png": {}}, "required": True}},
)
async def paint(house: Home, request: Request, number: Number, layer: ask.Name) -> dict[str, str]:
    """Takes what was painted on an atlas: a PNG of its size, transparent where nothing is."""
    found = house.sources.get(number, "project")
    about = next((x for x in found.about["layers"] if x["name"] == layer), None)
    if about is None:
        raise KeyError(layer)
    data = await request.body()
    size = struct.unpack(">II", data[16:24]) if data[:8] == PNG and len(data) > 24 else None
    if size != (about["width"], about["height"]):
        raise UsageError(
            f"paint for {layer} is a PNG of {about['width']}x{about['height']} pixels, as its atlas"
        )
    house.check_disk(len(data))
    folder = house.sources.folder(number) / PAINT
    folder.mkdir(exist_ok=True)
    made = new_id()
    (folder / f"{made}.png").write_bytes(data)
    for old in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime)[:-KEPT_PAINT]:
        old.unlink()
    return {"paint": made}


KEPT_PAINT = 60
"""Overlays of a project, the newest."""


# --- jobs


def shown_job(job: Job) -> dict[str, Any]:
    """What a client learns of a job."""
    return asdict(job)


@router.post("/jobs", status_code=202)
async def submit(house: Home, body: ask.JobRequest) -> dict[str, Any]:
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
