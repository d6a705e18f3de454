"""Projects of layers: opened, shown, painted on."""

from __future__ import annotations

import struct
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response

from unblur.errors import UsageError
from unblur.web import requests as bodies
from unblur.web.disk import new_id
from unblur.web.house import Home, House
from unblur.web.places import inside
from unblur.web.routes.parts import Number
from unblur.web.routes.sources import public
from unblur.web.sources import PAINT, Source

PNG = b"\x89PNG\r\n\x1a\n"
KEPT_PAINT = 60
"""Overlays of a project, the newest."""
router = APIRouter(prefix="/api")


@router.post("/projects/folder", status_code=201)
async def project_from_folder(house: Home, body: bodies.FromFolder) -> dict[str, Any]:
    """Opens an atlas project in a folder."""
    found = house.sources.from_folder(body.folder, body.path)
    if found.kind != "project":
        raise UsageError(f"{found.name} is a clip, not a project")
    return await look_at_project(house, found)


@router.post("/projects/job", status_code=201)
async def project_from_job(house: Home, body: bodies.FromJob) -> dict[str, Any]:
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
async def atlas(house: Home, number: Number, layer: bodies.Name) -> FileResponse:
    """The atlas of a layer as PNG; its alpha is where a point was ever visible."""
    found = house.sources.get(number, "project")
    if layer not in {each["name"] for each in found.about["layers"]}:
        raise KeyError(layer)
    path = inside(house.sources.path(found), f"atlas_{layer}.png")
    return FileResponse(path, media_type="image/png")


@router.post("/projects/{number}/image")
async def image(house: Home, request: Request, number: Number, body: bodies.Image) -> Response:
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
async def paint(
    house: Home, request: Request, number: Number, layer: bodies.Name
) -> dict[str, str]:
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
