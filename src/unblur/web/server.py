"""Starting the server: its port, its folder's lock, connections that may not idle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from unblur.disk import alone
from unblur.errors import UsageError
from unblur.web.settings import SHORTEST_TOKEN, Settings, is_local

CONNECTIONS = 256
HEAD_SECONDS = 15.0
"""That a client has to send the head of a request, and that a connection may idle."""
EXTRA = "the page needs more packages: pip install 'unblur[web]'"


def run(settings: Settings, say: Callable[[str], None] | None = None) -> None:
    """Serves until interrupted.

    Args:
        settings: what the operator decided.
        say: called with the address once it is known.

    Raises:
        UsageError: see `unblur.web.serve`.
    """
    check(settings)
    uvicorn = needed()
    from unblur.web.app import create_app

    with locked(settings.home), listening(settings) as (sock, port):
        settings = with_port(settings, port)
        if say is not None:
            say(address(settings))
        config = uvicorn.Config(
            create_app(settings),
            http=protocol(),
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=int(HEAD_SECONDS),
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=32_768,
        )
        uvicorn.Server(config).run(sockets=[sock])


def needed() -> Any:
    """The packages of the extra.

    Raises:
        UsageError: they are missing.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UsageError(EXTRA) from error
    return uvicorn


def check(settings: Settings) -> None:
    """UsageError where the settings make no sense."""
    if not is_local(settings.host) and not settings.token:
        raise UsageError(f"listening on {settings.host} needs a token: others can reach it")
    if settings.token is not None and len(settings.token) < SHORTEST_TOKEN:
        raise UsageError(f"the token is short: take {SHORTEST_TOKEN} characters or more")
    for folder in settings.folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder: name one that exists")


def with_port(settings: Settings, port: int) -> Settings:
    """The settings with the port that was found."""
    from dataclasses import replace

    return replace(settings, port=port)


def address(settings: Settings) -> str:
    """What to open in a browser."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.host in ("0.0.0.0", "::"):  # noqa: S104  # any address: name one of them
        host = socket.gethostname()
    token = f"?token={settings.token}" if settings.token else ""
    return f"http://{host}:{settings.port}/{token}"


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[tuple[socket.socket, int]]:
    """The port, bound.

    Raises:
        UsageError: it is taken, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let two servers have one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, settings.port))
            sock.listen()  # who comes before the server is ready waits
        except OSError as error:
            raise UsageError(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error}):"
                " choose another with --port or --listen"
            ) from error
        yield sock, sock.getsockname()[1]
    finally:
        sock.close()


def locked(home: Path) -> contextlib.AbstractContextManager[None]:
    """The folder, for this server alone.

    Raises:
        UsageError: another one has it, or it cannot be made.
    """
    with contextlib.suppress(OSError):  # said below
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return alone(home, f"another server uses {home}: stop it, or name another folder by --home")


def protocol() -> type[asyncio.Protocol]:
    """The HTTP of uvicorn, that gives up connections on which no request is completed."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """Closes a connection whose request's head does not come."""

        waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            """Begins to wait."""
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            """Waits on, unless this completed a head."""
            super().data_received(data)
            busy = self.cycle is not None and not self.cycle.response_complete
            if busy and self.waiting is not None:
                self.waiting.cancel()
                self.waiting = None
            elif not busy and self.waiting is None:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            """Waits no more."""
            if self.waiting is not None:
                self.waiting.cancel()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self.waiting = self.loop.call_later(HEAD_SECONDS, self._give_up)

        def _give_up(self) -> None:
            self.waiting = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Impatient
