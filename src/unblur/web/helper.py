"""The server's side of the helper that makes single images."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from unblur.errors import MediaError, NumericsError, ResourceError, UnblurError, UsageError
from unblur.web.processes import end, kill, spawn
from unblur.web.settings import Settings

LONGEST_ANSWER = 2**28
LONGEST_LINE = 2**22
PATIENCE = 120.0
"""Seconds that an image may take."""
IDLE = 600.0
"""Seconds after which the process is let go."""
GRACE = 3.0
"""Seconds that the process has to end."""
MOST_WAITING = 64
ERRORS: dict[int, type[UnblurError]] = {
    2: UsageError,
    3: MediaError,
    4: ResourceError,
    5: NumericsError,
}


class GoneError(Exception):
    """No one waits for the image any more."""


class Helper:
    """Asks one process at a time, which is started when it is needed.

    Args:
        settings: what starts it.
    """

    def __init__(self, settings: Settings) -> None:
        self._program = settings.program
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._used = time.monotonic()

    async def ask(
        self,
        request: dict[str, Any],
        gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """Facts, and the bytes of an image.

        Args:
            request: see `unblur.web.looking.Looker.answer`.
            gone: whether no one waits for the answer; looked at when its turn has come.

        Raises:
            UnblurError: what went wrong.
            GoneError: no one waits.
        """
        if self._waiting >= MOST_WAITING:
            raise ResourceError("too many images are wanted at once: try again")
        self._waiting += 1
        try:
            async with self._lock:
                if gone is not None and await gone():
                    raise GoneError
                try:
                    facts, data = await asyncio.wait_for(self._exchange(request), PATIENCE)
                except (asyncio.TimeoutError, asyncio.IncompleteReadError, OSError, ValueError):
                    await self._kill()
                    raise ResourceError(
                        f"{request['name']}: no image could be made of it: it is damaged, or too"
                        " large for this machine"
                    ) from None
                except asyncio.CancelledError:
                    await self._kill()  # its answer would be taken for that to the next question
                    raise
        finally:
            self._waiting -= 1
        if "error" in facts:
            raise ERRORS.get(facts["error"]["code"], NumericsError)(facts["error"]["message"])
        return facts, data

    async def _exchange(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        process = await self._started()
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
        head = await process.stdout.readline()
        facts = json.loads(head)
        count = facts.pop("bytes")
        if not 0 <= count <= LONGEST_ANSWER:
            raise ValueError(count)
        self._used = time.monotonic()
        return facts, await process.stdout.readexactly(count)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await spawn(self._program, "unblur.web.studio", LONGEST_LINE)
        return self._process

    async def sweep(self) -> None:
        """Lets the process go where it has not been needed for long."""
        if time.monotonic() - self._used > IDLE and not self._lock.locked():
            await self.close()

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            await end(process, GRACE)

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            kill(process)
            await end(process, GRACE)
