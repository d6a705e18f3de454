"""A page in the browser for restoring, refocusing and comparing, and the same jobs over HTTP.

`unblur serve` starts it. The server itself holds no pixels: media are read and computed on in
processes of their own, a queue's worker for each job and a helper for single frames. What they
write is in one folder, so that jobs outlive the page and the server.
"""

from unblur.web.settings import Settings

__all__ = ["Settings", "serve"]


def serve(settings: Settings) -> None:
    """Serves until interrupted.

    Raises:
        UsageError: the extra `web` is missing, the port is taken, or another server has the folder.
    """
    from unblur.web.server import run

    run(settings)
