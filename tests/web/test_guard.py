"""Who may ask, for what, how much and how slowly; and where names may lead."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra web")

from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from tests.web.web_client import VIDEO, add_clip, submit, wait
from unblur.errors import UsageError
from unblur.web import Settings
from unblur.web.guard import Bounded
from unblur.web.places import inside, shown
from unblur.web.server import check

Serve = Callable[..., TestClient]
TOKEN = "a token that no one guesses"
HOSTS = ["evil.example", "127.0.0.1.evil.example", "", "localhost:99999", "a@127.0.0.1:b", "[::1"]


@pytest.mark.parametrize("host", HOSTS)
def test_names_that_do_not_lead_here_are_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/about", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:1", "[::1]:8765", "LOCALHOST"])
def test_names_of_this_machine_pass(client: TestClient, host: str) -> None:
    assert client.get("/api/about", headers={"host": host}).status_code == 200


def test_a_number_from_elsewhere_does_not_lead_to_a_local_server(client: TestClient) -> None:
    assert client.get("/api/about", headers={"host": "192.0.2.1:8765"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8765"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_cannot_send(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/clips?name=a.mp4", content=VIDEO, headers=headers)
    assert answer.status_code == 403
    assert client.get("/api/sources").json() == []


def test_other_sites_cannot_embed_but_may_link(client: TestClient) -> None:
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client.get("/api/about", headers=embedded).status_code == 403
    linked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=linked).status_code == 200


def test_the_page_itself_may_send(client: TestClient) -> None:
    own = {"origin": "http://127.0.0.1:8765", "sec-fetch-site": "same-origin"}
    answer = client.post("/api/clips?name=a.mp4", content=VIDEO, headers=own)
    assert answer.status_code == 201


def test_no_answer_opens_the_server_to_other_sites(client: TestClient) -> None:
    for answer in (
        client.get("/"),
        client.get("/api/about"),
        client.get("/nothing"),
        client.options("/api/jobs", headers={"origin": "https://evil.example"}),
        client.get("/api/about", headers={"host": "evil.example"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_the_server_itself_reads_no_media() -> None:
    code = "import sys, unblur.web.app, unblur.web.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"av", "cv2", "torch", "numpy"} & set(done.stdout.split())


def test_processes_take_no_module_from_where_the_server_was_started(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("print('not the one')")
    (tmp_path / "here.py").write_text("print('not the one')")
    program = Settings(tmp_path).program
    for module, code in (("here", 1), ("unblur.web.settings", 0)):
        done = subprocess.run([*program, module], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr


def test_elsewhere_needs_a_token(settings: Settings) -> None:
    for host in ("0.0.0.0", "192.0.2.7", "example.org"):
        with pytest.raises(UsageError, match="token"):
            check(Settings(settings.home, host=host))
        check(Settings(settings.home, host=host, token=TOKEN))
    with pytest.raises(UsageError, match="short"):
        check(Settings(settings.home, token="short"))


def test_nothing_is_answered_without_the_token(serve: Serve) -> None:
    client = serve(host="0.0.0.0", token=TOKEN)
    for path in ("/", "/app.css", "/api/about", "/api/openapi.json", "/?token=wrong", "/api/jobs"):
        assert client.get(path).status_code == 401, path
    assert client.post("/api/clips?name=a.mp4", content=VIDEO).status_code == 401
    for bearer in ("wrong", "", TOKEN + "x"):
        headers = {"authorization": f"Bearer {bearer}"}
        assert client.get("/api/about", headers=headers).status_code == 401
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/about", headers=headers).status_code == 200


def test_the_address_with_the_token_lets_a_browser_in(serve: Serve) -> None:
    client = serve(host="0.0.0.0", token=TOKEN)
    answer = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert client.get("/api/about").status_code == 200  # by the cookie


def test_an_upload_that_says_it_is_too_long_is_not_read(serve: Serve, settings: Settings) -> None:
    client = serve(max_upload=1000)
    read = []

    def body():  # type: ignore[no-untyped-def]
        read.append(1)
        yield b"x" * 5000

    headers = {"content-length": "5000"}
    answer = client.post("/api/clips?name=a.mp4", content=body(), headers=headers)
    assert answer.status_code == 413
    assert os.listdir(settings.home / "sources") == []


def test_an_upload_that_becomes_too_long_is_not_kept(serve: Serve, settings: Settings) -> None:
    client = serve(max_upload=10_000)
    answer = client.post(
        "/api/clips?name=a.mp4", content=(b"VIDEO" + b"x" * 4000 for _ in range(5))
    )
    assert answer.status_code == 413
    assert os.listdir(settings.home / "sources") == []
    assert client.get("/api/sources").json() == []


def test_a_full_store_takes_nothing_in(serve: Serve) -> None:
    client = serve(max_disk=1500)
    add_clip(client)
    refused = client.post("/api/clips?name=b.mp4", content=VIDEO)
    assert refused.status_code == 503
    assert "fill" in refused.json()["error"]["message"]


def test_other_bodies_are_small(client: TestClient) -> None:
    assert client.post("/api/jobs", content=b"[" * 300_000).status_code == 413


def test_a_deep_body_is_no_trouble(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/api/jobs", content=b"[" * 100_000, headers=headers)
    assert answer.status_code in (400, 422)


def bounded(parts: list[tuple[float, bytes]], **changes: float) -> int:
    """Bytes that pass of parts that come after so many seconds each."""
    left = list(parts)

    async def receive() -> dict[str, object]:
        wait, body = left.pop(0)
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def take() -> int:
        settings = Settings(Path(), **changes)  # type: ignore[arg-type]
        body = Bounded(receive, 1000, settings, is_upload=True)
        while not body.ended:
            await body()
        return body.taken

    return asyncio.run(take())


def test_a_client_that_stops_sending_is_given_up() -> None:
    with pytest.raises(HTTPException) as stopped:
        bounded([(0, b"x"), (60, b"y")], patience=0.05)
    assert stopped.value.status_code == 408


def test_a_client_that_trickles_is_given_up() -> None:
    with pytest.raises(HTTPException) as slow:
        bounded([(0.02, b"x")] * 40, patience=0.1, slowest=10_000)
    assert slow.value.status_code == 408


def test_a_client_that_sends_well_passes() -> None:
    assert bounded([(0, b"x" * 100)] * 5, patience=0.5) == 500


@pytest.mark.parametrize("content", [b"", b"text, renamed", b"\0" * 100])
def test_what_is_no_video_is_refused_and_not_kept(
    client: TestClient, content: bytes, settings: Settings
) -> None:
    refused = client.post("/api/clips?name=a.mp4", content=content)
    assert refused.status_code == 422
    assert "a.mp4" in refused.json()["error"]["message"]
    assert os.listdir(settings.home / "sources") == []


NAMES = [
    "../../../../etc/cron.d/evil.mp4",
    "..\\..\\evil.mp4",
    "/etc/passwd.mp4",
    "C:\\Windows\\evil.mp4",
    "a\0b.mp4",
    "con.mp4",
    "-rf.mp4",
    "%2e%2e%2fevil.mp4",
    "a" * 900 + ".mp4",
    "näme mit 🎬 %d.mp4",
    "e\u0301\u202eVM4.mp4",
    "file:evil.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_an_upload_is_only_shown(
    client: TestClient, name: str, settings: Settings, tmp_path: Path
) -> None:
    number = add_clip(client, name)
    files = {str(p.relative_to(settings.home)) for p in settings.home.rglob("*") if p.is_file()}
    assert files - {f"sources/{number}/source.json"} == {f"sources/{number}/source.mp4"}
    assert {p.name for p in tmp_path.iterdir()} == {"films", "home"}
    shown = client.get(f"/api/sources/{number}").json()["name"]
    assert shown.endswith(".mp4")
    assert not set(shown) & set("/\\\0")
    assert len(shown) <= 120


@pytest.mark.parametrize("name", ["a.exe", "a", "mp4", "a.html", "a.mp4.svg", "a.m3u8", ""])
def test_other_extensions_are_refused(client: TestClient, name: str) -> None:
    assert client.post("/api/clips", params={"name": name}, content=VIDEO).status_code == 400


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a film, beside which there is a secret."""
    root = tmp_path / "films"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "film.mp4").write_bytes(VIDEO)
    (tmp_path / "secret.mp4").write_bytes(b"VIDEO secret")
    (root / "out.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "near.mp4").symlink_to(root / "sub" / "film.mp4")
    os.mkfifo(root / "pipe.mp4")
    return root


ESCAPES = [
    "../secret.mp4",
    "sub/../../secret.mp4",
    "/etc/passwd",
    "..\\secret.mp4",
    "out.mp4",
    "up/secret.mp4",
    "loop",
    "film\0.mp4",
    "sub/film.mp4\0.png",
    "CON",
    "aux.mp4",
    "sub/COM1.txt",
    "sub/film.mp4::$DATA",
    "C:/secret.mp4",
    "~/secret.mp4",
    "pipe.mp4",
    "./sub/./film.mp4",
    "nothing.mp4",
    "x" * 5000,
]


@pytest.mark.skipif(os.name == "nt", reason="makes links and pipes")
@pytest.mark.parametrize("path", ESCAPES, ids=lambda p: repr(p)[:24])
def test_paths_lead_nowhere_else(tree: Path, path: str) -> None:
    with pytest.raises(UsageError):
        inside(tree, path)


@pytest.mark.skipif(os.name == "nt", reason="makes links and pipes")
def test_paths_lead_inside(tree: Path) -> None:
    assert inside(tree, "sub/film.mp4").read_bytes() == VIDEO
    assert inside(tree, "near.mp4").name == "film.mp4"  # a link that stays inside
    assert inside(tree, "") == tree.resolve()


@given(st.text(max_size=60))
def test_no_text_leads_outside(path: str) -> None:
    root = Path(__file__).parent
    try:
        found = inside(root, path)
    except UsageError:
        return
    assert found == root.resolve() or root.resolve() in found.parents


@given(st.text(max_size=300))
def test_any_name_can_be_shown(name: str) -> None:
    clean = shown(name)
    assert clean
    assert len(clean) <= 120
    assert all(c.isprintable() and c not in "/\\" for c in clean)
    assert shown(clean) == clean


@pytest.mark.skipif(os.name == "nt", reason="makes links and pipes")
@pytest.mark.parametrize("path", ESCAPES, ids=lambda p: repr(p)[:24])
def test_folders_are_left_by_no_request(serve: Serve, tree: Path, path: str) -> None:
    client = serve(folders=(tree,))
    answer = client.post("/api/clips/folder", json={"folder": 0, "path": path})
    assert answer.status_code in (400, 422)
    listed = client.get("/api/folders/0", params={"path": path})
    assert listed.status_code in (400, 422)
    assert "secret" not in answer.text.replace("secret.mp4", "")


@pytest.mark.skipif(os.name == "nt", reason="makes links and pipes")
def test_a_folder_lists_what_may_be_chosen(serve: Serve, tree: Path) -> None:
    client = serve(folders=(tree,))
    entries = client.get("/api/folders/0").json()["entries"]
    assert [(e["name"], e["kind"]) for e in entries] == [("near.mp4", "clip"), ("sub", "folder")]
    chosen = client.post("/api/clips/folder", json={"folder": 0, "path": "sub/film.mp4"}).json()
    again = client.post("/api/clips/folder", json={"folder": 0, "path": "sub/film.mp4"}).json()
    assert chosen["id"] == again["id"]
    assert str(tree) not in str(chosen)
    assert client.get(f"/api/clips/{chosen['id']}/file").content == VIDEO
    client.delete(f"/api/sources/{chosen['id']}")
    assert (tree / "sub" / "film.mp4").read_bytes() == VIDEO  # it is not ours to delete


@pytest.mark.skipif(os.name == "nt", reason="makes links and pipes")
def test_a_clip_that_becomes_a_link_elsewhere_is_not_read(serve: Serve, tree: Path) -> None:
    client = serve(folders=(tree,))
    body = {"folder": 0, "path": "sub/film.mp4"}
    number = client.post("/api/clips/folder", json=body).json()["id"]
    (tree / "sub" / "film.mp4").unlink()
    (tree / "sub" / "film.mp4").symlink_to(tree.parent / "secret.mp4")
    assert client.get(f"/api/clips/{number}/file").status_code == 400
    assert wait(client, submit(client, number)["id"])["state"] == "failed"


def test_a_folder_that_is_not_offered_any_more_is_shut(
    serve: Serve, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "films" / "a.mp4").write_bytes(VIDEO)
    first = serve()
    number = first.post("/api/clips/folder", json={"folder": 0, "path": "a.mp4"}).json()["id"]
    first.__exit__(None, None, None)
    second = serve(folders=())
    assert second.get(f"/api/clips/{number}/file").status_code == 400
    first.__enter__()


FILES = [
    "../job.json",
    "..%2fjob.json",
    "%2e%2e/job.json",
    "../../../../../../etc/passwd",
    "result.mp4%00.html",
    "log.txt",
    ".",
    "result.mp4/../../job.json",
]


@pytest.mark.parametrize("name", FILES)
def test_of_a_job_only_its_files_are_given(client: TestClient, name: str) -> None:
    job = wait(client, submit(client, add_clip(client))["id"])
    answer = client.get(f"/api/jobs/{job['id']}/files/{name}")
    assert answer.status_code in (404, 422)


@pytest.mark.parametrize(
    "path", ["/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/js/../../app.py"]
)
def test_the_page_gives_no_other_files(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404


PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR"


@pytest.fixture
def project(client: TestClient, tmp_path: Path) -> str:
    """Number of an open project with an atlas of 4 x 3 pixels."""
    (tmp_path / "films" / "layers").mkdir()
    (tmp_path / "films" / "layers" / "atlas.json").write_text("{}")
    answer = client.post("/api/projects/folder", json={"folder": 0, "path": "layers"})
    return str(answer.json()["id"])


def test_paint_has_the_size_of_its_atlas(
    client: TestClient, project: str, settings: Settings
) -> None:
    path = f"/api/projects/{project}/paint/foreground"
    good = PNG + (4).to_bytes(4, "big") + (3).to_bytes(4, "big") + b"\x08\x06\0\0\0"
    bomb = PNG + (65535).to_bytes(4, "big") * 2 + b"\x08\x06\0\0\0"
    for content in (b"", b"GIF89a" + good, good[:20], bomb):
        assert client.post(path, content=content).status_code == 400
    unknown = client.post(f"/api/projects/{project}/paint/nothing", content=good)
    assert unknown.status_code == 404
    made = client.post(path, content=good).json()["paint"]
    body = {"mode": "edit-sharp", "paint": {"foreground": made}}
    shown_ = client.post(f"/api/projects/{project}/image", json=body)
    file = settings.home / "sources" / project / "paint" / f"{made}.png"
    assert shown_.json() == {"foreground": str(file)}
    body = {"mode": "edit-sharp", "paint": {"foreground": "0" * 16}}
    assert client.post(f"/api/projects/{project}/image", json=body).status_code == 400


@pytest.mark.parametrize("length", ["9" * 19, "9" * 5000])
def test_lengths_beyond_all_numbers_are_too_long(client: TestClient, length: str) -> None:
    answer = client.post("/api/clips?name=a.mp4", content=VIDEO, headers={"content-length": length})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "part",
    [
        "bytes=5-2",
        "bytes=a-b",
        "bytes=-",
        "bytes=0-0,2-3",
        "bytes=" + "9" * 5000 + "-",
        "lines=1-2",
    ],
)
def test_parts_that_are_none_are_answered_with_the_whole(client: TestClient, part: str) -> None:
    clip = add_clip(client)
    answer = client.get(f"/api/clips/{clip}/file", headers={"range": part})
    assert (answer.status_code, answer.content) == (200, VIDEO)
    answer = client.get(f"/api/clips/{clip}/file", headers={"range": "bytes=-3"})
    assert (answer.status_code, answer.content) == (206, VIDEO[-3:])


def test_an_answer_does_not_repeat_a_long_request(client: TestClient) -> None:
    for body in ({"kind": "x" * 9000}, {"kind": "flow", "x" * 9000: 1}):
        answer = client.post("/api/jobs", json=body)
        assert answer.status_code == 422
        assert 0 < len(answer.json()["error"]["message"]) < 1000
