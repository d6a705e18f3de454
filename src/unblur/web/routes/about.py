"""What there is: version, limits, models, folders."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from unblur import __version__
from unblur.web.house import Home, warm_up
from unblur.web.places import shown

router = APIRouter(prefix="/api")


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
