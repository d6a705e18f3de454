"""`unblur serve`: the page in the browser."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.options import Verbose, parse_size
from unblur.cli.terminal import say

ACCESS, LIMITS = "Access", "Limits"


def serve(
    folder: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=ACCESS,
            show_default=False,
            help="Offer the videos in DIR, too; repeat it.",
        ),
    ] = None,
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            rich_help_panel=ACCESS,
            help="Where to listen; beyond this machine a token is needed.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, rich_help_panel=ACCESS, help="0 takes a free one.")
    ] = 8765,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=ACCESS,
            show_default=False,
            help="A name under which it is reached, such as that of a proxy; repeat it.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar="UNBLUR_TOKEN",
            rich_help_panel=ACCESS,
            show_default="made where one is needed",
            help="What a client has to know.",
        ),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default="in the user's data folder",
            help="Where uploads, jobs and results are.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    max_memory: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE", parser=parse_size, rich_help_panel=LIMITS, help="Of a restoring job."
        ),
    ] = None,
    max_upload: Annotated[
        int,
        typer.Option(metavar="SIZE", parser=parse_size, rich_help_panel=LIMITS, help="Of a file."),
    ] = "2GB",  # type: ignore[assignment]  # typer parses it
    max_disk: Annotated[
        int,
        typer.Option(
            metavar="SIZE", parser=parse_size, rich_help_panel=LIMITS, help="Of all that is kept."
        ),
    ] = "50GB",  # type: ignore[assignment]
    max_pixels: Annotated[
        int, typer.Option(min=1, metavar="N", rich_help_panel=LIMITS, help="Of a frame.")
    ] = 8192 * 4320,
    max_jobs: Annotated[
        int, typer.Option(min=1, metavar="N", rich_help_panel=LIMITS, help="That wait.")
    ] = 20,
    max_hours: Annotated[
        float, typer.Option(min=0.01, metavar="H", rich_help_panel=LIMITS, help="Of a job.")
    ] = 12.0,
    keep: Annotated[
        float,
        typer.Option(
            min=0.01,
            metavar="DAYS",
            rich_help_panel=LIMITS,
            help="Ended jobs and unused clips are deleted then.",
        ),
    ] = 7.0,
    workers: Annotated[
        int, typer.Option(min=1, max=64, rich_help_panel=LIMITS, help="Jobs that run at once.")
    ] = 1,
    verbose: Verbose = False,
) -> None:
    """Open a page in the browser for all this: drop a clip, look, compare, restore.

    Needs the extra `web`. Nothing is fetched from elsewhere or sent there. Ctrl-C ends it; jobs
    that were running go on when it starts again.
    """
    from unblur.web import Settings
    from unblur.web.server import run
    from unblur.web.settings import is_local
    from unblur.weights import home as data_folder

    settings = Settings(
        home=(home or data_folder() / "web").resolve(),
        folders=tuple(path.resolve() for path in folder or ()),
        host=listen,
        port=port,
        names=tuple(name or ()),
        token=token or (None if is_local(listen) else secrets.token_urlsafe(24)),
        device=device,
        max_memory=max_memory,
        max_upload=max_upload,
        max_disk=max_disk,
        max_pixels=max_pixels,
        max_queued=max_jobs,
        max_seconds=3600 * max_hours,
        keep_days=keep,
        workers=workers,
    )
    run(settings, say=lambda url: say(f"unblur: open {url} (Ctrl-C ends it)"))
