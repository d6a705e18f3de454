"""The app: its routes, guarded. Described by `/api/openapi.json`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from unblur import __version__
from unblur.errors import UnblurError
from unblur.web.answers import on_error, on_gone, on_missing, on_refusal, on_wrong_body
from unblur.web.guard import Guard
from unblur.web.helper import GoneError
from unblur.web.house import House, sweeping, warm_up
from unblur.web.routes import about, clips, jobs, projects, sources
from unblur.web.settings import Settings

STATIC = Path(__file__).parent / "static"


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
    for routes in (about, clips, sources, projects, jobs):
        app.include_router(routes.router)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_exception_handler(UnblurError, on_error)
    app.add_exception_handler(HTTPException, on_refusal)
    app.add_exception_handler(RequestValidationError, on_wrong_body)
    app.add_exception_handler(KeyError, on_missing)
    app.add_exception_handler(GoneError, on_gone)
    app.add_middleware(Guard, settings=settings)
    return app
