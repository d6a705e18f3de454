"""Requests that nobody should send, to a server of `unblur serve`: a part of `fuzz.py`.

Each input is a conversation: many requests to one server, whose processes are stand-ins. After each
answer it is looked at what every answer has to have, and who may be answered at all; in the end,
whether any file outside the server's own folder has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from hypothesis import strategies as st

from unblur.errors import UsageError
from unblur.web import Settings, jobs
from unblur.web.app import create_app
from unblur.web.guard import HEADERS, cookie_value

PATIENCE = 120
"""Seconds that a conversation may take."""
SLOWEST = 20
"""Seconds that an answer may take."""
TOKEN = "a token that no one guesses"
SECRET = b"SECRET: not for the server"
LONGEST = 300
"""Requests of a conversation."""
PLAIN = "/%?&=:;+#\\"
"""Characters that an address keeps as they are."""
HOST = "127.0.0.1:8765"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\0\0\4\0\0\0\3" + bytes(9)
"""As much of a PNG of 4x3 as is looked at."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "\xc3", "")
PLACES = (
    "/", "/index.html", "/app.js", "/{x}", "/api", "/api/{x}", "/api/about", "/api/models",
    "/api/openapi.json", "/api/folders/0", "/api/folders/{x}", "/api/clips", "/api/clips/folder",
    "/api/clips/job", "/api/clips/{id}/file", "/api/clips/{id}/frames/3",
    "/api/clips/{id}/frames/7", "/api/clips/{id}/frames/{x}", "/api/sources", "/api/sources/{id}",
    "/api/projects/folder", "/api/projects/job", "/api/projects/{id}/atlases/foreground",
    "/api/projects/{id}/atlases/{x}", "/api/projects/{id}/image", "/api/projects/{id}/point",
    "/api/projects/{id}/flow", "/api/projects/{id}/paint/foreground",
    "/api/projects/{id}/paint/{x}", "/api/jobs", "/api/jobs/{id}", "/api/jobs/{id}/cancel",
    "/api/jobs/{id}/again", "/api/jobs/{id}/files/{x}", "/api/jobs/{id}/files/result.mp4",
)  # fmt: skip
PARTS = (
    "..", "../../secret.mp4", "..%2f..%2fsecret.mp4", "%2e%2e/secret.mp4", "%252e%252e%252f",
    "....//secret.mp4", "out.mp4", "out/secret.mp4", "a.mp4", "pipe.mp4", "sub", "sub/b.mkv",
    "p", "project", "result.mp4", "report.html", "source.json", "job.json", "\\secret.mp4", "con",
    "%00", "a.mp4%00.png", "%ff%fe", "%ed%a0%80", "\u202e4pm", "0", "-1", "1e9", "9" * 30,
    "9" * 5000, "x" * 300, "x" * 9000, ".", "", "/", "//evil.example/", "?", "#", "%", "nan",
    "inf", "1_0", " 1", "\u0663", "foreground", "Foreground", "a;b", "{id}", "true",
)  # fmt: skip
QUERIES = ("name", "path", "width", "frame", "x", "y", "first", "last", "download", "token", "a[]")
KEYS = (
    "kind", "clip", "project", "model", "quality", "strength", "start", "end", "codec", "crf",
    "scale", "container", "deinterlace", "kinds", "at", "blur", "exposure", "shake", "radius",
    "focus", "layers", "minutes", "mode", "layer", "paint", "track", "aperture", "beta", "frame",
    "width", "first", "last", "folder", "path", "job", "file", "__class__", "__proto__", "",
    "\ud800", "a\0b", "x" * 2000,
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 1, 2, 63, 64, 10**9, 10**9 + 1, 2**63, -(2**64), 10**400, 0.5, 1e308,
    float("nan"), float("inf"), -0.0, "", "ok", "crash", "babble", "fails", "full", "auto", "f1",
    "1:02.5", "f" + "9" * 400, "\ud800", "\0", "..", "/etc/passwd", "$(id)", "'; --", "x" * 5000,
    "foreground@2s", "120,80@f3", [], {}, [[]], {"": {}}, ["near"] * 65, {"motion": 1},
    {"foreground": "x"}, {"sharp": -1},
)  # fmt: skip
KINDS = ("application/json", "application/json; charset=utf-16", "text/plain",
         "multipart/form-data",
         "multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "image/png",
         "application/octet-stream", "", "a/b; c=\"")  # fmt: skip
FIELDS = (
    ("host", ("evil.example", "localhost", "[::1]:8765", "127.0.0.1:8765@evil.example", "[::1",
              "127.0.0.1:99999", "localhost.", "2130706433", "0x7f.1", "\xe9", "")),
    ("origin", ("null", "https://evil.example", f"http://{HOST}", "http://localhost:1", "\xff")),
    ("sec-fetch-site", ("cross-site", "same-site", "same-origin", "none", "x")),
    ("sec-fetch-mode", ("navigate", "cors", "websocket")),
    ("range", ("bytes=0-", "bytes=-1", "bytes=5-2", "bytes=0-0,2-3", "bytes=" + "0-1," * 2000,
               "bytes=99999999999999999999-", "bytes=a-b", "lines=1-2", "bytes=-", "bytes=0-1,",
               "bytes=-99999999999999999999", "bytes=\xb2-", "bytes=" + "9" * 5000 + "-")),
    ("if-range", ('"x"', "Mon, 01 Jan 2024 00:00:00 GMT", "x" * 1000)),
    ("if-none-match", ("*", 'W/"x"')),
    ("if-modified-since", ("Mon, 99 Foo 99999 99:99:99 GMT", "0", "\xff",
                           "Mon, 01 Jan 0001 00:00:00 -9999")),
    ("content-length", ("0", "-1", "1e3", "\xb2", "9" * 18, "9" * 5000, "5, 5", "0x10", "+5", "")),
    ("transfer-encoding", ("chunked", "gzip", "chunked, chunked")),
    ("cookie", ("unblur-8765=x", "unblur-8765=\xff", "=;;=", "$Version=1; a=\"", "a=b;" * 3000)),
    ("authorization", ("Bearer", "Bearer x", "Basic Og==", "Bearer \xff", f"Bearer {TOKEN}")),
    ("accept", ("text/html", "*/*;q=x")),
    ("upgrade", ("websocket", "h2c")),
    ("expect", ("100-continue", "x")),
    ("x-http-method-override", ("DELETE",)),
    ("x-forwarded-host", ("evil.example",)),
    ("x-original-url", ("/api/jobs",)),
    ("content-encoding", ("gzip", "br")),
    ("x" * 5000, ("y",)),
)  # fmt: skip


def prepared(folder: Path) -> tuple[dict[str, list[str]], bytes]:
    """A server's folder with a clip, a project and jobs, in `folder`.

    Returns:
        Their numbers, and a conversation in which nothing is refused.
    """
    films = folder / "films"
    (films / "sub").mkdir(parents=True)
    (films / "p").mkdir()
    (folder / "secret.mp4").write_bytes(SECRET)
    for name in ("a.mp4", "sub/b.mkv"):
        (films / name).write_bytes(b"VIDEO" + bytes(300))
    (films / "p" / "atlas.json").write_text("{}")
    (films / "p" / "atlas_foreground.png").write_bytes(PNG)
    (films / "out.mp4").symlink_to(folder / "secret.mp4")
    (films / "out").symlink_to(folder)
    os.mkfifo(films / "pipe.mp4")

    def post(where: str, **body: Any) -> bytes:
        return http(
            "POST", where, json.dumps(body).encode(), [("content-type", "application/json")]
        )

    upload = http("POST", "/api/clips?name=film.mp4", b"VIDEO" + bytes(300))
    opened = post("/api/projects/folder", folder=0, path="p")
    made = asyncio.run(answers(folder, [upload, opened], None))
    clip, project = (json.loads(content)["id"] for _, _, content in made)
    submitted = [
        post("/api/jobs", kind="restore", clip=clip, model=does) for does in ("ok", "fails", "full")
    ]
    shown = http("GET", "/api/jobs")
    made = asyncio.run(answers(folder, [*submitted, *[shown] * 3], None, wait=2))
    known = {"clip": [clip], "project": [project]}
    known["job"] = [json.loads(content)["id"] for _, _, content in made[:3]]
    shutil.copytree(folder / "home", folder / "home-before", symlinks=True)
    plain = [
        http("GET", "/"),
        http("GET", "/api/about"),
        shown,
        http("GET", f"/api/sources/{clip}"),
        http("GET", f"/api/clips/{clip}/frames/3?width=64"),
        http("GET", f"/api/clips/{clip}/file", more=[("range", "bytes=10-200")]),
        http("GET", f"/api/projects/{project}/atlases/foreground"),
        http("POST", f"/api/projects/{project}/paint/foreground", PNG),
        post("/api/clips/folder", folder=0, path="sub/b.mkv"),
        upload,
        submitted[0],
        http("DELETE", f"/api/jobs/{known['job'][1]}"),
    ]
    return known, conversation(False, plain)


def conversations(known: dict[str, list[str]]) -> st.SearchStrategy[bytes]:
    """20 to 60 requests each, half of them to a server that wants a token."""
    numbers = [number for each in known.values() for number in each]
    requests = st.lists(hostile(known, numbers), min_size=20, max_size=60)
    return st.builds(conversation, st.booleans(), requests)


def sweep(known: dict[str, list[str]]) -> Iterator[bytes]:
    """Each header, part of an address and value of a body that is bad, by itself in a request."""
    clip, project, job = (known[kind][0] for kind in ("clip", "project", "job"))
    own = {"clips": clip, "sources": clip, "projects": project, "jobs": job}
    requests = []
    for name, values in FIELDS:
        for value in values:
            for path in (f"/api/clips/{clip}/file", f"/api/jobs/{job}/files/result.mp4", "/app.js"):
                requests.append(http("GET", path, more=[(name, value)]))
            requests.append(http("POST", "/api/clips?name=a.mp4", b"VIDEO", [(name, value)]))
    for part in PARTS:
        for place in PLACES:
            number = own.get(place.split("/")[2] if place.count("/") > 2 else "", clip)
            path = place.replace("{x}", part).replace("{id}", number)
            more = "".join(f"&{name}={part}" for name in QUERIES)
            for each in (path, f"{path}?frame=1&x=1&y=1&first=0&last=1{more}"):
                requests.append(http("GET", quote(each, safe=PLAIN)))
    for body in bodies(known):
        for key in KEYS:
            for value in VALUES:
                text = json.dumps({**body, key: value}).encode()
                kind = [("content-type", "application/json")]
                requests.append(http("POST", place_of(body, project), text, kind))
    for at in range(0, len(requests), LONGEST):
        yield conversation(False, requests[at : at + LONGEST])


def bodies(known: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Requests of each kind that are right, or nearly."""
    clip, project, job = (known[kind][0] for kind in ("clip", "project", "job"))
    return [
        *({"kind": kind, "clip": clip} for kind in ("analyze", "estimate", "preview", "trial")),
        {"kind": "restore", "clip": clip, "model": "ok", "start": "f1", "end": "1:02.5"},
        {"kind": "fit", "clip": clip, "layers": 2},
        {"kind": "export", "project": project, "mode": "edit-sharp", "paint": {"foreground": "x"}},
        {"kind": "flow", "project": project, "first": 0, "last": 1},
        {"mode": "sharp", "frame": 1, "width": 64},
        {"folder": 0, "path": "a.mp4"},
        {"folder": 0, "path": "out/secret.mp4"},
        {"job": job, "file": "result.mp4"},
    ]


def place_of(body: dict[str, Any], project: str) -> str:
    """Where a body goes."""
    if "kind" in body:
        return "/api/jobs"
    if "mode" in body:
        return f"/api/projects/{project}/image"
    return "/api/clips/folder" if "folder" in body else "/api/clips/job"


def hostile(known: dict[str, list[str]], numbers: list[str]) -> st.SearchStrategy[bytes]:
    """One request: what people send, with some of its parts replaced."""
    part = st.one_of(st.sampled_from(PARTS), st.sampled_from(numbers), st.text(max_size=20))
    number = st.one_of(st.sampled_from(numbers), st.sampled_from(numbers), part)

    @st.composite
    def one(draw: st.DrawFn) -> bytes:
        path = draw(st.sampled_from(PLACES))
        path = path.replace("{id}", draw(number)).replace("{x}", draw(part))
        if draw(st.integers(0, 2)) == 0:
            pairs = draw(st.lists(st.tuples(st.sampled_from(QUERIES), part), max_size=4))
            path += "?" + "&".join(f"{name}={value}" for name, value in pairs)
        elif path == "/api/clips":
            path += "?name=a.mp4"
        fields = []
        for name, values in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
            fields.append((name, draw(st.sampled_from(values))))
        body = draw(st.one_of(st.just(b""), st.just(b""), texts(known), others()))
        if body and draw(st.integers(0, 3)):
            kind = "application/json" if body[:1] in b"{[" else draw(st.sampled_from(KINDS))
            fields.append(("content-type", kind))
        usual = "POST" if body else "GET"
        method = draw(st.one_of(st.just(usual), st.just(usual), st.sampled_from(METHODS)))
        return http(method, quote(path, safe=PLAIN), body, fields)

    return one()


def texts(known: dict[str, list[str]]) -> st.SearchStrategy[bytes]:
    """Bodies of JSON: those that are right, and some of their values replaced."""
    whole = bodies(known)
    values = st.one_of(
        st.sampled_from(VALUES),
        st.sampled_from(PARTS),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner,
                                                                        max_size=3),
            max_leaves=6,
        ),
    )  # fmt: skip

    @st.composite
    def one(draw: st.DrawFn) -> bytes:
        body = dict(draw(st.sampled_from(whole)))
        for name in draw(st.lists(st.sampled_from(KEYS), max_size=3)):
            body[name] = draw(values)
        if draw(st.integers(0, 5)) == 0:
            body.pop(draw(st.sampled_from(sorted(body))))
        text = json.dumps(body).encode()
        return text if draw(st.integers(0, 5)) else text[: draw(st.integers(1, len(text)))]

    return one()


def others() -> st.SearchStrategy[bytes]:
    """Bodies that are no JSON of a request."""
    form = (
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="../../x.mp4"\r\n\r\nVIDEO'
    )
    return st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            (PNG, PNG[:20], b"VIDEO", b"[" * 50_000, b'{"a":' * 50_000, b"9" * 10_000, b"NaN",
             b'{"kind":"analyze","kind":"fit"}', form, form + b"\r\n--b--\r\n", b"x" * 300_000,
             b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"a=b&c=d", b"1" + b"0" * 4400)
        ),
    )  # fmt: skip


def http(method: str, path: str, body: bytes = b"", more: list[tuple[str, str]] = []) -> bytes:  # noqa: B006
    """A request as it goes over the wire; what is in `more` replaces what is usual."""
    fields = {"host": HOST, **({"content-length": str(len(body))} if body else {})}
    lines = [f"{name}: {value}" for name, value in {**fields, **dict(more)}.items()]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
    return head.encode("latin-1", errors="replace") + body


def conversation(token: bool, requests: list[bytes]) -> bytes:
    """What `ask_server` reads."""
    return json.dumps(
        {"token": token, "requests": [each.decode("latin-1") for each in requests]}, indent=1
    ).encode()


def count_of(data: bytes) -> int:
    """Requests of a conversation."""
    return len(json.loads(data)["requests"])


def ask_server(path: Path) -> None:
    """Puts the requests of a conversation to a server that has clips and jobs.

    Raises:
        AssertionError: something is wrong with an answer, or with the files afterwards.
        UsageError: nothing is, and some were refused.
    """
    spoken, folder = json.loads(path.read_bytes()), path.parent
    shutil.rmtree(folder / "home", ignore_errors=True)
    shutil.copytree(folder / "home-before", folder / "home", symlinks=True)
    requests = [each.encode("latin-1") for each in spoken["requests"]]
    token = TOKEN if spoken["token"] else None
    before = all_outside(folder)
    found = asyncio.run(answers(folder, requests, token))
    for request, (status, fields, content) in zip(requests, found, strict=True):
        wrong = check(request, status, fields, content, token)
        if wrong:
            raise AssertionError(f"{wrong}: {request[:300]!r}: {status} {content[:200]!r}")
    if all_outside(folder) != before:
        raise AssertionError("files outside the server's folder have changed")
    refused = sum(status >= 400 for status, _, _ in found)
    if refused:
        raise UsageError(f"{refused} were refused")


def check(
    request: bytes, status: int, fields: dict[str, str], content: bytes, token: str | None
) -> str:
    """What is wrong with an answer, or nothing."""
    scope, _ = as_scope(request)
    sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    own, good = f"http://{sent.get('host', '')}", 200 <= status < 400
    if status >= 500 and status not in (503, 507):  # full, or too much at once
        return "a bug"
    if SECRET in content:
        return "a file of others"
    if any(fields.get(name) != value for name, value in HEADERS.items()):
        return "a header is missing"
    if "access-control-allow-origin" in fields:
        return "open to other sites"
    if good and "evil" in sent.get("host", ""):
        return "reached by another name"
    writes = scope["method"] not in ("GET", "HEAD")
    if good and writes and sent.get("origin", own).lower() != own.lower():
        return "written by another site"
    asked = scope["query_string"].decode("latin-1") + sent.get("cookie", "")
    let_in = TOKEN in sent.get("authorization", "") or cookie_value(TOKEN) in asked
    if good and token and not let_in and quote(TOKEN) not in asked and TOKEN not in asked:
        return "let in without the token"
    # The framework's own answer to a part that lies behind the end, and none at all, have no words.
    is_api = scope["path"].startswith("/api/") and scope["method"] != "HEAD"
    if is_api and status >= 400 and status not in (416, 499):
        said = json.loads(content)["error"]
        return "" if said["message"] and len(said["message"]) < 1000 else "no words, or too many"
    return ""


def all_outside(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Kind and content of all files that are not the server's."""
    found = {}
    for place in (*folder.glob("*"), *(folder / "films").rglob("*")):
        if place.name.startswith("home") or place.name == "log":
            continue
        plain = place.is_file() and not place.is_symlink()
        found[str(place)] = (place.lstat().st_mode, place.read_bytes() if plain else b"")
    return found


@contextlib.asynccontextmanager
async def served(folder: Path, token: str | None) -> AsyncIterator[Any]:
    """A server whose processes are stand-ins, in `folder / "home"`."""
    jobs.GRACE = 0.3
    program = (sys.executable, str(Path(__file__).parent / "web" / "fake_program.py"))
    films = ((folder / "films").resolve(),)
    app = create_app(Settings(folder / "home", films, token=token, program=program, max_kept=20))
    async with app.router.lifespan_context(app):
        yield app


async def answers(
    folder: Path, requests: list[bytes], token: str | None, wait: float = 0
) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and content of a server's answers, one request after the other.

    `wait` seconds pass before the server ends, for its jobs.
    """
    async with served(folder, token) as app:
        found = [await asyncio.wait_for(answer(app, each), SLOWEST) for each in requests]
        await asyncio.sleep(wait)
    return found


async def answer(app: Any, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """One of them; 499 where none came."""
    scope, body = as_scope(request)
    sent: list[Any] = []
    coming = messages(scope, body)

    async def receive() -> Any:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(part: Any) -> None:
        sent.append(part)

    await app(scope, receive, send)
    if not sent:
        return 499, dict(HEADERS), b""
    fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return sent[0]["status"], fields, b"".join(part.get("body", b"") for part in sent)


def messages(scope: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    """A body as it comes: in pieces where it says so, cut off where it claims to be longer."""
    fields = dict(scope["headers"])
    said = fields.get(b"content-length", b"0")
    size = 7 if b"transfer-encoding" in fields else max(1, len(body))
    parts = [body[at : at + size] for at in range(0, min(len(body), 70 * size), size)] or [b""]
    cut = said.isdigit() and len(said) < 20 and int(said) > len(body)
    kind = "http.request"
    if scope["type"] == "websocket":
        return [{"type": "websocket.connect"}]
    return [
        {"type": kind, "body": part, "more_body": cut or n < len(parts) - 1}
        for n, part in enumerate(parts)
    ]


def as_scope(request: bytes) -> tuple[dict[str, Any], bytes]:
    """What a server of ASGI makes of a request, and its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, target, *_ = [*first.split(b" "), b"", b""]
    path, _, query = target.partition(b"?")
    pairs = (line.partition(b":") for line in lines)
    headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
    upgraded = (b"upgrade", b"websocket") in headers and method == b"GET"
    return {
        "type": "websocket" if upgraded else "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method.decode("latin-1").upper(),
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 4000),
        "server": ("127.0.0.1", 8765),
    }, body
