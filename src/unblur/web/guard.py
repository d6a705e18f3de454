"""What stands before every request: who may ask, from where, how much, and how slowly.

- Host: only names under which the server is meant to be reached, so that no other site's name can
  be made to lead here (DNS rebinding).
- Origin: other sites may neither send (CSRF) nor embed; no CORS header is ever given.
- Token: where one is set, nothing is answered without it.
- Bodies: bounded in bytes and in time; answers: given up where no one reads them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import socket
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unblur.web.settings import Settings, is_local

SMALL = 256_000
"""Bytes of a body that is no file."""
PAINT = 64_000_000
"""Bytes of a painted overlay."""
UPLOAD = "/api/clips"
LONGEST = 18
"""Digits of a number of bytes."""
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})|bytes=-\d{1,18}", re.ASCII)
READS = ("GET", "HEAD")
UNREAD = 120.0
"""Seconds without a byte read after which an answer is given up."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def problem(status: int, message: str, code: int = 2) -> JSONResponse:
    """An error as every route answers it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status)


class Guard:
    """See above.

    Args:
        app: what stands behind it.
        settings: names, token and limits.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.local = is_local(settings.host)
        self.names = {"localhost", *(name.lower() for name in settings.names)}
        if not self.local:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
            self.names.add(settings.host.lower())
        self.pass_word = cookie_value(settings.token) if settings.token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers itself what may not pass."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refused = self.refuse(scope, headers)
        if refused is not None:
            await refused(scope, receive, decorated(send))
            return
        if not is_range(headers.get("range", "")):
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"range"]
        if "content-length" in headers or "transfer-encoding" in headers:
            limit = self.limit(scope)
            receive = Bounded(receive, limit, self.settings, is_upload=is_upload(scope))
        await self.app(scope, receive, decorated(send))

    def refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to what may not pass; None for what may."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.knows(hosts[0]):
            return problem(
                421, "this server is not reached by that name: see `unblur serve --name`"
            )
        if not comes_from_here(scope["method"], headers, scope["scheme"]):
            return problem(403, "requests from other sites are refused")
        if self.settings.token:
            return self.check_token(scope, headers)
        length = headers.get("content-length", "0")
        return self.check_length(scope, length)

    def knows(self, host: str) -> bool:
        """True for a Host header that leads here by right."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
            urlsplit(f"//{host}").port  # noqa: B018  # raises where it is none
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.local  # a number cannot be rebound

    def check_token(self, scope: Scope, headers: Headers) -> Response | None:
        """Answers a request that does not know the token, and one that brings it in the address."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        given = query.get("token", [""])[-1]
        if scope["path"] == "/" and scope["method"] == "GET" and given:
            if not self.fits(given):
                return problem(401, "wrong token: open the address that the terminal shows")
            answer = RedirectResponse("/", 303)
            answer.set_cookie(
                self.cookie, self.pass_word or "", httponly=True, samesite="strict", path="/"
            )
            return answer
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        by_header = kind.lower() == "bearer" and self.fits(bearer.strip())
        if not by_header and not self.has_cookie(headers):
            return problem(401, "this server wants its token: open the address the terminal shows")
        return self.check_length(scope, headers.get("content-length", "0"))

    @property
    def cookie(self) -> str:
        """Name of the cookie; ports of a host share their cookies."""
        return f"unblur-{self.settings.port}"

    def fits(self, token: str) -> bool:
        """Whether that is the token, in a time that does not tell how much of it."""
        return hmac.compare_digest(token.encode(), (self.settings.token or "").encode())

    def has_cookie(self, headers: Headers) -> bool:
        """Whether the browser was let in before."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        value = found.value if found is not None else ""
        return hmac.compare_digest(value.encode(), (self.pass_word or "").encode())

    def check_length(self, scope: Scope, length: str) -> Response | None:
        """Answers a body that says itself that it is too long."""
        limit = self.limit(scope)
        if not length.isdecimal():
            return problem(400, "the length of the request is no number")
        return too_long(limit) if len(length) > LONGEST or int(length) > limit else None

    def limit(self, scope: Scope) -> int:
        """Bytes that the body of a request may have."""
        if is_upload(scope):
            return self.settings.max_upload
        is_paint = scope["path"].startswith("/api/projects/") and "/paint/" in scope["path"]
        return PAINT if is_paint else SMALL


class Bounded:
    """A body that is given up where it is too long or too slow.

    Raises:
        HTTPException: it is.
    """

    def __init__(self, receive: Receive, limit: int, settings: Settings, is_upload: bool) -> None:
        self.receive, self.limit = receive, limit
        self.patience, self.slowest = settings.patience, settings.slowest if is_upload else 1
        self.began, self.taken, self.ended = time.monotonic(), 0, False

    async def __call__(self) -> Message:
        """The next part."""
        if self.ended:  # now only the end of the connection can come
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), self.patience)
        except asyncio.TimeoutError:
            raise HTTPException(408, "nothing came for too long: send it again") from None
        self.taken += len(message.get("body", b""))
        self.ended = not message.get("more_body", False)
        if self.taken > self.limit:
            raise HTTPException(413, TOO_LONG.format(limit=self.limit))
        spent = time.monotonic() - self.began
        if not self.ended and spent > self.patience and self.taken < self.slowest * spent:
            raise HTTPException(408, "it came too slowly: send it again over a better line")
        return message


TOO_LONG = "that is more than the {limit} bytes allowed: send a smaller file"


def too_long(limit: int) -> Response:
    """The answer to a body that is too long; the connection is closed, unread."""
    answer = problem(413, TOO_LONG.format(limit=limit), 4)
    answer.headers["connection"] = "close"
    return answer


def is_upload(scope: Scope) -> bool:
    """True for a request whose body is a clip."""
    return scope["path"] == UPLOAD and scope["method"] == "POST"


def comes_from_here(method: str, headers: Headers, scheme: str) -> bool:
    """False for what another site made a browser send."""
    origin = headers.get("origin")
    own = f"{scheme}://{headers['host']}".lower()
    if method not in READS and origin is not None and origin.lower() != own:
        return False
    site = headers.get("sec-fetch-site", "none")
    if site in ("same-origin", "none"):
        return True
    return method in READS and headers.get("sec-fetch-mode") == "navigate"  # a link was followed


def is_range(text: str) -> bool:
    """False for what names no single part of a file: all of the file is the answer, as HTTP has it.

    Players ask for one part at a time.
    """
    found = RANGE.fullmatch(text)
    return found is not None and (not found[2] or int(found[1]) <= int(found[2]))


def cookie_value(token: str) -> str:
    """What a browser keeps instead of the token."""
    return hashlib.sha256(f"unblur {token}".encode()).hexdigest()


def decorated(send: Send) -> Send:
    """Adds the headers of every answer, and gives up where no one reads."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await asyncio.wait_for(send(message), UNREAD)

    return sending
