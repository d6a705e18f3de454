"""Clips and projects that the server knows."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from unblur.errors import UsageError
from unblur.web.house import Home
from unblur.web.jobs import LIVING
from unblur.web.routes.parts import Number
from unblur.web.sources import Source

router = APIRouter(prefix="/api")


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
