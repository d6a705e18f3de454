"""Starting and ending the processes that do the work, so that none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import IO


async def spawn(
    program: Sequence[str], module: str, limit: int, errors: IO[bytes] | None = None
) -> Process:
    """Starts a process that is spoken to through its standard input and output.

    Args:
        program: what runs a module, as `python -m`.
        module: its name.
        limit: bytes of its longest line.
        errors: where its standard error goes; None: where the server's goes.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *program,
            module,
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            limit=limit,
            start_new_session=True,  # Ctrl-C is for the server, which stops the others
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await end(await starting, 0)
        raise


async def end(process: Process, grace: float) -> None:
    """Closes a process's input, at which it ends; kills it where it does not.

    Args:
        process: from `spawn`.
        grace: seconds that it has to tidy up.
    """
    if process.stdin is not None:
        process.stdin.close()
    waiting = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait_for(asyncio.shield(waiting), grace)
    except asyncio.TimeoutError:
        kill(process)
        await waiting
    except asyncio.CancelledError:
        kill(process)
        await waiting
        raise
    finally:
        # asyncio leaves its pipes open where the output was not read to its end.
        process._transport.close()  # type: ignore[attr-defined]


def kill(process: Process) -> None:
    """Ends a process at once."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
